"""Sealed cookies: what a browser carries between two requests without being able to read or change it.

    values + purpose --seal--> text for a cookie        text + purpose --open--> values, or None

The key is derived from the sign-in secret, so that changing it ends every flow that is under way. The purpose and the
end of the flow are inside the seal. Source: contract/http.md section 8 (`ah5_flow`, `ah5_pending`).
"""

import os
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agenthifive.vault import base64url
from agenthifive.vault.envelope import IV_BYTES, TAG_BYTES
from agenthifive.vault.hashing import hkdf

_KEY_PURPOSE: Final = b"agenthifive browser seal v1"
_LONGEST: Final = 4000  # what a browser keeps of one cookie

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(tuple[float, dict[str, Any]]).decode


class BrowserSeal:
    """Seals small values for a browser to carry."""

    __slots__ = ("_cipher",)

    def __init__(self, secret: bytes, epoch: int = 1) -> None:
        """`epoch`: of the installation; a restored database opens no flow that was under way before it."""
        self._cipher = AESGCM(hkdf(secret, purpose=_KEY_PURPOSE, salt=str(epoch).encode()))

    def seal(self, purpose: str, values: Mapping[str, Any], expires_at_s: float) -> str:
        """The text for a cookie.

        Shapes: purpose: a word; a text sealed for one purpose does not open for another. values: JSON members.
        Units: expires_at_s in seconds since 1970.
        Raises: ValueError when a browser would not keep it.
        """
        iv = os.urandom(IV_BYTES)
        sealed = self._cipher.encrypt(iv, _encode((expires_at_s, dict(values))), purpose.encode())
        text = base64url.encode(iv + sealed)
        if len(text) > _LONGEST:
            raise ValueError("too long for a cookie")
        return text

    def open(self, purpose: str, text: str, now_s: float) -> dict[str, Any] | None:
        """The values; None when the text is not ours, was sealed for another purpose, or is over."""
        try:
            octets = base64url.decode(text)
        except ValueError:
            return None
        if len(octets) < IV_BYTES + TAG_BYTES:
            return None
        try:
            plaintext = self._cipher.decrypt(octets[:IV_BYTES], octets[IV_BYTES:], purpose.encode())
        except InvalidTag:
            return None
        expires_at_s, values = _decode(plaintext)
        return values if now_s < expires_at_s else None
