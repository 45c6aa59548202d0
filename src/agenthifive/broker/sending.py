"""Raw replies on their way to the client: passed on as they come, given up when it leaves or stops reading.

Source: contract/broker.md section 10.3 "back-pressure" and section 15 (client gone).
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Final

from agenthifive.broker.streaming import CutOff
from agenthifive.edge.body import ClientGone
from agenthifive.edge.departures import Departures, Receive

STALL_S: Final = 60.0
PIECE_BYTES: Final = 256 * 1024

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


async def send_chunks(
    chunks: AsyncGenerator[bytes, None], receive: Receive, send: Send, departures: Departures
) -> None:
    """Send the pieces of a reply whose head is sent.

    Raises: ClientGone; ConnectionAbortedError, which ends the connection without the final chunk.
    """
    watched = departures.add(receive)
    clock = _StallClock(watched.task)
    try:
        async for piece in chunks:
            clock.start()
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            clock.stop()
        await send({"type": "http.response.body", "body": b""})
    except CutOff:
        raise ConnectionAbortedError from None
    except asyncio.CancelledError:
        if not (watched.has_left or clock.has_stalled):
            raise
        watched.task.uncancel()
        raise (ConnectionAbortedError if clock.has_stalled else ClientGone) from None
    finally:
        clock.close()
        departures.remove(watched)
        with contextlib.suppress(asyncio.CancelledError, CutOff):
            await chunks.aclose()


async def send_in_pieces(body: bytes, send: Send) -> None:
    """Send a whole body no faster than the client reads.

    Raises: ConnectionAbortedError when it reads nothing for a minute.
    """
    for at in range(0, len(body), PIECE_BYTES):
        piece = {"type": "http.response.body", "body": body[at : at + PIECE_BYTES]}
        try:
            async with asyncio.timeout(STALL_S):
                await send({**piece, "more_body": at + PIECE_BYTES < len(body)})
        except TimeoutError:
            raise ConnectionAbortedError from None


class _StallClock:
    """Cancels a task when one of its sends takes too long; a single timer for all of them."""

    __slots__ = ("_loop", "_started_at", "_task", "_timer", "has_stalled")

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._loop = asyncio.get_running_loop()
        self._task = task
        self._started_at: float | None = None
        self._timer = self._loop.call_later(STALL_S, self._look)
        self.has_stalled = False

    def start(self) -> None:
        """A send begins."""
        self._started_at = self._loop.time()

    def stop(self) -> None:
        """It is done."""
        self._started_at = None

    def close(self) -> None:
        """There is nothing more to send."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        due_at = (now if self._started_at is None else self._started_at) + STALL_S
        if due_at <= now:
            self.has_stalled = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_at(due_at, self._look)
