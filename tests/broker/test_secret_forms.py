"""The forms of a secret are exactly what its writers produce, and nothing of what stands beside it."""

import base64
import json
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from agenthifive.broker.secret_forms import (
    LINK,
    LINK_BYTES_MAX,
    base64_forms,
    escaped_core,
    escaped_pattern,
    hex_forms,
    is_odd,
    without_escapes,
)

SECRETS = st.binary(min_size=8, max_size=40)


@given(SECRETS, st.binary(max_size=7), st.binary(max_size=7))
def test_one_base64_form_stands_in_every_encoding_of_a_text_with_the_secret(
    secret: bytes, before: bytes, after: bytes
) -> None:
    forms = base64_forms(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert any(form in encode(before + secret + after) for form in forms)


@given(SECRETS, st.integers(0, 2), st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_a_base64_form_says_nothing_about_the_neighbours(secret: bytes, shift: int, one: bytes, two: bytes) -> None:
    """The same characters whatever stands around, and no further one is certain."""
    form = base64_forms(secret)[0] if shift == 0 else None
    encoded = [base64.b64encode(edge[:shift] + secret + edge) for edge in (one, two)]
    common = [form for form in base64_forms(secret) if all(form in text for text in encoded)]
    assert common
    assert form is None or form in common
    assert all(len(form) >= len(secret) * 8 // 6 - 1 for form in common)


def test_hex_has_two_cases() -> None:
    assert hex_forms(b"\xab\x01") == (b"ab01", b"AB01")


@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=20))
def test_the_pattern_reads_what_encoders_write(secret: str) -> None:
    pattern = escaped_pattern(secret.encode())
    for written in (
        secret,
        quote(secret, safe=""),
        quote(secret, safe="/"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
    ):
        assert pattern.fullmatch(written.encode())


def test_the_core_is_missing_exactly_when_the_form_is_odd() -> None:
    assert escaped_core(b"zyx/wvu-1") == b"zyx/wvu-1"
    assert escaped_core(b"ab/wvutsr") == b"/wvutsr"
    assert escaped_core(b"u00ab/xyz") == b"/xyz"
    for odd in (b"100% sure!", b'say "so" ', b"back\\slash", b"line\nfeed!", "pässword".encode()):
        assert is_odd(odd)
        assert escaped_core(odd) is None


def test_escapes_are_undone_once() -> None:
    assert without_escapes(b"a%2Fb\\u0063\\/d%zz%2541") == b"a/bc/d%zz%41"
    clean = b'{"a":"b\\n"}'
    assert without_escapes(clean) is clean


def test_a_link_is_bounded() -> None:
    written = b"".join(b"\\u%04x" % byte for byte in b"/api/quick-action/" + b"A" * 500)
    match = LINK.match(written)
    assert match is not None
    assert match.end() == LINK_BYTES_MAX
    assert LINK.search(b"/api/quick-action/ ") is None
