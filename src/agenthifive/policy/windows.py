"""When a policy is open: weekly windows in their own time zones.

    instant -> wall clock of the zone -> minute of the week -> inside [start, end)?

Source: contract/policy.md section 10.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final
from zoneinfo import ZoneInfo

_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_SEARCH_DAYS: Final = 8
_STEP: Final = timedelta(hours=12)  # no zone changes its clock twice within it
_DAY_NAMES: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


@dataclass(frozen=True, slots=True)
class Span:
    """Open from `start` up to and without `end`, in minutes since Sunday 0:00. `end` may pass the week's end."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ZoneWindows:
    """All windows of one zone. A zone that has vanished from the zone data keeps its windows closed."""

    timezone: str
    zone: ZoneInfo | None
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Opening:
    """The next instant at which a window opens, and the zone it is written in."""

    at: datetime
    timezone: str


@lru_cache(maxsize=1)
def known_zones() -> frozenset[str]:
    """The IANA names of the bundled zone data, the same on every machine."""
    return frozenset((files("tzdata") / "zones").read_text(encoding="ascii").split())


@lru_cache(maxsize=1024)
def find_zone(name: str) -> ZoneInfo | None:
    """The zone of an IANA name, None when the bundled zone data does not know it."""
    if name not in known_zones():
        return None
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def compile_windows(windows: Sequence[Mapping[str, Any]]) -> tuple[ZoneWindows, ...]:
    """Windows grouped by zone. One whose start equals its end never opens."""
    grouped: dict[str, list[Span]] = {}
    for window in windows:
        day = window["dayOfWeek"] * _DAY
        start = window["startHour"] * 60 + window.get("startMinute", 0)
        end = window["endHour"] * 60 + window.get("endMinute", 0)
        spans = grouped.setdefault(window["timezone"], [])
        if start != end:
            spans.append(Span(day + start, day + end if start < end else day + _DAY + end))
    return tuple(ZoneWindows(name, find_zone(name), tuple(spans)) for name, spans in grouped.items())


def is_open(windows: tuple[ZoneWindows, ...], now: datetime) -> bool:
    """Whether calls may go out at an instant. No windows: always."""
    return not windows or any(_zone_is_open(group, now) for group in windows)


def next_opening(windows: tuple[ZoneWindows, ...], now: datetime) -> Opening | None:
    """The first instant after `now` at which a window is open, None when there is none within 8 days.

    Windows can only open where a wall clock reads the start of one, or where the clock is changed.
    """
    best: Opening | None = None
    for group in windows:
        for at in _candidates(group, now):
            if at > now and (best is None or at < best.at) and _zone_is_open(group, at):
                best = Opening(at, group.timezone)
    return best


def describe_windows(windows: tuple[ZoneWindows, ...]) -> str:
    """The windows in a few words: "Mon 09:00-17:00, Tue 09:00-17:00 Europe/Berlin"."""
    groups = []
    for group in windows:
        spans = ", ".join(
            f"{_DAY_NAMES[span.start // _DAY]} {_clock(span.start)}-{_clock(span.end, is_end=True)}"
            for span in sorted(group.spans, key=lambda span: span.start)[:7]
        )
        groups.append(f"{spans or 'never'} {group.timezone}")
    return "; ".join(groups)


def describe_opening(opening: Opening) -> str:
    """The opening on the wall clock of its zone: "Mon 2026-11-23 09:00 Europe/Berlin"."""
    zone = find_zone(opening.timezone) or UTC
    local = opening.at.astimezone(zone)
    return f"{_DAY_NAMES[local.isoweekday() % 7]} {local:%Y-%m-%d %H:%M} {opening.timezone}"


def _zone_is_open(group: ZoneWindows, now: datetime) -> bool:
    if group.zone is None:
        return False
    local = now.astimezone(group.zone)
    minute = (local.isoweekday() % 7) * _DAY + local.hour * 60 + local.minute
    return any(span.start <= minute < span.end or minute + _WEEK < span.end for span in group.spans)


def _candidates(group: ZoneWindows, now: datetime) -> Iterator[datetime]:
    if group.zone is None:
        return
    midnight = now.astimezone(group.zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    for day in range(_SEARCH_DAYS + 1):
        date = midnight + timedelta(days=day)
        weekday = date.isoweekday() % 7
        for span in group.spans:
            if span.start // _DAY == weekday:
                wall = date + timedelta(minutes=span.start % _DAY)
                for fold in (0, 1):
                    yield wall.replace(tzinfo=group.zone, fold=fold).astimezone(UTC)
    yield from _clock_changes(group.zone, now)


def _clock_changes(zone: ZoneInfo, now: datetime) -> Iterator[datetime]:
    """Instants of the coming days at which the zone's offset changes, exact to the second."""
    earlier = now.astimezone(UTC).replace(microsecond=0)
    for _ in range(int(timedelta(days=_SEARCH_DAYS) / _STEP)):
        later = earlier + _STEP
        offset = earlier.astimezone(zone).utcoffset()
        if offset != later.astimezone(zone).utcoffset():
            low, high = earlier, later
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
                if middle.astimezone(zone).utcoffset() == offset:
                    low = middle
                else:
                    high = middle
            yield high
        earlier = later


def _clock(minute: int, *, is_end: bool = False) -> str:
    minute %= _DAY
    return "24:00" if is_end and minute == 0 else f"{minute // 60:02d}:{minute % 60:02d}"
