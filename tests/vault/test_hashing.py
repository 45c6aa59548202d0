"""Hashes, MACs, derived keys and tokens."""

import hashlib
import re

import pytest

from agenthifive.vault.hashing import constant_time_equal, hkdf, hmac_sha256, new_token, sha256_hex


def test_a_token_is_its_prefix_and_43_characters() -> None:
    for prefix in ("ah5t_", "ah5b_", "ah5p_"):
        token = new_token(prefix)
        assert re.fullmatch(prefix + r"[A-Za-z0-9_-]{43}", token)
        assert len(token) == 48
    assert len(new_token("")) == 43


def test_tokens_never_repeat() -> None:
    assert len({new_token("ah5t_") for _ in range(10_000)}) == 10_000


def test_sha256_hex_of_the_empty_text_and_of_abc() -> None:
    """FIPS 180-4 example values."""
    assert sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sha256_hex_is_defined_for_every_text() -> None:
    assert sha256_hex("é") == hashlib.sha256("é".encode()).hexdigest()
    assert sha256_hex("\ud800") != sha256_hex("\ud801")


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "aa", False),
        ("é", "é", True),
        (b"a", "a", True),
        ("\ud800", "a", False),
    ],
)
def test_constant_time_equal(left: str | bytes, right: str | bytes, equal: bool) -> None:
    assert constant_time_equal(left, right) is equal


def test_hmac_sha256() -> None:
    """RFC 4231 test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex() == expected


def test_hkdf() -> None:
    """RFC 5869 appendix A, cases 1 and 3."""
    secret = b"\x0b" * 22
    derived = hkdf(secret, purpose=bytes(range(0xF0, 0xFA)), salt=bytes(range(13)), size_bytes=42)
    assert derived.hex() == ("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    assert hkdf(secret, purpose=b"", size_bytes=42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def test_keys_for_two_purposes_have_nothing_in_common() -> None:
    assert hkdf(b"s" * 32, purpose=b"session") != hkdf(b"s" * 32, purpose=b"csrf")
    assert len(hkdf(b"s" * 32, purpose=b"session")) == 32
