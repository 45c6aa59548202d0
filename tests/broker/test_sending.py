"""A raw reply is passed on as it comes, and no longer than its client reads."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import pytest

from agenthifive.broker import sending
from agenthifive.broker.sending import STALL_S, send_chunks
from agenthifive.broker.streaming import CutOff
from agenthifive.edge.body import ClientGone
from agenthifive.edge.departures import Departures


async def silent() -> Any:
    await asyncio.Event().wait()


async def pieces(*data: bytes, end: Exception | None = None) -> AsyncGenerator[bytes, None]:
    for piece in data:
        yield piece
    if end is not None:
        raise end


async def test_pieces_leave_one_by_one_and_the_end_is_told() -> None:
    sent: list[Mapping[str, Any]] = []

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await send_chunks(pieces(b"a", b"b"), silent, send, Departures())
    assert [(message["body"], message.get("more_body", False)) for message in sent] == [
        (b"a", True), (b"b", True), (b"", False),
    ]  # fmt: skip


async def test_a_reply_that_was_cut_ends_without_its_final_chunk() -> None:
    sent: list[bytes] = []

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message["body"])

    with pytest.raises(ConnectionAbortedError):
        await send_chunks(pieces(b"a", end=CutOff("x")), silent, send, Departures())
    assert sent == [b"a"]


async def test_when_the_client_leaves_the_reply_is_closed() -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(_: Mapping[str, Any]) -> None:
        return None

    async with asyncio.timeout(5):
        with pytest.raises(ClientGone):
            await send_chunks(endless(), gone, send, Departures())
    assert closed.is_set()


class _Clock:
    """A loop's clock and its only timer, wound by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.due_at = 0.0
        self.look: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, look: Callable[[], None]) -> "_Clock":
        self.due_at, self.look = when, look
        return self

    def call_later(self, delay: float, look: Callable[[], None]) -> "_Clock":
        return self.call_at(self.now + delay, look)

    def run_to(self, now: float) -> None:
        """Let time pass."""
        while self.due_at <= now:
            self.now = self.due_at
            self.look()
            if self.due_at <= self.now:
                return
        self.now = now


class _Task:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(sending.asyncio, "get_running_loop", lambda: clock)
    return clock


@pytest.mark.parametrize("idle_s", [0.0, 0.5 * STALL_S, 7.3 * STALL_S])
def test_one_send_may_take_as_long_as_the_limit_and_no_longer(clock: _Clock, idle_s: float) -> None:
    task = _Task()
    stall = sending._StallClock(task)  # type: ignore[arg-type]
    clock.run_to(clock.now + idle_s)
    stall.start()
    began = clock.now
    clock.run_to(began + STALL_S - 0.001)
    assert not stall.has_stalled
    clock.run_to(began + STALL_S)
    assert stall.has_stalled
    assert task.is_cancelled


def test_a_reply_of_any_length_goes_on_while_its_client_reads(clock: _Clock) -> None:
    task = _Task()
    stall = sending._StallClock(task)  # type: ignore[arg-type]
    for _ in range(100):
        stall.start()
        clock.run_to(clock.now + 0.9 * STALL_S)
        stall.stop()
    assert not task.is_cancelled
