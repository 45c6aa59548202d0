"""The canary: a key's own name, sealed with it. If it opens, the key we were given is the key that was used.

Source: contract/operations.md section 1.3.
"""

from collections.abc import Mapping
from typing import Final

from agenthifive.vault.envelope import EnvelopeError
from agenthifive.vault.keyring import Keyring

_PLACE: Final = ("t_key_canaries", "envelope")


ACTIVE_VARIABLES: Final[Mapping[str, str]] = {
    "env": "ENCRYPTION_KEY",
    "azure-kv": "AZURE_KV_WRAPPED_DEK_SECRET",
    "aws-kms": "AWS_KMS_WRAPPED_DEK",
    "gcp-kms": "GCP_KMS_WRAPPED_DEK",
    "vault-transit": "VAULT_WRAPPED_DEK",
}
"""Mode -> the variable with the active key; its previous keys stand in the same name with `_PREVIOUS`."""


class KeyRefused(RuntimeError):
    """The configured keys cannot open what is stored; the message names kid and variable."""


def seal_canary(keyring: Keyring) -> str:
    """The envelope that will prove the active key."""
    kid = keyring.active_kid
    return keyring.seal(kid.encode("ascii"), *_PLACE, kid, None).text


def opens_canary(keyring: Keyring, envelope: str, kid: str) -> bool:
    """Whether the ring's key of this kid sealed the envelope."""
    try:
        return keyring.open(envelope, *_PLACE, kid, None).reveal() == kid.encode("ascii")
    except EnvelopeError:
        return False
