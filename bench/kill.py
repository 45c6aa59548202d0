"""`python -m bench.kill`: SIGKILL the server at random moments under load, and see whether the log knows everything.

    load (16 connections) -> server -> provider that writes down each request
              kill, serve again, kill, serve again ...        then: provider's list and clients' list against the log

    python -m bench.kill [--kills 100] [--seed N] [--postgres] [--json FILE] [--log FILE]

Every request the provider saw must have its intent in the log, every intent exactly one outcome within a minute, every
answer its rows, and the log must verify. Exit 0 when all that is so, 1 when not.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agenthifive.cli.interrupts import interrupted_once
from bench.account import Agent, egress_settings, open_account
from bench.failures import FAILED, INTERRUPTED, BenchError
from bench.instance import Instance, running_instance
from bench.kill_load import PATH_PREFIX, Load
from bench.kill_verdict import GAPS, LogRow, Verdict, compare, read_hits
from bench.log_table import reading
from bench.processes import wait_until_gone
from bench.provider import running_own_provider

CLIENTS: Final = 16
SOONEST_S, LATEST_S = 0.2, 1.5
LIMIT_S: Final = 480.0
"""No further kill after this: with the checks at the end the test stays below ten minutes."""

OUTCOME_TIMEOUT_S: Final = 60.0
_POSTGRES_EVERY: Final = 5
_WITHOUT_DATABASE_S: Final = 0.3
_BURIAL_S: Final = 10.0
_CALM_S: Final = 2.0
_LOOK_AGAIN_S: Final = 1.0
_TELL_EVERY: Final = 10
ROWS: Final = """
    SELECT audit_id::text, metadata->>'path', intent_id::text, metadata->>'outcome'
      FROM l_audit_events WHERE agent_id = %s ORDER BY chain_id, chain_seq
