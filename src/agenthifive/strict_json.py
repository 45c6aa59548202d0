"""One strict reading of JSON for every door.

Refused: duplicate member names at any depth, NaN and Infinity, lone surrogates, a byte order mark, more
than 64 levels, trailing data. Source: contract/http.md section 1 (RFC 8259, RFC 7493).

    bytes -> msgspec -> equal when written again?  yes: it cannot hold a duplicate
                                                   no: read once more, counting members
"""

import json
import re
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 64

_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_AS_SQUARE: Final = bytes.maketrans(b"{}", b"[]")

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class InvalidJson(ValueError):
    """The text is not strict JSON. The message names the fault and its place, never the content."""


def loads(data: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Read one JSON value.

    Raises: InvalidJson, and nothing else, whatever the bytes are.
    """
    if data.count(b"[") + data.count(b"{") > max_depth:
        _check_depth(data, max_depth)
    try:
        value = _decode(data)
        if _encode(value) == data:
            return value
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        pass
    return _loads_counting(data)


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON, members in their order."""
    return _encode(value)


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(items)
    if len(members) != len(items):
        raise InvalidJson("a member name occurs twice in one object")
    return members


def _constant(name: str) -> Any:
    raise InvalidJson(f"{name} is not a JSON number")


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise InvalidJson("a number is too large")
    return value


_counting: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_number)


def _loads_counting(data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidJson(f"not UTF-8 at byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise InvalidJson("a byte order mark stands before the text")
    try:
        value, end = _counting.raw_decode(text, _blank_end(text, 0))
    except json.JSONDecodeError as error:
        raise InvalidJson(f"unexpected text at character {error.pos}") from None
    except InvalidJson:
        raise
    except (RecursionError, ValueError):  # int() refuses numbers of thousands of digits
        raise InvalidJson("nested too deeply or a number is too long") from None
    if _blank_end(text, end) != len(text):
        raise InvalidJson(f"data after the value at character {end}")
    if "\\u" in text or "\\U" in text:
        _check_surrogates(value)
    return value


def _blank_end(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    return start


def _check_depth(data: bytes, max_depth: int) -> None:
    """Refuse deep nesting in time proportional to the text: strings out, then innermost pairs out, level by level.

    Only reached when there are more than max_depth brackets; a bracket without its partner is no JSON either.
    """
    brackets = _STRING.sub(b"", data).translate(_AS_SQUARE, _NO_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise InvalidJson(f"nested deeper than {max_depth} levels, or a bracket stands alone")


def _check_surrogates(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if any("\ud800" <= char <= "\udfff" for char in item):
                raise InvalidJson("a lone surrogate stands in a string")
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
