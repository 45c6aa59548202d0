"""A text that comes in pieces is redacted as the whole text is, and no more of it waits than must."""

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.policy.held_text import HELD_CHARS_MAX, HeldText, redact_json_text, redacting
from agenthifive.policy.pii import compile_types, find
from agenthifive.policy.replies import NotFilterable, filter_text
from agenthifive.policy.rules import PatternTable, ReplyRule, compile_reply_rule
from policy.calls import case_file

CASES = case_file()["streams"]
# What the recognisers named in the cases find there, as patterns a policy can give itself.
OWN_PATTERNS = {
    "email": r"[\w.]+@[\w.]+\w",
    "credit_card": r"\d{4} \d{4} \d{4} \d{4}",
    "secret_code": r"PIN is \d{3,10}",
    "phone": r"\+\d{2} \d{2} \d{6}",
    "all_pii": r"[\w.]+@[\w.]+\w|\+\d{2} \d{2} \d{6}",
}


def rule(*types: dict[str, Any], **content: Any) -> ReplyRule:
    document = {"match": {}, "filter": {"redact": list(types), **content}}
    return compile_reply_rule(document, 0, PatternTable(), PatternTable())


def custom(*patterns: str, replacement: str | None = None) -> tuple[ReplyRule, ...]:
    types = [{"type": "custom", "pattern": p, "replacement": replacement} for p in patterns]
    return redacting([rule(*types)])


def own(case: dict[str, Any]) -> tuple[ReplyRule, ...]:
    return custom(*(OWN_PATTERNS[kind["type"]] for kind in case["redact"]))


def joined(pieces: list[str], rules: tuple[ReplyRule, ...], *, is_json: bool = False) -> str:
    held = HeldText(rules, is_json=is_json)
    return "".join([held.feed(piece) for piece in pieces]) + held.finish()


def at_all(text: str, cuts: tuple[int, ...]) -> list[str]:
    return [text[a:b] for a, b in itertools.pairwise((0, *cuts, len(text)))]


def splits(text: str) -> list[list[str]]:
    """The text whole, in two and three pieces at every place, and character by character."""
    places = range(len(text) + 1)
    cuts = [(), *((at,) for at in places), *itertools.combinations(places, 2)]
    return [at_all(text, cut) for cut in cuts] + [list(text)]


NUMBER = "4242424242424242"
CARDS = custom(r"\b\d{16}\b", r"[a-z]+@[a-z]+\.org")
words = st.lists(
    st.sampled_from(["4242424242424242", "anna@example.org", "word", " ", "é😀", "42", "\n", "x" * 40]), max_size=60
).map("".join)
pieces_of = st.lists(st.integers(1, 90), min_size=1, max_size=30)


def cut(text: str, lengths: list[int]) -> list[str]:
    pieces, at = [], 0
    for length in itertools.cycle(lengths):
        if at >= len(text):
            return pieces
        pieces.append(text[at : at + length])
        at += length
    return pieces


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_shared_cases_hold_under_every_split_of_their_text(case: dict[str, Any]) -> None:
    text = "".join(case["deltas"])
    assert {joined(pieces, own(case)) for pieces in [case["deltas"], *splits(text)]} == {case["joined"]}


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_named_types_give_the_shared_answer_or_none(case: dict[str, Any]) -> None:
    rules = redacting([rule(*case["redact"])])
    if find("x", compile_types(case["redact"])) is None:  # this build has no recognisers
        with pytest.raises(NotFilterable):
            joined(case["deltas"], rules)
    else:
        assert {joined(pieces, rules) for pieces in splits("".join(case["deltas"]))} == {case["joined"]}


@settings(max_examples=300, deadline=None)
@given(words, pieces_of)
def test_the_result_is_the_result_on_the_whole_text_however_it_is_cut(text: str, lengths: list[int]) -> None:
    whole = filter_text(text, CARDS)
    assert joined(cut(text, lengths), CARDS) == whole
    assert joined(list(text), CARDS) == whole


@settings(max_examples=100, deadline=None)
@given(st.text("ab 1@.", max_size=700), pieces_of)
def test_no_more_waits_than_the_last_characters(text: str, lengths: list[int]) -> None:
    nothing = custom("never here")
    held = HeldText(nothing)
    given_out = taken = 0
    for piece in cut(text, lengths):
        taken += len(piece)
        given_out += len(held.feed(piece))
        assert given_out == max(0, taken - HELD_CHARS_MAX)
    assert given_out + len(held.finish()) == taken


@pytest.mark.parametrize("length", [HELD_CHARS_MAX - 1, HELD_CHARS_MAX])
def test_a_finding_as_long_as_what_is_held_is_found_whole(length: int) -> None:
    rules = custom("<[a-z]+>")
    text = "a " * 200 + "<" + "x" * (length - 2) + ">" + " b" * 200
    for pieces in (list(text), cut(text, [7]), [text]):
        assert joined(pieces, rules) == "a " * 200 + "[REDACTED]" + " b" * 200


@pytest.mark.parametrize("pattern", [r"\d{7,}", r"\d{16}"])
@pytest.mark.parametrize("size", [1, 3, 64, 5000])
def test_an_endless_finding_is_replaced_once_and_kept_in_bounded_memory(pattern: str, size: int) -> None:
    rules = custom(pattern)
    text = "n " + "4" * 1600 + " end"
    held = HeldText(rules)
    shown = ""
    for piece in cut(text, [size]):
        shown += held.feed(piece)
        assert len(held._stages[0]._window) <= 1024 + HELD_CHARS_MAX + size
    assert shown + held.finish() == filter_text(text, rules)


