"""Time windows: open and closed on the wall clock of their zone, whatever the clock does."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.policy.windows import (
    compile_windows,
    describe_opening,
    describe_windows,
    find_zone,
    is_open,
    next_opening,
)

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Africa/Casablanca",
    "UTC",
)
# Around changes of the clock in those zones, and a quiet week.
STARTS = (
    datetime(2026, 3, 27, 12, tzinfo=UTC),
    datetime(2026, 3, 7, tzinfo=UTC),
    datetime(2026, 10, 23, tzinfo=UTC),
    datetime(2026, 10, 30, tzinfo=UTC),
    datetime(2026, 4, 3, tzinfo=UTC),
    datetime(2026, 2, 14, tzinfo=UTC),
    datetime(2026, 7, 1, tzinfo=UTC),
)


def window(day: int, start: tuple[int, int], end: tuple[int, int], zone: str = "UTC") -> dict[str, Any]:
    return {
        "dayOfWeek": day,
        "startHour": start[0],
        "startMinute": start[1],
        "endHour": end[0],
        "endMinute": end[1],
        "timezone": zone,
    }


@st.composite
def any_window(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(st.integers(0, 24 * 60 - 1))
    end = draw(st.integers(0, 24 * 60))
    return window(draw(st.integers(0, 6)), divmod(start, 60), divmod(end, 60), draw(st.sampled_from(ZONES)))


@given(st.lists(any_window(), min_size=1, max_size=3), st.sampled_from(STARTS), st.integers(0, 4 * 24 * 60))
@settings(max_examples=60)
def test_the_next_opening_is_the_first_open_minute(
    windows: list[dict[str, Any]], start: datetime, minutes: int
) -> None:
    compiled = compile_windows(windows)
    now = start + timedelta(minutes=minutes)
    if is_open(compiled, now):
        return
    first = next((at for n in range(1, 8 * 24 * 60 - 180) if is_open(compiled, at := now + timedelta(minutes=n))), None)
    opening = next_opening(compiled, now)
    assert (None if opening is None or opening.at > now + timedelta(days=7, hours=21) else opening.at) == first


@given(any_window(), st.sampled_from(STARTS), st.integers(0, 7 * 24 * 60))
def test_a_window_is_open_exactly_between_its_wall_times(item: dict[str, Any], start: datetime, minutes: int) -> None:
    """Judged on the wall clock by a second, slower reading of the rule."""
    now = start + timedelta(minutes=minutes)
    local = now.astimezone(ZoneInfo(item["timezone"]))
    day, minute = local.isoweekday() % 7, local.hour * 60 + local.minute
    begin, end = item["startHour"] * 60 + item["startMinute"], item["endHour"] * 60 + item["endMinute"]
    if begin < end:
        expected = day == item["dayOfWeek"] and begin <= minute < end
    elif begin > end:
        is_evening = day == item["dayOfWeek"] and minute >= begin
        expected = is_evening or (day == (item["dayOfWeek"] + 1) % 7 and minute < end)
    else:
        expected = False
    assert is_open(compile_windows([item]), now) is expected


def test_a_window_that_begins_in_the_gap_opens_where_the_clock_lands() -> None:
    windows = compile_windows([window(0, (2, 30), (4, 0), "Europe/Berlin")])
    opening = next_opening(windows, datetime(2026, 3, 29, 0, 30, tzinfo=UTC))
    assert opening is not None
    assert opening.at == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)  # 03:00 on the wall, the first that exists


def test_a_window_wholly_in_the_gap_does_not_open_that_day() -> None:
    windows = compile_windows([window(0, (2, 0), (3, 0), "Europe/Berlin")])
    opening = next_opening(windows, datetime(2026, 3, 28, 12, 0, tzinfo=UTC))
    assert opening is not None
    assert opening.at == datetime(2026, 4, 5, 0, 0, tzinfo=UTC)


def test_the_repeated_hour_opens_twice() -> None:
    windows = compile_windows([window(0, (2, 0), (2, 30), "Europe/Berlin")])
    between = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)  # 02:45 the first time
    assert not is_open(windows, between)
    opening = next_opening(windows, between)
    assert opening is not None
    assert opening.at == datetime(2026, 10, 25, 1, 0, tzinfo=UTC)


def test_no_window_is_always_open_and_an_empty_one_never() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    empty = compile_windows([window(1, (9, 0), (9, 0))])
    assert is_open((), now)
    assert not is_open(empty, now)
    assert next_opening(empty, now) is None


def test_a_zone_that_vanished_keeps_its_windows_closed() -> None:
    windows = compile_windows([window(day, (0, 0), (24, 0), "Mars/Olympus") for day in range(7)])
    assert not is_open(windows, datetime(2026, 11, 23, 12, tzinfo=UTC))
    assert next_opening(windows, datetime(2026, 11, 23, 12, tzinfo=UTC)) is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "Europe", "", "localtime", "europe/berlin", "UTC\x00", "/UTC"])
def test_only_names_of_the_zone_list_are_zones(name: str) -> None:
    assert find_zone(name) is None


def test_windows_and_openings_are_told_in_the_zone_of_the_window() -> None:
    windows = compile_windows(
        [window(day, (9, 0), (17, 30), "Europe/Rome") for day in (2, 1)] + [window(6, (22, 0), (24, 0), "UTC")]
    )
    assert describe_windows(windows) == "Mon 09:00-17:30, Tue 09:00-17:30 Europe/Rome; Sat 22:00-24:00 UTC"
    opening = next_opening(windows, datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert opening is not None
    assert describe_opening(opening) == "Mon 2026-11-23 09:00 Europe/Rome"
