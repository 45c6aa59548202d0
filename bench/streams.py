"""Streams of events: how much later the first one comes through the broker, and what an event costs.

One client opens the connection, reads chunk by chunk and notes when the first event was whole; the same stream is read
straight from the provider for comparison.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

from bench.account import call_body
from bench.figures import Figures, quantile
from bench.log_table import count_rows
from bench.processes import memory_mib
from bench.provider import EVENTS_PATH
from bench.stage import EXECUTE_PATH, Stage

EVENTS: Final = 200
_PACE_MS: Final = 5
_EVENT_END: Final = b"\n\n"
_STALL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where a stream comes from: a port of this machine and the request for it."""

    port: int
    request: bytes


@dataclass(frozen=True, slots=True)
class Watched:
    """One stream as its reader saw it."""

    first_ms: float
    events: int


@dataclass(frozen=True, slots=True)
class _Pair:
    direct: Sequence[Watched]
    brokered: Sequence[Watched]


def measure_first_event(stage: Stage) -> Figures:
    """One stream after the other, straight and through the broker in turns."""
    direct, brokered = _direct(stage, pause_ms=0), _brokered(stage, pause_ms=0)
    rows_before = count_rows(stage.instance)
    seen, usage = stage.meter.measure(lambda: asyncio.run(_take_turns(direct, brokered, stage.options.seconds)))
    firsts, streams = [one.first_ms for one in seen.brokered], len(seen.brokered)
    middle = median(firsts)
    return Figures(
        p50_ms=middle,
        p99_ms=quantile(firsts, 0.99),
        server_s=usage.server_s / streams * 1000,
        postgres_s=usage.postgres_s / streams * 1000,
        rss_mib=memory_mib(stage.instance.pid),
        rows=(count_rows(stage.instance) - rows_before) / streams,
        errors=_incomplete(seen.direct) + _incomplete(seen.brokered),
        others_share=usage.others_share,
        added_ms=middle - median(one.first_ms for one in seen.direct),
    )


def measure_event_cpu(stage: Stage, connections: int) -> Figures:
    """Streams side by side, an event every few milliseconds in each, as models answer."""
    source, seconds = _brokered(stage, pause_ms=_PACE_MS), stage.options.seconds
    rows_before = count_rows(stage.instance)
    seen, usage = stage.meter.measure(lambda: asyncio.run(_load(source, connections, seconds)))
    firsts, events = [one.first_ms for one in seen], sum(one.events for one in seen)
    return Figures(
        rps=len(seen) / usage.wall_s,
        p50_ms=median(firsts),
        p99_ms=quantile(firsts, 0.99),
        server_s=usage.server_s / len(seen) * 1000,
        postgres_s=usage.postgres_s / len(seen) * 1000,
        rss_mib=memory_mib(stage.instance.pid),
        rows=(count_rows(stage.instance) - rows_before) / len(seen),
        errors=_incomplete(seen),
        others_share=usage.others_share,
        event_us=usage.server_s / max(1, events) * 1e6,
    )


async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Watched:
    """Ask for one stream on a kept connection and read it to its end.

    Raises: ConnectionError for anything but 200 and a chunked body; OSError, IncompleteReadError, TimeoutError.
    """
    sent_s = time.perf_counter()
    writer.write(request)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _STALL_S)
    if not head.startswith(b"HTTP/1.1 200") or b"transfer-encoding: chunked" not in head.lower():
        raise ConnectionError(f"no stream: {head[:200]!r}")
    body, first_ms = b"", 0.0
    while size := int(await asyncio.wait_for(reader.readline(), _STALL_S), 16):
        body += (await reader.readexactly(size + 2))[:-2]
        if not first_ms and _EVENT_END in body:
            first_ms = (time.perf_counter() - sent_s) * 1000
    await reader.readexactly(2)
    return Watched(first_ms, body.count(_EVENT_END))


async def _take_turns(direct: Source, brokered: Source, seconds: float) -> _Pair:
    seen: dict[Source, list[Watched]] = {direct: [], brokered: []}
    links = {source: await asyncio.open_connection("localhost", source.port) for source in seen}
    for source, link in links.items():
        await watch(*link, source.request)  # warms the way
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s or not seen[brokered]:
        for source, link in links.items():
            seen[source].append(await watch(*link, source.request))
    for _, writer in links.values():
        writer.close()
    return _Pair(seen[direct], seen[brokered])


async def _load(source: Source, connections: int, seconds: float) -> list[Watched]:
    end_s, seen = time.monotonic() + seconds, list[Watched]()

    async def keep_reading() -> None:
        reader, writer = await asyncio.open_connection("localhost", source.port)
        while time.monotonic() < end_s:
            seen.append(await watch(reader, writer, source.request))
        writer.close()

    await asyncio.gather(*(keep_reading() for _ in range(connections)))
    return seen


def _incomplete(seen: Sequence[Watched]) -> int:
    return sum(one.events != EVENTS for one in seen)


def _direct(stage: Stage, pause_ms: int) -> Source:
    host = urlsplit(stage.events.origin)
    return Source(int(host.port or 0), f"GET {_wish(pause_ms)} HTTP/1.1\r\nHost: {host.netloc}\r\n\r\n".encode())


def _brokered(stage: Stage, pause_ms: int) -> Source:
    body: dict[str, Any] = call_body(stage.events, _wish(pause_ms), stream=True)
    content = json.dumps(body).encode()
    head = (
        f"POST {EXECUTE_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{stage.instance.port}\r\n"
        f"Authorization: Bearer {stage.lean.token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return Source(stage.instance.port, head.encode() + content)


def _wish(pause_ms: int) -> str:
    return f"{EVENTS_PATH}?count={EVENTS}&pauseMs={pause_ms}"
