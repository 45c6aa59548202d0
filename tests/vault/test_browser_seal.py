"""Sealed cookies open for their purpose and in their time only."""

import pytest

from agenthifive.vault.browser_seal import BrowserSeal

SECRET = b"a sign-in secret of thirty-two bytes or more"
VALUES = {"state": "abc", "nonce": "déf"}


def test_values_come_back_for_the_same_purpose() -> None:
    text = BrowserSeal(SECRET).seal("flow", VALUES, 100.0)
    assert BrowserSeal(SECRET).open("flow", text, 99.9) == VALUES
    assert "abc" not in text


@pytest.mark.parametrize(
    ("secret", "purpose", "now_s"),
    [(b"another " + SECRET, "flow", 1.0), (SECRET, "pending", 1.0), (SECRET, "flow", 100.0)],
)
def test_nothing_comes_back_for_another_secret_or_purpose_or_after_the_end(
    secret: bytes, purpose: str, now_s: float
) -> None:
    text = BrowserSeal(SECRET).seal("flow", VALUES, 100.0)
    assert BrowserSeal(secret).open(purpose, text, now_s) is None


def test_what_was_under_way_before_a_restore_is_over() -> None:
    text = BrowserSeal(SECRET, 1).seal("flow", VALUES, 100.0)
    assert BrowserSeal(SECRET, 2).open("flow", text, 1.0) is None


def test_no_changed_character_is_accepted() -> None:
    seal = BrowserSeal(SECRET)
    text = seal.seal("flow", VALUES, 100.0)
    for place, letter in enumerate(text):
        other = "A" if letter != "A" else "B"
        assert seal.open("flow", text[:place] + other + text[place + 1 :], 1.0) is None


@pytest.mark.parametrize("text", ["", "A", "AAAA", "not base64url!", "A" * 60])
def test_what_is_no_seal_of_ours_is_nothing(text: str) -> None:
    assert BrowserSeal(SECRET).open("flow", text, 1.0) is None


def test_what_no_browser_keeps_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        BrowserSeal(SECRET).seal("flow", {"much": "x" * 4000}, 100.0)
