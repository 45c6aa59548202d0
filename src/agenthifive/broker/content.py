"""What a provider's reply is, by its own word: JSON, event stream, line stream, text or binary, and in which charset.

The provider's `Content-Type` decides, never the caller's flags; without a readable one, valid UTF-8 is text.
Source: contract/broker.md section 10.1.
"""

import codecs
import re
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """How a reply is read, filtered and passed on."""

    JSON = "json"
    EVENT_STREAM = "event_stream"
    LINE_STREAM = "line_stream"
    TEXT = "text"
    BINARY = "binary"


_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE: Final = re.compile(rf"[ \t]*({_TOKEN})/({_TOKEN})[ \t]*(?:;.*)?")
_CHARSET: Final = re.compile(rf";[ \t]*charset[ \t]*=[ \t]*(?:\"({_TOKEN})\"|({_TOKEN}))", re.IGNORECASE)
_LINE_STREAMS: Final = frozenset({"application/x-ndjson", "application/jsonl", "application/json-seq"})
_TEXTS: Final = frozenset({"application/xml", "application/javascript", "application/x-www-form-urlencoded"})
_UTF8_NAMES: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_CHARSETS: Final = {
    "iso-8859-1": "latin-1",
    "iso8859-1": "latin-1",
    "iso_8859-1": "latin-1",
    "latin1": "latin-1",
    "latin-1": "latin-1",
    "windows-1252": "cp1252",
    "cp1252": "cp1252",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
}


def media_type_of(content_type: str | None) -> str | None:
    """`type/subtype` in lower case, without parameters; None when absent or not a media type."""
    match = _MEDIA_TYPE.fullmatch(content_type) if content_type else None
    return f"{match[1]}/{match[2]}".lower() if match else None


def kind_of(content_type: str | None, sample: bytes | None) -> Kind:
    """The kind of a reply.

    Shapes:
        sample: the beginning of the (decompressed) body, judged only without a readable type; it may end inside a
        character. None: no byte is known, so nothing vouches for text.
    """
    media_type = media_type_of(content_type)
    if media_type is None:
        return Kind.TEXT if sample is not None and _begins_utf8(sample) else Kind.BINARY
    if media_type == "application/json" or media_type.endswith("+json"):
        return Kind.JSON
    if media_type == "text/event-stream":
        return Kind.EVENT_STREAM
    if media_type in _LINE_STREAMS:
        return Kind.LINE_STREAM
    if media_type.startswith("text/") or media_type.endswith("+xml") or media_type in _TEXTS:
        return Kind.TEXT
    return Kind.BINARY


def charset_of(content_type: str | None, sample: bytes = b"") -> str:
    """The codec of a text: its byte order mark, else the declared charset, else UTF-8 (also for an unknown one)."""
    if sample.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    match = _CHARSET.search(content_type) if content_type else None
    return _CHARSETS.get((match[1] or match[2]).lower(), "utf-8") if match else "utf-8"


def has_known_charset(content_type: str | None) -> bool:
    """Whether no charset is declared, or one we can read."""
    match = _CHARSET.search(content_type) if content_type else None
    return match is None or (match[1] or match[2]).lower() in _CHARSETS.keys() | _UTF8_NAMES


def in_utf8(content_type: str | None) -> str | None:
    """The content type of a text that was filtered: it is in UTF-8 whatever it was in before."""
    media_type = media_type_of(content_type)
    return content_type if media_type is None or charset_of(content_type) == "utf-8" else f"{media_type}; charset=utf-8"


def decode_text(data: bytes, content_type: str | None) -> str:
    """A whole textual body; what its charset cannot read becomes U+FFFD."""
    return data.decode(charset_of(content_type, data), "replace")


class Utf8Stream:
    """Turns a text stream of a declared charset into UTF-8, so that one scrub and one filter read every text.

    The reply must then say `charset=utf-8`.
    """

    __slots__ = ("_decoder",)

    def __init__(self, charset: str) -> None:
        self._decoder = codecs.getincrementaldecoder(charset)("replace")

    def feed(self, chunk: bytes) -> bytes:
        """The characters that are complete."""
        return self._decoder.decode(chunk).encode()

    def finish(self) -> bytes:
        """The rest; a broken last character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True).encode()


def _begins_utf8(sample: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True
