"""Signatures: public keys as JWK, verification, and the keys we sign with ourselves.

    JWK -> load_public_jwk (refused unless sound) -> VerifyingKey.verifies(signature, message)

Assertions and our own tokens are verified over the raw primitives: a JWT library would read header and payload a
second time, by laxer rules than ours. Our own tokens are signed in `token_keys.py`.
Source: contract/agents.md sections 5 and 6; RFC 7517, 7518, 7638, 8032, 8037.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agenthifive import strict_json
from agenthifive.vault import base64url
from agenthifive.vault.secret import Secret

MAX_LOADED_KEYS: Final = 4096
RSA_MIN_BITS: Final = 2048
RSA_MAX_BITS: Final = 4096

_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}

_P256_FIELD: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P256_BYTES: Final = 32

_ED25519_FIELD: Final = 2**255 - 19
_ED25519_D: Final = -121665 * pow(121666, -1, _ED25519_FIELD) % _ED25519_FIELD
_ED25519_BYTES: Final = 32
# y of the points of order 8; orders 1, 2 and 4 have y = 1, -1 and 0
_ORDER_8_Y: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_YS: Final = frozenset({0, 1, _ED25519_FIELD - 1, _ORDER_8_Y, _ED25519_FIELD - _ORDER_8_Y})

# the bound of NIST SP 800-89 section 5.3.3
_SMALL_PRIMES_PRODUCT: Final = prod(n for n in range(2, 752) if all(n % d for d in range(2, 28) if d < n))

_ECDSA_SHA256: Final = ec.ECDSA(SHA256())
_PKCS1V15: Final = padding.PKCS1v15()
_SHA256: Final = SHA256()


class UnusableKey(ValueError):
    """The JWK is no sound P-256, Ed25519 or RSA public key. The message says why, never with a value."""


@dataclass(frozen=True, slots=True, eq=False)
class VerifyingKey:
    """A sound public key and the one algorithm it is used with: ES256, EdDSA or RS256."""

    alg: str
    public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature was made over the message with this key.

        Shapes: signature as in JWS: ES256 64 bytes r‖s, EdDSA 64 bytes, RS256 as long as the modulus.
        """
        try:
            if isinstance(self.public, ec.EllipticCurvePublicKey):
                return _verifies_es256(self.public, signature, message)
            if isinstance(self.public, ed25519.Ed25519PublicKey):
                self.public.verify(signature, message)
            else:
                self.public.verify(signature, message, _PKCS1V15, _SHA256)
        except InvalidSignature:
            return False
        return True


def load_public_jwk(jwk: Mapping[str, Any]) -> VerifyingKey:
    """Check a public key and make it ready. Members beyond the key itself are not looked at.

    Loaded keys are kept, up to MAX_LOADED_KEYS, under what RFC 7638 hashes: the key itself.

    Raises: UnusableKey.
    """
    return _load(canonical_jwk(jwk))


def canonical_jwk(jwk: Mapping[str, Any]) -> bytes:
    """The members that make the key, as RFC 7638 writes them.

    Raises: UnusableKey for a foreign `kty`, or a member that is missing or no string.
    """
    kty = jwk.get("kty")
    names = _MEMBERS.get(kty) if isinstance(kty, str) else None
    if names is None:
        raise UnusableKey("kty is not EC, OKP or RSA")
    for name in names:
        if not isinstance(jwk.get(name), str):
            raise UnusableKey(f"{name} is missing or not a string")
    return strict_json.dumps({name: jwk[name] for name in names})


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The RFC 7638 SHA-256 thumbprint, base64url.

    Raises: UnusableKey, as canonical_jwk.
    """
    return base64url.encode(hashlib.sha256(canonical_jwk(jwk)).digest())


def new_ed25519_seed() -> Secret[bytes]:
    """A fresh Ed25519 private key: its 32-byte seed."""
    return Secret(ed25519.Ed25519PrivateKey.generate().private_bytes_raw())


def ed25519_public(seed: Secret[bytes]) -> bytes:
    """The 32-byte public key of a seed."""
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed.reveal()).public_key().public_bytes_raw()


def sign_ed25519(seed: Secret[bytes], message: bytes) -> bytes:
    """The 64-byte Ed25519 signature of a message."""
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed.reveal()).sign(message)


def verifies_ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the signature was made over the message with this 32-byte public key.

    Raises: UnusableKey.
    """
    return load_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(public)}).verifies(signature, message)


