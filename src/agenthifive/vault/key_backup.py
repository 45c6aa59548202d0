"""The encrypted copy of an installation's keys, under a passphrase.

    passphrase --scrypt(salt)--> key --AES-256-GCM--> {"format":"agenthifive-key-backup","v":1,...}

The parameters of scrypt are part of the format and not of the file's choosing: a file cannot make its reader work less
than ours did, or for ever. Source: contract/operations.md section 1.7.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from agenthifive.vault import base64url
from agenthifive.vault.envelope import IV_BYTES, KEY_BYTES, TAG_BYTES, Key
from agenthifive.vault.secret import Secret

SALT_BYTES: Final = 16
MIN_PASSPHRASE: Final = 14
_AAD: Final = b"agenthifive-key-backup|1"


class KeyBackupError(Exception):
    """The file is no key backup, was altered, or belongs to another passphrase. Never holds any of it."""


class Keys(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What the copy holds.

    Shapes:
        ring: 64 hex characters each, the active key first. sign_in_secret: BETTER_AUTH_SECRET. jwt_private_key: PEM.
        audit_public_keys: none while this release signs no checkpoints. created_at: `2026-11-23T15:00:01.250Z`.
    """

    ring: list[str]
    sign_in_secret: str | None = None
    jwt_private_key: str | None = None
    jwt_kid: str | None = None
    audit_public_keys: list[str] = []
    created_at: str

    def __repr__(self) -> str:
        return "Keys(***)"

    @property
    def kids(self) -> Sequence[str]:
        """Of the ring, the active one first. Raises: KeyBackupError."""
        try:
            return [Key(bytes.fromhex(key)).kid for key in self.ring]
        except ValueError:
            raise KeyBackupError("the backup holds something that is no key") from None


class _File(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    format: Literal["agenthifive-key-backup"] = "agenthifive-key-backup"
    v: Literal[1] = 1
    kdf: Literal["scrypt"] = "scrypt"
    n: Literal[131072] = 131072
    r: Literal[8] = 8
    p: Literal[1] = 1
    salt: str
    iv: str
    ciphertext: str
    tag: str
    kids: list[str]
    created_at: str


def write_key_backup(keys: Keys, passphrase: Secret[str], random: Callable[[int], bytes]) -> bytes:
    """The file.

    Shapes: random: so many bytes from the operating system's generator, fresh for every file.
    Raises: ValueError for a passphrase that is too short.
    """
    if len(passphrase.reveal()) < MIN_PASSPHRASE:
        raise ValueError(f"the passphrase is too short; expected at least {MIN_PASSPHRASE} characters")
    salt, iv = random(SALT_BYTES), random(IV_BYTES)
    sealed = _cipher(passphrase, salt).encrypt(iv, msgspec.json.encode(keys), _AAD)
    file = _File(
        salt=base64url.encode(salt),
        iv=base64url.encode(iv),
        ciphertext=base64url.encode(sealed[:-TAG_BYTES]),
        tag=base64url.encode(sealed[-TAG_BYTES:]),
        kids=list(keys.kids),
        created_at=keys.created_at,
    )
    return msgspec.json.encode(file) + b"\n"


def read_key_backup(content: bytes, passphrase: Secret[str]) -> Keys:
    """What a file holds. Raises: KeyBackupError; a wrong passphrase looks like a changed file."""
    try:
        file = msgspec.json.decode(content, type=_File)
        salt, iv = base64url.decode(file.salt), base64url.decode(file.iv)
        ciphertext, tag = base64url.decode(file.ciphertext), base64url.decode(file.tag)
    except (msgspec.DecodeError, ValueError):
        raise KeyBackupError("not the backup of keys, or of a version this release does not know") from None
    if (len(salt), len(iv), len(tag)) != (SALT_BYTES, IV_BYTES, TAG_BYTES):
        raise KeyBackupError("salt, iv or tag have the wrong length")
    try:
        keys = msgspec.json.decode(_cipher(passphrase, salt).decrypt(iv, ciphertext + tag, _AAD), type=Keys)
    except InvalidTag:
        raise KeyBackupError("the passphrase is wrong, or the file was changed") from None
    except msgspec.DecodeError:
        raise KeyBackupError("the backup holds something else than keys") from None
    if list(keys.kids) != file.kids or keys.created_at != file.created_at:
        raise KeyBackupError("the file was changed: it names other keys or another day than it holds")
    return keys


def _cipher(passphrase: Secret[str], salt: bytes) -> AESGCM:
    key = Scrypt(salt=salt, length=KEY_BYTES, n=131072, r=8, p=1).derive(passphrase.reveal().encode("utf-8"))
    return AESGCM(key)
