"""The provider of the demonstration: a weather service on loopback that remembers what reached it.

It answers with the headers it was sent, as careless services do, so that what the caller gets to see of the key is
decided by AgentHiFive and not by the provider's good manners.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

FORECAST_PATH: Final = "/v1/forecast"
ORDERS_PATH: Final = "/v1/orders"
DETOUR_PATH: Final = "/v1/forecast-by-satellite"
METADATA: Final = "169.254.169.254"
_BODY_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the provider saw it."""

    method: str
    path: str
    authorization: str | None


@dataclass
class DemoProvider:
    """A running provider. `port` is set once it listens."""

    seen: list[Seen] = field(default_factory=list)
    port: int = 0

    @property
    def origin(self) -> str:
        """Its address, by name: connections name hosts."""
        return f"http://localhost:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                request_line, *lines = head.rstrip("\r\n").split("\r\n")
                method, target, _ = request_line.split(" ", 2)
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                await reader.readexactly(min(int(headers.get("content-length", "0")), _BODY_MAX))
                path = target.partition("?")[0]
                self.seen.append(Seen(method, path, headers.get("authorization")))
                writer.write(_answer(method, path, headers))
                await writer.drain()
        writer.close()


@contextlib.contextmanager
def running_provider() -> Iterator[DemoProvider]:
    """A provider in a thread of its own, for the length of a block."""
    provider, is_up, end = DemoProvider(), threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def live() -> None:
        server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
        provider.port = server.sockets[0].getsockname()[1]
        loops.append(asyncio.get_running_loop())
        is_up.set()
        await end.wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(live()), name="demo-provider", daemon=True)
    thread.start()
    is_up.wait()
    try:
        yield provider
    finally:
        loops[0].call_soon_threadsafe(end.set)
        thread.join()


def _answer(method: str, path: str, headers: dict[str, str]) -> bytes:
    body: dict[str, object] = {}
    head = "HTTP/1.1 404 Not Found\r\n"
    if (method, path) == ("GET", FORECAST_PATH):
        head = "HTTP/1.1 200 OK\r\n"
        body = {"city": "Oslo", "forecast": "sun, 14 degrees", "youSent": headers}
    elif (method, path) == ("GET", DETOUR_PATH):
        head = f"HTTP/1.1 302 Found\r\nlocation: http://{METADATA}/latest/meta-data/\r\n"
    content = json.dumps(body).encode()
    return f"{head}content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content
