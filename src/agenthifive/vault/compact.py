"""The form of the tokens we sign: three base64url segments, a header with exactly `alg`, `kid` and `typ`.

    write_compact(key, typ, claims) -> text        read_compact(text) -> Compact, not believed yet

Read by our own strict readers and verified over the raw primitives: whatever could make a verifier fetch, choose or
interpret something (`jku`, `x5u`, `jwk`, `x5c`, `crit`, `b64`, `zip`) is no member of the header we know, so a token
that has it is refused unread. Source: contract/http.md section 13; RFC 7515, RFC 8725.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agenthifive import strict_json
from agenthifive.vault import base64url
from agenthifive.vault.token_keys import SigningKey

MAX_BYTES: Final = 8192
_MAX_DEPTH: Final = 8
_MEMBERS: Final = frozenset({"alg", "kid", "typ"})


class NotCompact(ValueError):
    """The text has not the form of a token of ours."""


@dataclass(frozen=True, slots=True)
class Compact:
    """A token taken apart. Everything in it is a claim of whoever sent it."""

    alg: str
    kid: str
    typ: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    def __repr__(self) -> str:
        return f"Compact({self.typ!r}, kid={self.kid!r})"


def write_compact(key: SigningKey, typ: str, claims: Mapping[str, Any]) -> str:
    """A signed token."""
    header = {"alg": key.alg, "kid": key.kid, "typ": typ}
    signed = ".".join(base64url.encode(strict_json.dumps(part)) for part in (header, claims))
    return f"{signed}.{base64url.encode(key.sign(signed.encode('ascii')))}"


def read_compact(text: str) -> Compact:
    """Take a token apart. Raises: NotCompact, and nothing else, whatever the text is."""
    header = _read_header(text)
    segments = text.split(".")
    claims = _read_object(segments[1])
    try:
        signature = base64url.decode(segments[2])
    except base64url.NotBase64url:
        raise NotCompact("the signature is not base64url") from None
    signed = text[: text.rindex(".")].encode("ascii")
    return Compact(header["alg"], header["kid"], header["typ"], claims, signed, signature)


def type_of(text: str) -> str | None:
    """The `typ` of a text that looks like a token of ours; None of any other."""
    try:
        return _read_header(text)["typ"]
    except NotCompact:
        return None


def _read_header(text: str) -> Mapping[str, str]:
    if len(text) > MAX_BYTES:
        raise NotCompact(f"it is larger than {MAX_BYTES} bytes")
    segments = text.split(".")
    if len(segments) != 3 or not all(segments):
        raise NotCompact("it does not have three segments")
    header = _read_object(segments[0])
    if header.keys() != _MEMBERS or not all(isinstance(value, str) for value in header.values()):
        raise NotCompact("the header has other members than alg, kid and typ")
    return header


def _read_object(segment: str) -> dict[str, Any]:
    try:
        value = strict_json.loads(base64url.decode(segment), _MAX_DEPTH)
    except (base64url.NotBase64url, strict_json.InvalidJson):
        raise NotCompact("a segment is not strict JSON in base64url") from None
    if not isinstance(value, dict):
        raise NotCompact("a segment is not a JSON object")
    return value