def test_rules_are_carried_out_one_after_the_other() -> None:
    first, second = custom("secret", replacement="public"), custom("a public word")
    text = "this is a secret word. " * 40
    assert {joined(cut(text, [n]), (*first, *second)) for n in (1, 5, 2000)} == {"this is [REDACTED]. " * 40}


def test_a_text_encoded_as_a_whole_is_looked_into_while_all_of_it_is_held() -> None:
    encoded = "aGVyZSBpcyA0MjQyNDI0MjQyNDI0MjQyIGZvciB5b3U="
    assert {joined(cut(encoded, [n]), CARDS) for n in (1, 10, 99)} == {"aGVyZSBpcyBbUkVEQUNURURdIGZvciB5b3U="}


def test_halves_of_a_surrogate_pair_are_passed_on_and_hide_nothing() -> None:
    pieces = ["4242424242424242 \ud83d", "\ude00 4242424242424242"]
    assert joined(pieces, CARDS) == "[REDACTED] \ud83d\ude00 [REDACTED]"


class TestToolArguments:
    """The arguments of a tool call are JSON text, and stay it."""

    def test_a_finding_outside_of_a_string_becomes_one(self) -> None:
        text = '{"n":4242424242424242,"s":"a 4242424242424242","l":[4242424242424242]}'
        expected = {"n": "[REDACTED]", "s": "a [REDACTED]", "l": ["[REDACTED]"]}
        for pieces in [list(text), *(at_all(text, (at,)) for at in range(len(text)))]:
            assert json.loads(joined(pieces, CARDS, is_json=True)) == expected

    @pytest.mark.parametrize(
        "number",
        ["-" + NUMBER, NUMBER + "1", NUMBER + ".5", NUMBER + "e3", NUMBER + NUMBER, f"-0.{NUMBER}E+2"],
    )
    def test_a_number_goes_as_a_whole(self, number: str) -> None:
        rules = custom(r"\d{16}")
        for text in (f'{{"n":{number},"m":[{number}]}}', f"  {number}\n"):
            for pieces in [list(text), *(at_all(text, (at,)) for at in range(len(text)))]:
                shown = json.loads(joined(pieces, rules, is_json=True))
                assert shown in ({"n": "[REDACTED]", "m": ["[REDACTED]"]}, "[REDACTED]")

    def test_a_full_stop_behind_a_number_is_none_of_it(self) -> None:
        assert redact_json_text("say 4242424242424242. Or", CARDS) == 'say "[REDACTED]". Or'

    @pytest.mark.parametrize(
        "text", [f"[{','.join([NUMBER] * 50_000)}]", "[" + "4" * 900_000 + "]", '["' + "4" * 900_000 + '"]']
    )
    def test_the_work_grows_with_the_text_and_no_faster(self, text: str) -> None:
        started = time.process_time()
        json.loads(redact_json_text(text, custom(r"\d{16}")))
        assert time.process_time() - started < 10  # the square of it would be hours

    def test_it_does_so_behind_a_long_text_with_quotes_and_backslashes(self) -> None:
        text = json.dumps({"s": 'a "quoted" \\ word ' * 60, "n": 4242424242424242, "t": "\\"})
        shown = {joined(cut(text, [n]), CARDS, is_json=True) for n in (1, 2, 7, 300, 5000)}
        assert [json.loads(each)["n"] for each in shown] == ["[REDACTED]"]

    @pytest.mark.parametrize(
        "text",
        [
            '{"to":"anna\\u0040example.org"}',
            '{"to":"\\u0061nna@exampl\\u0065.org"}',
            '{"to":"x\\nanna@example.org"}',
            '{"to":"\\"anna@example.org\\""}',
        ],
    )
    def test_escapes_hide_nothing(self, text: str) -> None:
        before = json.loads(text)["to"]
        for pieces in [list(text), *(at_all(text, (at,)) for at in range(len(text)))]:
            shown = json.loads(joined(pieces, CARDS, is_json=True))
            assert shown == {"to": before.replace("anna@example.org", "[REDACTED]")}

    def test_a_replacement_is_written_as_json(self) -> None:
        rules = custom(r"\d{16}", replacement='a "b" \\')
        assert json.loads(redact_json_text('[4242424242424242,"4242424242424242"]', rules)) == ['a "b" \\', 'a "b" \\']

    @settings(max_examples=200, deadline=None)
    @given(
        st.recursive(
            st.sampled_from(
                [
                    4242424242424242,
                    -4242424242424242,
                    4242424242424242.5,
                    "4242424242424242",
                    "a anna@example.org",
                    'q"\\\n',
                    "é",
                    7,
                    None,
                ]
            ),
            lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("ab\\"), inner, max_size=3),
            max_leaves=25,
        ),
        pieces_of,
        st.booleans(),
    )
    def test_it_stays_json_however_it_is_cut(self, value: Any, lengths: list[int], is_ascii: bool) -> None:
        text = json.dumps(value, ensure_ascii=is_ascii)
        whole = redact_json_text(text, CARDS)
        assert joined(cut(text, lengths), CARDS, is_json=True) == whole
        again = json.dumps(json.loads(whole))
        assert "4242424242424242" not in again
        assert "anna@example.org" not in again
