"""E-mail addresses and names are read once, in one way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.people.model import EMAIL_MAX, read_email, read_name


@pytest.mark.parametrize(
    "text",
    ["olga@example.com", "Olga.Petrova+ah5@mail.Example.com", "o@localhost", "ольга@почта.рф", " olga@example.com "],
)
def test_an_address(text: str) -> None:
    email = read_email(text)
    assert email is not None
    assert email.text == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "olga",
        "@example.com",
        "olga@",
        "olga@@example.com",
        "olga@example..com",
        "olga@-example.com",
        "olga@example.com.",
        "olga petrova@example.com",
        "olga@exa mple.com",
        "olga\x00@example.com",
        "olga@example.com\nbcc: x@evil.test",
        "<olga@example.com>",
        "olga@example.com,x@evil.test",
        "a" * 65 + "@example.com",
        "a@" + "b" * 60 + (".b" * 100),
        "olga@[127.0.0.1]",
        "\u202eolga@example.com",
    ],
)
def test_no_address(text: str) -> None:
    assert read_email(text) is None


@given(st.emails())
def test_addresses_compare_in_either_case(text: str) -> None:
    email, shouted = read_email(text), read_email(text.upper())
    if email is not None and shouted is not None and text.isascii():
        assert email.key == shouted.key


@given(st.text(max_size=400))
def test_what_was_read_reads_the_same_again(text: str) -> None:
    email = read_email(text)
    if email is not None:
        assert read_email(email.text) == email
        assert len(email.text) <= EMAIL_MAX


@pytest.mark.parametrize("name", ["Olga", "  Olga Petrova ", "山田　太郎", "O'Neil", "a" * 100])
def test_a_name(name: str) -> None:
    assert read_name(name) == name.strip()


@pytest.mark.parametrize("name", ["", "   ", "a" * 101, "Ol\x00ga", "Ol\nga", "ad\u202enim", "\ud800"])
def test_no_name(name: str) -> None:
    assert read_name(name) is None
