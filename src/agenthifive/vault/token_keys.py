"""The key that signs our own tokens: read from the settings, used for one algorithm, published by its public half.

    PEM (PKCS#8) --read_signing_key--> SigningKey.sign(message)      SigningKey.jwk: what others verify with

RSA signs RS256, EC P-256 signs ES256, Ed25519 signs EdDSA: the key decides, never a token.
Source: contract/http.md section 13, operations.md section 2; RFC 5958, 7517, 7518, 8037.
"""

from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agenthifive.vault import base64url
from agenthifive.vault.secret import Secret
from agenthifive.vault.signing import UnusableKey, load_public_jwk, thumbprint

_P256_BYTES: Final = 32
_PKCS8_LINE: Final = "-----BEGIN PRIVATE KEY-----"
_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class SigningKey:
    """A private key, its algorithm and its name.

    Shapes:
        alg: RS256, ES256 or EdDSA. kid: in every token's header. jwk: the members of the public key and no others.
        bits: size of the modulus or curve.
    """

    __slots__ = ("_private", "alg", "bits", "jwk", "kid")

    def __init__(self, private: _PrivateKey, kid: str | None = None) -> None:
        """Raises: UnusableKey."""
        self._private = private
        self.jwk = _public_jwk(private)
        self.alg = load_public_jwk(self.jwk).alg
        self.kid = kid or thumbprint(self.jwk)
        self.bits = 256 if isinstance(private, ed25519.Ed25519PrivateKey) else private.key_size

    def __repr__(self) -> str:
        return f"SigningKey({self.alg}, {self.kid!r})"

    def sign(self, message: bytes) -> bytes:
        """The signature as a JWS holds it: ES256 64 bytes r‖s, EdDSA 64 bytes, RS256 as long as the modulus."""
        if isinstance(self._private, rsa.RSAPrivateKey):
            return self._private.sign(message, padding.PKCS1v15(), SHA256())
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(message)
        r, s = decode_dss_signature(self._private.sign(message, ec.ECDSA(SHA256())))
        return r.to_bytes(_P256_BYTES) + s.to_bytes(_P256_BYTES)


def read_signing_key(pem: Secret[str], kid: str | None = None) -> SigningKey:
    """The key in a PEM text; a literal `\\n` counts as a line break.

    Shapes: kid: None takes the RFC 7638 thumbprint.
    Raises: UnusableKey, whose words never quote the text.
    """
    text = pem.reveal().replace("\\n", "\n").strip()
    if not text.startswith(_PKCS8_LINE):
        raise UnusableKey("is not a PKCS#8 private key without a passphrase")
    try:
        private = serialization.load_pem_private_key(text.encode("ascii"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableKey("cannot be read") from None
    if not isinstance(private, _PrivateKey):
        raise UnusableKey("is neither RSA nor EC P-256 nor Ed25519")
    return SigningKey(private, kid)


def one_line(pem: Secret[str]) -> Secret[str]:
    """The same key as one line for an env file."""
    return Secret(pem.reveal().strip().replace("\n", "\\n"))


def _public_jwk(private: _PrivateKey) -> Mapping[str, str]:
    if isinstance(private, rsa.RSAPrivateKey):
        rsa_numbers = private.public_key().public_numbers()
        return {"kty": "RSA", "n": _unsigned(rsa_numbers.n), "e": _unsigned(rsa_numbers.e)}
    if isinstance(private, ed25519.Ed25519PrivateKey):
        octets = private.public_key().public_bytes_raw()
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(octets)}
    if not isinstance(private.curve, ec.SECP256R1):
        raise UnusableKey("is an EC key on another curve than P-256")
    point = private.public_key().public_numbers()
    x, y = (base64url.encode(number.to_bytes(_P256_BYTES)) for number in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _unsigned(number: int) -> str:
    return base64url.encode(number.to_bytes((number.bit_length() + 7) // 8))
