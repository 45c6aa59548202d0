"""The envelope: known answers, one spelling, bound to its place, refused when anything is changed."""

import hashlib
import json
import os
from collections.abc import Mapping
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.vault import base64url
from agenthifive.vault.envelope import (
    EnvelopeError,
    Key,
    KeyLengthError,
    KeyUnknown,
    aad,
    read_envelope,
    seal,
)

KEY = Key(bytes(range(32)))
RING = {KEY.kid: KEY}
IV = bytes(range(12))
PLAIN = b'{"accessToken":"tok-1"}'
PLACE = aad(
    "t_connections",
    "encrypted_tokens",
    UUID("5d0c2f9e-8a47-4f3b-b1c6-2e9d7a604f38"),
    UUID("7a1f0c52-3b6e-4c19-9d2a-0e5b8f4c6d11"),
)
V1 = (
    '{"v":1,"alg":"A256GCM","iv":"AAECAwQFBgcICQoL","ciphertext":"PCC3eKaAsWjZLvzu38tCT_e57BnBWSI",'
    '"tag":"m9xcBMJV9CVu78NXqatw1Q"}'
)
V2 = (
    '{"v":2,"alg":"A256GCM","kid":"630dcd2966c43366","iv":"AAECAwQFBgcICQoL",'
    '"ciphertext":"PCC3eKaAsWjZLvzu38tCT_e57BnBWSI","tag":"bBjFLAQ-dlFoTEBs0BePbg"}'
)

# McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test cases 13 to 16
GCM_KEY = "feffe9928665731c6d6a8f9467308308" * 2
GCM_PLAIN = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
GCM_SEALED = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)
GCM_CASES = [
    ("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    (
        "00" * 32,
        "00" * 12,
        "",
        "00" * 16,
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    ),
    (GCM_KEY, "cafebabefacedbaddecaf888", "", GCM_PLAIN, GCM_SEALED, "b094dac5d93471bdec1a502270e3cc6c"),
    (
        GCM_KEY,
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        GCM_PLAIN[:120],
        GCM_SEALED[:120],
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
]


def open_envelope(text: str, ring: Mapping[str, Key], place: bytes) -> bytes:
    """The plaintext of an envelope found in a place."""
    return read_envelope(text).open(ring, place)


def test_the_vectors_of_the_contract_hold_both_ways() -> None:
    assert KEY.kid == "630dcd2966c43366"
    assert seal(PLAIN, KEY, PLACE, IV) == V2
    assert open_envelope(V2, RING, PLACE) == PLAIN
    assert open_envelope(V1, RING, PLACE) == PLAIN


@pytest.mark.parametrize(("key", "iv", "place", "plain", "sealed", "tag"), GCM_CASES)
def test_known_answers_of_gcm(key: str, iv: str, place: str, plain: str, sealed: str, tag: str) -> None:
    material = Key(bytes.fromhex(key))
    text = json.dumps(
        {
            "v": 2,
            "alg": "A256GCM",
            "kid": hashlib.sha256(bytes.fromhex(key)).hexdigest()[:16],
            "iv": base64url.encode(bytes.fromhex(iv)),
            "ciphertext": base64url.encode(bytes.fromhex(sealed)),
            "tag": base64url.encode(bytes.fromhex(tag)),
        },
        separators=(",", ":"),
    )
    assert seal(bytes.fromhex(plain), material, bytes.fromhex(place), bytes.fromhex(iv)) == text
    assert open_envelope(text, {material.kid: material}, bytes.fromhex(place)) == bytes.fromhex(plain)


@given(st.binary(max_size=300), st.binary(min_size=32, max_size=32), st.binary(min_size=12, max_size=12))
def test_what_is_sealed_opens(plain: bytes, material: bytes, iv: bytes) -> None:
    key = Key(material)
    text = seal(plain, key, PLACE, iv)
    assert list(json.loads(text)) == ["v", "alg", "kid", "iv", "ciphertext", "tag"]
    assert json.dumps(json.loads(text), separators=(",", ":")) == text
    assert open_envelope(text, {key.kid: key}, PLACE) == plain


def test_no_flipped_byte_of_50_envelopes_is_accepted() -> None:
    for number in range(50):
        text = seal(os.urandom(number), KEY, PLACE, os.urandom(12)).encode()
        for index, bit in product(range(len(text)), (0x01, 0x20)):
            changed = text[:index] + bytes([text[index] ^ bit]) + text[index + 1 :]
            with pytest.raises(EnvelopeError):
                open_envelope(changed.decode(), RING, PLACE)


@pytest.mark.parametrize("text", [V1, V2])
def test_no_other_byte_anywhere_is_accepted(text: str) -> None:
    for index, value in product(range(len(text)), range(256)):
        changed = text[:index] + chr(value) + text[index + 1 :]
        if changed != text:
            with pytest.raises(EnvelopeError):
                open_envelope(changed, RING, PLACE)


def test_an_envelope_opens_in_its_own_place_only() -> None:
    tables, columns = ("t_connections", "t_oauth_apps"), ("encrypted_tokens", "client_secret")
    rows, workspaces = (UUID(int=1), UUID(int=2)), (UUID(int=3), UUID(int=1), None)
    places = [aad(*place) for place in product(tables, columns, rows, workspaces)]
    texts = [seal(PLAIN, KEY, place, os.urandom(12)) for place in places]
    opened = 0
    for (i, text), (j, place) in product(enumerate(texts), enumerate(places)):
        if i == j:
            opened += open_envelope(text, RING, place) == PLAIN
        else:
            with pytest.raises(EnvelopeError):
                open_envelope(text, RING, place)
    assert opened == len(places) == 24


def test_the_place_is_written_as_the_contract_says() -> None:
    ids = b"5d0c2f9e-8a47-4f3b-b1c6-2e9d7a604f38|7a1f0c52-3b6e-4c19-9d2a-0e5b8f4c6d11"
    assert b"t_connections|encrypted_tokens|" + ids == PLACE
    assert aad("t_key_canaries", "envelope", "630dcd2966c43366", None) == b"t_key_canaries|envelope|630dcd2966c43366|"


@pytest.mark.parametrize(
    "place",
    [
        ("t|a", "b", "c", "d"),
        ("t", "a|b", "c", "d"),
        ("t", "a", "b|c", "d"),
        ("t", "a", "b", "c|d"),
        ("t", "a", "b|", None),
        ("", "a", "b", "c"),
        ("t", "", "b", "c"),
        ("t", "a", "", "c"),
        ("t", "a", "b", ""),
        ("t", "a", "5D0C2F9E-8A47-4F3B-B1C6-2E9D7A604F38", "c"),
        ("T", "a", "b", "c"),
    ],
)
def test_two_places_never_look_alike(place: tuple[str, str, str, str | None]) -> None:
    with pytest.raises(ValueError):
        aad(*place)


@pytest.mark.parametrize("size_bytes", [0, 16, 24, 31, 33, 64])
def test_a_key_of_another_length_exists_nowhere(size_bytes: int) -> None:
    with pytest.raises(KeyLengthError, match=f"{size_bytes} bytes; expected exactly 32"):
        Key(b"k" * size_bytes)


@pytest.mark.parametrize("size_bytes", [0, 8, 11, 13, 16])
def test_an_iv_of_another_length_seals_nothing(size_bytes: int) -> None:
    with pytest.raises(ValueError, match="expected exactly 12"):
        seal(PLAIN, KEY, PLACE, b"i" * size_bytes)


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(KeyUnknown, match="630dcd2966c43366") as refusal:
        open_envelope(V2, {}, PLACE)
    assert refusal.value.kid == "630dcd2966c43366"


def test_version_1_is_tried_against_every_key() -> None:
    others = [Key(bytes([n]) * 32) for n in range(3)]
    ring = {key.kid: key for key in (*others, KEY)}
    assert open_envelope(V1, ring, PLACE) == PLAIN
    with pytest.raises(EnvelopeError):
        open_envelope(V1, {key.kid: key for key in others}, PLACE)


def test_the_version_cannot_be_changed_to_loosen_the_binding() -> None:
    as_v1 = V2.replace('"v":2', '"v":1').replace('"kid":"630dcd2966c43366",', "")
    as_v2 = V1.replace('"v":1,"alg":"A256GCM"', '"v":2,"alg":"A256GCM","kid":"630dcd2966c43366"')
    for text in (as_v1, as_v2):
        with pytest.raises(EnvelopeError, match="altered"):
            open_envelope(text, RING, PLACE)


def test_another_key_under_the_same_name_opens_nothing() -> None:
    with pytest.raises(EnvelopeError):
        open_envelope(V2, {KEY.kid: Key(b"\x07" * 32)}, PLACE)


SEALED = base64url.decode("PCC3eKaAsWjZLvzu38tCT_e57BnBWSI") + base64url.decode("bBjFLAQ-dlFoTEBs0BePbg")
HOSTILE = {
    "empty": "",
    "not JSON": "hello",
    "array": "[]",
    "null": "null",
    "trailing data": V2 + "{}",
    "trailing newline": V2 + "\n",
    "leading blank": " " + V2,
    "byte order mark": "\ufeff" + V2,
    "a blank inside": V2.replace(":2", ": 2"),
    "members in another order": V2.replace('"v":2,"alg":"A256GCM"', '"alg":"A256GCM","v":2'),
    "duplicate member": V2.replace('"v":2', '"v":2,"v":2'),
    "duplicate kid": V2.replace('"iv"', '"kid":"630dcd2966c43366","iv"'),
    "unknown member": V2.replace("}", ',"aad":""}'),
    "escaped member name": V2.replace('"iv"', '"\\u0069v"'),
    "escaped value": V2.replace("A256GCM", "A256GC\\u004d"),
    "missing tag": V2.replace(',"tag":"bBjFLAQ-dlFoTEBs0BePbg"', ""),
    "missing iv": V2.replace('"iv":"AAECAwQFBgcICQoL",', ""),
    "v 0": V2.replace('"v":2', '"v":0'),
    "v 3": V2.replace('"v":2', '"v":3'),
    "v true": V1.replace('"v":1', '"v":true'),
    "v as text": V2.replace('"v":2', '"v":"2"'),
    "v as fraction": V2.replace('"v":2', '"v":2.0'),
    "v null": V2.replace('"v":2', '"v":null'),
    "kid in version 1": V1.replace('"iv"', '"kid":"630dcd2966c43366","iv"'),
    "no kid in version 2": V2.replace('"kid":"630dcd2966c43366",', ""),
    "kid null": V2.replace('"630dcd2966c43366"', "null"),
    "kid in upper case": V2.replace("630dcd2966c43366", "630DCD2966C43366"),
    "kid too short": V2.replace("630dcd2966c43366", "630dcd29"),
    "alg in lower case": V2.replace("A256GCM", "a256gcm"),
    "alg none": V2.replace("A256GCM", "none"),
    "alg A128GCM": V2.replace("A256GCM", "A128GCM"),
    "iv padded": V2.replace("AAECAwQFBgcICQoL", "AAECAwQFBgcICQoL===="),
    "iv 11 bytes": V2.replace("AAECAwQFBgcICQoL", "AAECAwQFBgcICQo"),
    "iv 13 bytes": V2.replace("AAECAwQFBgcICQoL", "AAECAwQFBgcICQoLDA"),
    "iv empty": V2.replace("AAECAwQFBgcICQoL", ""),
    "tag padded": V2.replace("0BePbg", "0BePbg=="),
    "tag with stray bits": V2.replace("0BePbg", "0BePbh"),
    "tag of 12 bytes": V2.replace("bBjFLAQ-dlFoTEBs0BePbg", "bBjFLAQ-dlFoTEBs"),
    "tag of 12 bytes, its rest in the ciphertext": (
        '{"v":2,"alg":"A256GCM","kid":"630dcd2966c43366","iv":"AAECAwQFBgcICQoL",'
        f'"ciphertext":"{base64url.encode(SEALED[:-12])}","tag":"{base64url.encode(SEALED[-12:])}"}}'
    ),
    "tag empty": V2.replace("bBjFLAQ-dlFoTEBs0BePbg", ""),
    "tag in the standard alphabet": V2.replace("-", "+"),
    "ciphertext in the standard alphabet": V2.replace("_", "/"),
    "ciphertext cut": V2.replace("BnBWSI", "BnBW"),
    "ciphertext as number": V2.replace('"PCC3eKaAsWjZLvzu38tCT_e57BnBWSI"', "1"),
    "lone surrogate": V2.replace("PCC3", "\ud800CC3"),
    "deep": '{"v":' + "[" * 5000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_envelopes_are_refused_without_an_echo(text: str) -> None:
    with pytest.raises(EnvelopeError) as refusal:
        open_envelope(text, RING, PLACE)
    assert not isinstance(refusal.value, KeyUnknown)
    assert "PCC3" not in str(refusal.value)


@given(st.text(max_size=60) | st.sampled_from([V1, V2]).flatmap(lambda text: st.permutations(text[:40]).map("".join)))
def test_any_text_gives_an_envelope_error(text: str) -> None:
    with pytest.raises(EnvelopeError):
        open_envelope(text, RING, PLACE)


def test_a_key_does_not_show_its_bytes() -> None:
    assert repr(KEY) == "Key(kid='630dcd2966c43366')"
