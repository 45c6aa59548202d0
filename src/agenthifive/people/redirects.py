"""Where a request may send a browser: paths on our own origin and nothing else.

One function for every parameter that names a place to go on to. What browsers, proxies and servers read differently is
refused, not repaired: backslashes, doubled slashes, dot segments, control characters, however they are encoded.
Source: contract/http.md sections 14.1 and 14.2 (callbackURL, redirectTo); WHATWG URL, "path-absolute-URL string".
"""

import re
from typing import Final
from urllib.parse import unquote

from agenthifive.errors import AppError

PATH_MAX: Final = 2000
_UNWRAPPINGS: Final = 4
_VISIBLE_ASCII: Final = re.compile(r"[!-~]+")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f-\x9f\\]")


def own_path(text: str) -> str | None:
    """The text, when it is an absolute path on our origin, with or without a query; None for everything else."""
    if len(text) > PATH_MAX or not _VISIBLE_ASCII.fullmatch(text) or "#" in text:
        return None
    unwrapped = text
    for _ in range(_UNWRAPPINGS):
        if not _is_plain(unwrapped):
            return None
        inner = unquote(unwrapped)
        if inner == unwrapped:
            return text
        unwrapped = inner
    return None


def require_own_path(text: str) -> str:
    """The same. Raises: AppError (400 INVALID_CALLBACK_URL)."""
    path = own_path(text)
    if path is None:
        raise AppError(
            "INVALID_CALLBACK_URL", "The address to go on to must be a path on this site, such as /login. Correct it."
        )
    return path


def _is_plain(text: str) -> bool:
    """Whether this reading of the text stays on our origin."""
    path = text.partition("?")[0]
    segments = path.split("/")
    return (
        path.startswith("/")
        and not _UNSAFE.search(text)
        and "" not in segments[1:-1]
        and not {".", ".."} & set(segments)
    )
