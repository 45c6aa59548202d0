"""The key ring: what the settings mean, what it refuses, and when it stops sealing."""

import os
import pickle
import threading
from itertools import product
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.errors import AppError
from agenthifive.vault.envelope import EnvelopeError, Key, KeyLengthError, KeyUnknown
from agenthifive.vault.keyring import Keyring, is_example
from agenthifive.vault.secret import Secret

OLD, NEW, OLDER = (bytes([n, 200 - n, 7]) + os.urandom(29) for n in (1, 2, 3))
EXPECTED = "expected 64 hexadecimal characters (32 bytes); generate one with: openssl rand -hex 32"
ROW, WORKSPACE = UUID(int=1), UUID(int=2)
PLACE = ("t_connections", "encrypted_tokens", ROW, WORKSPACE)


def kid(material: bytes) -> str:
    return Key(material).kid


def test_the_first_key_is_active_and_all_open() -> None:
    ring = Keyring.parse(f"{NEW.hex()},{OLD.hex()}", OLDER.hex())
    assert ring.active_kid == kid(NEW)
    assert ring.kids == (kid(NEW), kid(OLD), kid(OLDER))
    for material in (NEW, OLD, OLDER):
        sealed = Keyring.of([material]).seal(b"x", *PLACE)
        assert ring.open(sealed.text, *PLACE).reveal() == b"x"


def test_new_records_name_the_active_key() -> None:
    sealed = Keyring.parse(NEW.hex(), OLD.hex()).seal(b"x", *PLACE)
    assert sealed.kid == kid(NEW)
    assert f'"kid":"{kid(NEW)}"' in sealed.text


def test_upper_case_blanks_and_duplicates_change_nothing() -> None:
    ring = Keyring.parse(f" {NEW.hex().upper()} , {OLD.hex()}", f"{OLD.hex()},{NEW.hex()}")
    assert ring.kids == (kid(NEW), kid(OLD))


def test_a_removed_key_is_missed_by_name() -> None:
    sealed = Keyring.of([OLD]).seal(b"x", *PLACE)
    with pytest.raises(KeyUnknown) as refusal:
        Keyring.of([NEW]).open(sealed.text, *PLACE)
    assert refusal.value.kid == kid(OLD)


