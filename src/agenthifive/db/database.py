"""Connections to PostgreSQL: one pool for requests and jobs, single ones for writers, listener and shared questions.

Source: contract/operations.md section 3.1 (timeouts, durability).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from agenthifive.db.batch import Answer, Batch, Question, Run
from agenthifive.db.direct import Direct
from agenthifive.errors import AppError

Connection = AsyncConnection[TupleRow]


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """How connections are made. Units: milliseconds where the name says so."""

    dsn: str
    pool_min: int = 2
    pool_max: int = 20
    pool_timeout_ms: int = 1000
    statement_timeout_ms: int = 5000
    lock_timeout_ms: int = 2000
    connect_timeout_s: int = 3
    prepared_statements: bool = True


class Database:
    """The process's way to PostgreSQL. Open it once, close it last."""

    def __init__(self, options: DatabaseOptions) -> None:
        self._options = options
        self._dsn = _with_defaults(options)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._dsn,
            connection_class=AsyncConnection[TupleRow],
            kwargs=self._arguments(),
            min_size=options.pool_min,
            max_size=options.pool_max,
            timeout=options.pool_timeout_ms / 1000,
            configure=self._configure,
            open=False,
        )
        self._check: asyncio.Task[None] | None = None
        self._batches: dict[Any, Batch[Any, Any]] = {}

    async def open(self, timeout_s: float = 30.0) -> None:
        """Connect the pool's first connections. Raises: PoolTimeout."""
        await self._pool.open()
        await self._pool.wait(timeout_s)

    async def close(self) -> None:
        """Close every connection but the dedicated ones."""
        for batch in self._batches.values():
            await batch.close()
        await self._pool.close()

    @contextlib.asynccontextmanager
    async def transaction(self, *, read_only: bool = False) -> AsyncIterator[Connection]:
        """A pooled connection in one transaction: committed at the end of the block, rolled back when it raises."""
        async with self._checked(), self._pool.connection() as connection:
            if read_only:
                await connection.execute("SET TRANSACTION READ ONLY")
            yield connection

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A pooled connection whose transaction the caller ends; what is left open is rolled back."""
        async with self._checked(), self._pool.connection() as connection:
            try:
                yield connection
            finally:
                if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    await connection.rollback()

    async def dedicated(self) -> Connection:
        """A connection outside the pool, in autocommit mode; its owner closes it. Raises: psycopg.Error."""
        connection = await AsyncConnection.connect(self._dsn, autocommit=True, **self._arguments())
        await self._configure(connection)
        return connection

    def synchronous(self) -> psycopg.Connection[TupleRow]:
        """A connection for a thread, outside the pool; its holder closes it. Blocks. Raises: psycopg.Error."""
        return psycopg.connect(self._dsn)

    def batch(self, run: Run[Question, Answer]) -> Batch[Question, Answer]:
        """The way to ask this kind of question, many at once; one connection a kind, closed with the database."""
        made = self._batches.get(run)
        if made is None:
            patience_ms = self._options.pool_timeout_ms + self._options.statement_timeout_ms
            made = self._batches[run] = Batch(self._direct, run, patience_ms / 1000)
        return made

    async def _direct(self) -> Direct:
        return Direct(await self.dedicated())

    def stats(self) -> dict[str, int]:
        """Figures of the pool, for metrics."""
        return self._pool.get_stats()

    @contextlib.asynccontextmanager
    async def _checked(self) -> AsyncIterator[None]:
        """When one connection turns out to be dead, the others are looked at too: after a fail-over all of them are."""
        try:
            yield
        except psycopg.OperationalError:
            if self._check is None or self._check.done():
                self._check = asyncio.create_task(self._pool.check())
            raise

    def _arguments(self) -> dict[str, Any]:
        return {
            "prepare_threshold": 2 if self._options.prepared_statements else None,
            "row_factory": tuple_row,
        }

    async def _configure(self, connection: Connection) -> None:
        options = self._options
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
            " set_config('idle_in_transaction_session_timeout', '15000', false),"
            " set_config('synchronous_commit', 'on', false), set_config('TimeZone', 'UTC', false)",
            [str(options.statement_timeout_ms), str(options.lock_timeout_ms)],
        )
        if not connection.autocommit:
            await connection.commit()


def _with_defaults(options: DatabaseOptions) -> str:
    """The operator's DSN, with time-outs for a network that went silent where it names none."""
    ours = {
        "connect_timeout": options.connect_timeout_s,
        "application_name": "agenthifive",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 10_000,
    }
    return make_conninfo(**{**ours, **conninfo_to_dict(options.dsn)})  # type: ignore[arg-type]


def as_unavailable(error: Exception) -> AppError | None:
    """The answer when PostgreSQL could not do its part: 503 for outages, None for a defect of ours.

    Source: contract/http.md section 3.1, broker.md section 17.
    """
    outages = (
        PoolTimeout,
        psycopg.OperationalError,
        psycopg.errors.ReadOnlySqlTransaction,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.UndefinedTable,
        psycopg.errors.IdleInTransactionSessionTimeout,
    )
    if isinstance(error, outages):
        return AppError("unavailable", "The database is not available right now. Try again shortly.", retry_after_s=2)
    return None


__all__ = ["AsyncCursor", "Connection", "Database", "DatabaseOptions", "as_unavailable"]
