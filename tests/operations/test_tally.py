"""Limits counted in memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.errors import AppError
from agenthifive.operations.ratelimit import Window
from agenthifive.operations.tally import Tally
from agenthifive.words import RateLimit


def test_the_hit_after_the_last_is_refused_with_the_time_to_wait() -> None:
    tally = Tally({RateLimit.PRINCIPAL: Window(3, 60)})
    for _ in range(3):
        tally.take(RateLimit.PRINCIPAL, "bot", 120.0)
    with pytest.raises(AppError) as refused:
        tally.take(RateLimit.PRINCIPAL, "bot", 150.0)
    assert refused.value.code == "rate_limited"
    assert refused.value.retry_after_s == 31
    tally.take(RateLimit.PRINCIPAL, "other", 150.0)


def test_after_the_wait_there_is_room() -> None:
    tally = Tally({RateLimit.PRINCIPAL: Window(4, 60)})
    for _ in range(4):
        tally.take(RateLimit.PRINCIPAL, "bot", 59.0)
    with pytest.raises(AppError) as refused:
        tally.take(RateLimit.PRINCIPAL, "bot", 60.0)
    assert refused.value.retry_after_s is not None
    tally.take(RateLimit.PRINCIPAL, "bot", 60.0 + refused.value.retry_after_s + 60)


def test_a_limit_without_a_window_is_not_counted() -> None:
    tally = Tally({})
    for _ in range(10):
        tally.take(RateLimit.GLOBAL, "192.0.2.1", 0.0)


@given(st.lists(st.floats(0, 50), max_size=200), st.integers(1, 5))
def test_no_window_of_the_clock_passes_more_than_the_limit(waits: list[float], hits: int) -> None:
    tally, now_s = Tally({RateLimit.GLOBAL: Window(hits, 60)}), 0.0
    passed: dict[int, int] = {}
    for wait in waits:
        now_s += wait
        try:
            tally.take(RateLimit.GLOBAL, "192.0.2.1", now_s)
        except AppError:
            continue
        passed[int(now_s // 60)] = passed.get(int(now_s // 60), 0) + 1
    assert all(count <= hits for count in passed.values())
