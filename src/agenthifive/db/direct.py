"""One connection driven straight through libpq, for the writer's lanes: prepared statements, a standing reader.

psycopg's own execute registers and removes its socket with the event loop for every statement; at two statements a call
that is a third of a call's processor time (docs/decisions/0004-direct-libpq.md has the figures).

    call -> send_query_prepared -> flush -> (reader) consume_input -> get_result -> first column
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import AsyncConnection, pq
from psycopg.rows import TupleRow

_GOOD: Final = frozenset({pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK})


class Direct:
    """Owns an autocommit connection; one call at a time."""

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection
        self._pg = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = self._pg.socket
        self._prepared: set[bytes] = set()
        self._waiter: asyncio.Future[pq.abc.PGresult] | None = None
        self._pg.nonblocking = 1
        self._loop.add_reader(self._socket, self._on_readable)

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._connection.closed

    async def call(self, name: bytes, statement: bytes, values: Sequence[bytes | None]) -> bytes | None:
        """The first column of the first row of a statement, as text.

        Shapes:
            name: of the prepared statement, one for each text.
        Raises: psycopg.Error of the server's SQLSTATE, psycopg.OperationalError when the connection broke.
        """
        if name not in self._prepared:
            self._pg.send_prepare(name, statement)
            await self._result()
            self._prepared.add(name)
        self._pg.send_query_prepared(name, values)
        result = await self._result()
        return result.get_value(0, 0) if result.ntuples else None

    async def cancel(self, patience_s: float) -> None:
        """Ask the server to stop the statement whose call was given up. Raises: psycopg.Error."""
        await self._connection.cancel_safe(timeout=patience_s)

    async def close(self) -> None:
        """Stop reading and close."""
        if self._socket >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = -1
        await self._connection.close()

    async def _result(self) -> pq.abc.PGresult:
        self._waiter = self._loop.create_future()
        self._flush()
        try:
            result = await self._waiter
        finally:
            self._waiter = None
        if result.status not in _GOOD:
            error = psycopg.errors.error_from_result(result)
            raise error if error.sqlstate else psycopg.OperationalError(str(error))
        return result

    def _flush(self) -> None:
        """Send what waits; a large batch may need the socket to become writable again."""
        try:
            if self._pg.flush():
                self._loop.add_writer(self._socket, self._flush)
            else:
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._break(error)

    def _on_readable(self) -> None:
        try:
            self._pg.consume_input()
            if self._waiter is None or self._pg.is_busy():
                return
            last = None
            while (result := self._pg.get_result()) is not None:
                last = result
            if last is not None and not self._waiter.done():
                self._waiter.set_result(last)
        except psycopg.Error as error:
            self._break(error)

    def _break(self, error: psycopg.Error) -> None:
        if self._socket >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket = -1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(psycopg.OperationalError(str(error)))
