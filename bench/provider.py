"""A small provider of our own, for what nginx cannot play: streams of events, and a log of every request.

GET /v1/events?count=200&pauseMs=5    Server-Sent Events, one every so many milliseconds (0: as fast as they go)
GET anything else                     a JSON object; with --hits FILE a line `<time in ns> <path>` is written first

python -m bench.provider --port 18090 [--hits FILE]
"""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from bench.programs import free_port, running

EVENTS_PATH: Final = "/v1/events"
_BODY: Final = b'{"ok":true,"text":"recorded"}'
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY)
) + _BODY
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_TEXT: Final = "twelve words of an answer that somebody waits for, piece by piece"


@contextlib.contextmanager
def running_own_provider(folder: Path, hits: Path | None = None) -> Iterator[str]:
    """This module as a process of its own, for the length of a block; its origin. Raises: BenchError."""
    port = free_port()
    command = [sys.executable, "-m", __name__, "--port", str(port)]
    if hits is not None:
        command += ["--hits", str(hits)]
    with running(command, port, folder / "own-provider.log"):
        yield f"http://localhost:{port}"


def event(number: int) -> bytes:
    """One event, as an HTTP chunk of its own."""
    data = b'data: {"number":%d,"text":"%s"}\n\n' % (number, _TEXT.encode())
    return b"%x\r\n%s\r\n" % (len(data), data)


class Provider:
    """Answers requests. `hits`: descriptor of the log of requests."""

    def __init__(self, hits: int | None) -> None:
        self._hits = hits

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The requests of one connection, until the peer closes it."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = urlsplit(head.split(b" ", 2)[1].decode("ascii"))
                if target.path == EVENTS_PATH:
                    await _stream(writer, target.query)
                    continue
                if self._hits is not None:
                    os.write(self._hits, b"%d %s\n" % (time.time_ns(), target.path.encode()))
                writer.write(_ANSWER)
                await writer.drain()
        writer.close()


async def _stream(writer: asyncio.StreamWriter, query: str) -> None:
    wish = {name: int(values[0]) for name, values in parse_qs(query).items()}
    writer.write(_STREAM_HEAD)
    for number in range(wish["count"]):
        writer.write(event(number))
        await writer.drain()
        if wish["pauseMs"]:
            await asyncio.sleep(wish["pauseMs"] / 1000)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _main() -> None:
    parser = argparse.ArgumentParser(description="A provider for benchmarks.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--hits", type=Path)
    options = parser.parse_args()
    hits = None if options.hits is None else os.open(options.hits, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = await asyncio.start_server(Provider(hits).serve, "localhost", options.port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
