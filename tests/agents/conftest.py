"""Agents that sign: one key of each kind, and every way of sending something else."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from agenthifive.agents.public_key import PublicKey, read_public_key
from agenthifive.vault import base64url

AGENT_ID = "058c9a52-6a0e-4f5b-9d5e-1f2a3b4c5d6e"
NOW_S = 1_767_225_600.25
JTI = "3f0e8f1e-5a2b-4a3c-8d4e-000000000001"


class Signer:
    """An agent with a key. `token` is valid; its arguments spoil it."""

    def __init__(self, alg: str) -> None:
        self.alg = alg
        self.private: Any
        if alg == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
            numbers = self.private.public_key().public_numbers()
            coordinates = {"x": whole(numbers.x, 32), "y": whole(numbers.y, 32)}
            self.jwk = {"kty": "EC", "crv": "P-256", **coordinates}
        elif alg == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
            public = self.private.public_key().public_bytes_raw()
            self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(public)}
        else:
            self.private = rsa.generate_private_key(65537, 2048)
            modulus = self.private.public_key().public_numbers().n
            self.jwk = {"kty": "RSA", "n": whole(modulus, 256), "e": "AQAB"}

    @property
    def key(self) -> PublicKey:
        return read_public_key(self.jwk)

    def sign(self, message: bytes) -> bytes:
        if self.alg == "ES256":
            r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(SHA256())))
            return r.to_bytes(32) + s.to_bytes(32)
        if self.alg == "EdDSA":
            return self.private.sign(message)
        return self.private.sign(message, padding.PKCS1v15(), SHA256())

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Valid claims with some replaced, or dropped when `...`."""
        claims = {
            "iss": AGENT_ID,
            "sub": AGENT_ID,
            "aud": "https://ah5.example.com",
            "iat": int(NOW_S),
            "exp": int(NOW_S) + 30,
            "jti": JTI,
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not ...}

    def token(self, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """An assertion over these header members and changed claims."""
        return self.compact(
            json.dumps({"alg": self.alg, **(header or {})}).encode(),
            json.dumps(self.claims(**changes)).encode(),
        )

    def raw(self, header: str | bytes | None = None, payload: str | bytes | None = None) -> str:
        """An assertion over exactly these texts; `%s` in a payload stands for the other valid claims."""
        written = json.dumps(self.claims())[1:-1]
        octets = [
            part.encode() if isinstance(part, str) else part
            for part in (
                f'{{"alg":"{self.alg}"}}' if header is None else header,
                f"{{{written}}}" if payload is None else payload,
            )
        ]
        return self.compact(octets[0], octets[1].replace(b"%s", written.encode()))

    def compact(self, header: bytes, payload: bytes) -> str:
        signed = f"{base64url.encode(header)}.{base64url.encode(payload)}"
        return f"{signed}.{base64url.encode(self.sign(signed.encode()))}"


def whole(number: int, size_bytes: int) -> str:
    return base64url.encode(number.to_bytes(size_bytes))


@pytest.fixture(scope="session", params=["ES256", "EdDSA", "RS256"])
def signer(request: pytest.FixtureRequest) -> Signer:
    return Signer(request.param)


@pytest.fixture(scope="session")
def signers() -> dict[str, Signer]:
    return {alg: Signer(alg) for alg in ("ES256", "EdDSA", "RS256")}
