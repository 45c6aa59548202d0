"""The keys in use: one seals, all open, and each knows its name.

    ENCRYPTION_KEY           new,old1   -> the first is active: it seals and opens
    ENCRYPTION_KEY_PREVIOUS  old2,old3  -> previous: they only open

Source: contract/operations.md sections 1.1 to 1.3.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from types import MappingProxyType
from typing import Final, Self
from uuid import UUID

from agenthifive.errors import AppError
from agenthifive.vault import envelope
from agenthifive.vault.envelope import IV_BYTES, KEY_BYTES, Key
from agenthifive.vault.secret import Secret

MAX_KEYS: Final = 8
WORN_SEALS: Final = 2**31
SEAL_LIMIT: Final = 2**32

_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_HEX_LENGTH: Final = 2 * KEY_BYTES
_EXPECTED: Final = "expected 64 hexadecimal characters (32 bytes); generate one with: openssl rand -hex 32"
_LONGEST_PATTERN_BYTES: Final = 16


class KeyExhausted(AppError):
    """The active key has sealed as often as random IVs allow; only a rotation helps."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(
            "key_unavailable",
            "Nothing new can be stored encrypted at the moment. Ask the operator of this instance to look at "
            "its key status, then try again.",
            retry_after_s=60,
        )


@dataclass(frozen=True, slots=True)
class SealedText:
    """An envelope and the kid for its companion column."""

    text: str
    kid: str


class _SealCount:
    """How often the active key has sealed. Locked: sealing may happen in worker threads."""

    __slots__ = ("_lock", "value")

    def __init__(self, value: int) -> None:
        self.value = value
        self._lock = Lock()

    def take_one(self) -> None:
        with self._lock:
            if self.value + 1 >= SEAL_LIMIT:
                raise KeyExhausted
            self.value += 1

    def add(self, seals: int) -> None:
        with self._lock:
            self.value += seals


@dataclass(frozen=True, slots=True, eq=False)
class Keyring:
    """An ordered set of keys, the active one first. Build it with `parse` or `of`."""

    keys: tuple[Key, ...]
    _by_kid: Mapping[str, Key] = field(repr=False)
    _count: _SealCount = field(repr=False)

    @classmethod
    def of(cls, materials: Sequence[bytes], sealed_count: int = 0) -> Self:
        """A ring of raw keys, the active one first; repeated keys count once.

        Shapes: sealed_count: seals made with the active key so far, by all replicas.
        Raises: KeyLengthError; ValueError for no key or more than 8.
        """
        by_kid: dict[str, Key] = {}
        for material in materials:
            key = Key(material)
            by_kid.setdefault(key.kid, key)
        if not by_kid:
            raise ValueError("a key ring needs an active key")
        if len(by_kid) > MAX_KEYS:
            raise ValueError(f"{len(by_kid)} keys; expected at most {MAX_KEYS}; retire keys that seal no record")
        return cls(tuple(by_kid.values()), MappingProxyType(by_kid), _SealCount(sealed_count))

    @classmethod
    def parse(cls, active: str, previous: str, sealed_count: int = 0) -> Self:
        """The ring of the two settings.

        Example values are accepted here; production refuses them by `is_example`.

        Shapes: active: ENCRYPTION_KEY. previous: ENCRYPTION_KEY_PREVIOUS, empty for none.
        Raises: ValueError with one line for each defect, naming the setting and never a value.
        """
        defects: list[str] = []
        materials = _read_keys("ENCRYPTION_KEY", active, defects)
        if not active.strip():
            defects.append(f"ENCRYPTION_KEY: missing; {_EXPECTED}")
        materials += _read_keys("ENCRYPTION_KEY_PREVIOUS", previous, defects)
        if defects:
            raise ValueError("\n".join(defects))
        try:
            return cls.of(materials, sealed_count)
        except ValueError as defect:
            raise ValueError(f"ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS: {defect}") from None

    @property
    def active_kid(self) -> str:
        """The kid under which new records are sealed."""
        return self.keys[0].kid

    @property
    def kids(self) -> tuple[str, ...]:
        """Every kid that can be opened, the active one first."""
        return tuple(self._by_kid)

    @property
    def sealed_count(self) -> int:
        """Seals made with the active key, as far as this process knows."""
        return self._count.value

    @property
    def is_worn(self) -> bool:
        """Whether the operator must be warned to rotate the active key."""
        return self._count.value >= WORN_SEALS

    def count_seals_elsewhere(self, seals: int) -> None:
        """Add seals that other replicas made with the active key."""
        self._count.add(seals)

    def seal(
        self,
        plaintext: bytes | Secret[bytes],
        table: str,
        column: str,
        row_id: UUID | str,
        workspace_id: UUID | str | None,
    ) -> SealedText:
        """Seal a value for one place with the active key.

        The IV is drawn here and not handed in: a repeated IV breaks GCM, so no caller may choose one.

        Raises: KeyExhausted; ValueError for a place that cannot be named (see envelope.aad).
        """
        place = envelope.aad(table, column, row_id, workspace_id)
        self._count.take_one()
        octets = plaintext.reveal() if isinstance(plaintext, Secret) else plaintext
        text = envelope.seal(octets, self.keys[0], place, os.urandom(IV_BYTES))
        return SealedText(text, self.keys[0].kid)

    def open(
        self, sealed: str, table: str, column: str, row_id: UUID | str, workspace_id: UUID | str | None
    ) -> Secret[bytes]:
        """Open an envelope found in that place.

        Raises: envelope.KeyUnknown, envelope.EnvelopeError.
        """
        return self.open_placed(envelope.Placed(sealed, table, column, row_id, workspace_id))

    def open_placed(self, placed: envelope.Placed) -> Secret[bytes]:
        """Open an envelope that is kept with its place, for secrets that are needed call after call.

        Raises: envelope.KeyUnknown, envelope.EnvelopeError.
        """
        return Secret(placed.open(self._by_kid))


def is_example(key: Key) -> bool:
    """Whether the key is a pattern nobody draws at random: one byte or a short sequence repeated, or sorted bytes.

    `openssl rand` gives such a key with a probability below 2^-110.
    """
    material = key.material
    rising = bytes(sorted(material))
    return material in (rising, rising[::-1]) or any(
        material[size:] == material[:-size] for size in range(1, _LONGEST_PATTERN_BYTES + 1)
    )


def _read_keys(setting: str, value: str, defects: list[str]) -> list[bytes]:
    if not value.strip():
        return []
    materials: list[bytes] = []
    items = [item.strip() for item in value.split(",")]
    for number, item in enumerate(items, start=1):
        name = setting if len(items) == 1 else f"{setting} (key {number} of {len(items)})"
        if len(item) != _HEX_LENGTH:
            defects.append(f"{name}: {len(item)} characters; {_EXPECTED}")
        elif not _HEX.fullmatch(item):
            defects.append(f"{name}: not hexadecimal; {_EXPECTED}")
        else:
            materials.append(bytes.fromhex(item))
    return materials
