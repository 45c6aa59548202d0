"""A ring that is in use gets other keys: whoever works with it sees the old ones or the new ones, never a mixture."""

import os
from uuid import UUID

import pytest

from agenthifive.vault.envelope import Key, KeyUnknown
from agenthifive.vault.keyring import SEAL_LIMIT, KeyExhausted, Keyring, KeyUnavailable

OLD, NEW = os.urandom(32), os.urandom(32)
PLACE = ("t_connections", "encrypted_tokens", UUID(int=1), UUID(int=2))


def kid(material: bytes) -> str:
    return Key(material).kid


def test_loaded_keys_seal_and_open_at_once() -> None:
    ring = Keyring.of([OLD])
    before = ring.seal(b"x", *PLACE)
    ring.load(Keyring.of([NEW, OLD]))
    assert ring.active_kid == ring.seal(b"y", *PLACE).kid == kid(NEW)
    assert ring.open(before.text, *PLACE).reveal() == b"x"


def test_a_key_that_left_opens_only_while_it_lingers() -> None:
    ring = Keyring.of([OLD])
    before = ring.seal(b"x", *PLACE)
    ring.load(Keyring.of([NEW]), lingering=ring.copy())
    assert ring.kids == (kid(NEW), kid(OLD))
    assert ring.open(before.text, *PLACE).reveal() == b"x"
    ring.load(Keyring.of([NEW]))
    with pytest.raises(KeyUnknown):
        ring.open(before.text, *PLACE)


def test_seals_are_counted_by_key_and_kept_until_they_are_written_down() -> None:
    ring = Keyring.of([OLD])
    ring.seal(b"x", *PLACE)
    ring.load(Keyring.of([NEW, OLD]))
    ring.seal(b"x", *PLACE)
    ring.seal(b"x", *PLACE)
    assert ring.fresh_counts() == {kid(OLD): 1, kid(NEW): 2}
    ring.settle_count(kid(NEW), 2, 1000)
    assert ring.fresh_counts() == {kid(OLD): 1}
    assert ring.sealed_count == 1000


def test_what_others_sealed_counts_towards_the_limit() -> None:
    ring = Keyring.of([OLD])
    ring.settle_count(kid(OLD), 0, SEAL_LIMIT - 1)
    assert ring.is_worn
    with pytest.raises(KeyExhausted):
        ring.seal(b"x", *PLACE)
    ring.load(Keyring.of([NEW, OLD]))
    assert not ring.is_worn
    ring.seal(b"x", *PLACE)


def test_nothing_is_sealed_while_keys_and_database_do_not_fit() -> None:
    ring = Keyring.of([OLD])
    ring.fault = "canary for kid 1f is damaged"
    with pytest.raises(KeyUnavailable) as refusal:
        ring.seal(b"x", *PLACE)
    assert (refusal.value.status, refusal.value.code) == (503, "key_unavailable")
    assert "1f" not in refusal.value.message
    ring.fault = None
    ring.seal(b"x", *PLACE)
