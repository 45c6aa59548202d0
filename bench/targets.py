"""The figures AgentHiFive promises, and whether these rows keep them. Pure.

Latency and CPU targets were set for a machine whose core proxies a request with nginx in 17 us; on another machine
compare the ratio to that baseline first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.figures import Figures, Row, find

_LONG: Final = frozenset({"stream", "download"})

Read = Callable[[Sequence[Row]], float | None]


@dataclass(frozen=True, slots=True)
class Target:
    """One promise. `is_floor`: the figure must reach the limit; else it must not exceed it."""

    name: str
    limit: float
    unit: str
    read: Read
    is_floor: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise and what was measured."""

    target: Target
    measured: float

    @property
    def is_kept(self) -> bool:
        """Whether it was kept."""
        limit = self.target.limit
        return self.measured >= limit if self.target.is_floor else self.measured <= limit

    def wire(self) -> dict[str, Any]:
        """For `--json`."""
        target = self.target
        return {
            "name": target.name, "unit": target.unit, "limit": target.limit, "isFloor": target.is_floor,
            "measured": self.measured, "isKept": self.is_kept,
        }  # fmt: skip


def judge(rows: Sequence[Row]) -> list[Verdict]:
    """A verdict for each promise these rows can speak of."""
    return [Verdict(one, measured) for one in TARGETS if (measured := one.read(rows)) is not None]


def nginx_ratio(rows: Sequence[Row], row: Row) -> float | None:
    """CPU of a request as a multiple of what nginx needs to proxy it; the baseline with most connections stands in
    where there is none with as many. Streams and downloads are no such requests."""
    if row.scenario in _LONG:
        return None
    busiest = max((one.connections for one in rows if one.scenario == "proxy"), default=0)
    baseline = find(rows, "proxy", min(row.connections, busiest))
    if baseline is None or not baseline.server_s or row.figures.cpu_s is None:
        return None
    return row.figures.cpu_s / baseline.server_s


def _of(scenario: str, connections: int, read: Callable[[Figures], float | None]) -> Read:
    def figure(rows: Sequence[Row]) -> float | None:
        figures = find(rows, scenario, connections)
        return None if figures is None else read(figures)

    return figure


def _throughput_kept(scenario: str) -> Read:
    def ratio(rows: Sequence[Row]) -> float | None:
        empty, grown = find(rows, scenario, 16), find(rows, f"{scenario}, grown", 16)
        if empty is None or grown is None or not empty.rps or grown.rps is None:
            return None
        return grown.rps / empty.rps

    return ratio


TARGETS: Final = (
    Target("server + PostgreSQL CPU of a lean call, c=16", 0.25, "s/1000", _of("lean", 16, lambda f: f.cpu_s)),
    Target("added to the median of a lean call, c=1", 1.5, "ms", _of("lean", 1, lambda f: f.added_ms)),
    Target("99th percentile of a lean call, c=16", 20.0, "ms", _of("lean", 16, lambda f: f.p99_ms)),
    Target("throughput kept in a grown log, lean", 0.9, "x", _throughput_kept("lean"), is_floor=True),
    Target("throughput kept in a grown log, limited", 0.9, "x", _throughput_kept("limited"), is_floor=True),
    Target("server + PostgreSQL CPU of a token exchange, c=16", 0.7, "s/1000", _of("token", 16, lambda f: f.cpu_s)),
    Target("added before the first event of a stream, c=1", 1.0, "ms", _of("stream", 1, lambda f: f.added_ms)),
    Target("server CPU of one event, c=16", 60.0, "us", _of("stream", 16, lambda f: f.event_us)),
    Target("memory growth of a 100 MiB download", 16.0, "MiB", _of("download", 1, lambda f: f.growth_mib)),
    Target("memory of the server after the bench", 150.0, "MiB", _of("memory", 0, lambda f: f.rss_mib)),
    Target("start on the migrated database", 2.0, "s", _of("start", 0, lambda f: f.start_s)),
)
