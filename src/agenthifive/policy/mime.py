"""Reading a MIME mail: headers, texts and files.

Fails closed: a mail that is too much work, or that other readers might read differently, is not read at all;
what cannot be read as an address becomes one that stands on no list.
Source: contract/policy.md section 4 ("$mail"); RFC 5322, RFC 2047, RFC 2045.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses
from typing import Any, Final

from agenthifive.policy.texts import plain

# The parser of the standard library works line by line and part by part: both are bounded before it starts.
MAX_LINES: Final = 400_000
MAX_BOUNDARY_LINES: Final = 5_000
MAX_HEADER_BYTES: Final = 64 * 1024
UNKNOWN_ADDRESS: Final = "?"

_SIDE_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"|=\?[^?]*\?[^?]*\?[^?]*\?=|\([^()]*\)')
_EMPTY_GROUP: Final = re.compile(r"[^@,:;<>]*:\s*;")  # "undisclosed-recipients:;"
_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class MailFile:
    """An attachment, or a part that is no text."""

    name: str
    content_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail. Shapes: raw_headers: address headers by lower-case name, as written. subjects: decoded."""

    raw_headers: Mapping[str, list[str]]
    subjects: list[str]
    texts: list[str]
    files: list[MailFile]


def read_mime(data: bytes) -> Letter | None:
    """Read a mail, None when it has no headers or cannot be read with certainty."""
    end = _HEADER_END.search(data)
    header_bytes = end.start() if end else len(data)
    if header_bytes > MAX_HEADER_BYTES or data.count(b"\n") > MAX_LINES or data.count(b"\n--") > MAX_BOUNDARY_LINES:
        return None
    try:
        message = message_from_bytes(data)
        return _read(message) if message.keys() else None
    except (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # The parser of the standard library raises any of these on malformed parts.
        return None


def read_addresses(*texts: str) -> list[str]:
    """Bare addresses, lower case. Where one cannot be read with certainty, UNKNOWN_ADDRESS stands beside them."""
    found = []
    for text in texts:
        outside = _SIDE_TEXT.sub("", text).strip()
        if not text.strip() or _EMPTY_GROUP.fullmatch(outside):
            continue
        try:
            addresses = [address.lower() for _, address in getaddresses([text]) if address]
        except RecursionError:
            addresses = []
        # Every sign outside names and comments must have become one address, else another reader sees others.
        if not addresses or sum("@" in address for address in addresses) != outside.count("@"):
            addresses.append(UNKNOWN_ADDRESS)
        found += addresses
    return found


def _read(message: Message) -> Letter | None:
    raw_headers: dict[str, list[str]] = {}
    for name, value in message.raw_items():
        raw_headers.setdefault(name.lower(), []).append(_as_text(value))
    texts: list[str] = []
    files: list[MailFile] = []
    for part in message.walk():
        if sum(len(value) for _, value in part.raw_items()) > MAX_HEADER_BYTES:
            return None
        if part.is_multipart():
            continue
        content = part.get_payload(decode=True)
        data = content if isinstance(content, bytes) else b""
        file_name = part.get_filename()
        if file_name or part.get_content_maintype() != "text":
            files.append(MailFile(_decode_words(file_name or ""), part.get_content_type(), len(data)))
        else:
            texts.append(plain(_decode(data, part.get_content_charset())))
    subjects = [_decode_words(value) for value in raw_headers.get("subject", ())]
    return Letter(raw_headers, subjects, texts, files)


def _as_text(raw: Any) -> str:
    """A header as written; bytes that are no ASCII are read as UTF-8."""
    unfolded = str(raw).replace("\r", "").replace("\n", "")
    return unfolded.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _decode_words(text: str) -> str:
    """A header with its encoded words decoded."""
    try:
        pieces = decode_header(text)
    except (MessageError, ValueError):
        return text
    return "".join(piece if isinstance(piece, str) else _decode(piece, charset) for piece, charset in pieces)


def _decode(data: bytes, charset: str | None) -> str:
    try:
        return data.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")
