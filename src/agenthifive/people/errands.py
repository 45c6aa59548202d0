"""Work that goes on after the answer, so that the answer tells nothing by when it comes.

    route: count, answer 200 -> errand: look the address up, issue a link, record it, post the mail

Source: contract/http.md section 14.1 (the same answer for known and unknown addresses).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

AT_A_TIME: Final = 2
WAITING_MAX: Final = 200
CLOSE_S: Final = 5.0

log = structlog.get_logger(__name__)


class Errands:
    """Runs errands, a few at a time. Close it after the last request."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_A_TIME)

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin an errand; beyond the bound it is dropped and logged. Never raises."""
        if len(self._tasks) >= WAITING_MAX:
            log.error("errand_dropped", reason="too many wait")
            return
        task = asyncio.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    async def close(self) -> None:
        """Finish what is under way, for a few seconds."""
        if not self._tasks:
            return
        _, unfinished = await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in unfinished:
            task.cancel()
        if unfinished:
            log.error("errand_dropped", count=len(unfinished), reason="the server stopped")
            await asyncio.wait(unfinished)

    async def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with self._slots:
            await work()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("errand_failed", exc_info=task.exception())
