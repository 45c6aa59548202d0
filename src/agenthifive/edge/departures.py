"""Clients that leave while their call runs: noticed within a second, at no cost for calls that are over before that.

One ticker looks at the calls that have lasted; only those get a watcher on their connection.
Source: contract/broker.md section 15 (client gone).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

_TICK_S: Final = 0.25
Receive = Callable[[], Awaitable[Any]]


class Watched:
    """One call whose client may leave."""

    __slots__ = ("has_left", "receive", "task", "ticks", "watcher")

    def __init__(self, task: "asyncio.Task[Any]", receive: Receive) -> None:
        self.task = task
        self.receive = receive
        self.ticks = 0
        self.has_left = False
        self.watcher: asyncio.Task[None] | None = None

    async def watch(self) -> None:
        """Wait for the client to leave, then cancel the call."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.has_left = True
        self.task.cancel()


class Departures:
    """The calls of this process that end when their client leaves."""

    def __init__(self) -> None:
        self._calls: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, receive: Receive) -> Watched:
        """Watch the current task's client."""
        task = asyncio.current_task()
        assert task is not None
        call = Watched(task, receive)
        self._calls.add(call)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)
        return call

    def remove(self, call: Watched) -> None:
        """The call is over."""
        self._calls.discard(call)
        if call.watcher is not None:
            call.watcher.cancel()

    def _tick(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for call in self._calls:
            call.ticks += 1
            if call.ticks == 2 and call.watcher is None:  # between a quarter and half a second old
                call.watcher = loop.create_task(call.watch())
        if self._calls:
            self._timer = loop.call_later(_TICK_S, self._tick)
