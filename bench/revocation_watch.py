"""What is watched while somebody says stop: calls without pause to one replica, and a stream that is open there."""

import asyncio
import contextlib
import json
from typing import Any, Final

from bench.account import call_body
from bench.failures import BenchError
from bench.kill_load import read_answer
from bench.provider import EVENTS_PATH
from bench.revocation_changes import Target
from bench.stage import EXECUTE_PATH

_IN_A_ROW: Final = 3
"""So many equal answers mean that a replica has made up its mind."""

_EVENTS: Final = f"{EVENTS_PATH}?count=5000&pauseMs=20"


class Watch:
    """One call after the other. Units: last_good_s: when the last call that was answered 200 began."""

    def __init__(self, port: int, target: Target) -> None:
        self.port = port
        self.last_good_s = 0.0
        self._target = target
        self._is_good: bool | None = None
        self._in_a_row = 0
        self._news = asyncio.Condition()

    async def run(self) -> None:
        """Call until cancelled. Raises: OSError, IncompleteReadError."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        loop = asyncio.get_running_loop()
        try:
            while True:
                began_s = loop.time()
                writer.write(_request(self.port, self._target, "/v1/r/1"))
                status, _ = await read_answer(reader)
                await self._note(status == 200, began_s)
        finally:
            writer.close()

    async def wait_until(self, *, is_good: bool) -> None:
        """Return once this replica answers so, and again and again."""
        async with self._news:
            self._in_a_row = 0
            await self._news.wait_for(lambda: self._is_good is is_good and self._in_a_row >= _IN_A_ROW)

    async def _note(self, is_good: bool, began_s: float) -> None:
        async with self._news:
            self._in_a_row = self._in_a_row + 1 if is_good is self._is_good else 1
            self._is_good = is_good
            if is_good:
                self.last_good_s = began_s
            self._news.notify_all()


class Stream:
    """An answer that goes on for minutes. Units: ended_s: when its last piece came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ended_s = 0.0
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, target: Target) -> "Stream":
        """Ask for it; return when the first piece is there. Raises: BenchError."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_request(port, target, _EVENTS, stream=True))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if " 200 " not in head.partition("\r\n")[0]:
            raise BenchError(f"The stream was answered: {head}")
        await reader.read(1)
        return cls(reader, writer)

    async def wait_until_over(self) -> None:
        """Read to the end, whatever it is: the event of a cut, the last chunk, or a closed connection."""
        with contextlib.suppress(OSError):
            while piece := await self._reader.read(65_536):
                self.ended_s = asyncio.get_running_loop().time()
                if piece.endswith(b"0\r\n\r\n"):
                    break
        self._writer.close()


def _request(port: int, target: Target, path: str, **more: Any) -> bytes:
    content = json.dumps(call_body(target.connection, path, **more)).encode()
    head = (
        f"POST {EXECUTE_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {target.agent.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
