"""Gaps between what a provider saw, what was answered and what the log holds are found, each of them."""

import pytest
from bench.kill_verdict import GAPS, LogRow, compare, read_hits

ANSWERED = {"/v1/k/0": "i0", "/v1/k/1": "i1"}
ROWS = (
    LogRow("i0", path="/v1/k/0"),
    LogRow("o0", intent_id="i0"),
    LogRow("i1", path="/v1/k/1"),
    LogRow("o1", intent_id="i1"),
    LogRow("i2", path="/v1/k/2"),
    LogRow("o2", intent_id="i2", outcome="unknown"),
    LogRow("r3"),
)
HITS = ("/v1/k/0", "/v1/k/1", "/v1/k/2")


def test_a_whole_log_has_no_gap() -> None:
    verdict = compare(HITS, ANSWERED, ["r3"], ROWS)
    assert verdict.is_whole
    assert (verdict.hits, verdict.intents, verdict.outcomes, verdict.unknown_outcomes) == (3, 3, 3, 1)


@pytest.mark.parametrize(
    ("gap", "lost"),
    [
        ("hits_without_intent", {"i2", "o2"}),
        ("intents_without_outcome", {"o2"}),
        ("answered_without_intent", {"i1"}),
        ("refused_without_row", {"r3"}),
        ("outcomes_without_intent", {"i0"}),
    ],
)
def test_a_lost_row_is_a_gap(gap: str, lost: set[str]) -> None:
    verdict = compare(HITS, ANSWERED, ["r3"], [row for row in ROWS if row.audit_id not in lost])
    assert gap in GAPS
    assert getattr(verdict, gap) == 1
    assert not verdict.is_whole


def test_a_second_outcome_is_a_gap() -> None:
    verdict = compare(HITS, ANSWERED, [], [*ROWS, LogRow("o1b", intent_id="i1", outcome="unknown")])
    assert verdict.intents_with_several_outcomes == 1
    assert not verdict.is_whole


def test_an_answer_must_name_the_intent_of_its_own_path() -> None:
    swapped = {"/v1/k/0": "i1", "/v1/k/1": "i0"}
    assert compare(HITS, swapped, [], ROWS).answered_without_intent == 2


def test_an_intent_whose_call_never_left_is_no_gap_and_neither_is_a_repeated_hit() -> None:
    verdict = compare(["/v1/k/0", "/v1/k/0", "/v1/k/1"], ANSWERED, [], ROWS)
    assert (verdict.intents_never_sent, verdict.paths_hit_twice, verdict.is_whole) == (1, 1, True)


def test_hits_are_the_calls_of_the_test_and_nothing_else() -> None:
    assert read_hits("1 /v1/k/7\n2 /favicon.ico\n3 /v1/k/8\n", "/v1/k/") == ["/v1/k/7", "/v1/k/8"]
