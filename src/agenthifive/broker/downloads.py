"""Replies that are files: a payload inside JSON, the summary in place of bytes nobody asked for, the file's name.

    download:true  + JSON with base64 `data` or `content` -> attachment_payload -> bytes, type, name
    no download    + binary                               -> binary_summary     -> `_binaryContent` in the envelope
    raw reply                                             -> attachment_header  -> `content-disposition`

Source: contract/broker.md section 10.4.
"""

import binascii
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from agenthifive import strict_json
from agenthifive.broker.content import media_type_of

OCTET_STREAM: Final = "application/octet-stream"
_MIN_CHARS: Final = 101
_STANDARD: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_URL_SAFE: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_LINE_BREAKS: Final = str.maketrans("", "", "\r\n")
_TO_STANDARD: Final = str.maketrans("-_", "+/")

_NAME_MAX_CHARS: Final = 200
_PLAIN_NAME: Final = re.compile(r';[ \t]*filename[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]+))', re.IGNORECASE)
_EXTENDED_NAME: Final = re.compile(r";[ \t]*filename\*[ \t]*=[ \t]*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_NOT_IN_NAMES: Final = frozenset("\"'/\\")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A decoded payload. `content_type` can be a header value; `filename` is as the provider wrote it."""

    data: bytes
    content_type: str
    filename: str | None


def attachment_payload(value: Any) -> Attachment | None:
    """The file inside a parsed JSON reply, or None when it carries none.

    Shapes:
        value: an object whose `data`, else `content`, is base64 or base64url of more than 100 characters, with or
        without padding and line breaks; the two alphabets do not mix.
    """
    if not isinstance(value, dict):
        return None
    for name in ("data", "content"):
        data = _decode(value.get(name))
        if data is not None:
            filename = value.get("filename")
            return Attachment(data, _declared_type(value), filename if isinstance(filename, str) else None)
    return None


def binary_summary(
    content_type: str | None, size_bytes: int | None, disposition: str | None, hint_target: Mapping[str, str]
) -> dict[str, Any]:
    """What the envelope says in place of a binary body.

    Shapes:
        size_bytes: None when the provider did not declare it. hint_target: `url` with `connectionId`, or with `service`
        for a singleton, as `vault_download` takes them.
    """
    target = strict_json.dumps(dict(hint_target)).decode()
    return {
        "_binaryContent": True,
        "contentType": content_type or OCTET_STREAM,
        "sizeBytes": size_bytes,
        "contentDisposition": disposition,
        "hint": f"Send this call again with download:true, or use vault_download with {target}",
    }


def filename_of(disposition: str | None) -> str | None:
    """The file name in a provider's `Content-Disposition`; the RFC 8187 form wins."""
    if not disposition:
        return None
    extended = _EXTENDED_NAME.search(disposition)
    if extended:
        return unquote(extended[1])
    plain = _PLAIN_NAME.search(disposition)
    if plain is None:
        return None
    return re.sub(r"\\(.)", r"\1", plain[1]) if plain[1] is not None else plain[2]


def attachment_header(filename: str | None) -> str:
    """The `content-disposition` of a raw reply: always an attachment, the name harmless, in plain and RFC 8187 form."""
    name = _harmless(filename or "")
    if not name:
        return "attachment"
    plain = "".join(character if character.isascii() else "_" for character in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _harmless(name: str) -> str:
    """Without controls, direction marks, quotes, path separators and leading dots."""
    kept = [c for c in name if c not in _NOT_IN_NAMES and unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    return "".join(kept).strip().lstrip(".")[:_NAME_MAX_CHARS].strip()


def _decode(text: Any) -> bytes | None:
    if not isinstance(text, str):
        return None
    text = text.translate(_LINE_BREAKS) if "\n" in text else text
    if len(text) < _MIN_CHARS:
        return None
    if not _STANDARD.fullmatch(text):
        if not _URL_SAFE.fullmatch(text):
            return None
        text = text.translate(_TO_STANDARD)
    bare = text.rstrip("=")
    if len(bare) % 4 == 1 or (len(bare) != len(text) and len(text) % 4):
        return None
    return binascii.a2b_base64(bare + "=" * (-len(bare) % 4))


def _declared_type(value: Mapping[str, Any]) -> str:
    declared = value.get("contentType") or value.get("mimeType")
    if not isinstance(declared, str) or not declared.isascii() or not declared.isprintable():
        return OCTET_STREAM
    return declared if media_type_of(declared) else OCTET_STREAM
