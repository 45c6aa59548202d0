"""The scenarios, by name: each answers its rows.

proxy     nginx as a reverse proxy, c=1, 16                the baseline: no policy, no audit, no vault
lean      a brokered GET of 1 KiB, c=1, 16, 64             beside it, c=1, the document straight from the provider
limited   the same with an hourly limit, c=16
token     token exchange, an assertion of its own for each request, c=16
stream    200 events passed through, c=1 (first event) and 16 (CPU per event)
download  100 MiB through the broker, c=1
grown     lean and limited once more in a log with a million rows
start     memory of the server after all that, and how long `serve` takes to be healthy
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench.account import Agent, call_body
from bench.assertions import write_token_requests
from bench.downloads import measure_download
from bench.figures import Figures, Row, median_of
from bench.log_table import count_rows, grow
from bench.measure import Usage
from bench.nginx import DOCUMENT_PATH
from bench.processes import memory_mib
from bench.stage import Stage
from bench.streams import measure_event_cpu, measure_first_event
from bench.wrk import Load, run_wrk

BUSY: Final = 16
_LEAN_BUSY: Final = (BUSY, 64)
_WARM_UP_S: Final = 2.0
_TOKEN_PATH: Final = "/v1/agents/token"
_SPARE: Final = 1.6  # assertions signed for each one the warm-up used

Scenario = Callable[[Stage], list[Row]]


def run_proxy(stage: Stage) -> list[Row]:
    """The baseline; its server CPU is that of the proxy."""
    url = f"{stage.proxy.origin}{DOCUMENT_PATH}"

    def run(connections: int) -> Figures:
        load, usage = stage.meter.measure(lambda: run_wrk(url, connections, stage.options.seconds))
        return Figures(
            rps=load.rps, p50_ms=load.p50_ms, p99_ms=load.p99_ms, errors=load.errors, others_share=usage.others_share,
            server_s=usage.proxy_s / max(1, load.requests) * 1000,
        )  # fmt: skip

    run_wrk(url, BUSY, 1)
    return [_repeat(stage, "proxy", connections, partial(run, connections)) for connections in (1, BUSY)]


def run_lean(stage: Stage) -> list[Row]:
    """Calls as cheap as they get; at c=1 each run has one straight to the provider beside it."""
    bodies = _prepare(stage, "lean", stage.lean)
    url = f"{stage.provider.origin}{DOCUMENT_PATH}"
    pairs: list[tuple[Figures, Figures]] = []
    for _ in range(stage.options.runs):
        load, usage = stage.meter.measure(lambda: run_wrk(url, 1, stage.options.seconds))
        direct = Figures(
            rps=load.rps, p50_ms=load.p50_ms, p99_ms=load.p99_ms, errors=load.errors, others_share=usage.others_share
        )
        pairs.append((direct, _call(stage, stage.lean, bodies, 1, beside=load.p50_ms)))
    rows = [_row(stage, name, 1, [pair[place] for pair in pairs]) for place, name in enumerate(("direct", "lean"))]
    busier = (partial(_call, stage, stage.lean, bodies, connections) for connections in _LEAN_BUSY)
    return [*rows, *(_repeat(stage, "lean", c, run) for c, run in zip(_LEAN_BUSY, busier, strict=True))]


def run_limited(stage: Stage) -> list[Row]:
    """Calls counted against an hourly limit that is never reached."""
    bodies = _prepare(stage, "limited", stage.limited)
    return [_repeat(stage, "limited", BUSY, partial(_call, stage, stage.limited, bodies, BUSY))]


def run_token(stage: Stage) -> list[Row]:
    """Token exchanges; as many assertions are signed before each run as the last one suggests."""
    agent, path, seconds = stage.exchanger, stage.folder / "tokens.json", stage.options.seconds

    def exchange(count: int, duration_s: float) -> Load:
        write_token_requests(path, count, agent.key, agent.id, stage.instance.base)
        return run_wrk(f"{stage.instance.base}{_TOKEN_PATH}", BUSY, duration_s, path)

    rate = exchange(5000, 1).rps

    def run() -> Figures:
        write_token_requests(path, int(rate * seconds * _SPARE) + 500, agent.key, agent.id, stage.instance.base)
        return _measured(stage, lambda: run_wrk(f"{stage.instance.base}{_TOKEN_PATH}", BUSY, seconds, path))

    return [_repeat(stage, "token", BUSY, run)]


def run_stream(stage: Stage) -> list[Row]:
    """Streams of events."""
    return [
        _repeat(stage, "stream", 1, partial(measure_first_event, stage)),
        _repeat(stage, "stream", BUSY, partial(measure_event_cpu, stage, BUSY)),
    ]


def run_download(stage: Stage) -> list[Row]:
    """A large file."""
    return [_repeat(stage, "download", 1, partial(measure_download, stage))]


def run_grown(stage: Stage) -> list[Row]:
    """The same calls in a long log."""
    stage.say(f"adding {stage.options.grown_rows:,} rows to the log")
    grow(stage.instance, stage.options.grown_rows, stage.limited.id, stage.documents.id)
    rows = []
    for name, agent in (("lean", stage.lean), ("limited", stage.limited)):
        bodies = _prepare(stage, name, agent)
        rows.append(_repeat(stage, f"{name}, grown", BUSY, partial(_call, stage, agent, bodies, BUSY)))
    return rows


def run_start(stage: Stage) -> list[Row]:
    """The last scenario: the server is stopped afterwards."""
    memory = Figures(rss_mib=memory_mib(stage.instance.pid))

    def run() -> Figures:
        stage.instance.stop()
        started_s = time.monotonic()
        stage.instance.begin("serve")
        stage.instance.wait_until_healthy()
        return Figures(start_s=time.monotonic() - started_s)

    return [Row("memory", 0, 1, memory), _repeat(stage, "start", 0, run)]


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "proxy": run_proxy,
    "lean": run_lean,
    "limited": run_limited,
    "token": run_token,
    "stream": run_stream,
    "download": run_download,
    "grown": run_grown,
    "start": run_start,
}
"""In the order they are run."""


def _prepare(stage: Stage, name: str, agent: Agent) -> Path:
    """Prove that the call works, and warm the server up with it; the file with its body."""
    stage.prove_call(agent)
    bodies = stage.write_bodies(name, call_body(stage.documents, DOCUMENT_PATH))
    run_wrk(stage.execute_url, BUSY, _WARM_UP_S, bodies, agent.token)
    return bodies


def _call(stage: Stage, agent: Agent, bodies: Path, connections: int, beside: float | None = None) -> Figures:
    """One run of calls. beside: median of the same document without us."""
    seconds = stage.options.seconds
    return _measured(stage, lambda: run_wrk(stage.execute_url, connections, seconds, bodies, agent.token), beside)


def _measured(stage: Stage, load: Callable[[], Load], beside: float | None = None) -> Figures:
    rows_before = count_rows(stage.instance)
    seen, usage = stage.meter.measure(load)
    rows = count_rows(stage.instance) - rows_before
    return _figures(seen, usage, rows, memory_mib(stage.instance.pid), beside)


def _figures(seen: Load, usage: Usage, rows: int, rss_mib: float, beside: float | None) -> Figures:
    requests = max(1, seen.requests)
    return Figures(
        rps=seen.rps,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        server_s=usage.server_s / requests * 1000,
        postgres_s=usage.postgres_s / requests * 1000,
        rss_mib=rss_mib,
        rows=rows / requests,
        errors=seen.errors,
        others_share=usage.others_share,
        added_ms=None if beside is None else seen.p50_ms - beside,
    )


def _repeat(stage: Stage, scenario: str, connections: int, run: Callable[[], Figures]) -> Row:
    return _row(stage, scenario, connections, [run() for _ in range(stage.options.runs)])


def _row(stage: Stage, scenario: str, connections: int, runs: Sequence[Figures]) -> Row:
    stage.say(f"{scenario}{f' c={connections}' if connections else ''}: {len(runs)} run{'s' * (len(runs) > 1)}")
    return Row(scenario, connections, len(runs), median_of(runs))
