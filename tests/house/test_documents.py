"""The documents say what is true of the code: generated pages equal it, links lead somewhere, commands exist."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tools.reference import PAGES, diff, main
from tools.reference_routes import ROOMS, list_operations
from typer.main import get_command

from agenthifive.catalog.catalog import load_catalog
from agenthifive.cli.commands import app
from agenthifive.cli.instance import _routers
from agenthifive.errors import STATUS
from agenthifive.settings import list_knobs
from agenthifive.words import AuditAction, Scope
from house.source import PACKAGE, ROOT, Module, calls, dotted, modules, nodes

WRITTEN = ["README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"]
NOT_SETTINGS = {
    "NAME": "stands for any",
    "NO_COLOR": "a convention of terminals",
    "ADMIN_URL": "a variable of a shell example",
    "POSTGRES_PASSWORD": "of the PostgreSQL image",
    "AWS_ACCESS_KEY_ID": "read by the client library of AWS",
    "AWS_SECRET_ACCESS_KEY": "the same",
    "AWS_CA_BUNDLE": "the same",
    "GOOGLE_APPLICATION_CREDENTIALS": "read by the client library of Google",
    "REQUESTS_CA_BUNDLE": "read by the client libraries of Azure and Google",
    "VAULT_CACERT": "read by the client library of Vault",
}
_ADVICE = re.compile(r"(?::|code>) ?agenthifive ([a-z-]+)(?: ([a-z-]+))?")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_NAME = re.compile(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`")
_PATH = re.compile(r"`((?:[a-z0-9_-]+/)+[a-z0-9_.-]+\.(?:py|sql|toml|md|html))`")


def _pages() -> list[Path]:
    return [*(ROOT / name for name in WRITTEN), *sorted((ROOT / "docs").rglob("*.md"))]


def _by_hand() -> list[Path]:
    return [page for page in _pages() if "reference" not in page.parts]


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    """If not: python -m tools.reference."""
    assert diff(name) == ""


def test_the_generator_tells_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["--check"]) == (1 if any(diff(name) for name in PAGES) else 0)
    monkeypatch.setattr("tools.reference.ROOT", tmp_path)
    assert main(["--check"]) == 1
    assert main(["--chekc"]) == 2


def test_every_page_of_the_reference_is_generated() -> None:
    assert {f"docs/reference/{path.name}" for path in (ROOT / "docs/reference").iterdir()} == set(PAGES) - {
        ".env.example"
    }


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("settings.md", [knob.name for knob in list_knobs()]),
        ("errors.md", list(STATUS)),
        ("audit-actions.md", list(AuditAction)),
        ("scopes.md", list(Scope)),
        ("services.md", [service.id for service in load_catalog().services]),
    ],
)
def test_each_word_has_its_line_in_the_reference(page: str, words: list[str]) -> None:
    lines = (ROOT / "docs/reference" / page).read_text("utf-8").splitlines()
    first = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert sorted(first) == sorted(words)


def test_every_declared_route_is_in_the_reference() -> None:
    """Found in the source, so that a room which nobody mounts is missed too."""
    page = (ROOT / "docs/reference/routes.md").read_text("utf-8")
    declared = [
        f"{name.rpartition('.')[2].upper()} {node.args[0].value}"
        for module in modules()
        for name, node in calls(module)
        if name.startswith("routes.") and node.args
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    ]
    assert len(declared) > 40
    assert [route for route in declared if f"`{route}`" not in page] == []


def test_the_openapi_command_prints_every_room() -> None:
    """A room that is mounted and not printed would be missing from the document clients are made from."""
    printed = {getattr(route, "path", "") for router in _routers() for route in router.routes}
    mounted = {getattr(route, "path", "") for room in ROOMS for route in room.routes.router.routes}
    assert printed == mounted


def test_a_route_for_agents_names_the_scope_it_asks_for() -> None:
    """Otherwise the declaration says less than the route checks, and clients are told nothing."""
    assert [o.path for o in list_operations() if any(caller == "G:None" for caller in o.callers)] == []


def test_every_catalog_file_is_in_the_reference() -> None:
    page = (ROOT / "docs/reference/services.md").read_text("utf-8")
    files = sorted((PACKAGE / "catalog/services").glob("*.toml"))
    assert len(files) > 100
    assert [file.stem for file in files if f"| `{file.stem}` |" not in page] == []


def test_every_audit_action_is_recorded_somewhere() -> None:
    """A word that nobody writes promises a row that never comes."""
    recorded = {
        node.attr
        for module in modules()
        for node in _outside(module, declarations=("audit",), verbs=("admit",))
        if isinstance(node, ast.Attribute) and dotted(node.value) == "AuditAction"
    }
    assert [action.name for action in AuditAction if action.name not in recorded] == []


def test_every_error_code_is_raised_somewhere() -> None:
    """On the sign-in routes codes are written in capitals, whoever raised them."""
    texts = {
        node.value
        for module in modules()
        if module.file != "words.py"
        for node in _outside(module, declarations=("errors",), verbs=())
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [code for code in STATUS if not {code, code.lower() if code.isupper() else code} & texts] == []


def test_every_setting_is_read_somewhere() -> None:
    """A setting that nothing reads promises an effect that it does not have."""
    named = {
        word
        for module in modules()
        if not module.room.startswith("settings")
        for node in nodes(module)
        for word in (
            node.attr if isinstance(node, ast.Attribute) else node.value if isinstance(node, ast.Constant) else None,
        )
    }
    fields = [knob.name.lower() for knob in list_knobs()]
    assert [field.upper() for field in fields if field not in named] == []


def test_commands_that_messages_and_pages_advise_exist() -> None:
    texts = [(module.file, module.text) for module in modules() if not module.file.startswith("cli/demo")]
    texts += [(path.name, path.read_text("utf-8")) for path in sorted((PACKAGE / "web").rglob("*.html"))]
    advised = [(file, words) for file, text in texts for words in _ADVICE.findall(text)]
    assert len(advised) > 8
    groups: Any = get_command(app)
    wrong = []
    for file, (first, second) in advised:
        command = groups.commands.get(first)
        if command is None or (hasattr(command, "commands") and second and second not in command.commands):
            wrong.append(f"{file}: agenthifive {first} {second}".rstrip())
    assert wrong == []


@pytest.mark.parametrize("page", _pages(), ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(page.read_text("utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", _by_hand(), ids=lambda page: page.name)
def test_named_settings_and_files_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    known = {knob.name for knob in list_knobs()} | set(STATUS) | set(NOT_SETTINGS)
    assert [name for name in _NAME.findall(text) if name.removesuffix("_FILE") not in known] == []
    assert [name for name in _PATH.findall(text) if not (ROOT / name).exists() and not (PACKAGE / name).exists()] == []


@pytest.mark.parametrize("page", _by_hand(), ids=lambda page: page.name)
def test_commands_in_documents_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    wrong = []
    for line in _shell_lines(page.read_text("utf-8")):
        words = line.split()
        if words[:1] == ["make"]:
            wrong += [line for word in words[1:2] if word not in targets]
        elif words[0].rpartition("/")[2] == "agenthifive" and not _is_command(words[1:]):
            wrong.append(line)
    assert wrong == []


@pytest.mark.parametrize("page", _pages(), ids=lambda page: page.name)
def test_documents_speak_of_the_repository_only(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [word for word in ("/work/", "shared/", "contract/", "lorem", "TODO") if word in text] == []


def test_decisions_have_one_form() -> None:
    """Number, context, decision, consequences: half a page each."""
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04d}" for number in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text("utf-8")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], page.name
        assert len(text.splitlines()) <= 60, page.name


def _outside(module: Module, *, declarations: tuple[str, ...], verbs: tuple[str, ...]) -> Iterator[ast.AST]:
    """The nodes of a module that are not part of a route's declaration, nor given to one of the verbs."""
    barred: set[int] = set()
    for node in nodes(module):
        if isinstance(node, ast.keyword) and node.arg in declarations:
            barred.update(id(inner) for inner in ast.walk(node.value))
        elif _is_call_of(verbs, node) or _is_table(module, node):
            barred.update(id(inner) for inner in ast.walk(node))
    return (node for node in nodes(module) if id(node) not in barred)


