"""Pickers for policy editors: the channels, users or servers a credential can see. Pure.

    [[lookup]] of the catalog + cursor -> Request -> (the caller sends) -> Page: items, next cursor

Source: contract/catalog/SCHEMA.md section 11, connections.md section 9.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from agenthifive import strict_json
from agenthifive.catalog.dotpath import pick
from agenthifive.catalog.schema import LookupSpec
from agenthifive.catalog.service import Service
from agenthifive.connections.calls import Reply, Request
from agenthifive.connections.model import visible_line
from agenthifive.errors import AppError

_NAME_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Page:
    """What one reply listed, in wire form."""

    items: Sequence[Mapping[str, Any]]
    next_cursor: str | None


def find_lookup(service: Service, wanted: str) -> LookupSpec:
    """The look-up of this type. Raises: AppError (400) naming the types there are."""
    for spec in service.file.lookups:
        if spec.type == wanted:
            return spec
    types = ", ".join(spec.type for spec in service.file.lookups)
    advice = f"must be one of {types}" if types else "is not offered: this service has nothing to look up"
    raise AppError(
        "invalid_request",
        f"type: {advice}.",
        hint=types or None,
        fields=[{"path": "type", "message": advice}],
    )


def build_request(service: Service, spec: LookupSpec, values: Mapping[str, Any], cursor: str | None) -> Request:
    """The request for one page. Raises: Unrenderable when the connection lacks a value of the address."""
    parameters = dict(spec.query)
    if cursor is not None and spec.cursor_in is not None:
        parameters[spec.cursor_in] = cursor
    url = service.address(spec.url, values)
    if parameters:
        url += ("&" if "?" in url else "?") + urlencode(parameters)
    return Request(spec.method, url)


def read_page(spec: LookupSpec, reply: Reply) -> Page | None:
    """What a reply lists; None when it is no list."""
    try:
        value = strict_json.loads(reply.body)
    except strict_json.InvalidJson:
        return None
    found = pick(value, spec.items)
    if reply.status != 200 or not isinstance(found, list):
        return None
    items = [item for item in (_item(spec, entry) for entry in found) if item is not None]
    cursor = None if spec.cursor_out is None else pick(value, spec.cursor_out)
    return Page(items, cursor if isinstance(cursor, str) and cursor else None)


def matches(item: Mapping[str, Any], text: str) -> bool:
    """Whether an item has a text in one of its names."""
    wanted = text.casefold()
    return any(wanted in str(item.get(name, "")).casefold() for name in ("name", "displayName"))


def _item(spec: LookupSpec, entry: Any) -> dict[str, Any] | None:
    item_id, name = _text(pick(entry, spec.id)), _text(pick(entry, spec.name))
    if item_id is None:
        return None
    item: dict[str, Any] = {"id": item_id, "name": name or item_id}
    if spec.display is not None and (display := _text(pick(entry, spec.display))):
        item["displayName"] = display
    for wire, path in (("isPrivate", spec.private), ("isBot", spec.bot)):
        flag = None if path is None else pick(entry, path)
        if isinstance(flag, bool):
            item[wire] = flag
    members = None if spec.members is None else pick(entry, spec.members)
    if isinstance(members, int) and not isinstance(members, bool):
        item["memberCount"] = members
    return item


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return visible_line(value, _NAME_MAX) or None if isinstance(value, str) else None
