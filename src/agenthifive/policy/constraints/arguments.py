"""Arguments of services that take them from query, form, multipart and JSON alike.

Source: contract/connections.md section 14 ("Arguments"), contract/broker.md section 6.
"""

from collections.abc import Mapping
from typing import Any

from agenthifive.policy.members import OPAQUE, as_text, values_of
from agenthifive.policy.model import Request
from agenthifive.strict_json import InvalidJson, loads


class Refused(Exception):
    """An argument cannot be read with certainty. `detail` is "ambiguous" or "unreadable"."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def read_arguments(request: Request) -> Mapping[str, Any]:
    """All arguments by name. Raises: Refused when the body may hold others."""
    if request.hides_members or isinstance(request.members, list):
        raise Refused("unreadable")
    members = request.members
    return members if isinstance(members, Mapping) else {}


def single(arguments: Mapping[str, Any], name: str) -> str | None:
    """The one value of an argument as text, None when it is absent.

    Raises: Refused when it was given with different values, or as bytes.
    """
    if name not in arguments:
        return None
    values = values_of(arguments[name])
    if any(value is OPAQUE for value in values):
        raise Refused("unreadable")
    texts = {as_text(value) for value in values}
    if len(texts) > 1:
        raise Refused("ambiguous")
    return texts.pop()


def listed(arguments: Mapping[str, Any], name: str) -> list[str]:
    """The values of an argument that is a list: an array, JSON text of one, or a comma-separated text."""
    text = single(arguments, name)
    if text is None:
        return []
    if text.lstrip().startswith(("[", "{", '"')):
        value = parsed(text)
        return [as_text(item) for item in (value if isinstance(value, list) else [value])]
    return [item for item in (part.strip() for part in text.split(",")) if item]


def parsed(text: str) -> Any:
    """The JSON value a text carries. Raises: Refused when it does not parse."""
    try:
        return loads(text.encode("utf-8", "surrogatepass"))
    except InvalidJson:
        raise Refused("unreadable") from None
