"""The `_multipart` envelope: parts read strictly, then written with a boundary of ours.

    {"_multipart":true,"subtype":…,"parts":[…]} -> Part, Part, … -> rules see them by name -> bytes

Source: contract/broker.md section 6; RFC 7578 (form-data), RFC 2387 (related).
"""

import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from agenthifive import strict_json
from agenthifive.broker.media_type import MediaType, read_media_type

MAX_PARTS: Final = 100

Subtype: TypeAlias = Literal["form-data", "related"]

_PART_MEMBERS: Final = frozenset({"name", "filename", "contentType", "value", "data"})
_UNSAFE_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\"/\\\u2028\u2029\ud800-\udfff]")


class InvalidBody(ValueError):
    """The body is refused. `code` is `invalid_request`, `invalid_binary_body` or `invalid_json`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body.

    Shapes:
        Exactly one of value and data is set: value is text that rules can read, data is opaque.
    """

    name: str | None
    filename: str | None
    content_type: str | None
    value: str | None
    data: bytes | None


def decode_base64(text: object, where: str) -> bytes:
    """Bytes of strict base64 or base64url, padded in full or not at all.

    Raises: InvalidBody naming the place.
    """
    if isinstance(text, str) and text.isascii():
        if ("-" in text or "_" in text) and "+" not in text and "/" not in text:
            text = text.replace("-", "+").replace("_", "/")
        if "=" not in text:
            text += "=" * (-len(text) % 4)
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            data = b""
        if len(text) == (len(data) + 2) // 3 * 4:
            return data
    raise InvalidBody("invalid_binary_body", f"{where} is not base64. Encode the bytes without line breaks.")


def read_content_type(value: object, where: str) -> MediaType | None:
    """A media type of an envelope; absent and null are the same.

    Raises: InvalidBody when it is anything but one well-formed media type.
    """
    if value is None:
        return None
    media_type = read_media_type(value) if isinstance(value, str) else None
    if media_type is None:
        raise InvalidBody("invalid_binary_body", f"{where} is not a media type such as image/png.")
    return media_type


def read_parts(envelope: Mapping[str, Any]) -> tuple[Subtype, tuple[Part, ...]]:
    """The parts of a `_multipart` envelope.

    Raises: InvalidBody.
    """
    extra = envelope.keys() - {"_multipart", "subtype", "parts"}
    if extra:
        raise InvalidBody("invalid_binary_body", "A _multipart body has the members subtype and parts only.")
    if envelope.get("subtype") not in (None, "form-data", "related"):
        raise InvalidBody("invalid_binary_body", "subtype is not form-data or related.")
    subtype: Subtype = "related" if envelope.get("subtype") == "related" else "form-data"
    items = envelope.get("parts")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_PARTS:
        raise InvalidBody("invalid_binary_body", f"parts is not a list of 1 to {MAX_PARTS} parts.")
    return subtype, tuple(_read_part(item, subtype, f"parts[{index}]") for index, item in enumerate(items))


def write_multipart(parts: Sequence[Part], subtype: Subtype, boundary: str) -> bytes:
    """The bytes of the body. The boundary must be one that nobody could have guessed."""
    pieces: list[bytes] = []
    for part in parts:
        head = f"--{boundary}\r\n"
        if subtype == "form-data":
            head += f'Content-Disposition: form-data; name="{part.name}"'
            head += f'; filename="{part.filename}"\r\n' if part.filename is not None else "\r\n"
        if part.content_type is not None:
            head += f"Content-Type: {part.content_type}\r\n"
        payload = part.value.encode("utf-8") if part.value is not None else part.data or b""
        pieces += [head.encode("utf-8"), b"\r\n", payload, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces)


def _read_part(item: object, subtype: Subtype, where: str) -> Part:
    if not isinstance(item, dict) or item.keys() - _PART_MEMBERS:
        raise InvalidBody("invalid_binary_body", f"{where} has the members {', '.join(sorted(_PART_MEMBERS))} only.")
    name, filename = _read_name(item, "name", where), _read_name(item, "filename", where)
    if name is None and subtype == "form-data":
        raise InvalidBody("invalid_binary_body", f"{where} has no name.")
    media_type = read_content_type(item.get("contentType"), f"{where}.contentType")
    if media_type is not None and media_type.essence.startswith(("multipart/", "message/")):
        raise InvalidBody("invalid_binary_body", f"{where} is nested. Send its parts side by side.")
    is_field = filename is None or subtype == "related"
    value, data = _read_payload(item, media_type, is_field, where)
    if value is not None and is_field and media_type is not None and media_type.is_json:
        _check_json(value, where)
    return Part(name, filename, item.get("contentType"), value, data)


def _read_name(item: Mapping[str, Any], member: str, where: str) -> str | None:
    name = item.get(member)
    if name is None:
        return None
    if not isinstance(name, str) or name in ("", ".", "..") or len(name) > 255 or _UNSAFE_NAME.search(name):
        raise InvalidBody(
            "invalid_binary_body",
            f"{where}.{member} is not a plain name. Leave out quotes, slashes and line breaks.",
        )
    return name


def _read_payload(
    item: Mapping[str, Any], media_type: MediaType | None, is_field: bool, where: str
) -> tuple[str | None, bytes | None]:
    """Text where rules can read it, else bytes. A field sent as bytes is a field to the provider too."""
    value, encoded = item.get("value"), item.get("data")
    if (value is None) == (encoded is None):
        raise InvalidBody("invalid_binary_body", f"{where} needs value or data, and not both.")
    if value is None:
        data = decode_base64(encoded, f"{where}.data")
        declared = media_type is not None and (media_type.is_text or media_type.is_json or media_type.is_form)
        is_utf8 = media_type is None or media_type.is_utf8
        if not (is_utf8 and (is_field or declared)):
            return None, data
        try:
            return data.decode("utf-8"), None
        except UnicodeDecodeError:
            return None, data
    if not isinstance(value, str) or not _is_unicode(value):
        raise InvalidBody("invalid_binary_body", f"{where}.value is not a string.")
    if media_type is not None and not media_type.is_utf8:
        raise InvalidBody("invalid_binary_body", f"{where}.value is sent as UTF-8. Leave out the other charset.")
    return value, None


def _check_json(value: str, where: str) -> None:
    try:
        strict_json.loads(value.encode("utf-8"))
    except strict_json.InvalidJson as error:
        raise InvalidBody("invalid_json", f"{where} is not strict JSON: {error}.") from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
