"""`python -m bench`: measure, print the tables.

    python -m bench [--seconds 5] [--runs 3] [--only NAME ...] [--grow [ROWS]] [--strict] [--json FILE] [--log FILE]

Exit 0 when everything was measured (a missed target is no failure), 1 when a request failed or was not recorded,
2 when nginx or wrk is missing.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import agenthifive
from agenthifive.cli.interrupts import interrupted_once
from bench.calibration import measure_core, processor
from bench.failures import FAILED, INTERRUPTED, BenchError
from bench.figures import Row, find
from bench.programs import require_programs
from bench.report import table, verdicts
from bench.scenarios import BUSY, SCENARIOS
from bench.stage import Options, set_stage
from bench.targets import judge

_GROWN_ROWS: Final = 1_000_000
_ROWS_OF_CALL: Final = 2  # intent and outcome
_ROWS_OF_TOKEN: Final = 1
_EMPTY_FIRST: Final = ("lean", "limited")


def main() -> int:
    """Run the bench; the exit code."""
    asked = _parser().parse_args()
    options = Options(asked.seconds, asked.runs, asked.grow or _GROWN_ROWS, asked.strict, asked.log)
    try:
        require_programs()
        with interrupted_once():
            rows = _run(options, choose(asked.only, does_grow=asked.grow is not None))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    core = measure_core()
    _show(rows, core)
    if asked.json is not None:
        asked.json.write_text(json.dumps(_wire(rows, core), indent=2) + "\n")
    return FAILED if any(is_broken(row) for row in rows) else 0


def choose(only: Sequence[str], *, does_grow: bool) -> list[str]:
    """The scenarios to run, in their order; the grown log is compared with the short one, so that comes before."""
    wanted = set(only) or set(SCENARIOS) - {"grown"}
    if does_grow:
        wanted.add("grown")
    if "grown" in wanted:
        wanted.update(_EMPTY_FIRST)
    return [name for name in SCENARIOS if name in wanted]


def is_broken(row: Row) -> bool:
    """Whether a request failed or left too few rows: fast and unrecorded does not count."""
    rows, needed = row.figures.rows, _ROWS_OF_TOKEN if row.scenario == "token" else _ROWS_OF_CALL
    return row.figures.errors > 0 or (rows is not None and rows < needed)


def _run(options: Options, names: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    _say("setting up")
    with set_stage(options, _say) as stage:
        for name in names:
            rows += SCENARIOS[name](stage)
    return rows


def _show(rows: Sequence[Row], core: float) -> None:
    print(f"\n{table(rows)}\n\n{verdicts(judge(rows))}\n")
    baseline = find(rows, "proxy", BUSY)
    beside = "" if baseline is None else f"; nginx proxies a request in {(baseline.server_s or 0) * 1000:.0f} us"
    print(f"calibration: {processor()}; one core does {core:,.0f} rounds of JSON and SHA-256 a second{beside}")
    for row in rows:
        if is_broken(row):
            print(f"BROKEN: {row.scenario} c={row.connections}: {row.figures.errors} requests failed, "
                  f"{row.figures.rows} rows a request", file=sys.stderr)  # fmt: skip


def _wire(rows: Sequence[Row], core: float) -> dict[str, Any]:
    return {
        "version": agenthifive.__version__,
        "machine": {"processor": processor(), "roundsPerSecond": round(core)},
        "rows": [row.wire() for row in rows],
        "targets": [verdict.wire() for verdict in judge(rows)],
    }


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure this machine.")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one run (default: 5)")
    parser.add_argument(
        "--runs", type=_at_least_one, default=3, help="runs of each scenario; medians are shown (default: 3)"
    )
    parser.add_argument("--only", action="append", default=[], choices=SCENARIOS, help="may be repeated")
    parser.add_argument(
        "--grow", type=_at_least_one, nargs="?", const=_GROWN_ROWS, metavar="ROWS",
        help="also measure in a log with so many rows more (default: 1000000)",
    )  # fmt: skip
    parser.add_argument("--strict", action="store_true", help="wait until other processes are quiet")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the server's log here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
