"""Patterns: RE2 only, and a set that fails never opens a rule."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.policy import patterns
from agenthifive.policy.patterns import PatternSet, find_all, pattern_fault, pattern_set
from policy.calls import preset_file

TEXTS = st.text("ab/1é\u212a \n", max_size=20)
LISTED = ["a", "^b", "1$", "(?i)É", "[^/]+/", "", r"\d", r"\bb\b", "k", "(a|b){3}"]


@given(st.lists(st.sampled_from(LISTED), unique=True), TEXTS, st.booleans())
def test_a_set_finds_what_each_pattern_finds_alone(listed: list[str], text: str, ignores_case: bool) -> None:
    together = PatternSet(listed, ignores_case).hits(text.encode())
    alone = {n for n, p in enumerate(listed) if PatternSet([p], ignores_case).is_found(text.encode())}
    assert together == alone


def test_a_set_that_fails_while_searching_is_replaced_by_single_searches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """RE2 answers "nothing found" when it runs out of memory; that must not let a call through."""
    tested = PatternSet(["bad", "worse"], False)

    class Exhausted:
        def Match(self, text: bytes) -> None:  # noqa: N802 - the name of the library
            return None

    monkeypatch.setattr(tested, "_set", Exhausted())
    assert tested.hits(b"so bad") == {0}
    assert tested.is_found(b"worse")
    assert not tested.is_found(b"fine")


def test_a_set_that_is_too_large_is_searched_singly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "_SET_MEMORY_BYTES", 1)
    tested = PatternSet(["bad", "worse"], False)
    assert tested.hits(b"worse") == {1}


def test_letter_case_is_ignored_without_changing_the_pattern() -> None:
    assert pattern_set((r"^/\D+$",), True).is_found(b"/ABC")
    assert not pattern_set((r"^/\D+$",), True).is_found(b"/12")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(?=x)", ("look-ahead", "character 0")),
        ("ab(?<!x)", ("look-behind", "character 2")),
        (r"(a)\1", ("back-reference", "character 3")),
        ("(a", ("missing )",)),
        ("x{1001}", ("repetition",)),
        ("((a{100}){100}){100}", ("repetition",)),
    ],
)
def test_a_refused_pattern_says_why_and_where(pattern: str, words: tuple[str, ...]) -> None:
    fault = pattern_fault(pattern)
    assert fault is not None
    assert all(word in fault for word in words), fault


def test_occurrences_are_found_one_after_the_other() -> None:
    assert list(find_all("é|a+", "aaéxa")) == [(0, 2), (2, 3), (4, 5)]
    assert list(find_all("x*", "aaxx")) == [(2, 4)]


def test_no_search_of_a_megabyte_takes_long() -> None:
    """Every pattern of the presets, and some that other engines choke on, stay linear."""

    def listed(value: object) -> list[str]:
        if isinstance(value, list):
            return [pattern for inner in value for pattern in listed(inner)]
        if not isinstance(value, dict):
            return []
        own = [value[name] for name in ("urlPattern", "queryPattern", "re2") if isinstance(value.get(name), str)]
        if value.get("op") in ("matches", "not_matches"):
            own.append(value["value"])
        return own + [pattern for inner in value.values() for pattern in listed(inner)]

    longest = sorted(set(listed(preset_file())), key=len)[-12:]
    texts = [b"a" * 2**20, ("ignore é all " * 80_000).encode()[: 2**20]]
    for pattern in [*longest, "^(a+)+$", "(a|aa)+$", "(.*a){12}", "(x+x+)+y"]:
        tested = pattern_set((pattern,))
        tested.is_found(b"warm")
        for text in texts:
            started = time.thread_time()
            tested.is_found(text)
            assert time.thread_time() - started < 0.25, pattern  # the contract says 50 ms on an idle machine
