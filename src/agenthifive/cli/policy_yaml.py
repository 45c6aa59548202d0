"""YAML as policies are written in it: the part that is JSON, in a form people read and compare.

    text -> documents   no aliases, tags, dates or repeated names; only true, false, null and numbers are not texts
    documents -> text   short lists on one line, everything quoted that another reader might take for something else

Source: YAML 1.2 section 10.2 (JSON schema).
"""

import re
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any, Final

import yaml

from agenthifive.cli.console import tame

TEXT_BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 32
_SHORT_LIST: Final = 80
_WIDTH: Final = 110
_SCALARS: Final = (
    ("bool", re.compile(r"(?:true|false)$"), "tf"),
    ("null", re.compile(r"(?:null|~|)$"), ["n", "~", ""]),
    ("int", re.compile(r"-?(?:0|[1-9][0-9]*)$"), "-0123456789"),
    ("float", re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$"), "-0123456789"),
)


class InvalidYaml(ValueError):
    """The text is not YAML of this form. The message names the fault and its line, never the content."""


def read_yaml(text: str) -> list[Any]:
    """The documents of a text, as JSON values. Raises: InvalidYaml."""
    if len(text.encode("utf-8", "replace")) > TEXT_BYTES_MAX:
        raise InvalidYaml(f"it is longer than {TEXT_BYTES_MAX} bytes")
    try:
        return [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InvalidYaml(f"line {mark.line + 1}: {error.problem}" if mark else str(error.problem)) from None
    except yaml.YAMLError as error:  # of characters, which have no line
        raise InvalidYaml(str(getattr(error, "reason", "it cannot be read"))) from None
    except ValueError:
        raise InvalidYaml("a number is too long") from None


def write_yaml(documents: Iterable[Any]) -> str:
    """The text of some documents; what could steer a terminal or an editor is spelled out."""
    listed = list(documents)
    text = _dump(listed, is_plain=False)
    return text if tame(text) == text else _dump(listed, is_plain=True)


def _dump(documents: list[Any], *, is_plain: bool) -> str:
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, allow_unicode=not is_plain, width=_WIDTH, explicit_start=True
    )


def _fault(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """Safe YAML without what JSON does not have."""

    yaml_implicit_resolvers: Final[dict[str, Any]] = {}  # type: ignore[misc]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth = getattr(self, "_depth", 0) + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _fault("anchors and aliases are not read", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _fault("tags are not read", event.start_mark)
        if self._depth > DEPTH_MAX:
            raise _fault(f"it is nested deeper than {DEPTH_MAX}", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                raise _fault("a member name must be a text", key.start_mark)
            if key.value in seen:
                raise _fault("a member name occurs twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value = super().construct_yaml_float(node)
        if not isfinite(value):
            raise _fault("a number is too large", node.start_mark)
        return value


class _Dumper(yaml.SafeDumper):
    """YAML for people: lists stand below their name, indented; short ones on its line."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    is_plain = not any(isinstance(item, list | Mapping) for item in items)
    is_short = is_plain and sum(len(str(item)) + 2 for item in items) <= _SHORT_LIST
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=is_short)


for _name, _pattern, _first in _SCALARS:  # the writer knows them too: it quotes texts that look like one
    for _user in (_Loader, _Dumper):
        _user.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, list(_first))
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
_Dumper.add_representer(list, _represent_list)
