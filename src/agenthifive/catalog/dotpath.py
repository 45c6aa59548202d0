"""Dot paths into JSON replies: `result.items.0.id`; numeric segments index arrays.

Source: contract/catalog/SCHEMA.md sections 5 and 11.
"""

from typing import Any


def pick(value: Any, path: str) -> Any:
    """The value at a path, None when there is none (as when it is null); `$` is the value itself."""
    if path == "$":
        return value
    for segment in path.split("."):
        if isinstance(value, dict):
            value = value.get(segment)
        elif isinstance(value, list) and segment.isascii() and segment.isdigit() and len(segment) < 10:
            value = value[int(segment)] if int(segment) < len(value) else None
        else:
            return None
    return value
