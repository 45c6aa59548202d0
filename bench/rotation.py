"""`python -m bench.rotation`: rotate the key of a running installation while the re-encrypting process is killed.

    two replicas, 50 calls a second to both in turn
    keys rotate --stage, keys reload -> keys rotate, SIGHUP one replica: it re-encrypts -> SIGKILL, serve again, ...
        -> the other replica too -> keys status: 0 -> keys check -> keys retire -> restart without the old key

    python -m bench.rotation [--records 2000] [--kills 20] [--seed N] [--rate ROWS] [--json FILE] [--log FILE]

The commands are those of docs/how-to/rotate-keys.md. Exit 0 when no call failed, every record opens, none is left under
the old key, and the restart without it succeeds; 1 otherwise. It stops by itself.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agenthifive.cli.interrupts import interrupted_once
from bench.failures import FAILED, INTERRUPTED, BenchError
from bench.instance import Instance
from bench.processes import list_processes
from bench.programs import free_port
from bench.provider import running_own_provider
from bench.rotation_load import SteadyLoad
from bench.rotation_stage import Site, throw_away_database, two_replicas

SOONEST_S, LATEST_S = 0.05, 0.8
_LOOK_AGAIN_S: Final = 0.2
_DEADLINE_S: Final = 900.0
_REFUSED: Final = 6
LEFT: Final = """
    SELECT (SELECT count(*) FROM t_connections WHERE encrypted_tokens_kid = %s)
         + (SELECT count(*) FROM t_idempotency_keys WHERE reply_kid = %s)
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line says. Units: rows_per_s: pace of the job."""

    records: int
    kills: int
    seed: int
    rows_per_s: int
    calls_per_s: int = 50


@dataclass(slots=True)
class Course:
    """How it went. Shapes: left_at_kill: records under the old key after each kill. steps: command -> exit code."""

    left_at_kill: list[int] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    cpu_s: float = 0.0
    restarts: bool = False


def main() -> int:
    """Run it; the exit code."""
    asked = _parser().parse_args()
    pace = asked.rate or min(500, max(50, round(asked.records / (1.5 * max(1, asked.kills)))))
    plan = Plan(asked.records, asked.kills, asked.seed, pace)
    try:
        with interrupted_once(), throw_away_database() as (app_dsn, admin_dsn):
            told = rehearse(app_dsn, admin_dsn, plan, asked.log)
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


def rehearse(app_dsn: str, admin_dsn: str, plan: Plan, log: Path | None = None) -> dict[str, Any]:
    """Rotate once on this database; what happened. Raises: BenchError."""
    folder = Path(tempfile.mkdtemp(prefix="ah5-rotation-"))
    try:
        with (
            running_own_provider(folder) as origin,
            two_replicas(app_dsn, admin_dsn, origin, records=plan.records, rows_per_s=plan.rows_per_s, log=log) as site,
        ):
            return asyncio.run(_rotate(site, plan))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _rotate(site: Site, plan: Plan) -> dict[str, Any]:
    course, dice = Course(), random.Random(plan.seed)
    refused = await asyncio.to_thread(_start_with_another_key, site.survivor)
    ports = (site.survivor.port, site.mortal.port)
    load = SteadyLoad(ports, site.agent, site.connections, plan.calls_per_s)
    calls = asyncio.create_task(load.run())
    started_s = time.monotonic()
    try:
        old = await asyncio.to_thread(_begin, site, course)
        await _kill_again_and_again(site, plan, dice, course, old)
        await asyncio.to_thread(_complete, site, course, old, started_s)
        course.cpu_s += _cpu_s(site.mortal) + _cpu_s(site.survivor)
    finally:
        load.end()
        await calls
    await asyncio.to_thread(_restart, site, course)
    outcome = load.outcome
    return {
        "isGood": not outcome.failed and course.restarts and refused == _REFUSED and not any(course.steps.values()),
        "seed": plan.seed,
        "records": plan.records,
        "kills": len(course.left_at_kill),
        "killsWhileRecordsWereLeft": sum(1 for left in course.left_at_kill if left),
        "leftAtKill": course.left_at_kill,
        "calls": {"good": outcome.good, "failed": dict(outcome.failed), "cutByKills": outcome.cut},
        "exitOfStartWithAnotherKey": refused,
        "steps": course.steps,
        "restartsWithoutTheOldKey": course.restarts,
        "rowsPerSecond": plan.rows_per_s,
        "seconds": round(course.seconds, 1),
        "cpuSeconds": round(course.cpu_s, 1),
    }


def _start_with_another_key(replica: Instance) -> int:
    """The exit code of a start that knows only a key of its own."""
    env = replica.home / ".env"
    kept = env.read_text()
    env.write_text(kept.replace("ENCRYPTION_KEY=", f"ENCRYPTION_KEY={os.urandom(32).hex()}\n#", 1))
    try:
        return replica.run("serve", "--port", str(free_port())).returncode
    finally:
        env.write_text(kept)


def _begin(site: Site, course: Course) -> str:
    """Up to the first moment somebody re-encrypts; the kid of the old key."""
    _step(site.survivor, course, "keys", "rotate", "--stage", "--env-file", ".env")
    _copy_settings(site.survivor, site.mortal)
    _step(site.survivor, course, "keys", "reload")
    rotated = _step(site.mortal, course, "--json", "keys", "rotate", "--env-file", ".env")
    os.kill(site.mortal.pid, signal.SIGHUP)
    old: str = json.loads(rotated)["data"]["previousKid"]
    return old


async def _kill_again_and_again(site: Site, plan: Plan, dice: random.Random, course: Course, old: str) -> None:
    end_s = time.monotonic() + _DEADLINE_S
    while len(course.left_at_kill) < plan.kills and time.monotonic() < end_s:
        await asyncio.sleep(dice.uniform(SOONEST_S, LATEST_S))
        course.cpu_s += _cpu_s(site.mortal)
        site.mortal.kill()
        course.left_at_kill.append(site.ask(LEFT, [old, old])[0][0])
        site.mortal.begin("serve")
        await asyncio.to_thread(site.mortal.wait_until_healthy)


def _complete(site: Site, course: Course, old: str, started_s: float) -> None:
    """The rest of the procedure, on both replicas."""
    _copy_settings(site.mortal, site.survivor)
    _reload(site)
    end_s = time.monotonic() + _DEADLINE_S
    while site.survivor.run("keys", "status").returncode and time.monotonic() < end_s:
        time.sleep(_LOOK_AGAIN_S)
    course.seconds = time.monotonic() - started_s
    _step(site.survivor, course, "keys", "status")
    _step(site.survivor, course, "keys", "check")
    _step(site.survivor, course, "keys", "retire", old, "--env-file", ".env")
    _copy_settings(site.survivor, site.mortal)
    _step(site.survivor, course, "keys", "reload")


def _reload(site: Site) -> None:
    """`keys reload`, again while a replica that was killed has not left the list yet."""
    end_s = time.monotonic() + _DEADLINE_S
    while site.survivor.run("keys", "reload").returncode and time.monotonic() < end_s:
        time.sleep(_LOOK_AGAIN_S)


def _restart(site: Site, course: Course) -> None:
    """A replica again, from settings without the old key."""
    replica = site.mortal
    replica.stop()
    replica.begin("serve")
    replica.wait_until_healthy()
    course.restarts = "," not in (replica.home / ".env").read_text()


def _step(replica: Instance, course: Course, *command: str) -> str:
    done = replica.run(*command)
    name = " ".join(word for word in command if word != "--json")
    course.steps[f"agenthifive {name}"] = done.returncode
    if done.returncode:
        raise BenchError(f"agenthifive {name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _copy_settings(source: Instance, target: Instance) -> None:
    draft = target.home / ".env.new"
    draft.write_text((source.home / ".env").read_text())
    draft.chmod(0o600)
    draft.replace(target.home / ".env")


def _cpu_s(replica: Instance) -> float:
    with contextlib.suppress(KeyError):
        return list_processes()[replica.pid].cpu_s
    return 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.rotation", description="Rotate a key under load and kills.")
    parser.add_argument("--records", type=int, default=100_000, help="sealed records (default: 100000)")
    parser.add_argument("--kills", type=int, default=20, help="of the re-encrypting process (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (default: 1)")
    parser.add_argument("--rate", type=int, default=0, help="records a second (default: so that the kills hit)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the servers' logs beside this name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
