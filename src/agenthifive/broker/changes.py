"""Hearing of changes: NOTIFY names the workspace, a counter read twice a second catches what NOTIFY lost.

Grants are fresh for one second after the counter was last read; after that calls are refused rather than decided on
old data. Source: design "Memory and truth", contract/policy.md section 15.5.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import psycopg
import structlog

from agenthifive.db.database import Connection

FRESH_S: Final = 1.0
_POLL_S: Final = 0.3
_RETRY_S: Final = 0.2
COUNT: Final = "SELECT coalesce(sum(n), 0)::bigint FROM t_changes"
COUNTERS: Final = "SELECT workspace_id::text, n FROM t_changes"
# what concerns no single workspace is counted under the id of nobody
INSTANCE: Final = "00000000-0000-0000-0000-000000000000"

log = structlog.get_logger(__name__)


class Changes:
    """Listens, and calls `on_change` with a workspace id, or None for everything.

    What concerns the whole instance is read again by `read_instance`, before the counter counts as read.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        on_change: Callable[[str | None], None],
        read_instance: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> None:
        self._connect = connect
        self._on_change = on_change
        self._read_instance = read_instance
        self._is_instance_old = True
        self._counters: dict[str, int] = {}
        self._sum = 0
        self._fresh_until = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether the counter was read within the last second."""
        return time.monotonic() < self._fresh_until

    @property
    def age_s(self) -> float:
        """Seconds since the counter was last known to be right."""
        return max(0.0, time.monotonic() - self._fresh_until + FRESH_S)

    async def start(self) -> None:
        """Begin to listen; returns when the first counter has been read. Raises: psycopg.Error, OSError."""
        connection = await self._open()
        self._task = asyncio.create_task(self._run(connection))

    async def close(self) -> None:
        """Stop listening."""
        self._fresh_until = 0.0
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, connection: Connection | None) -> None:
        while True:
            try:
                if connection is None:
                    connection = await self._open()
                await self._follow(connection)
            except (psycopg.Error, OSError) as error:
                log.warning("change_feed_lost", error=type(error).__name__)
            finally:
                if connection is not None:
                    await connection.close()
                connection = None
            await asyncio.sleep(_RETRY_S)

    async def _open(self) -> Connection:
        """A listening connection; what happened before it listened is unknown, so everything is dropped."""
        connection = await self._connect()
        started = time.monotonic()
        await connection.execute("LISTEN agenthifive_changes")
        cursor = await connection.execute(COUNTERS)
        self._counters = dict(await cursor.fetchall())
        self._sum = sum(self._counters.values())
        self._is_instance_old = True
        await self._refresh_instance(connection)
        self._on_change(None)
        self._fresh_until = started + FRESH_S
        return connection

    async def _follow(self, connection: Connection) -> None:
        while True:
            async for notice in connection.notifies(timeout=_POLL_S):
                workspace_id, _, counter = notice.payload.partition(" ")
                self._note(workspace_id, int(counter))
            started = time.monotonic()
            cursor = await connection.execute(COUNT)
            row = await cursor.fetchone()
            if row is not None and row[0] != self._sum:
                await self._catch_up(connection)
            await self._refresh_instance(connection)
            self._fresh_until = started + FRESH_S

    async def _catch_up(self, connection: Connection) -> None:
        cursor = await connection.execute(COUNTERS)
        for workspace_id, counter in await cursor.fetchall():
            self._note(workspace_id, counter)

    async def _refresh_instance(self, connection: Connection) -> None:
        if self._is_instance_old and self._read_instance is not None:
            await self._read_instance(connection)
        self._is_instance_old = False

    def _note(self, workspace_id: str, counter: int) -> None:
        known = self._counters.get(workspace_id, 0)
        if counter > known:
            self._counters[workspace_id] = counter
            self._sum += counter - known
            if workspace_id == INSTANCE:
                self._is_instance_old = True
            else:
                self._on_change(workspace_id)
