"""Passwords a guesser tries first are recognised however they are dressed up; unguessable ones never are."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.people.common_passwords import _WORDS_TEXT, is_common

WORDS = sorted(_WORDS_TEXT.split())


@pytest.mark.parametrize(
    "password",
    [
        "password1234",
        "Password1234",
        "P@ssw0rd2024!",
        "passwordpassword",
        "Welcome2025!!",
        "letmeinletmein",
        "qwertyuiop12",
        "1qaz2wsx3edc",
        "1q2w3e4r5t6y",
        "123456789012",
        "098765432109",
        "abcdefghijkl",
        "aaaaaaaaaaaa",
        "121212121212",
        "abc123abc123",
        "Summer2024!!",
        "iloveyou1234",
        "adminadmin12",
        "changeme1234",
        "agenthifive1",
        "Trustno1Trustno1",
        "passwort8274",
        "!@#$%^&*()12",
        "",
    ],
)
def test_common(password: str) -> None:
    assert is_common(password)


@pytest.mark.parametrize(
    "password",
    [
        "orchid-lantern-gravel-77",
        "correct horse battery staple",
        "mein Pferd frisst keinen Gurkensalat",
        "ключ под ковриком у двери",
        "Tr0ub4dor&3x9",
        "kX9#mQ2$vL7z",
        "jakieś dłuższe zdanie",
    ],
)
def test_not_common(password: str) -> None:
    assert not is_common(password)


@given(
    word=st.sampled_from(WORDS),
    digits=st.text("0123456789", max_size=4),
    sign=st.sampled_from(["", "!", "?", "!!", ".", "#1"]),
    shape=st.sampled_from([str.lower, str.upper, str.title, str.swapcase]),
)
def test_a_known_word_with_digits_and_a_sign_stays_common(word: str, digits: str, sign: str, shape: object) -> None:
    assert callable(shape)
    assert is_common(shape(word) + digits + sign)


@given(word=st.sampled_from(WORDS), data=st.data())
def test_digits_for_letters_hide_no_word(word: str, data: st.DataObject) -> None:
    leet = {"o": "0", "i": "1!", "l": "1", "e": "3", "a": "4@", "s": "5$", "t": "7"}
    dressed = "".join(data.draw(st.sampled_from([letter, *leet.get(letter, "")])) for letter in word)
    assert is_common(dressed + "1234")


def test_no_random_password_is_called_common() -> None:
    """Of 10,000 passwords as managers make them, none is refused."""
    source = random.Random(20261123)
    alphabet = string.ascii_letters + string.digits + string.punctuation
    made = ("".join(source.choices(alphabet, k=source.randint(12, 24))) for _ in range(10_000))
    assert [password for password in made if is_common(password)] == []


@given(st.text(max_size=128))
def test_every_text_has_a_verdict(password: str) -> None:
    assert is_common(password) in (True, False)
