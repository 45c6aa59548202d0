"""What lies beside a dump and says what is in it: no key, no secret, nothing that a dump does not show anyway.

    backup-20261123T150001Z.dump            the dump
    backup-20261123T150001Z.manifest.json   this

Source: contract/operations.md section 3.4.
"""

from pathlib import Path
from typing import Final, Literal

import msgspec

MAX_BYTES: Final = 64 * 1024 * 1024
DUMP_SUFFIX: Final = ".dump"
MANIFEST_SUFFIX: Final = ".manifest.json"


class ManifestError(RuntimeError):
    """There is no manifest, or it is not one; the message says what to do."""


class Head(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The last row of one chain of the log. Shapes: hash: lower-case hex."""

    chain_id: str
    seq: int
    hash: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One backup.

    Shapes:
        instance, epoch, revision: of the database. created_at: `2026-11-23T15:00:01.250Z`, database time.
        sha256: of the dump, lower-case hex. rows: table -> rows. kids: that sealed records need.
        last_checkpoint: None, as this release signs no checkpoints. heads: of the chains, which stand in for it.
    """

    format: Literal["agenthifive-backup"] = "agenthifive-backup"
    v: Literal[1] = 1
    instance: str
    epoch: int
    revision: str
    created_at: str
    sha256: str
    rows: dict[str, int]
    kids: list[str]
    last_checkpoint: None = None
    heads: list[Head]

    def as_bytes(self) -> bytes:
        """The file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def manifest_path(dump: Path) -> Path:
    """Where the manifest of a dump is."""
    return dump.with_name(f"{dump.name.removesuffix(DUMP_SUFFIX)}{MANIFEST_SUFFIX}")


def read_manifest(path: Path) -> Manifest:
    """A manifest file. Raises: ManifestError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(
            f"{path} cannot be read ({error.strerror}). A dump and its manifest belong together; a dump without one "
            "is restored by hand."
        ) from None
    try:
        return msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise ManifestError(f"{path} is not the manifest of a backup ({error}).") from None
