"""Recovery codes: what gets a person in whose phone is gone. Each works once; only their hashes are kept.

Source: contract/http.md section 14.3.
"""

from base64 import b32encode
from typing import Final

from agenthifive.vault import base64url
from agenthifive.vault.hashing import new_token, sha256_hex

COUNT: Final = 10
_BYTES: Final = 10  # 80 bits: nothing to guess, so a plain hash is enough
_GROUP: Final = 4


def new_codes() -> list[str]:
    """Ten fresh codes such as `k7qd-x2mn-4wpa-cz6t`."""
    return [_new_code() for _ in range(COUNT)]


def code_hash(code: str) -> str:
    """Under which a code is stored; case, hyphens and spaces do not matter."""
    return sha256_hex("".join(code.split()).replace("-", "").lower())


def _new_code() -> str:
    octets = base64url.decode(new_token(""))[:_BYTES]
    text = b32encode(octets).decode("ascii").lower()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))
