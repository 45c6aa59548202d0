"""Doubles that speak the real protocol on loopback and remember what reached them, and the people of the cast.

Olga owns the workspace, Adam approves, Vera only views, Mallory belongs to another workspace, Bot is an agent.
"""

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

OLGA, ADAM, VERA, MALLORY = "olga@example.com", "adam@example.com", "vera@example.com", "mallory@evil.test"


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it stood on the wire."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    reader: asyncio.StreamReader | None = field(default=None, repr=False, compare=False)

    @property
    def has_left(self) -> bool:
        """Whether the other side has closed the connection."""
        return self.reader is not None and self.reader.at_eof()

    def header(self, name: str) -> str | None:
        """The value of a header that occurs once, None without it."""
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None


Script = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def respond(status: int = 200, body: bytes = b"{}", *headers: tuple[str, str]) -> Script:
    """A script that answers every request alike."""

    async def script(_: Received, writer: asyncio.StreamWriter) -> None:
        names = {name.lower() for name, _ in headers}
        lines = [f"HTTP/1.1 {status} X\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in headers]
        if "content-type" not in names:
            lines.append("content-type: application/json\r\n")
        if not names & {"content-length", "transfer-encoding"}:
            lines.append(f"content-length: {len(body)}\r\n")
        writer.write("".join(lines).encode() + b"\r\n" + body)

    return script


def respond_gzip(body: bytes, content_type: str = "application/json") -> Script:
    """A script that answers with a compressed body."""
    return respond(200, gzip.compress(body), ("content-encoding", "gzip"), ("content-type", content_type))


def raw(data: bytes, *, close: bool = True) -> Script:
    """A script that writes exactly these bytes."""

    async def script(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            await writer.drain()
            writer.close()

    return script


@dataclass
class Provider:
    """A recording provider. `script` may be changed between calls; `hosts` are names that lead to it."""

    script: Script = field(default_factory=respond)
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, tls: ssl.SSLContext | None = None) -> Self:
        """Listen on a loopback port of the system's choice."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls, limit=64 * 1024 * 1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                request = await _read_request(reader)
                self.received.append(request)
                await self.script(request, writer)
                await writer.drain()
                if writer.is_closing():
                    break
        self.closed += 1
        self._writers.discard(writer)
        writer.close()


@contextlib.asynccontextmanager
async def provider(script: Script | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    """A provider for the length of a block."""
    started = await Provider(script or respond()).start(tls)
    try:
        yield started
    finally:
        await started.stop()


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request_line, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = request_line.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Received(method, target, headers, await reader.readexactly(length), reader)
