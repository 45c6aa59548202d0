"""Keys that sign tokens in tests, made once a run, and tokens signed with anything."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from agenthifive.vault import base64url
from agenthifive.vault.secret import Secret
from agenthifive.vault.signing import new_rsa_pem
from agenthifive.vault.token_keys import SigningKey, one_line, read_signing_key


@cache
def pem(name: str, kind: str = "RSA") -> str:
    """The private key of this name: RSA of 2048 bits, EC P-256 or Ed25519."""
    if kind == "RSA":
        return new_rsa_pem().reveal()
    private = ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else ed25519.Ed25519PrivateKey.generate()
    return _pem_of(private)


def signing_key(name: str, kind: str = "RSA", kid: str | None = None) -> SigningKey:
    """The key of this name, ready to sign; its name is its kid."""
    return read_signing_key(Secret(pem(name, kind)), kid or name)


def weak_key() -> str:
    """An RSA key of 1024 bits."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    return one_line(Secret(_pem_of(private))).reveal()


def published_key() -> str:
    """The Ed25519 key of RFC 8037 appendix A."""
    seed = base64url.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
    return one_line(Secret(_pem_of(ed25519.Ed25519PrivateKey.from_private_bytes(seed)))).reveal()


def environ(name: str, kind: str = "RSA", kid: str | None = None) -> dict[str, str]:
    """The settings of a process that signs with this key."""
    return {"JWT_PRIVATE_KEY": one_line(Secret(pem(name, kind))).reveal(), "JWT_KID": kid or name}


def forge(header: Mapping[str, Any] | bytes, claims: Mapping[str, Any] | bytes, key: SigningKey | None) -> str:
    """Any header and claims, signed with a key; without one the signature is empty bytes that are not empty text."""
    parts = [part if isinstance(part, bytes) else msgspec.json.encode(part) for part in (header, claims)]
    signed = ".".join(base64url.encode(part) for part in parts)
    return f"{signed}.{base64url.encode(b'none' if key is None else key.sign(signed.encode()))}"


def taken_apart(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token."""
    header, claims, _ = token.split(".")
    return msgspec.json.decode(base64url.decode(header)), msgspec.json.decode(base64url.decode(claims))


def _pem_of(private: Any) -> str:
    form = serialization.PrivateFormat.PKCS8
    return str(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode())
