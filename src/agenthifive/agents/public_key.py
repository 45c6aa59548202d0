"""The public key an agent registers: what we accept, and what of it we keep.

Source: contract/agents.md section 5.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agenthifive import strict_json
from agenthifive.errors import AppError
from agenthifive.vault.signing import UnusableKey, canonical_jwk, load_public_jwk, thumbprint

ACCEPTED_KEYS: Final = "EC P-256 (ES256), OKP Ed25519 (EdDSA), RSA of 2048 to 4096 bits (RS256)"

_PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_KID: Final = re.compile(r"[\x20-\x7e]{1,128}")


class InvalidPublicKey(AppError):
    """The key is not acceptable. `is_private` when a private or symmetric member was sent."""

    __slots__ = ("is_private",)

    def __init__(self, message: str, *, is_private: bool = False) -> None:
        super().__init__("invalid_public_key", message, hint=f"Accepted keys: {ACCEPTED_KEYS}.")
        self.is_private = is_private


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An agent's key as registered.

    Shapes:
        jwk: the members that make the key and no others.
        thumbprint: RFC 7638 SHA-256, base64url. alg: ES256, EdDSA or RS256, fixed by the key.
    """

    jwk: Mapping[str, str]
    kid: str | None
    thumbprint: str
    alg: str


def read_public_key(jwk: Any) -> PublicKey:
    """Read the public key an agent offers.

    Optional members count as absent when null; members we do not know are dropped.

    Raises: InvalidPublicKey.
    """
    if not isinstance(jwk, dict):
        raise _not_acceptable("it is not a JSON object")
    _refuse_private(jwk)
    try:
        key = load_public_jwk(jwk)
    except UnusableKey as fault:
        raise _not_acceptable(str(fault)) from None
    _check_purpose(jwk, key.alg)
    return PublicKey(strict_json.loads(canonical_jwk(jwk)), _read_kid(jwk), thumbprint(jwk), key.alg)


def _refuse_private(jwk: Mapping[str, Any]) -> None:
    for name in _PRIVATE_MEMBERS:
        if name in jwk:
            raise InvalidPublicKey(
                f"The JWK holds the private or symmetric member {name}. Treat that key as exposed: generate "
                "another key pair and send only its public half.",
                is_private=True,
            )


def _check_purpose(jwk: Mapping[str, Any], alg: str) -> None:
    if jwk.get("alg") not in (None, alg):
        raise _not_acceptable(f"alg is not {alg}, the algorithm of this key")
    if jwk.get("use") not in (None, "sig"):
        raise _not_acceptable("use is not sig")
    operations = jwk.get("key_ops")
    if operations is None:
        return
    if not isinstance(operations, list) or not all(isinstance(name, str) for name in operations):
        raise _not_acceptable("key_ops is not a list of strings")
    if "verify" not in operations or "sign" in operations:
        raise _not_acceptable("key_ops does not contain verify, or contains sign")


def _read_kid(jwk: Mapping[str, Any]) -> str | None:
    kid = jwk.get("kid")
    if kid is None:
        return None
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise _not_acceptable("kid is not a string of 1 to 128 printable ASCII characters")
    return kid


def _not_acceptable(reason: str) -> InvalidPublicKey:
    return InvalidPublicKey(f"The public key is not acceptable: {reason}. Send one of {ACCEPTED_KEYS}.")
