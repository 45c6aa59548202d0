"""JSON as the clients of a provider read it, for what is filtered on its way to them.

A reply that strict reading refuses (a name given twice, half a surrogate pair, NaN) is still JSON to many a client. To
filter it as text would miss what stands in it with escapes, so it is read as they read it and written anew.
Source: contract/broker.md section 10.3.
"""

import json
import re
from typing import Any, Final

import msgspec

from agenthifive import strict_json

_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")


class NotJson(ValueError):
    """No client reads this as JSON."""


def loads(text: bytes | str) -> tuple[Any, bool]:
    """The value, and whether it was strict JSON; what was not must be passed on as `dumps` writes it.

    Raises: NotJson.
    """
    try:
        return strict_json.loads(text.encode() if isinstance(text, str) else text), True
    except (strict_json.InvalidJson, UnicodeEncodeError):
        pass
    try:
        return json.loads(text.removeprefix("\ufeff") if isinstance(text, str) else text), False
    except (ValueError, RecursionError):
        raise NotJson from None


def dumps(value: Any) -> bytes:
    """Compact JSON without line breaks."""
    try:
        return strict_json.dumps(value)
    except (UnicodeEncodeError, msgspec.EncodeError, OverflowError, ValueError, RecursionError):
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def without_halves(value: Any) -> Any:
    """The value with U+FFFD for every half of a surrogate pair: what was not strict JSON as characters only."""
    if isinstance(value, str):
        return _HALF_PAIR.sub("\ufffd", value)
    if isinstance(value, list):
        return [without_halves(inner) for inner in value]
    if isinstance(value, dict):
        return {without_halves(name): without_halves(inner) for name, inner in value.items()}
    return value