"""
OPEN_INTENTS: Final = """
    SELECT count(*) FROM l_audit_events i WHERE i.action = 'execution_requested' AND i.agent_id = %s
       AND NOT EXISTS (SELECT FROM l_audit_events o WHERE o.intent_id = i.audit_id)
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line says."""

    kills: int
    seed: int
    has_postgres: bool
    log: Path | None


@dataclass(slots=True)
class Course:
    """How it went. Units: restart_s: from the start of `serve` to the first healthy answer."""

    kills: int = 0
    postgres_kills: int = 0
    restart_s: list[float] = field(default_factory=list)
    outcomes_after_s: float = 0.0
    verify_exit: int = -1
    verify_said: str = ""


def main() -> int:
    """Run the test; the exit code."""
    asked = _parser().parse_args()
    plan = Plan(asked.kills, asked.seed, asked.postgres, asked.log)
    started_s = time.monotonic()
    try:
        with interrupted_once():
            told = _run(plan)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    told["seconds"] = round(time.monotonic() - started_s)
    text = json.dumps(told, indent=2)
    print(text)
    if asked.json is not None:
        asked.json.write_text(text + "\n")
    print("No record is missing." if told["isWhole"] else "RECORDS ARE MISSING: see the gaps above.", file=sys.stderr)
    return 0 if told["isWhole"] else FAILED


def _run(plan: Plan) -> dict[str, Any]:
    course = Course()
    _say(f"setting up; seed {plan.seed}")
    with _stage(plan) as (instance, load, agent, hits):
        asyncio.run(_kill_under_load(plan, instance, load, course))
        _say("waiting for the outcomes of calls that were cut off")
        course.outcomes_after_s = _wait_for_outcomes(instance, agent)
        seen, rows = load.seen, _read_rows(instance, agent)
        verdict = compare(read_hits(hits.read_text(), PATH_PREFIX), seen.answered, seen.refused_ids, rows)
        _say("verifying the log")
        done = instance.run("audit", "verify")
        course.verify_exit, course.verify_said = done.returncode, (done.stdout + done.stderr).strip()
    return _tell(plan, course, load, verdict)


@contextlib.contextmanager
def _stage(plan: Plan) -> Iterator[tuple[Instance, Load, Agent, Path]]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ah5-kill-")))
        hits = folder / "hits.log"
        origin = stack.enter_context(running_own_provider(folder, hits))
        instance = stack.enter_context(running_instance(egress_settings(origin), plan.log))
        account = open_account(instance)
        connection, agent = account.connect("Recorder", origin), account.create_agent("Unlucky")
        account.allow(agent, connection)
        yield instance, Load(instance.port, connection, agent), agent, hits


async def _kill_under_load(plan: Plan, instance: Instance, load: Load, course: Course) -> None:
    dice, end_s = random.Random(plan.seed), time.monotonic() + LIMIT_S
    clients = asyncio.create_task(load.run(CLIENTS))
    try:
        while course.kills < plan.kills and time.monotonic() < end_s:
            await asyncio.sleep(dice.uniform(SOONEST_S, LATEST_S))
            postgres = None
            if plan.has_postgres and course.kills % _POSTGRES_EVERY == _POSTGRES_EVERY - 1:
                postgres = instance.kill_postgres()
                course.postgres_kills += 1
                await asyncio.sleep(_WITHOUT_DATABASE_S)  # the server must refuse: nothing can be recorded
            instance.kill()
            course.kills += 1
            if postgres is not None:  # PostgreSQL does not start while its predecessor is not buried
                await asyncio.to_thread(wait_until_gone, postgres, _BURIAL_S)
            course.restart_s.append(await asyncio.to_thread(_serve, instance))
            if course.kills % _TELL_EVERY == 0:
                _say(f"{course.kills} kills, {len(load.seen.answered)} calls answered")
        await asyncio.sleep(_CALM_S)
    finally:
        load.end()
        await clients


def _serve(instance: Instance) -> float:
    started_s = time.monotonic()
    instance.begin("serve")
    instance.wait_until_healthy()
    return time.monotonic() - started_s


def _wait_for_outcomes(instance: Instance, agent: Agent) -> float:
    """How long it took until no intent was open, at most a minute."""
    started_s = time.monotonic()
    with reading(instance) as connection:
        while (waited_s := time.monotonic() - started_s) < OUTCOME_TIMEOUT_S:
            if connection.execute(OPEN_INTENTS, [agent.id]).fetchone() == (0,):
                break
            time.sleep(_LOOK_AGAIN_S)
    return waited_s


def _read_rows(instance: Instance, agent: Agent) -> list[LogRow]:
    with reading(instance) as connection:
        return [LogRow(*row) for row in connection.execute(ROWS, [agent.id])]


def _tell(plan: Plan, course: Course, load: Load, verdict: Verdict) -> dict[str, Any]:
    counts = verdict.wire()
    return {
        "isWhole": verdict.is_whole and course.verify_exit == 0,
        "seed": plan.seed,
        "kills": course.kills,
        "killsOfPostgres": course.postgres_kills,
        "slowestRestartSeconds": round(max(course.restart_s, default=0.0), 2),
        "calls": {
            "sent": load.seen.sent,
            "answered": len(load.seen.answered),
            "unanswered": load.seen.unanswered,
            "refused": dict(load.seen.refused),
        },
        "counts": {name: count for name, count in counts.items() if name not in GAPS},
        "gaps": {name: counts[name] for name in GAPS},
        "outcomesCompleteAfterSeconds": round(course.outcomes_after_s, 1),
        "verify": {"exit": course.verify_exit, "said": course.verify_said.splitlines()},
    }


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.kill", description="Kill the server, look at the log.")
    parser.add_argument("--kills", type=int, default=100, help="how often (default: 100; eight minutes at most)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (default: 1)")
    parser.add_argument("--postgres", action="store_true", help="kill PostgreSQL too, every fifth time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the server's log here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
