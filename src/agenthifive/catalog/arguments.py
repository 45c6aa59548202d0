"""Credential-like arguments taken out of a caller's body, for providers that accept arguments anywhere.

    variant.stripped_arguments + body -> the body without them, and their names for the record

Source: contract/catalog/SCHEMA.md section 1 (strip_params), connections.md section 14 (Slack `token`).
"""

from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import unquote_plus


def strip_arguments(kind: str, value: Any, names: AbstractSet[str]) -> tuple[Any, tuple[str, ...]]:
    """A body without the arguments of these names, and what was taken.

    The same object when there is nothing to take. Blanks around a name do not hide it.

    Shapes:
        kind, value: as in policy/model.py Body: parsed JSON, the text of a form, the parts of a multipart.
    """
    if not names:
        return value, ()
    if kind == "json" and isinstance(value, dict):
        taken = [name for name in value if name.strip() in names]
        kept: Any = {name: member for name, member in value.items() if name.strip() not in names}
    elif kind == "form":
        pairs = value.split("&")
        taken = [name for pair in pairs if (name := _form_name(pair)) in names]
        kept = "&".join(pair for pair in pairs if _form_name(pair) not in names)
    elif kind == "multipart":
        taken = [part.name for part in value if part.name.strip() in names]
        kept = tuple(part for part in value if part.name.strip() not in names)
    else:
        return value, ()
    return (kept, tuple(dict.fromkeys(name.strip() for name in taken))) if taken else (value, ())


def _form_name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0], errors="replace").strip()
