"""`python -m bench.revocation`: how long a replica goes on after somebody has said stop.

    a change at replica A -> its answer ... the last call that A and B still accept, the end of their streams

    python -m bench.revocation [--rounds 200] [--streams-every 10] [--json FILE] [--log FILE]

Both replicas are called without pause, one call after the other. Exit 0 when for every kind of change the 99th
percentile of both replicas is at most a second, and every stream ended within two (goal R9); 1 otherwise. It stops by
itself.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agenthifive.cli.interrupts import interrupted_once
from bench.failures import FAILED, INTERRUPTED, BenchError
from bench.provider import running_own_provider
from bench.revocation_changes import Change, Target, list_changes
from bench.revocation_watch import Stream, Watch
from bench.rotation_stage import Site, throw_away_database, two_replicas

CALLS_BOUND_S: Final = 1.0
STREAMS_BOUND_S: Final = 2.0
_DEADLINE_S: Final = 15.0


@dataclass(slots=True)
class Waits:
    """From the answer to the change until the last accepted call, and until the end of a stream. Units: seconds."""

    calls: list[float] = field(default_factory=list)
    streams: list[float] = field(default_factory=list)

    def tell(self) -> dict[str, Any]:
        """The figures of one kind of change."""
        told: dict[str, Any] = {"calls": _figures(self.calls)}
        if self.streams:
            told["streams"] = _figures(self.streams)
        return told

    @property
    def is_good(self) -> bool:
        """Whether the goal is kept."""
        return percentile(self.calls, 99) <= CALLS_BOUND_S and max(self.streams, default=0.0) <= STREAMS_BOUND_S


def main() -> int:
    """Run it; the exit code."""
    asked = _parser().parse_args()
    try:
        with interrupted_once(), throw_away_database() as (app_dsn, admin_dsn):
            told = rehearse(app_dsn, admin_dsn, asked.rounds, asked.streams_every, asked.log)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    text = json.dumps(told, indent=2)
    print(text)
    if asked.json is not None:
        asked.json.write_text(text + "\n")
    return 0 if told["isGood"] else FAILED


def rehearse(
    app_dsn: str, admin_dsn: str, rounds: int, streams_every: int = 1, log: Path | None = None
) -> dict[str, Any]:
    """Stop and let go on, so many rounds of every kind; what was measured. Raises: BenchError."""
    folder = Path(tempfile.mkdtemp(prefix="ah5-revocation-"))
    try:
        with (
            running_own_provider(folder) as origin,
            two_replicas(app_dsn, admin_dsn, origin, records=0, rows_per_s=100, log=log) as site,
        ):
            target = Target(site, origin)
            waits = {
                change.name: asyncio.run(_measure(site, target, change, rounds, streams_every))
                for change in list_changes(target)
            }
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "goal": "R9",
        "isGood": all(one.is_good for one in waits.values()),
        "rounds": rounds,
        "changes": {name: one.tell() for name, one in waits.items()},
    }


async def _measure(site: Site, target: Target, change: Change, rounds: int, streams_every: int) -> Waits:
    waits = Waits()
    watches = [Watch(port, target) for port in (site.survivor.port, site.mortal.port)]
    running = [asyncio.create_task(watch.run()) for watch in watches]
    try:
        for number in range(rounds):
            for watch in watches:
                await _in_time(watch.wait_until(is_good=True), change.name, "is allowed again")
            streams = []
            if number % streams_every == 0:
                streams = [await Stream.open(watch.port, target) for watch in watches]
            stopped_s = await _at(change.stop)
            for watch in watches:
                await _in_time(watch.wait_until(is_good=False), change.name, "stops calls")
                waits.calls.append(max(0.0, watch.last_good_s - stopped_s))
            for stream in streams:
                await _in_time(stream.wait_until_over(), change.name, "cuts streams")
                waits.streams.append(max(0.0, stream.ended_s - stopped_s))
            await asyncio.to_thread(change.undo)
    finally:
        for task in running:
            task.cancel()
        ended: Sequence[BaseException | None] = await asyncio.gather(*running, return_exceptions=True)
    for one in ended:
        if one is not None and not isinstance(one, asyncio.CancelledError):
            raise BenchError(f"{change.name}: the calls broke off: {one!r}")
    return waits


async def _at(change: Callable[[], None]) -> float:
    """Make a change; the moment its answer was there."""
    await asyncio.to_thread(change)
    return asyncio.get_running_loop().time()


async def _in_time(waiting: Any, name: str, what: str) -> None:
    try:
        await asyncio.wait_for(waiting, _DEADLINE_S)
    except TimeoutError:
        raise BenchError(f"{name}: nothing {what} within {_DEADLINE_S:.0f} s") from None


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _figures(values: Sequence[float]) -> dict[str, float]:
    told = {"p50": percentile(values, 50), "p99": percentile(values, 99), "worst": max(values)}
    return {"samples": len(values), **{f"{name}Ms": round(value * 1000, 1) for name, value in told.items()}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.revocation", description="How soon does stop mean stop?")
    parser.add_argument("--rounds", type=int, default=200, help="of every kind of change (default: 200)")
    parser.add_argument("--streams-every", type=int, default=10, metavar="N", help="streams in each Nth round (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the servers' logs beside this name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
