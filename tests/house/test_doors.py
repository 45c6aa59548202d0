"""What is dangerous happens in a few known files; the lists and their reasons are in tests/house/doors.py."""

import ast
import re
from collections.abc import Callable

import pytest

from house import doors
from house.source import Module, attributes, calls, dotted, files_where, functions, imports_of, modules, nodes

Finder = Callable[[Module], list[str]]


def _environment(module: Module) -> list[str]:
    return [module.at(node) for text, node in attributes(module) if text in ("os.environ", "os.environb")] + [
        module.at(node) for text, node in calls(module) if text in ("os.getenv", "os.getenvb", "os.putenv")
    ] + _imported(module, "os.environ", "os.getenv")  # fmt: skip


def _reveal(module: Module) -> list[str]:
    """Every mention, so that a reference kept for later counts too."""
    return [module.at(node) for text, node in attributes(module) if text.endswith(".reveal")] + [
        module.at(function) for function in functions(module) if function.name == "reveal"
    ]


def _setting_values(module: Module) -> list[str]:
    return [module.at(node) for text, node in attributes(module) if text.endswith(".get_secret_value")]


def _sockets(module: Module) -> list[str]:
    named = [
        module.at(node)
        for text, node in attributes(module)
        if text in doors.SOCKET_CALLS or (text.rpartition(".")[2] in doors.SOCKET_METHODS and text.count("."))
    ]
    return named + _imported(module, *doors.SOCKET_MODULES, *doors.SOCKET_CALLS)


def _tls(module: Module) -> list[str]:
    return _imported(module, "ssl")


def _commit(module: Module) -> list[str]:
    return [module.at(node) for text, node in calls(module) if text.endswith(".commit")]


def _programs(module: Module) -> list[str]:
    barred = ("os.system", "os.popen", "os.fork", "os.posix_spawn", "os.exec", "os.spawn", "asyncio.create_subprocess")
    named = [module.at(node) for text, node in attributes(module) if text.startswith(barred)]
    return named + _imported(module, "subprocess", "multiprocessing", "pty", *barred)


def _catch_all(module: Module) -> list[str]:
    found = []
    for node in nodes(module):
        if isinstance(node, ast.ExceptHandler) and _is_everything(node.type) and not _raises_again(node):
            found.append(module.at(node))
        elif isinstance(node, ast.Call) and dotted(node.func) in ("contextlib.suppress", "suppress"):
            found.extend(module.at(node) for kind in node.args if _is_everything(kind))
    return found


@pytest.mark.parametrize(
    ("find", "door"),
    [
        pytest.param(_environment, doors.ENVIRONMENT, id="environment"),
        pytest.param(_reveal, doors.REVEAL, id="reveal"),
        pytest.param(_setting_values, doors.SETTING_VALUES, id="secret settings"),
        pytest.param(_sockets, doors.SOCKETS, id="sockets"),
        pytest.param(_tls, doors.TLS, id="TLS"),
        pytest.param(_commit, doors.COMMIT, id="commit"),
        pytest.param(_programs, doors.PROGRAMS, id="programs"),
        pytest.param(_catch_all, doors.CATCH_ALL, id="catch-all"),
    ],
)
def test_only_the_listed_files_have_this_door(find: Finder, door: dict[str, str]) -> None:
    """A file that is not listed must not do it; a listed file that no longer does it leaves the list."""
    found = files_where(find)
    assert {file: places for file, places in found.items() if file not in door} == {}
    assert [file for file in door if file not in found] == []


def test_key_services_are_reached_through_key_modes_only() -> None:
    """They are the exception to the one way out, so whoever handles calls must not be able to use them."""
    services = {f"agenthifive.{file.removesuffix('.py').replace('/', '.')}" for file in doors.KEY_SERVICES}
    users = {
        module.file
        for module in modules()
        for each in imports_of(module.name)
        if f"agenthifive.{each.target}" in services
    }
    assert users == {"key_reading.py"}
    assert {module.file for module in modules() if module.name.startswith("vault.kms.")} >= set(doors.KEY_SERVICES)
    loading = {module.file for module in modules() for each in imports_of(module.name) if each.target == "key_reading"}
    assert [file for file in loading if file != "app.py" and not file.startswith("cli/")] == []


def test_the_listener_binds_and_never_dials() -> None:
    """operations/server.py holds a socket for the port and one for systemd's notice; it connects to nothing."""
    server = next(module for module in modules() if module.file == "operations/server.py")
    methods = {text.rpartition(".")[2] for text, _ in calls(server)}
    assert "bind" in methods
    assert methods & {"connect", "connect_ex", "create_connection", "open_connection", "getaddrinfo"} == set()


def test_cryptography_is_used_in_the_vault_only() -> None:
    found = files_where(lambda module: _imported(module, "cryptography"))
    assert found
    assert [file for file in found if not file.startswith("vault/")] == []


def test_nothing_is_run_from_text_or_unpickled() -> None:
    """No eval, no pickle, no shell: what comes from outside stays data."""
    barred = {"eval", "exec", "compile", "__import__", "importlib.import_module", "yaml.load"}
    found = files_where(
        lambda module: (
            [module.at(node) for text, node in calls(module) if text in barred]
            + [module.at(node) for _, node in calls(module) if any(word.arg == "shell" for word in node.keywords)]
            + _imported(module, "pickle", "marshal", "shelve", "dill", "xml")
        )
    )
    assert found == {}


def test_certificates_are_always_checked() -> None:
    barred = {"CERT_NONE", "_create_unverified_context", "CERT_OPTIONAL"}
    found = files_where(
        lambda module: (
            [module.at(node) for text, node in attributes(module) if text.rpartition(".")[2] in barred]
            + [module.at(node) for node in nodes(module) if _turns_off(node, "check_hostname")]
        )
    )
    assert found == {}


def test_prints_come_from_the_command_line_only() -> None:
    found = files_where(lambda module: [module.at(node) for text, node in calls(module) if text == "print"])
    assert [file for file in found if not file.startswith("cli/")] == []


def _imported(module: Module, *targets: str) -> list[str]:
    return [
        f"{module.file}:{each.line}"
        for each in imports_of(module.name)
        if not each.is_ours and any(each.target == target or each.target.startswith(f"{target}.") for target in targets)
    ]


def _is_everything(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_is_everything(each) for each in kind.elts)
    return kind is None or dotted(kind) in ("Exception", "BaseException")


def _raises_again(handler: ast.ExceptHandler) -> bool:
    """Whether a handler ends by raising: it cleans up and hides nothing."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise)


def _turns_off(node: ast.AST, attribute: str) -> bool:
    return (
        isinstance(node, ast.Assign)
        and any(dotted(target).endswith(f".{attribute}") for target in node.targets)
        and isinstance(node.value, ast.Constant)
        and node.value.value is False
    )


def test_no_group_of_a_pattern_is_possessive() -> None:
    """Python before 3.11.5 reads possessive and atomic groups wrongly; possessive classes are right everywhere."""
    wrong = re.compile(r"(?<!\\)\)(?:[*?+]|\{[0-9,]+\})\+(?![\w\],])|\(\?>")
    found = [
        module.at(node)
        for module in modules()
        for node in nodes(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        if wrong.search(node.value if isinstance(node.value, str) else node.value.decode("latin-1"))
    ]
    assert found == []
