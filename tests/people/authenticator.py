"""An authenticator in software: real ES256 keys, attestation `none`, assertions, and every way to get them wrong."""

import json
import struct
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256

from agenthifive.ids import new_id
from agenthifive.vault import base64url

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
BOTH = PRESENT | VERIFIED


@dataclass
class Authenticator:
    """A device with one passkey, in a browser at `origin`.

    Shapes: counts: how far its counter moves at each use; 0 for those that do not count.
    """

    origin: str
    counts: int = 1
    flags: int = BOTH
    rp_id: str = "localhost"
    type_override: str | None = None
    cross_origin: bool = False
    algorithm: int = -7
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: sha256(new_id().encode()).digest())
    counter: int = 0
    user_handle: str | None = None

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """What `navigator.credentials.create` answers, as JSON."""
        self.user_handle = options["user"]["id"]
        key = cbor.encode({**ES256.from_cryptography_key(self.key.public_key()), 3: self.algorithm})
        attested = bytes(16) + struct.pack(">H", len(self.credential_id)) + self.credential_id + key
        data = self._authenticator_data(self.flags | ATTESTED) + attested
        attestation = cbor.encode({"fmt": "none", "attStmt": {}, "authData": data})
        return self._credential(
            {
                "clientDataJSON": base64url.encode(self._client_data("webauthn.create", options["challenge"])),
                "attestationObject": base64url.encode(attestation),
                "transports": ["internal", "hybrid", "carrier-pigeon"],
            }
        )

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """What `navigator.credentials.get` answers, as JSON."""
        self.counter += self.counts
        client_data = self._client_data("webauthn.get", options["challenge"])
        data = self._authenticator_data(self.flags)
        signature = self.key.sign(data + sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        return self._credential(
            {
                "clientDataJSON": base64url.encode(client_data),
                "authenticatorData": base64url.encode(data),
                "signature": base64url.encode(signature),
                "userHandle": self.user_handle,
            }
        )

    def _authenticator_data(self, flags: int) -> bytes:
        return sha256(self.rp_id.encode()).digest() + struct.pack(">BI", flags, self.counter)

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return json.dumps(
            {
                "type": self.type_override or kind,
                "challenge": challenge,
                "origin": self.origin,
                "crossOrigin": self.cross_origin,
            }
        ).encode()

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        text = base64url.encode(self.credential_id)
        return {
            "id": text,
            "rawId": text,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }
