"""The key of an agent, and assertions signed with it (ES256). Source: contract/agents.md section 6.1."""

import base64
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

LIFETIME_S: Final = 60
"""The longest a server accepts."""

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_COORDINATE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class AgentKey:
    """A P-256 key pair."""

    private: ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls) -> "AgentKey":
        """A new key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    def public_jwk(self) -> Mapping[str, str]:
        """The half that is registered."""
        numbers = self.private.public_key().public_numbers()
        return {"kty": "EC", "crv": "P-256", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A compact JWS. Source: RFC 7518 section 3.4."""
        text = f"{_base64url(json.dumps({'alg': 'ES256'}).encode())}.{_base64url(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(self.private.sign(text.encode(), ec.ECDSA(SHA256())))
        return f"{text}.{_base64url(b''.join(number.to_bytes(_COORDINATE_BYTES, 'big') for number in (r, s)))}"


def claims_of(agent_id: str, audience: str, now_s: int, jti: str) -> dict[str, Any]:
    """What an assertion says."""
    return {"iss": agent_id, "sub": agent_id, "aud": audience, "iat": now_s, "exp": now_s + LIFETIME_S, "jti": jti}


def token_request(key: AgentKey, agent_id: str, audience: str) -> Mapping[str, str]:
    """The body of one token exchange, good for a minute, once."""
    assertion = key.sign(claims_of(agent_id, audience, int(time.time()), str(uuid.uuid4())))
    return {
        "grant_type": "client_assertion",
        "client_assertion_type": _ASSERTION_TYPE,
        "client_assertion": assertion,
    }


def write_token_requests(path: Path, count: int, key: AgentKey, agent_id: str, audience: str) -> None:
    """That many bodies, each with an assertion of its own, one a line."""

    def lines() -> Iterator[str]:
        for _ in range(count):
            yield json.dumps(token_request(key, agent_id, audience)) + "\n"

    with path.open("w") as out:
        out.writelines(lines())


def _coordinate(number: int) -> str:
    return _base64url(number.to_bytes(_COORDINATE_BYTES, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