def _is_call_of(verbs: tuple[str, ...], node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] in verbs


def _is_table(module: Module, node: ast.AST) -> bool:
    """The table of statuses, the lists of codes that routes declare together, and what every route may answer."""
    if isinstance(node, ast.FunctionDef) and node.name == "_add_errors":
        return True
    if not isinstance(node, ast.AnnAssign):
        return False
    name = dotted(node.target)
    return name == "STATUS" or (module.file.endswith("api.py") and name.endswith(("_CODES", "_ERRORS", "_INVALID")))


@cache
def _anchors(path: Path) -> frozenset[str]:
    """The anchors of a page's headings, as they are made on code hosting sites."""
    if path.suffix != ".md":
        return frozenset()
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def _shell_lines(text: str) -> Iterator[str]:
    """The commands of a page's shell blocks, one a line, continued lines joined."""
    for language, block in _FENCE.findall(text):
        if language in ("sh", "shell", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.strip()
                if command and not command.startswith("#"):
                    yield _without_settings(command)


def _without_settings(command: str) -> str:
    """A command without the variables set before it, and what stands inside $( )."""
    inner = re.search(r"\$\((.*)\)", command)
    if re.match(r"\w+=\$\(", command) and inner:
        command = inner[1]
    words = command.split()
    while len(words) > 1 and re.fullmatch(r"[A-Z_][A-Z0-9_]*=\S*", words[0]):
        words = words[1:]
    return " ".join(words)


def _is_command(words: list[str]) -> bool:
    """Whether these words begin a command of ours whose options all exist."""
    command: Any = get_command(app)
    known = _options(command)
    rest = list(words)
    while rest and not (rest[0].startswith("-") and rest[0] not in known):
        word = rest.pop(0)
        if word in known:
            rest = rest[known[word] :]
        elif hasattr(command, "commands"):
            if word not in command.commands:
                return False
            command = command.commands[word]
            known = {**known, **_options(command)}
        elif word in ("|", ">", "&", "<", "&&", ";"):
            return True
    return not rest and not hasattr(command, "commands")


def _options(command: Any) -> Mapping[str, int]:
    """The options of a command with the number of their values."""
    return {
        name: 0 if parameter.is_flag else 1
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in parameter.opts
    }
