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


class KeyUnavailable(AppError):
    """Nothing can be sealed or opened until an operator has looked at the keys; the cause is in the log."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(
            "key_unavailable",
            "Stored credentials cannot be used at the moment. Ask the operator of this instance to look at its key "
            "status, then try again.",
            retry_after_s=60,
        )


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
    """How often one key has sealed. Locked: sealing may happen in worker threads.

    Shapes: value: as far as this process knows. fresh: the part of it nobody wrote down yet.
    """

    __slots__ = ("_lock", "fresh", "value")

    def __init__(self, value: int) -> None:
        self.value = value
        self.fresh = 0
        self._lock = Lock()

    def take_one(self) -> None:
        with self._lock:
            if self.value + 1 >= SEAL_LIMIT:
                raise KeyExhausted
            self.value += 1
            self.fresh += 1

    def settle(self, written: int, total: int) -> None:
        with self._lock:
            self.fresh -= written
            self.value = max(self.value, total + self.fresh)

    def add(self, seals: int) -> None:
        with self._lock:
            self.value += seals


@dataclass(frozen=True, slots=True, eq=False)
class _Ring:
    """Keys that are in force together, the active one first, and how often the active one has sealed."""

    keys: tuple[Key, ...]
    by_kid: Mapping[str, Key] = field(repr=False)
    count: _SealCount = field(repr=False)


class Keyring:
    """The keys of this process, the active one first; every room holds this one object. Build it with `parse` or `of`.

    What is inside is frozen and replaced as a whole: whoever seals or opens works with the keys of one moment.
    """

    __slots__ = ("_counts", "_ring", "fault")

    def __init__(self, keys: Mapping[str, Key], sealed_count: int = 0) -> None:
        self._counts: dict[str, _SealCount] = {}
        self.fault: str | None = None
        """Why the keys cannot be used at the moment, for the log; set by the check that runs all the time."""
        self._ring = self._frozen(keys)
        self._ring.count.add(sealed_count)

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
        return cls(by_kid, sealed_count)

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
    def keys(self) -> tuple[Key, ...]:
        """The keys, the active one first."""
        return self._ring.keys

    @property
    def active_kid(self) -> str:
        """The kid under which new records are sealed."""
        return self._ring.keys[0].kid

    @property
    def kids(self) -> tuple[str, ...]:
        """Every kid that can be opened, the active one first."""
        return tuple(self._ring.by_kid)

    @property
    def sealed_count(self) -> int:
        """Seals made with the active key, as far as this process knows."""
        return self._ring.count.value

    @property
    def is_worn(self) -> bool:
        """Whether the operator must be warned to rotate the active key."""
        return self._ring.count.value >= WORN_SEALS

    def count_seals_elsewhere(self, seals: int) -> None:
        """Add seals that other replicas made with the active key."""
        self._ring.count.add(seals)

    def fresh_counts(self) -> dict[str, int]:
        """Seals by kid that are not written down yet, those of keys that have left included."""
        return {kid: count.fresh for kid, count in self._counts.items() if count.fresh}

    def settle_count(self, kid: str, written: int, total: int) -> None:
        """So many seals were written down, and all replicas together have made `total` with this key."""
        self._counts.setdefault(kid, _SealCount(0)).settle(written, total)

    def load(self, other: "Keyring", lingering: "Keyring | None" = None) -> None:
        """Put the keys of another ring in force, at once and as a whole.

        Shapes: lingering: a ring whose keys may still open for the calls that carry what was read before.
        """
        keys = {key.kid: key for key in other.keys}
        for key in () if lingering is None else lingering.keys:
            keys.setdefault(key.kid, key)
        self._ring = self._frozen(keys)

    def copy(self) -> "Keyring":
        """The keys of this moment, in a ring of their own."""
        return Keyring(self._ring.by_kid)

    def __repr__(self) -> str:
        return f"Keyring(keys={self._ring.keys})"

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

        Raises: KeyExhausted, KeyUnavailable; ValueError for a place that cannot be named (see envelope.aad).
        """
        place = envelope.aad(table, column, row_id, workspace_id)
        self.require_good()
        ring = self._ring
        ring.count.take_one()
        octets = plaintext.reveal() if isinstance(plaintext, Secret) else plaintext
        text = envelope.seal(octets, ring.keys[0], place, os.urandom(IV_BYTES))
        return SealedText(text, ring.keys[0].kid)

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
        return Secret(placed.open(self._ring.by_kid))

    def require_good(self) -> None:
        """Raises: KeyUnavailable while the database and these keys do not fit."""
        if self.fault is not None:
            raise KeyUnavailable

    def _frozen(self, keys: Mapping[str, Key]) -> _Ring:
        active = next(iter(keys))
        count = self._counts.setdefault(active, _SealCount(0))
        return _Ring(tuple(keys.values()), MappingProxyType(dict(keys)), count)


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
