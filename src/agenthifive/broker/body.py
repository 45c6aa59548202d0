"""The request body: one reading for the rules and the bytes that are sent, made together.

    caller's `body` -> none | JSON | form | text | _binary | _multipart -> OutgoingBody(value, data)
    raw LLM body    -> strict JSON, or bytes nobody looks into          ->      |          |
                                                                              rules      wire
Source: contract/broker.md sections 6 and 14.2; contract/policy.md section 4.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from agenthifive import strict_json
from agenthifive.broker.media_type import MediaType, read_media_type
from agenthifive.broker.multipart import (
    InvalidBody,
    Part,
    Subtype,
    decode_base64,
    read_content_type,
    read_parts,
    write_multipart,
)

__all__ = ["InvalidBody", "OutgoingBody", "Part", "read_body", "read_raw_body", "rewrite_body"]

Kind: TypeAlias = Literal["none", "json", "form", "text", "binary", "multipart"]
Reading: TypeAlias = Literal["none", "json", "form", "text", "multipart", "opaque"]

JSON_TYPE: Final = "application/json"
TEXT_TYPE: Final = "text/plain"
OPAQUE_TYPE: Final = "application/octet-stream"


class OutgoingBody(msgspec.Struct, frozen=True):
    """What is judged and what is sent.

    Shapes:
        kind: what the caller sent; named in the fingerprint. reading: what rules can see of it; differs
        from kind for `_binary` bodies only. value: parsed JSON, the text of forms and texts, a tuple of
        Part, or None. data: the bytes to send, None when there is no body. content_type: the header to
        send, the caller's where it is kept.
    """

    kind: Kind
    reading: Reading
    value: Any
    data: bytes | None
    content_type: str | None


def read_body(body: Any, content_type: str | None, *, boundary: str) -> OutgoingBody:
    """Read the `body` member of a call, already parsed as strict JSON.

    Shapes:
        content_type: the caller's header, if any. boundary: fresh and unguessable, for `_multipart`.
    Raises: InvalidBody, and nothing else, for every value that JSON can express.
    """
    if body is None:
        return OutgoingBody("none", "none", None, None, content_type)
    if isinstance(body, dict):
        if body.get("_binary") is True:
            return _read_binary(body, content_type)
        if body.get("_multipart") is True:
            subtype, parts = read_parts(body)
            return _multipart(parts, subtype, boundary)
        return _read_object(body, content_type)
    if isinstance(body, list):
        return _read_object(body, content_type)
    if isinstance(body, str):
        return _read_string(body, content_type)
    raise InvalidBody("invalid_request", "body is a number or a boolean. Send an object, an array or a string.")


def read_raw_body(data: bytes, content_type: str | None) -> OutgoingBody:
    """Read the body of an LLM call; its bytes are sent as they are.

    Multipart, media and octet streams (audio, images) pass as opaque; all else must be strict JSON, because
    lenient servers parse it whatever its label says.

    Raises: InvalidBody.
    """
    if not data:
        return OutgoingBody("none", "none", None, None, content_type)
    media_type = _checked_media_type(content_type)
    if media_type is not None and not (media_type.is_json or media_type.is_text or media_type.is_form):
        return OutgoingBody("binary", "opaque", None, data, content_type)
    try:
        value = strict_json.loads(data)
    except strict_json.InvalidJson as error:
        raise InvalidBody("invalid_json", f"The body is not strict JSON: {error}.") from None
    if not isinstance(value, dict | list):
        raise InvalidBody("invalid_request", "The body is not a JSON object or array.")
    return OutgoingBody("json", "json", value, data, content_type)


def rewrite_body(body: OutgoingBody, value: Any, *, boundary: str) -> OutgoingBody:
    """The same body with another value, as a redaction left it: JSON, the text, or parts.

    Raises: ValueError for a body whose reading is none or opaque: there is nothing to rewrite.
    """
    if body.reading == "json":
        return replace(body, value=value, data=strict_json.dumps(value))
    if body.reading in ("form", "text"):
        return replace(body, value=value, data=value.encode("utf-8"))
    if body.reading == "multipart":
        is_related = (body.content_type or "").startswith("multipart/related")
        return _multipart(tuple(value), "related" if is_related else "form-data", boundary)
    raise ValueError(f"a body read as {body.reading} has no value to rewrite")


def _read_object(value: Mapping[str, Any] | list[Any], content_type: str | None) -> OutgoingBody:
    media_type = _checked_media_type(content_type)
    if media_type is not None and (media_type.is_form or media_type.is_multipart):
        # Sent as JSON under a form's label, the provider would read other arguments than we judged.
        raise InvalidBody(
            "invalid_request",
            f"body is an object but content-type says {media_type.essence}. "
            "Send the form as a string, use _multipart, or drop the header.",
        )
    try:
        data = strict_json.dumps(value)
    except (ValueError, RecursionError):  # lone surrogates, nesting no JSON reader would have let through
        raise InvalidBody("invalid_json", "body is not strict JSON.") from None
    return OutgoingBody("json", "json", value, data, content_type or JSON_TYPE)


def _read_string(text: str, content_type: str | None) -> OutgoingBody:
    media_type = _checked_media_type(content_type)
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidBody("invalid_json", "body holds half a surrogate pair.") from None
    if media_type is None or media_type.is_json:
        value = _strict_container(data)
        if value is not None:
            return _read_object(value, content_type)
    if media_type is not None and media_type.is_form:
        return OutgoingBody("form", "form", text, data, content_type)
    return OutgoingBody("text", "text", text, data, content_type or TEXT_TYPE)


def _read_binary(envelope: Mapping[str, Any], content_type: str | None) -> OutgoingBody:
    if envelope.keys() - {"_binary", "data", "contentType"}:
        raise InvalidBody("invalid_binary_body", "A _binary body has the members data and contentType only.")
    data = decode_base64(envelope.get("data"), "data")
    media_type = read_content_type(envelope.get("contentType"), "contentType")
    if media_type is not None:
        content_type = envelope["contentType"]
    elif content_type is not None:
        media_type = read_content_type(content_type, "content-type")
    else:
        content_type = OPAQUE_TYPE
    reading, value = _reading_of(data, media_type)
    return OutgoingBody("binary", reading, value, data, content_type)


def _reading_of(data: bytes, media_type: MediaType | None) -> tuple[Reading, Any]:
    """What rules can see of bytes under their label; bytes that are not what they claim stay opaque."""
    if media_type is None or not media_type.is_utf8:
        return "opaque", None
    if not (media_type.is_json or media_type.is_form or media_type.is_text):
        return "opaque", None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "opaque", None
    if media_type.is_json:
        value = _strict_container(data)
        return ("json", value) if value is not None else ("text", text)
    return ("form" if media_type.is_form else "text"), text


def _strict_container(data: bytes) -> Any:
    """The JSON object or array in these bytes, or None."""
    if not data.lstrip(b" \t\r\n").startswith((b"{", b"[")):
        return None
    try:
        return strict_json.loads(data)
    except strict_json.InvalidJson:
        return None


def _multipart(parts: tuple[Part, ...], subtype: Subtype, boundary: str) -> OutgoingBody:
    data = write_multipart(parts, subtype, boundary)
    return OutgoingBody("multipart", "multipart", parts, data, f"multipart/{subtype}; boundary={boundary}")


def _checked_media_type(content_type: str | None) -> MediaType | None:
    """The caller's content type; refused when it cannot be read in one way, or is not the UTF-8 we send."""
    if content_type is None:
        return None
    media_type = read_media_type(content_type)
    if media_type is None:
        raise InvalidBody("invalid_request", "content-type is not one media type such as application/json.")
    if not media_type.is_utf8:
        raise InvalidBody("invalid_request", "The body is sent as UTF-8. Leave out the other charset.")
    return media_type
