"""What one run says, and the median of several. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any, Final

_SUMMED: Final = frozenset({"errors"})
_WORST: Final = frozenset({"others_share"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One run, or the medians of several; None where a scenario has no such figure.

    Units:
        server_s, postgres_s: CPU seconds per 1,000 requests (of the proxy's worker in the baseline).
        rows: audit rows per request. others_share: of one core, used by processes that are not ours.
        added_ms: to the median latency, or to the time of the first event, by going through the broker.
        event_us: CPU of the server per event. growth_mib: of the server's memory at its peak.
    """

    rps: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    server_s: float | None = None
    postgres_s: float | None = None
    rss_mib: float | None = None
    rows: float | None = None
    errors: int = 0
    others_share: float = 0.0
    added_ms: float | None = None
    event_us: float | None = None
    growth_mib: float | None = None
    start_s: float | None = None

    @property
    def cpu_s(self) -> float | None:
        """Server and PostgreSQL together."""
        return None if self.server_s is None else self.server_s + (self.postgres_s or 0.0)


@dataclass(frozen=True, slots=True)
class Row:
    """The medians of one scenario at one number of connections."""

    scenario: str
    connections: int
    runs: int
    figures: Figures

    def wire(self) -> dict[str, Any]:
        """For `--json`."""
        found = {field.name: getattr(self.figures, field.name) for field in fields(Figures)}
        named = {name: value for name, value in found.items() if value is not None}
        return {"scenario": self.scenario, "connections": self.connections, "runs": self.runs, **named}


def median_of(runs: Sequence[Figures]) -> Figures:
    """The median of every figure; errors are added up, and of the others' share the worst counts."""
    merged: dict[str, Any] = {}
    for field in fields(Figures):
        values = [value for run in runs if (value := getattr(run, field.name)) is not None]
        if field.name in _SUMMED:
            merged[field.name] = sum(values)
        elif field.name in _WORST:
            merged[field.name] = max(values)
        elif values:
            merged[field.name] = median(values)
    return Figures(**merged)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def find(rows: Sequence[Row], scenario: str, connections: int) -> Figures | None:
    """The figures of one row."""
    return next(
        (row.figures for row in rows if (row.scenario, row.connections) == (scenario, connections)),
        None,
    )
