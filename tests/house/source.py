"""The source as the house rules see it: every module parsed once, with what it imports and where.

src/**/*.py -> Module(name, path, tree, imports) -> the rules of tests/house/test_*.py
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "agenthifive"
_NAME = "agenthifive"


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module or name.

    Shapes:
        target: dotted; for our own modules without `agenthifive.` (`broker.target`, `words`), else as written
            (`fastapi.Request`). is_typing: only under `if TYPE_CHECKING`.
    """

    target: str
    is_ours: bool
    is_typing: bool
    line: int

    @property
    def distribution(self) -> str:
        """The top-level name of a foreign import."""
        return self.target.partition(".")[0]


@dataclass(frozen=True, eq=False)
class Module:
    """One file of the package. Shapes: name: dotted, without `agenthifive.`; `""` is the package itself."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def file(self) -> str:
        """The path below the package, as the tables of the rules write it."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def room(self) -> str:
        """The folder, or the module itself where it lies in none."""
        return self.name.partition(".")[0]

    def at(self, node: ast.AST) -> str:
        """Where a node stands, for messages."""
        return f"{self.path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@cache
def modules() -> tuple[Module, ...]:
    """Every Python file of the package, by name."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        text = path.read_text("utf-8")
        found.append(Module(name, path, text, ast.parse(text)))
    return tuple(found)


@cache
def names() -> frozenset[str]:
    """The names of all modules."""
    return frozenset(module.name for module in modules())


@cache
def imports_of(name: str) -> tuple[Import, ...]:
    """What a module imports, at its top and inside its functions."""
    module = next(module for module in modules() if module.name == name)
    return tuple(_imports(module.tree, is_typing=False))


@cache
def nodes(module: Module) -> tuple[ast.AST, ...]:
    """Every node of a module."""
    return tuple(ast.walk(module.tree))


@cache
def calls(module: Module) -> tuple[tuple[str, ast.Call], ...]:
    """Every call with its dotted target (`socket.socket`, `.commit`, `open`)."""
    return tuple((dotted(node.func), node) for node in nodes(module) if isinstance(node, ast.Call))


@cache
def attributes(module: Module) -> tuple[tuple[str, ast.Attribute], ...]:
    """Every attribute with its dotted text (`os.environ`, `AuditAction.AGENT_CREATED`)."""
    return tuple((dotted(node), node) for node in nodes(module) if isinstance(node, ast.Attribute))


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    return (node for node in nodes(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression; what stands before an attribute of something computed is left out (`.c`)."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def files_where(matches: Callable[[Module], list[str]]) -> dict[str, list[str]]:
    """The places a rule finds, by file; files without any are left out."""
    return {module.file: places for module in modules() if (places := matches(module))}


def _imports(node: ast.AST, *, is_typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield _made(alias.name, is_typing, child.lineno)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"relative import at line {child.lineno}"
            for alias in child.names:
                yield _made(f"{child.module}.{alias.name}", is_typing, child.lineno)
        else:
            guards = isinstance(child, ast.If) and dotted(child.test).endswith("TYPE_CHECKING")
            yield from _imports(child, is_typing=is_typing or guards)


def _made(target: str, is_typing: bool, line: int) -> Import:
    if target.partition(".")[0] != _NAME:
        return Import(target, False, is_typing, line)
    own = target.removeprefix(_NAME).removeprefix(".")
    while own not in names():
        own = own.rpartition(".")[0]  # a name inside a module: the module counts
    return Import(own, True, is_typing, line)
