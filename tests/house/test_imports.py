"""Imports run one way; the table of the rooms is tests/house/layers.py."""

from collections.abc import Mapping

from house.layers import EXCEPTIONS, ROOMS, WEB_FILES, WEB_FRAMEWORKS
from house.source import Import, Module, imports_of, modules, names


def test_every_room_stands_in_the_table() -> None:
    assert {module.room for module in modules()} == set(ROOMS)


def test_rooms_import_only_what_the_table_allows() -> None:
    wrong = [
        f"{module.path}:{each.line} {module.name} -> {each.target}"
        for module in modules()
        for each in _ours(module)
        if not _is_allowed(module, each)
    ]
    assert wrong == []


def test_every_exception_is_needed() -> None:
    used = {(module.name, each.target) for module in modules() for each in _ours(module)}
    assert [pair for pair in EXCEPTIONS if pair not in used] == []
    assert [pair for pair in EXCEPTIONS if _room(pair[1]) in ROOMS[_room(pair[0])]] == []


def test_no_module_imports_itself_over_others() -> None:
    """The modules form no cycle; names needed for types alone do not count."""
    graph = {name: sorted({each.target for each in imports_of(name) if each.is_ours and not each.is_typing})
             for name in names()}  # fmt: skip
    assert _find_cycle(graph) is None


def test_policy_is_pure() -> None:
    """A decision reads no clock, no file, no network, no environment while it is made."""
    barred = {"time", "random", "secrets", "uuid", "os", "socket", "asyncio", "http", "urllib", "logging", "structlog"}
    found = [
        f"{module.path}:{each.line} {each.target}"
        for module in modules()
        if module.room == "policy"
        for each in imports_of(module.name)
        if not each.is_ours and each.distribution in barred and not each.target.startswith("urllib.parse")
    ]
    assert found == []


def test_the_broker_imports_no_web_framework() -> None:
    found = [
        f"{module.path}:{each.line} {each.target}"
        for module in modules()
        if module.room == "broker"
        for each in imports_of(module.name)
        if each.distribution in WEB_FRAMEWORKS
    ]
    assert found == []


def test_the_hot_path_reaches_no_web_framework_by_any_way() -> None:
    reached = _reach("broker.broker")
    assert "broker.egress" in reached
    assert [name for name in reached for each in imports_of(name) if each.distribution in WEB_FRAMEWORKS] == []


def test_only_routes_and_the_listed_files_know_the_web_framework() -> None:
    using = {
        module.file
        for module in modules()
        if any(each.distribution in WEB_FRAMEWORKS for each in imports_of(module.name))
        if not module.file.endswith(("/api.py", "_api.py", "/pages.py", "_pages.py"))
    }
    assert using == set(WEB_FILES)


def test_routes_know_no_store_and_no_sql() -> None:
    """`api` and `pages` call a service; the rows are its business."""
    found = [
        f"{module.path}:{each.line} {module.name} -> {each.target}"
        for module in modules()
        if module.file.endswith(("/api.py", "_api.py", "/pages.py", "_pages.py", "/bodies.py"))
        for each in imports_of(module.name)
        if each.target.endswith("store") or each.distribution in ("psycopg", "psycopg_pool")
    ]
    assert found == []


def test_a_store_knows_no_caller_and_no_service() -> None:
    """Below the verbs there are rows only."""
    found = [
        f"{module.path}:{each.line} {module.name} -> {each.target}"
        for module in modules()
        if module.name.endswith("store")
        for each in imports_of(module.name)
        if each.is_ours and (each.target.startswith("edge.") or each.target.endswith((".service", ".api", ".pages")))
    ]
    assert found == []


def test_templates_are_loaded_by_pages_and_mails_only() -> None:
    loading = {
        module.file
        for module in modules()
        if any(name in module.text for name in ('"web"', "agenthifive.web"))
        or any(each.distribution == "jinja2" for each in imports_of(module.name))
    }
    assert loading
    assert [file for file in loading if not file.endswith("/pages.py") and file != "notify/texts.py"] == []


def _ours(module: Module) -> list[Import]:
    """What a module imports of ours when it runs; the application may be named in types anywhere."""
    return [each for each in imports_of(module.name) if each.is_ours and not (each.is_typing and each.target == "app")]


def _is_allowed(module: Module, each: Import) -> bool:
    room = _room(each.target)
    return room == module.room or room in ROOMS[module.room] or (module.name, each.target) in EXCEPTIONS


def _room(name: str) -> str:
    return name.partition(".")[0]


def _reach(start: str) -> set[str]:
    reached, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(each.target for each in imports_of(name) if each.is_ours and not each.is_typing)
    return reached


def _find_cycle(graph: Mapping[str, list[str]]) -> list[str] | None:
    """A way from a module back to itself, None when there is none."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str] | None:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return None
        for target in graph[name]:
            found = visit(target, [*way, name])
            if found is not None:
                return found
        done.add(name)
        return None

    for name in sorted(graph):
        found = visit(name, [])
        if found is not None:
            return found
    return None
