"""Files and functions a person can take in at once, each saying what it is for."""

import ast

from house.source import PACKAGE, ROOT, functions, modules

FILE_MAX, FUNCTION_MAX = 400, 60
DATA = {"policy/presets.json": "the presets as data: read by machines, changed by a generator"}
DRAWERS = frozenset({"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "shared"})


def test_a_file_has_at_most_400_lines() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in sorted(PACKAGE.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.relative_to(PACKAGE).as_posix() not in DATA
        if (lines := path.read_bytes().count(b"\n")) > FILE_MAX
    }
    assert long == {}


def test_every_exception_for_data_is_needed() -> None:
    for file in DATA:
        assert (PACKAGE / file).read_bytes().count(b"\n") > FILE_MAX


def test_a_function_has_at_most_60_lines() -> None:
    long = {
        f"{module.at(function)} {function.name}": lines
        for module in modules()
        for function in functions(module)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_MAX
    }
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    assert [module.file for module in modules() if not (ast.get_docstring(module.tree) or "").strip()] == []


def test_every_public_function_and_class_of_a_module_has_a_docstring() -> None:
    silent = [
        f"{module.at(node)} {node.name}"
        for module in modules()
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if not node.name.startswith("_") and ast.get_docstring(node) is None
    ]
    assert silent == []


def test_no_module_is_a_drawer() -> None:
    """A name that says nothing collects everything."""
    assert [module.file for module in modules() if DRAWERS & set(module.name.split("."))] == []


def test_nothing_is_left_for_later() -> None:
    marks = ("TODO", "FIXME", "XXX", "HACK")
    left = [
        f"{module.path.relative_to(ROOT)}:{number}"
        for module in modules()
        for number, line in enumerate(module.text.splitlines(), 1)
        if "#" in line and any(mark in line.partition("#")[2] for mark in marks)
    ]
    assert left == []
