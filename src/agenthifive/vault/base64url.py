"""base64url without padding, one text per value.

Source: RFC 4648 section 5; contract/operations.md section 1.1, contract/agents.md sections 5 and 6.1.
"""

from binascii import a2b_base64, b2a_base64
from typing import Final

# the standard alphabet's own characters become NUL, which no encoder writes
_TO_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/\0\0\0")
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_PADDING: Final = (b"", b"===", b"==", b"=")


class NotBase64url(ValueError):
    """The text is not the canonical base64url form of any value."""


def encode(data: bytes) -> str:
    """Write bytes as base64url without padding."""
    return b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """Read canonical base64url: accepted only if encoding the result gives the same text again.

    So padding, white space, the standard alphabet and stray trailing bits are all refused.

    Raises: NotBase64url, and nothing else, whatever the text is.
    """
    try:
        padded = text.encode("ascii").translate(_TO_STANDARD) + _PADDING[len(text) & 3]
        data = a2b_base64(padded)
    except ValueError:
        raise NotBase64url("not base64url") from None
    if b2a_base64(data, newline=False) != padded:
        raise NotBase64url("not canonical base64url without padding")
    return data
