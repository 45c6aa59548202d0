"""Which header names a service file or a generic connection may set.

Source: contract/catalog/SCHEMA.md sections 3 and 4.2, connections.md section 5.1; RFC 9110 section 7.6.1.
"""

import re
from typing import Final

_TOKEN: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,256}")
_REFUSED: Final = frozenset(
    {
        "connection", "content-encoding", "content-length", "cookie", "cookie2", "expect", "host",
        "http2-settings", "keep-alive", "proxy-authorization", "proxy-connection", "set-cookie", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_REFUSED_PREFIXES: Final = ("sec-websocket-", "x-ah5-", "x-agenthifive-")


def header_name_fault(name: str) -> str | None:
    """What is wrong with a lower-case header name, None when it may be set."""
    if not _TOKEN.fullmatch(name):
        return "is no header name in lower case"
    if name in _REFUSED or name.startswith(_REFUSED_PREFIXES):
        return "belongs to the connection itself and cannot be set"
    return None


def is_header_value(text: str) -> bool:
    """Whether a text may stand as a header value: visible ASCII and inner blanks."""
    return text.isascii() and text.isprintable() and text == text.strip()
