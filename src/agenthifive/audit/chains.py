"""Opening chains and appending to them inside a transaction.

A chain has exactly one writer. The broker's lanes own theirs (`writer.py`); everything else a process records goes
through its one `AdminChain`, in the transaction of the change it records. Source: contract/audit.md section 4.
"""

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psycopg

from agenthifive.audit.model import NO_CHECKPOINT, Chain, Event, open_chain
from agenthifive.db.database import Connection, Database
from agenthifive.ids import new_id, wire_time_of

APPEND: Final = "SELECT audit_append(%s::json)"
HEAD: Final = "SELECT hash FROM l_audit_events WHERE chain_id = %s ORDER BY chain_seq DESC LIMIT 1"
OPEN: Final = """
    WITH opened AS (
        INSERT INTO l_audit_chains (chain_id, kind, instance, epoch, opened_at, prev_checkpoint, writer)
        VALUES (%(chain_id)s, %(kind)s, %(instance)s, %(epoch)s, %(opened_at)s, %(prev_checkpoint)s, %(writer)s))
    INSERT INTO t_audit_writers (chain_id) VALUES (%(chain_id)s)
"""
# a beat also reopens a chain that was taken for dead while nobody could say otherwise
BEAT: Final = "UPDATE t_audit_writers SET heartbeat_at = now(), closed_at = NULL WHERE chain_id = ANY(%s::uuid[])"
CLOSE: Final = "UPDATE t_audit_writers SET closed_at = now() WHERE chain_id = ANY(%s::uuid[])"


@dataclass(frozen=True, slots=True)
class Instance:
    """Whose log this is. Source: contract/operations.md section 3.4."""

    id: str
    epoch: int


async def open_new(connection: Connection, instance: Instance, kind: str, lane: str) -> Chain:
    """Record a fresh chain and return its genesis. Raises: psycopg.Error."""
    chain_id, opened_at = new_id(), wire_time_of(time.time())
    await connection.execute(
        OPEN,
        {
            "chain_id": chain_id,
            "kind": kind,
            "instance": instance.id,
            "epoch": instance.epoch,
            "opened_at": opened_at,
            "prev_checkpoint": NO_CHECKPOINT,
            "writer": f"{socket.gethostname()}:{os.getpid()}:{lane}",
        },
    )
    return open_chain(chain_id, kind, instance.id, instance.epoch, opened_at)


class AdminChain:
    """The process's chain for management rows. Rows become part of it when their transaction has committed."""

    def __init__(self, database: Database, instance: Instance) -> None:
        self._database = database
        self._instance = instance
        self._lock = asyncio.Lock()
        self._chain: Chain | None = None

    @property
    def chain_id(self) -> str | None:
        """The chain being written, for the heartbeat."""
        return None if self._chain is None else self._chain.chain_id

    async def open(self) -> None:
        """Open the chain at start. Raises: psycopg.Error."""
        async with self._lock, self._database.transaction() as connection:
            self._chain = await open_new(connection, self._instance, "admin", "admin")

    async def commit(self, connection: Connection, events: Sequence[Event]) -> None:
        """Append the events as the last statement of the connection's transaction, and commit it.

        Raises: psycopg.Error; then nothing of the transaction is in force, or the outcome is not known and the
            chain is given up, so that a row which did arrive is never followed by a wrong link.
        """
        async with self._lock:
            chain = await self._head(connection)
            rows, successor = chain.link(events)
            try:
                await connection.execute(APPEND, [rows.decode("utf-8")])
            except psycopg.Error:
                await connection.rollback()
                raise
            await self._confirm(connection, successor)

    async def _head(self, connection: Connection) -> Chain:
        """The chain to append to; after a doubtful commit a new one, begun in the caller's own transaction."""
        if self._chain is None:
            return await open_new(connection, self._instance, "admin", "admin")
        return self._chain

    async def _confirm(self, connection: Connection, successor: Chain) -> None:
        try:
            await connection.commit()
        except BaseException:
            self._chain = None  # the outcome is unknown: the next row opens a new chain
            raise
        self._chain = successor
