"""The members of a body: what conditions and constraints call by name.

    JSON  object or array as it is
    form  name -> FieldText                         a name given twice holds Several values
    parts name -> FieldText, JSON value or OPAQUE
    + query parameters, for services that take arguments from anywhere

Source: contract/policy.md section 4 ("members"), contract/broker.md section 6.
"""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from agenthifive.policy.query import Pairs, parse_query
from agenthifive.strict_json import InvalidJson, loads

if TYPE_CHECKING:
    from agenthifive.policy.model import Body, Part


class FieldText(str):
    """A value that travelled as text: its type says nothing."""

    __slots__ = ()


class Several(list[Any]):
    """All the values one name holds, because it was given more than once."""

    __slots__ = ()


class _Opaque:
    """Stands for content nobody can look into."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "OPAQUE"


OPAQUE: Final = _Opaque()

# The standard library's encoder, because it knows subclasses of str and list.
_to_json: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), default=lambda _: None, allow_nan=False
).encode


def body_members(body: "Body") -> Any:
    """Members of the body alone; None when it has none that could be named."""
    if body.kind == "json":
        return body.value
    if body.kind == "form":
        return _gather((name.strip(), FieldText(value)) for name, value in parse_query(body.value))
    if body.kind == "multipart":
        return _gather(_part_members(body))
    return None


def with_query(members: Any, pairs: Pairs) -> Mapping[str, Any]:
    """Members together with the query parameters; a name with different values in both holds both."""
    merged = dict(members) if isinstance(members, Mapping) else {}
    for sent_name, text in pairs:
        name = sent_name.strip()
        if name not in merged:
            merged[name] = FieldText(text)
        elif text not in map(as_text, values_of(merged[name])):
            merged[name] = Several((*values_of(merged[name]), FieldText(text)))
    return merged


def values_of(value: Any) -> list[Any]:
    """The values behind one name."""
    return value if isinstance(value, Several) else [value]


def as_text(value: Any) -> str:
    """A value as text: strings as they are, everything else as compact JSON, opaque parts as null."""
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else _to_json(value)


def part_name(part: "Part") -> str:
    """What a part is called; parts of related bodies may have no name."""
    return (part.name or "").strip()


def part_text(part: "Part") -> str | None:
    """The text a part carries, None when only bytes are known of it.

    A part without file name is an argument, whatever it says about its type: providers read it as text.
    """
    if part.value is not None:
        return part.value
    if part.data is None:
        return ""
    kind = (part.content_type or "").partition(";")[0].strip().lower()
    if part.filename and not (kind.startswith("text/") or "json" in kind):
        return None
    try:
        return part.data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def part_json(part: "Part", text: str) -> Any:
    """The value of a part that says it is JSON. Raises: InvalidJson, also when it says something else."""
    if "json" not in (part.content_type or "").lower():
        raise InvalidJson("not declared as JSON")
    return loads(text.encode("utf-8", "surrogatepass"))


def _part_members(body: "Body") -> Iterator[tuple[str, Any]]:
    for part in body.value:
        text = part_text(part)
        if text is None:
            yield part_name(part), OPAQUE
            continue
        try:
            value = part_json(part, text)
        except InvalidJson:
            yield part_name(part), FieldText(text)
            continue
        if body.subtype == "related" and isinstance(value, dict):
            yield from value.items()
        else:
            yield part_name(part), value


def _gather(items: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in items:
        found[name] = Several((*values_of(found[name]), value)) if name in found else value
    return found
