"""Arguments, exit codes and the two ways of speaking, for every command alike."""

import subprocess
import sys

import pytest
import typer

from agenthifive import __version__
from agenthifive.cli import commands, instance
from cli.stage import Cli

HEAVY = ["typer", "rich", "pydantic", "psycopg", "fastapi", "agenthifive.settings"]


def test_the_version_is_answered_without_loading_anything() -> None:
    program = (
        "import sys; from pathlib import Path; from agenthifive.cli.main import run; run(['version'], {}, Path());"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [__version__, "[]"]


def test_the_command_tree_loads_no_room() -> None:
    program = (
        f"import sys; import agenthifive.cli.commands;print([name for name in {HEAVY[2:]} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_version(cli: Cli, arguments: list[str]) -> None:
    assert cli(*arguments).out == f"{__version__}\n"


@pytest.mark.parametrize("arguments", [["--json", "version"], ["version", "--json"]])
def test_version_as_json(cli: Cli, arguments: list[str]) -> None:
    expected = {"ok": True, "command": "version", "data": {"version": __version__}, "warnings": []}
    assert cli(*arguments).json == expected


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["fly"], "No such command 'fly'.", "agenthifive --help"),
        (["audit"], "Missing command.", "agenthifive audit --help"),
        (["audit", "fly"], "No such command 'fly'.", "agenthifive audit --help"),
        (["audit", "list", "--limit", "many"], "--limit", "agenthifive audit list --help"),
        (["audit", "list", "--action", "flown"], "--action", "agenthifive audit list --help"),
        (["create-user", "olga@example.com"], "--name", "agenthifive create-user --help"),
        (["version", "--loud"], "--loud", "agenthifive version --help"),
        (["serve", "--port", "0"], "--port", "agenthifive serve --help"),
    ],
)
def test_misuse_ends_with_2_and_says_where_help_is(cli: Cli, arguments: list[str], message: str, hint: str) -> None:
    done = cli(*arguments)
    assert (done.code, done.out) == (2, "")
    error, advice = done.err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert advice == f"hint: {hint}"


def test_misuse_as_json_is_one_object_on_standard_output(cli: Cli) -> None:
    done = cli("audit", "fly", "--json")
    assert (done.code, done.err) == (2, "")
    assert done.json["ok"] is False
    assert done.json["code"] == "usage"
    assert list(done.json) == ["ok", "command", "error", "code", "hint"]


def test_without_a_command_the_commands_are_listed(cli: Cli) -> None:
    done = cli()
    assert done.code == 2
    for command in ("up", "serve", "migrate", "create-user", "agent", "audit", "policy", "demo", "version", "openapi"):
        assert f"\n  {command} " in done.out


def test_every_command_says_what_it_does(cli: Cli) -> None:
    tree = typer.main.get_command(commands.app)
    assert isinstance(tree, typer.core.TyperGroup)
    for name, command in tree.commands.items():
        members = command.commands.items() if isinstance(command, typer.core.TyperGroup) else [("", command)]
        for member, leaf in members:
            assert leaf.help, f"{name} {member} has no help"


def test_flags_after_two_dashes_are_arguments(cli: Cli) -> None:
    done = cli("version", "--", "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")


def test_ctrl_c_ends_with_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(instance, "_masked", interrupt)
    assert cli("config", "show", "--all").code == 130


@pytest.mark.parametrize(
    "arguments",
    [["config", "check"], ["serve"], ["up"], ["migrate"], ["audit", "list"], ["agent", "token", "x"], ["setup-link"]],
)
def test_refused_settings_end_with_3_and_name_every_problem(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments, API_PORT="99999", WEB_URL="ftp://x", ENCRYPTION_KEY="short")
    assert (done.code, done.out) == (3, "")
    for name in ("API_PORT", "WEB_URL", "ENCRYPTION_KEY"):
        assert f"{name}: " in done.err
    assert done.err.splitlines()[-1].startswith("hint: ")


def test_refused_settings_as_json_are_a_list_too(cli: Cli) -> None:
    done = cli("audit", "list", "--json", API_PORT="99999", WEB_URL="ftp://x")
    assert done.code == 3
    assert done.json["code"] == "settings_refused"
    assert [line.partition(":")[0] for line in done.json["data"]["problems"]] == ["WEB_URL", "API_PORT"]