def new_rsa_pem(size_bits: int = RSA_MIN_BITS) -> Secret[str]:
    """A fresh RSA private key for RS256, as PKCS#8 PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=size_bits)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(pem.decode("ascii"))


@lru_cache(maxsize=MAX_LOADED_KEYS)
def _load(canonical: bytes) -> VerifyingKey:
    jwk: dict[str, str] = strict_json.loads(canonical)
    if jwk["kty"] == "EC":
        return VerifyingKey("ES256", _load_p256(jwk))
    if jwk["kty"] == "OKP":
        return VerifyingKey("EdDSA", _load_ed25519(jwk))
    return VerifyingKey("RS256", _load_rsa(jwk))


def _load_p256(jwk: Mapping[str, str]) -> ec.EllipticCurvePublicKey:
    if jwk["crv"] != "P-256":
        raise UnusableKey("crv of an EC key is not P-256")
    x = int.from_bytes(_read_octets(jwk, "x", _P256_BYTES))
    y = int.from_bytes(_read_octets(jwk, "y", _P256_BYTES))
    if x >= _P256_FIELD or y >= _P256_FIELD:
        raise UnusableKey("a coordinate is not below the field prime")
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise UnusableKey("the point is not on P-256") from None


def _load_ed25519(jwk: Mapping[str, str]) -> ed25519.Ed25519PublicKey:
    if jwk["crv"] != "Ed25519":
        raise UnusableKey("crv of an OKP key is not Ed25519")
    octets = _read_octets(jwk, "x", _ED25519_BYTES)
    y = int.from_bytes(octets, "little") & (2**255 - 1)
    if y >= _ED25519_FIELD or y in _SMALL_ORDER_YS:
        raise UnusableKey("the point has a small order or a second spelling")
    # on the curve when x^2 = (y^2 - 1) / (d y^2 + 1) is a square; u v is one exactly when u / v is
    u, v = y * y - 1, _ED25519_D * y * y + 1
    if pow(u * v, (_ED25519_FIELD - 1) // 2, _ED25519_FIELD) != 1:
        raise UnusableKey("the point is not on Ed25519")
    return ed25519.Ed25519PublicKey.from_public_bytes(octets)


def _load_rsa(jwk: Mapping[str, str]) -> rsa.RSAPublicKey:
    modulus, exponent = _read_integer(jwk, "n"), _read_integer(jwk, "e")
    if not RSA_MIN_BITS <= modulus.bit_length() <= RSA_MAX_BITS:
        raise UnusableKey(f"n has {modulus.bit_length()} bits, not {RSA_MIN_BITS} to {RSA_MAX_BITS}")
    if gcd(modulus, _SMALL_PRIMES_PRODUCT) != 1:
        raise UnusableKey("n has a small factor")
    if not 65537 <= exponent < 2**32 or exponent % 2 == 0:
        raise UnusableKey("e is not an odd number from 65537 to 2^32")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _read_octets(jwk: Mapping[str, str], name: str, size_bytes: int) -> bytes:
    octets = _decode(jwk, name)
    if len(octets) != size_bytes:
        raise UnusableKey(f"{name} has {len(octets)} bytes, not {size_bytes}")
    return octets


def _read_integer(jwk: Mapping[str, str], name: str) -> int:
    octets = _decode(jwk, name)
    if octets[:1] in (b"", b"\x00"):
        raise UnusableKey(f"{name} is empty or starts with a zero byte")
    return int.from_bytes(octets)


def _decode(jwk: Mapping[str, str], name: str) -> bytes:
    try:
        return base64url.decode(jwk[name])
    except base64url.NotBase64url:
        raise UnusableKey(f"{name} is not base64url without padding") from None


def _verifies_es256(public: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    if len(signature) != 2 * _P256_BYTES:
        return False
    r, s = int.from_bytes(signature[:_P256_BYTES]), int.from_bytes(signature[_P256_BYTES:])
    # the primitive refuses r and s that are zero or not below the group order
    public.verify(encode_dss_signature(r, s), message, _ECDSA_SHA256)
    return True
