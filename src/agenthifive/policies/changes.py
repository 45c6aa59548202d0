"""What the audit row of a changed policy says: every facet that differs, before and after. Pure.

Texts of rules can be long and a row is short: above 8 KiB a facet is recorded by its hash and its counts.
Source: contract/audit.md sections 2 (metadata: no fractions) and 3.4.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from agenthifive.strict_json import dumps

_WHOLE_BYTES_MAX: Final = 8 * 1024
_INTEGER_MAX: Final = 2**53 - 1

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def describe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """`{facet: {before, after}}` for the members that differ.

    Shapes:
        before, after: the same names, JSON values.
    """
    changes = {}
    for name, old in before.items():
        new = after[name]
        if is_same(old, new):
            continue
        if len(dumps(old)) + len(dumps(new)) > _WHOLE_BYTES_MAX:
            changes[name] = {"before": _summary(old), "after": _summary(new)}
        else:
            changes[name] = {"before": _recordable(old), "after": _recordable(new)}
    return changes


def is_same(old: Any, new: Any) -> bool:
    """Whether two JSON values are the same: unlike for Python, `true` and `1` are two, and so are `1` and `1.0`."""
    return _encode(old) == _encode(new)


def _summary(value: Any) -> dict[str, Any]:
    counts = {name: len(items) for name, items in value.items() if isinstance(items, list)} if isinstance(
        value, Mapping
    ) else {"entries": len(value or ())}  # fmt: skip
    return {"sha256": sha256(dumps(value)).hexdigest(), **counts}


def _recordable(value: Any) -> Any:
    """The value with numbers an audit row cannot hold written as text."""
    if isinstance(value, Mapping):
        return {name: _recordable(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_recordable(inner) for inner in value]
    if isinstance(value, float) or (isinstance(value, int) and abs(value) > _INTEGER_MAX):
        return dumps(value).decode("ascii")
    return value
