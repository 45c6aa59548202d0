"""The sealed form of a secret: AES-256-GCM as compact JSON text that names its key and belongs to one row.

    plaintext + key + row --seal--> {"v":2,"alg":"A256GCM","kid":…,"iv":…,"ciphertext":…,"tag":…}
    text --read_envelope--> Envelope + ring + row --open--> plaintext, or EnvelopeError

Version 1 names no key and no row; it is read, never written. Source: contract/operations.md section 1.1.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agenthifive.vault import base64url

KEY_BYTES: Final = 32
IV_BYTES: Final = 12
TAG_BYTES: Final = 16

_KID: Final = re.compile(r"[0-9a-f]{16}")


class _Members(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    v: Literal[1, 2]
    alg: Literal["A256GCM"]
    kid: str | msgspec.UnsetType = msgspec.UNSET
    iv: str
    ciphertext: str
    tag: str


_decode: Final = msgspec.json.Decoder(_Members).decode
_encode: Final = msgspec.json.Encoder().encode


class EnvelopeError(Exception):
    """The text is no envelope of ours, was altered, or belongs to another row. Never holds any of it."""


class KeyUnknown(EnvelopeError):
    """The envelope names a key that is not in the ring."""

    def __init__(self, kid: str) -> None:
        super().__init__(f"sealed under kid {kid}, which is not in the key ring")
        self.kid = kid


class KeyLengthError(ValueError):
    """The key does not have exactly 32 bytes. It is not padded, cut or hashed into shape."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A data key. One that exists has 32 bytes, so no seal or open can run with another length.

    Shapes: kid: first 16 hex digits of SHA-256 of the key bytes.
    Raises: KeyLengthError.
    """

    material: bytes = field(repr=False)
    kid: str = field(init=False)
    cipher: AESGCM = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.material) != KEY_BYTES:
            raise KeyLengthError(f"the key has {len(self.material)} bytes; expected exactly {KEY_BYTES}")
        object.__setattr__(self, "kid", hashlib.sha256(self.material).hexdigest()[:16])
        object.__setattr__(self, "cipher", AESGCM(self.material))


def aad(table: str, column: str, row_id: UUID | str, workspace_id: UUID | str | None) -> bytes:
    """The additional data that ties an envelope to its place.

    Shapes: ids in lower case; workspace_id None for a row without a workspace.
    Raises: ValueError for an empty part, a bar or an upper-case letter: two places must never look alike.
    """
    row = str(row_id)
    workspace = "" if workspace_id is None else str(workspace_id)
    has_all_parts = table and column and row and (workspace or workspace_id is None)
    place = f"{table}|{column}|{row}|{workspace}"
    if not has_all_parts or place.count("|") != 3 or place != place.lower():
        raise ValueError("a place has non-empty parts, in lower case and without a bar")
    return place.encode()


def seal(plaintext: bytes, key: Key, aad: bytes, iv: bytes) -> str:
    """Write a version 2 envelope.

    The caller answers for the iv: fresh and random for every seal (`Keyring.seal` is the one caller).

    Raises: ValueError when iv does not have 12 bytes.
    """
    if len(iv) != IV_BYTES:
        raise ValueError(f"the iv has {len(iv)} bytes; expected exactly {IV_BYTES}")
    sealed = key.cipher.encrypt(iv, plaintext, aad)
    members = _Members(
        v=2,
        alg="A256GCM",
        kid=key.kid,
        iv=base64url.encode(iv),
        ciphertext=base64url.encode(sealed[:-TAG_BYTES]),
        tag=base64url.encode(sealed[-TAG_BYTES:]),
    )
    return _encode(members).decode("ascii")


class Envelope(msgspec.Struct, frozen=True):
    """An envelope that was read: everything but the key is at hand.

    Shapes: kid: None for version 1. sealed: ciphertext and tag.
    """

    kid: str | None
    iv: bytes
    sealed: bytes

    def open(self, ring: Mapping[str, Key], aad: bytes) -> bytes:
        """The plaintext.

        Version 2 opens with the key it names and only under the aad it was sealed with. Version 1 is tried
        against every key of the ring; the tag decides.

        Shapes: ring: kid -> key.
        Raises: KeyUnknown, EnvelopeError, and nothing else.
        """
        if self.kid is None:
            return _open_unnamed(self.iv, self.sealed, ring)
        key = _find_key(self.kid, ring)
        try:
            return key.cipher.decrypt(self.iv, self.sealed, aad)
        except InvalidTag:
            raise EnvelopeError("altered, or sealed for another row, column, table or workspace") from None


def read_envelope(text: str) -> Envelope:
    """Take the text of a version 1 or 2 envelope apart.

    Raises: EnvelopeError, and nothing else, whatever the text is.
    """
    members = _read_members(text)
    try:
        iv, tag = base64url.decode(members.iv), base64url.decode(members.tag)
        sealed = base64url.decode(members.ciphertext) + tag
    except base64url.NotBase64url:
        raise EnvelopeError("a member is not canonical base64url") from None
    if len(iv) != IV_BYTES or len(tag) != TAG_BYTES:
        raise EnvelopeError(f"iv and tag have {len(iv)} and {len(tag)} bytes, not {IV_BYTES} and {TAG_BYTES}")
    return Envelope(None if members.kid is msgspec.UNSET else members.kid, iv, sealed)


class Placed:
    """An envelope as it was found in a place; taken apart when it is first opened, decrypted anew every time."""

    __slots__ = ("_envelope", "_place", "_text")

    def __init__(self, text: str, table: str, column: str, row_id: UUID | str, workspace_id: UUID | str | None) -> None:
        self._text = text
        self._place = aad(table, column, row_id, workspace_id)
        self._envelope: Envelope | None = None

    def open(self, ring: Mapping[str, Key]) -> bytes:
        """The plaintext. Raises: KeyUnknown, EnvelopeError."""
        if self._envelope is None:
            self._envelope = read_envelope(self._text)
        return self._envelope.open(ring, self._place)


def _read_members(text: str) -> _Members:
    """Take the text apart; accepted only if writing the members again gives the same text.

    So a repeated, reordered or spaced-out member, an escape or another spelling of the version is refused.
    """
    try:
        octets = text.encode("ascii")
        members = _decode(octets)
    except (UnicodeEncodeError, msgspec.DecodeError):
        raise EnvelopeError("not the JSON text of an envelope") from None
    if _encode(members) != octets:
        raise EnvelopeError("not the compact JSON text of an envelope")
    if (members.kid is msgspec.UNSET) is not (members.v == 1):
        raise EnvelopeError("version 1 has no kid, version 2 has one")
    return members


def _find_key(kid: str, ring: Mapping[str, Key]) -> Key:
    key = ring.get(kid)
    if key is not None:
        return key
    if not _KID.fullmatch(kid):
        raise EnvelopeError("kid is not 16 lower-case hexadecimal digits")
    raise KeyUnknown(kid)


def _open_unnamed(iv: bytes, sealed: bytes, ring: Mapping[str, Key]) -> bytes:
    for key in ring.values():
        try:
            return key.cipher.decrypt(iv, sealed, None)
        except InvalidTag:
            continue
    raise EnvelopeError("altered, or no key of the ring opens it")
