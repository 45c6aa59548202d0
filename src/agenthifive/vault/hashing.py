"""Hashes, MACs, derived keys and new tokens.

Tokens are random, so a plain SHA-256 is enough to store them: there is nothing to guess.
Source: contract/operations.md sections 1.2 and 2.
"""

import hashlib
import hmac
import secrets
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from agenthifive.vault import base64url

TOKEN_BYTES: Final = 32


def sha256_hex(text: str) -> str:
    """The lower-case hex SHA-256 under which a token is stored. Defined for every text, lone surrogates too."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def constant_time_equal(left: str | bytes, right: str | bytes) -> bool:
    """Whether two values are equal, in a time that depends on their lengths only."""
    return hmac.compare_digest(_octets(left), _octets(right))


def new_token(prefix: str) -> str:
    """A fresh token: the prefix and 43 base64url characters, 256 bits from the operating system.

    Source: contract/agents.md section 4, contract/http.md section 10.
    """
    return prefix + base64url.encode(secrets.token_bytes(TOKEN_BYTES))


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """The 32-byte HMAC-SHA-256 of a message."""
    return hmac.digest(key, message, "sha256")


def hkdf(secret: bytes, *, purpose: bytes, salt: bytes = b"", size_bytes: int = 32) -> bytes:
    """Derive a key for one purpose from a secret; other purposes give unrelated keys.

    Source: RFC 5869 (HKDF-SHA-256, purpose is its info).
    """
    return HKDF(algorithm=hashes.SHA256(), length=size_bytes, salt=salt, info=purpose).derive(secret)


def _octets(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
