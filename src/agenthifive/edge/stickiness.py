"""The cookie that lets a proxy send a browser to the same replica again. It means nothing to us and is never read.

Source: contract/http.md section 8 (`ah5sid`).
"""

import os
from collections.abc import Mapping
from typing import Any, Final

from agenthifive.edge.credentials import read_cookie
from agenthifive.vault import base64url

COOKIE: Final = "ah5sid"
_RANDOM_BYTES: Final = 16
_LIFE_S: Final = 30 * 86_400
_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key"})
_AUTH_PREFIX: Final = "/api/auth/"
_PAGES: Final = frozenset(
    {
        "",
        "auth",
        "dashboard",
        "device",
        "forgot-password",
        "invite",
        "login",
        "quick-action",
        "register",
        "reset-password",
        "setup",
        "verify-email",
    }
)
"""First words of the paths of pages. Source: contract/http.md section 1 (prefixes)."""


class Stickiness:
    """Gives browsers their cookie, on pages and sign-in routes."""

    def __init__(self, web_url: str) -> None:
        secure = "; Secure" if web_url.startswith("https://") else ""
        self._attributes = f"; Path=/; Max-Age={_LIFE_S}; HttpOnly; SameSite=Lax{secure}"

    def headers(self, scope: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
        """The header for the answer; none for programs, and for a browser that has the cookie."""
        path: str = scope["path"]
        if path.startswith("/v1/") or not (path.startswith(_AUTH_PREFIX) or path[1:].partition("/")[0] in _PAGES):
            return []
        headers = scope["headers"]
        if any(name in _CREDENTIALS for name, _ in headers) or read_cookie(headers, COOKIE) is not None:
            return []
        value = base64url.encode(os.urandom(_RANDOM_BYTES))
        return [(b"set-cookie", f"{COOKIE}={value}{self._attributes}".encode("ascii"))]
