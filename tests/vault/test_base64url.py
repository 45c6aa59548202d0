"""base64url: one text per value, everything else refused."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.vault.base64url import NotBase64url, decode, encode

ALPHABET = string.ascii_letters + string.digits + "-_"


@given(st.binary(max_size=200))
def test_what_is_written_is_read_back(data: bytes) -> None:
    text = encode(data)
    assert text == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert decode(text) == data


@given(
    st.text(alphabet=ALPHABET + "+/=. \n\0é", max_size=20)
    | st.binary(max_size=20).map(lambda octets: octets.decode("latin-1"))
)
def test_a_text_is_refused_or_is_the_one_spelling_of_its_value(text: str) -> None:
    try:
        data = decode(text)
    except NotBase64url:
        return
    assert encode(data) == text


def test_of_the_last_characters_only_those_without_stray_bits_are_accepted() -> None:
    assert sum(accepts("A" + last) for last in ALPHABET) == 4
    assert sum(accepts("AA" + last) for last in ALPHABET) == 16
    assert sum(accepts("AAA" + last) for last in ALPHABET) == 64


@pytest.mark.parametrize(
    "text",
    [
        "QQ==",
        "QQ=",
        "QQ\n",
        " QQ",
        "Q Q",
        "Q",
        "QQQQQ",
        "+_8A",
        "//8A",
        "QQ.A",
        "=",
        "Q=Q",
        "QQ\0",
        "QQé",
        "\ud800",
        "QR",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(NotBase64url):
        decode(text)


def test_nothing_is_written_as_nothing() -> None:
    assert encode(b"") == ""
    assert decode("") == b""


def accepts(text: str) -> bool:
    try:
        decode(text)
    except NotBase64url:
        return False
    return True
