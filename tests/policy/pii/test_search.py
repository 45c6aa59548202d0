"""What the search promises for every text: it never fails, its spans are sound, and grouping texts changes nothing."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agenthifive.policy.patterns import compile_own
from agenthifive.policy.pii import Finding, compile_types, find, find_each, replace, search
from agenthifive.policy.pii.context import hint_pattern
from agenthifive.policy.pii.edges import may_begin, may_end, next_beginning
from agenthifive.policy.pii.recognisers import Shape, plan_for
from policy.calls import case_file, preset_file

ALL = compile_types([{"type": "all_pii"}])
SAMPLES = [entry["text"] for entry in case_file()["personalData"]]
RECOGNISERS: list[dict[str, Any]] = preset_file()["pii"]["recognisers"]

# Texts in which findings, parts of them, disguises and separators stand side by side.
crumbs = st.one_of(
    st.sampled_from(SAMPLES),
    st.sampled_from([text[at : at + 9] for text in SAMPLES for at in (0, 5, 11)]),
    st.sampled_from(
        ["\u200b", "<wbr>", "&shy;", "-", ".", "/", "\n", "\x00", "\n\x00", "phone ", "born", "１", "é", "_"]
    ),
    st.text(max_size=4),
    st.characters(categories=["Cs"]),  # lone surrogates
)
texts = st.lists(crumbs, max_size=7).map("".join)
names = st.sampled_from(["", "phone", "dateOfBirth", "account_number", "id", "x"])


@given(texts, names)
def test_spans_are_in_order_apart_and_inside_the_text(text: str, name: str) -> None:
    found = find(text, ALL, name)
    assert found is not None
    edges = [0, *(edge for span in found for edge in (span.start, span.end)), len(text)]
    assert edges == sorted(edges)
    assert all(span.start < span.end for span in found)


@given(st.lists(st.tuples(texts, names), max_size=5))
def test_many_texts_searched_at_once_give_what_each_gives_alone(batch: list[tuple[str, str]]) -> None:
    assert find_each(batch, ALL) == [find(text, ALL, name) for text, name in batch]


@given(texts)
def test_what_was_redacted_is_not_redacted_again(text: str) -> None:
    """True for a mark that ends words and numbers on both sides: what stands beside it has the edges it had."""
    found = find(text, ALL)
    assert found is not None
    once = replace(text, found, "\n[REDACTED]\n")
    again = find(once, ALL)
    assert again is not None
    for span in again:  # only what gained a beginning or an end by the mark, never the mark itself
        assert "[REDACTED]" not in once[span.start : span.end]


@pytest.mark.parametrize("text", SAMPLES)
def test_a_redacted_sample_stays_as_it_is(text: str) -> None:
    once = replace(text, find(text, ALL) or (), "[REDACTED]")
    assert find(once, ALL) == ()


@given(st.sampled_from(case_file()["personalData"]), st.sampled_from(["\u200b", "\u00ad", "\u2060", "<wbr>", "&shy;"]))
def test_a_finding_split_by_what_nobody_sees_is_still_found(entry: dict[str, Any], gap: str) -> None:
    types = compile_types([{"type": name} for name in entry["types"]])
    text, member = entry["text"], entry.get("member", "")
    found = find(text, types, member)
    split = find(gap.join(text), types, member)
    assert found is not None
    assert split is not None
    step = 1 + len(gap)
    assert split == tuple(Finding(s.start * step, (s.end - 1) * step + 1, s.type, None) for s in found)


def test_no_finding_reaches_from_one_text_into_the_next() -> None:
    batch = [
        ("5421 9876", ""),
        ("1234 1006", ""),
        ('password: "ab', ""),
        ('cd" x', ""),
        ("olga@", ""),
        ("example.org", ""),
    ]
    assert find_each(batch, ALL) == [find(text, ALL) for text, _ in batch]
    joined = " ".join(text for text, _ in batch)
    assert [span.type for span in find(joined, ALL) or ()] == ["credit_card", "secret_code"]


def test_a_text_may_hold_what_stands_between_texts() -> None:
    text = 'password: "a\n\x00b" olga@example.org'
    both = find_each([(text, ""), ("x", "")], ALL)
    assert both == [find(text, ALL), ()]
    assert [span.type for span in both[0]] == ["secret_code", "email"]


def test_the_name_of_a_member_is_context_and_counts_among_the_five_tokens_before() -> None:
    ssn = compile_types([{"type": "us_ssn"}])
    assert find("078051120", ssn, "ssn")
    assert find("078051120", ssn, "userSsn")
    assert find("078051120", ssn, "applicant_ssn")
    assert find("one two three four 078051120", ssn, "ssn")
    assert find("one two three four five 078051120", ssn, "ssn") == ()
    assert find("078051120 is the ssn", ssn) == ()
    assert find("078051120 (the SSN)", ssn)


def test_context_is_found_however_far_away_its_tokens_stand() -> None:
    ssn = compile_types([{"type": "us_ssn"}])
    assert find("ssn" + " " * 10_000 + "078051120", ssn)
    assert find("x" * 5_000 + " ssn " + "y" * 5_000 + " 078051120", ssn)
    assert find("078051120" + " " * 5_000 + "SSNs", ssn)


def test_a_replacement_of_the_policy_goes_with_its_recogniser_and_the_first_counts() -> None:
    types = compile_types([{"type": "email", "replacement": "<1>"}, {"type": "contact", "replacement": "<2>"}])
    text = "olga@example.org +49 30 901820"
    assert replace(text, find(text, types) or (), "-") == "<1> <2>"


def test_too_many_matches_are_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_TRIES", 5)
    emails = compile_types([{"type": "email"}])
    assert find("olga@example.org " * 5, emails) is not None
    assert find("olga@example.org " * 6, emails) is None


def test_matches_that_begin_again_inside_themselves_are_given_up_soon() -> None:
    assert find("a" * 50_000 + "@example.org", ALL)
    assert find("a" * 200_000 + "@example.org1", ALL) is None


# ---- edges -------------------------------------------------------------------------------------------


@given(st.text("aB1_-é ²", max_size=12))
def test_the_next_beginning_is_the_first_place_at_which_a_finding_may_begin(text: str) -> None:
    for at in range(len(text)):
        expected = next((place for place in range(at, len(text)) if may_begin(text, place)), len(text))
        assert next_beginning(text, at) == expected


@pytest.mark.parametrize(
    ("text", "at", "begins", "ends"),
    [
        ("ITIN", 4, True, True),
        ("ab1", 2, False, False),
        ("abc1", 3, True, False),
        ("1abc", 1, False, True),
        ("1abc2", 4, False, False),
        ("1abc2", 1, False, False),
        ("a_b", 1, False, False),
        ("a b", 1, False, True),
        ("x" * 5_000 + "1", 5_000, True, False),
        ("1" + "x" * 5_000, 5_001, False, True),
    ],
)
def test_three_letters_are_a_word_of_their_own(text: str, at: int, begins: bool, ends: bool) -> None:
    assert (may_begin(text, at), may_end(text, at)) == (begins, ends)


# ---- what is left out of a search cannot be found there ------------------------------------------------


def readable(pattern: str) -> str:
    """The pattern in the words of the standard library, which knows no classes of letters."""
    return pattern.replace("\\pL\\pN", "a-zé0-9").replace("\\pL", "a-zé")


@given(st.data())
@settings(suppress_health_check=list(HealthCheck), max_examples=200)
def test_a_shape_searched_alone_holds_the_text_it_is_said_to_need(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([s for s in plan_for(tuple(dict(ALL.named))).alone if s.needs]))
    text = data.draw(st.from_regex(re.compile(readable(shape.pattern), re.ASCII), fullmatch=True))
    assert shape.needs is not None
    assert shape.needs in text


@given(st.data())
@settings(suppress_health_check=list(HealthCheck), max_examples=300)
def test_a_shape_that_needs_context_holds_its_sign(data: st.DataObject) -> None:
    shapes: list[Shape] = [shape for group in plan_for(tuple(dict(ALL.named))).weak for shape in group]
    shape = data.draw(st.sampled_from(shapes))
    text = data.draw(st.from_regex(re.compile(readable(shape.pattern), re.ASCII), fullmatch=True))
    assert search._SIGN.search(text)


@pytest.mark.parametrize("entry", RECOGNISERS, ids=lambda entry: entry["id"])
def test_every_word_of_context_is_hinted_at_in_every_spelling_that_counts(entry: dict[str, Any]) -> None:
    hint = compile_own(hint_pattern(entry["context"]))
    for phrase in entry["context"]:
        for text in (phrase, phrase.upper(), phrase.capitalize(), f"user{phrase.capitalize()}No", f"{phrase}s: 1",
                     f"1{phrase}", f"X{phrase}2", f"my_{phrase}_1"):  # fmt: skip
            assert hint.search(text), text
    assert not hint.search("every other thing, quite plain")