@pytest.mark.parametrize(
    ("active", "previous", "message"),
    [
        ("", "", f"ENCRYPTION_KEY: missing; {EXPECTED}"),
        ("  ", "", f"ENCRYPTION_KEY: missing; {EXPECTED}"),
        ("ab" * 31, "", f"ENCRYPTION_KEY: 62 characters; {EXPECTED}"),
        ("ab" * 32 + "\n0", "", f"ENCRYPTION_KEY: 66 characters; {EXPECTED}"),
        ("zz" * 32, "", f"ENCRYPTION_KEY: not hexadecimal; {EXPECTED}"),
        ("ab " * 21 + "a", "", f"ENCRYPTION_KEY: not hexadecimal; {EXPECTED}"),
        ("0x" + "ab" * 31, "", f"ENCRYPTION_KEY: not hexadecimal; {EXPECTED}"),
        ("ab_" * 21 + "a", "", f"ENCRYPTION_KEY: not hexadecimal; {EXPECTED}"),
        ("٣" * 64, "", f"ENCRYPTION_KEY: not hexadecimal; {EXPECTED}"),
        (NEW.hex() + ",", "", f"ENCRYPTION_KEY (key 2 of 2): 0 characters; {EXPECTED}"),
        (NEW.hex(), OLD.hex() + ",ab", f"ENCRYPTION_KEY_PREVIOUS (key 2 of 2): 2 characters; {EXPECTED}"),
        (NEW.hex(), "abc", f"ENCRYPTION_KEY_PREVIOUS: 3 characters; {EXPECTED}"),
        (
            "abc",
            "zz" * 32,
            f"ENCRYPTION_KEY: 3 characters; {EXPECTED}\nENCRYPTION_KEY_PREVIOUS: not hexadecimal; {EXPECTED}",
        ),
    ],
)
def test_each_defect_is_named_with_its_setting_and_without_its_value(active: str, previous: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        Keyring.parse(active, previous)
    assert str(refusal.value) == message


def test_eight_keys_are_a_ring_and_nine_are_not() -> None:
    keys = [os.urandom(32).hex() for _ in range(9)]
    assert len(Keyring.parse(keys[0], ",".join(keys[:8])).kids) == 8
    with pytest.raises(ValueError, match="ENCRYPTION_KEY_PREVIOUS: 9 keys; expected at most 8"):
        Keyring.parse(keys[0], ",".join(keys))


@given(st.text(max_size=70), st.text(max_size=70))
def test_any_setting_gives_a_ring_or_a_value_error(active: str, previous: str) -> None:
    with pytest.raises(ValueError, match="ENCRYPTION_KEY"):
        Keyring.parse(active, previous)


def test_a_ring_of_raw_keys_checks_them_too() -> None:
    with pytest.raises(KeyLengthError):
        Keyring.of([NEW, b"x" * 31])
    with pytest.raises(ValueError):
        Keyring.of([])


@pytest.mark.parametrize(
    "material",
    [
        bytes(32),
        b"\xff" * 32,
        b"\xab" * 32,
        bytes(range(32)),
        bytes(range(32, 0, -1)),
        bytes.fromhex("0123456789abcdef" * 4),
        bytes.fromhex("fedcba9876543210" * 4),
        bytes.fromhex(("1234567890" * 7)[:64]),
        bytes.fromhex("deadbeef" * 8),
        bytes.fromhex("00112233445566778899aabbccddeeff" * 2),
        b"a" * 31 + b"b",
    ],
)
def test_example_values_are_recognised(material: bytes) -> None:
    assert is_example(Key(material))
    assert Keyring.parse(material.hex(), "").active_kid == kid(material)


def test_no_random_key_is_called_an_example() -> None:
    assert not any(is_example(Key(os.urandom(32))) for _ in range(2000))


def test_every_swap_among_records_fails() -> None:
    ring = Keyring.of([NEW, OLD])
    places = [
        (table, column, uuid4(), workspace)
        for table, column, workspace in product(("t_a", "t_b"), ("c", "d"), (uuid4(), uuid4(), None))
        for _ in range(3)
    ]
    records = [ring.seal(b"secret", *place).text for place in places]
    pairs = product(enumerate(records), enumerate(places))
    opened = [(i, j) for (i, text), (j, place) in pairs if opens(ring, text, place)]
    assert opened == [(i, i) for i in range(len(places))]


def opens(ring: Keyring, text: str, place: tuple) -> bool:
    try:
        ring.open(text, *place)
    except EnvelopeError:
        return False
    return True


def test_no_iv_repeats_in_100_000_seals() -> None:
    ring = Keyring.of([NEW])
    ivs = {ring.seal(b"", "t", "c", "r", None).text[51:67] for _ in range(100_000)}
    assert len(ivs) == 100_000
    assert ring.sealed_count == 100_000


def test_a_secret_is_sealed_without_being_revealed_and_opens_as_a_secret() -> None:
    ring = Keyring.of([NEW])
    opened = ring.open(ring.seal(Secret(b"seed"), *PLACE).text, *PLACE)
    assert opened == Secret(b"seed")
    assert repr(opened) == "***"


def test_sealing_stops_before_the_2_to_the_32nd_seal_and_opening_does_not() -> None:
    ring = Keyring.parse(NEW.hex(), "", sealed_count=2**32 - 2)
    last = ring.seal(b"x", *PLACE)
    for _ in range(2):
        with pytest.raises(AppError) as refusal:
            ring.seal(b"x", *PLACE)
        assert (refusal.value.code, refusal.value.status) == ("key_unavailable", 503)
        assert refusal.value.retry_after_s is not None
    assert ring.sealed_count == 2**32 - 1
    assert ring.open(last.text, *PLACE).reveal() == b"x"


def test_a_key_is_worn_from_2_to_the_31_seals_on() -> None:
    ring = Keyring.parse(NEW.hex(), "", sealed_count=2**31 - 1)
    assert not ring.is_worn
    ring.seal(b"x", *PLACE)
    assert ring.is_worn


def test_seals_of_other_replicas_count() -> None:
    ring = Keyring.of([NEW])
    ring.seal(b"x", *PLACE)
    ring.count_seals_elsewhere(2**32)
    assert ring.sealed_count == 2**32 + 1
    with pytest.raises(AppError):
        ring.seal(b"x", *PLACE)


def test_a_refused_place_costs_no_seal() -> None:
    ring = Keyring.of([NEW])
    with pytest.raises(ValueError):
        ring.seal(b"x", "t|", "c", "r", None)
    assert ring.sealed_count == 0


def test_no_seal_of_parallel_threads_is_lost() -> None:
    ring = Keyring.of([NEW])
    threads = [threading.Thread(target=lambda: [ring.seal(b"", *PLACE) for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ring.sealed_count == 2000


def test_a_ring_shows_kids_only_and_cannot_be_pickled() -> None:
    ring = Keyring.of([NEW])
    assert repr(ring) == f"Keyring(keys=(Key(kid='{kid(NEW)}'),))"
    with pytest.raises(TypeError):
        pickle.dumps(ring)
