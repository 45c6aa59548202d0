"""`python -m bench.once`: what works once, sent a thousand times at the same moment to two replicas.

    1,000 connections, half to each replica -> all copies in one go -> exactly one success

    python -m bench.once [--copies 1000] [--rounds 20] [--json FILE] [--log FILE]

For each kind of one-time thing: a fresh one each round, used on every connection. Exit 0 when every round
had exactly one success and no answer but refusals beside it (goal S6); 1 otherwise. It stops by itself.
"""

import argparse
import asyncio
import json
import resource
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from agenthifive.cli.interrupts import interrupted_once
from bench.failures import FAILED, INTERRUPTED, BenchError
from bench.kill_load import read_answer
from bench.once_things import Body, Thing, list_things
from bench.provider import running_own_provider
from bench.rotation_stage import Site, throw_away_database, two_replicas

_REFUSED: Final = frozenset({400, 401, 404, 409, 410, 429})
_SPARE_DESCRIPTORS: Final = 200
_PATIENCE_S: Final = 120.0


def main() -> int:
    """Run it; the exit code."""
    asked = _parser().parse_args()
    try:
        with interrupted_once(), throw_away_database() as (app_dsn, admin_dsn):
            told = rehearse(app_dsn, admin_dsn, asked.copies, asked.rounds, asked.log)
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


def rehearse(app_dsn: str, admin_dsn: str, copies: int, rounds: int, log: Path | None = None) -> dict[str, Any]:
    """Use each kind so often at once, so many rounds; what was answered. Raises: BenchError."""
    _allow_descriptors(copies + _SPARE_DESCRIPTORS)
    folder = Path(tempfile.mkdtemp(prefix="ah5-once-"))
    try:
        with (
            running_own_provider(folder) as origin,
            two_replicas(app_dsn, admin_dsn, origin, records=0, rows_per_s=100, log=log) as site,
        ):
            told = {thing.name: _use(site, thing, copies, rounds) for thing in list_things(site)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    good = all(one["successes"] == [1] * rounds and not one["unexpected"] for one in told.values())
    return {"goal": "S6", "isGood": good, "copies": copies, "rounds": rounds, "things": told}


def _use(site: Site, thing: Thing, copies: int, rounds: int) -> dict[str, Any]:
    """The answers to all copies of every round."""
    successes, answers = [], Counter[str]()
    for _ in range(rounds):
        site.ask("WITH gone AS (DELETE FROM t_rate_limits RETURNING 1) SELECT count(*) FROM gone")
        statuses = asyncio.run(_send_at_once(site, thing.path, thing.make(), copies))
        successes.append(statuses.count(200))
        answers.update(str(status) for status in statuses)
    unexpected = {status: count for status, count in answers.items() if int(status) not in _REFUSED | {200}}
    return {"successes": successes, "answers": dict(sorted(answers.items())), "unexpected": unexpected}


async def _send_at_once(site: Site, path: str, make_body: Callable[[], Body], copies: int) -> Sequence[int]:
    ports = (site.survivor.port, site.mortal.port)
    requests = [_request(path, make_body()) for _ in range(copies)]
    opened = [await asyncio.open_connection("127.0.0.1", ports[number % 2]) for number in range(copies)]
    try:
        for (_, writer), request in zip(opened, requests, strict=True):
            writer.write(request)
        answers = await asyncio.wait_for(asyncio.gather(*(read_answer(reader) for reader, _ in opened)), _PATIENCE_S)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        raise BenchError(f"{path}: a copy was not answered: {error!r}") from None
    finally:
        for _, writer in opened:
            writer.close()
    return [status for status, _ in answers]


def _request(path: str, body: Body) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.once", description="Does once mean once?")
    parser.add_argument("--copies", type=int, default=1000, help="of each request (default: 1000)")
    parser.add_argument("--rounds", type=int, default=20, help="of each kind (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the servers' logs beside this name")
    return parser


if __name__ == "__main__":
    sys.exit(main())
