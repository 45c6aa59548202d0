"""The tables a person reads. Pure."""

from collections.abc import Callable, Sequence
from typing import Final

from bench.figures import Row
from bench.processes import QUIET_SHARE
from bench.targets import Verdict, nginx_ratio

_COLUMNS: Final[Sequence[tuple[str, Callable[[Row], float | None], str]]] = (
    ("rps", lambda row: row.figures.rps, ".0f"),
    ("p50 ms", lambda row: row.figures.p50_ms, ".2f"),
    ("p99 ms", lambda row: row.figures.p99_ms, ".2f"),
    ("server s/1000", lambda row: row.figures.server_s, ".3f"),
    ("pg s/1000", lambda row: row.figures.postgres_s, ".3f"),
)
_LATER: Final[Sequence[tuple[str, Callable[[Row], float | None], str]]] = (
    ("RSS MiB", lambda row: row.figures.rss_mib, ".0f"),
    ("rows/req", lambda row: row.figures.rows, ".2f"),
    ("errors", lambda row: row.figures.errors, "d"),
)


_DISTURBED: Final = f"! other processes used {QUIET_SHARE:.0%} of a core or more while this was measured"
_NOTES: Final[Sequence[tuple[str, Callable[[Row], float | None]]]] = (
    ("+{:.2f} ms", lambda row: row.figures.added_ms),
    ("{:.0f} us/event", lambda row: row.figures.event_us),
    ("+{:.1f} MiB", lambda row: row.figures.growth_mib),
    ("{:.2f} s", lambda row: row.figures.start_s),
)


def table(rows: Sequence[Row]) -> str:
    """Every row; a `!` where other processes disturbed a run."""
    names = [*(name for name, _, _ in _COLUMNS), "x nginx", *(name for name, _, _ in _LATER)]
    lines = [["scenario", "c", *names, "also", ""]]
    for row in rows:
        ratio = nginx_ratio(rows, row)
        cells = [_cell(read(row), form) for _, read, form in _COLUMNS]
        cells += [_cell(ratio, ".1f"), *(_cell(read(row), form) for _, read, form in _LATER)]
        also = ", ".join(form.format(value) for form, read in _NOTES if (value := read(row)) is not None)
        disturbed = "!" if row.figures.others_share >= QUIET_SHARE else ""
        lines.append([row.scenario, str(row.connections or ""), *cells, also, disturbed])
    legend = f"\n{_DISTURBED}" if any(line[-1] for line in lines) else ""
    return _aligned(lines, left=1) + legend


def verdicts(found: Sequence[Verdict]) -> str:
    """Every promise with its figure."""
    lines = [["target", "limit", "measured", ""]]
    for one in found:
        sign = ">=" if one.target.is_floor else "<="
        limit = f"{sign} {one.target.limit:g} {one.target.unit}"
        lines.append([one.target.name, limit, f"{one.measured:.3g}", "kept" if one.is_kept else "MISSED"])
    return _aligned(lines, left=2)


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
