"""Timers: each runs on one replica at a time, under an advisory lock of its transaction, and is safe to run twice."""

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from agenthifive.db.unit import Unit

LOCK: Final = "SELECT pg_try_advisory_xact_lock(%s, %s)"
_JOBS: Final = 0x61683502 & 0x7FFFFFFF

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do again and again.

    Shapes:
        run: does the work in the unit's transaction; the unit is committed afterwards.
        is_shared: True: one replica at a time. False: every replica does it for itself.
    """

    name: str
    period_s: float
    run: Callable[[Unit], Awaitable[object]]
    is_shared: bool = True


class Jobs:
    """Runs the timers of this process."""

    def __init__(self, jobs: Sequence[Job], make_unit: Callable[[], Unit]) -> None:
        self._jobs = jobs
        self._make_unit = make_unit
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; the first run of each job is one period away."""
        self._tasks = [asyncio.create_task(self._repeat(job), name=job.name) for job in self._jobs]

    async def close(self) -> None:
        """Stop; what runs is cancelled and its transaction undone."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def run_once(self, job: Job) -> bool:
        """One run; False when another replica is at it."""
        async with self._make_unit() as unit:
            connection = await unit.begin()
            if job.is_shared:
                cursor = await connection.execute(LOCK, [_JOBS, zlib.crc32(job.name.encode()) & 0x7FFFFFFF])
                if (await cursor.fetchone()) != (True,):
                    return False
            await job.run(unit)
        return True

    async def _repeat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(job.period_s)
            try:
                await self.run_once(job)
            except (psycopg.Error, PoolTimeout, OSError) as error:
                log.warning("job_failed", job=job.name, error=type(error).__name__)
            except Exception:  # a job's defect must not end the timer
                log.exception("job_defect", job=job.name)
