"""The flood rule: an attacker fills neither the log nor the memory, and what is merged is counted."""

from agenthifive.audit.flood import ROWS_PER_MINUTE, FloodGate


def test_sixty_rows_a_minute_then_one_that_stands_for_the_rest() -> None:
    gate = FloodGate()
    admitted = [gate.admit("203.0.113.7", "access_denied", 6000.0 + number * 0.05) for number in range(1000)]
    assert admitted == [1] * ROWS_PER_MINUTE + [0] * (1000 - ROWS_PER_MINUTE)
    assert gate.admit("203.0.113.7", "access_denied", 6060.0) == 1 + 1000 - ROWS_PER_MINUTE
    assert gate.admit("203.0.113.7", "access_denied", 6060.1) == 1


def test_sources_and_actions_are_counted_apart() -> None:
    gate = FloodGate()
    for _ in range(ROWS_PER_MINUTE):
        gate.admit("203.0.113.7", "access_denied", 6000.0)
    assert gate.admit("203.0.113.7", "access_denied", 6000.0) == 0
    assert gate.admit("203.0.113.8", "access_denied", 6000.0) == 1
    assert gate.admit("203.0.113.7", "authentication_failed", 6000.0) == 1


def test_nothing_merged_means_nothing_to_add() -> None:
    gate = FloodGate()
    assert [gate.admit("203.0.113.7", "access_denied", at_s) for at_s in (0.0, 61.0, 122.0)] == [1, 1, 1]


def test_more_sources_than_fit_are_forgotten_not_kept() -> None:
    gate = FloodGate()
    for number in range(50_000):
        gate.admit(f"source-{number}", "access_denied", 6000.0)
    assert len(gate._minutes) <= 20_000
