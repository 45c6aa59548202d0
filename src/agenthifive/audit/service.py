"""Reading the log: pages, one event with its relatives, exports.

    begin_export: rate limit -> turn -> upper bound -> row "exported" committed -> Export
    Export.chunks: batch -> bytes -> ... -> last batch -> row "exported, complete" committed -> end

An export has a connection of its own, outside the pool and in no transaction while its reader takes a break.
Source: contract/audit.md sections 7 and 8, http.md section 16 (export).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from agenthifive.audit import store
from agenthifive.audit.chains import AdminChain
from agenthifive.audit.export import FORMS, ExportFormat
from agenthifive.audit.filters import Cursor, Filters, Window, resolve, resume
from agenthifive.audit.record import Record
from agenthifive.audit.verify import Report, verify
from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Signature, Unit
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.words import AuditAction, AuditDecision, RateLimit

BATCH_ROWS: Final = 1000
_SLICE_ROWS: Final = 100
_TURN_RETRY_S: Final = 10


@dataclass(frozen=True, slots=True)
class Page:
    """Rows newest first, and where the next page begins; None after the last one."""

    events: Sequence[Record]
    next_cursor: str | None


class AuditReader:
    """Answers questions about the log of one workspace at a time."""

    def __init__(self, database: Database, chain: AdminChain, limiter: RateLimiter) -> None:
        self._database = database
        self._chain = chain
        self._limiter = limiter

    async def list_events(
        self,
        connection: Connection,
        workspace_id: str | None,
        filters: Filters,
        *,
        limit: int,
        cursor: str | None,
        now: datetime,
    ) -> Page:
        """A page of the workspace's rows, or of those that belong to none.

        Raises: AppError (invalid_cursor, invalid_request).
        """
        digest = filters.digest(workspace_id or "")
        if cursor is None:
            window, after = resolve(filters, now), None
        else:
            position = Cursor.decode(cursor, digest)
            window, after = resume(filters, position), (position.at, position.row_id)
        found = await store.list_page(connection, workspace_id, filters, window, limit + 1, after)
        if len(found) <= limit:
            return Page(found, None)
        at, row_id = _position(found[limit - 1])
        return Page(found[:limit], Cursor(at, row_id, window.start).encode(digest))

    async def find_event(
        self, connection: Connection, workspace_id: str, audit_id: str
    ) -> tuple[Record, Sequence[Record]]:
        """An event and what belongs to it. Raises: AppError (not_found)."""
        event = await store.find_event(connection, workspace_id, audit_id) if is_id(audit_id) else None
        if event is None:
            raise not_found("audit event", "/v1/audit")
        return event, await store.list_related(connection, workspace_id, event)

    async def begin_export(
        self, unit: Unit, user_id: str, workspace_id: str, filters: Filters, form: ExportFormat, now: datetime
    ) -> "Export":
        """Start an export: its row is committed when this returns, so no byte leaves without it.

        Raises: AppError (rate_limited, invalid_request), psycopg.Error.
        """
        window = resolve(filters, now)
        headers = await self._limiter.take(RateLimit.EXPORT, user_id)
        connection = await self._database.dedicated()
        try:
            turn = f"audit export|{user_id}"
            if not await store.hold_turn(connection, turn):
                raise AppError(
                    "rate_limited",
                    "Another export of yours is running. Wait until it has ended, or stop it, and try again.",
                    detail="in_flight",
                    retry_after_s=_TURN_RETRY_S,
                )
            await store.allow_long_statements(connection)
            last_id = await store.read_last_id(connection)
            metadata = {"format": str(form), "filters": filters.as_metadata()}
            unit.record(AuditAction.AUDIT_EXPORTED, {**metadata, "rows": None})
            await unit.finish()
        except BaseException:
            await connection.close()
            raise
        wanted = Wanted(workspace_id, filters, window, last_id, form)
        return Export(connection, turn, wanted, headers, self, unit.signature)

    async def verify(self, unit: Unit) -> dict[str, Any]:
        """Recompute the whole log, in a thread; the wire form of what was found. One at a time on the instance.

        Raises: AppError (409 conflict), psycopg.Error.
        """
        connection = await self._database.dedicated()
        try:
            if not await store.hold_turn(connection, "audit verify"):
                raise AppError("conflict", "A verification is running already. Wait until it has ended.")
            await store.allow_long_statements(connection)
            report = await asyncio.to_thread(self._verify)
            found = {problem.chain_id: problem.seq for problem in reversed(report.problems)}
            chains = await store.list_chains(connection)
        finally:
            await connection.close()
        first = report.problems[0] if report.problems else None
        unit.record(
            AuditAction.AUDIT_VERIFIED,
            {
                "chains": report.chains,
                "rows": report.rows,
                "checkpoints": 0,
                "firstProblem": None if first is None else f"{first.code} {first.chain_id} {first.seq}",
            },
            decision=AuditDecision.ALLOWED if report.ok else AuditDecision.ERROR,
            workspace_id=None,
        )
        known = {chain_id for chain_id, _, _ in chains}
        ends = [*chains, *((chain_id, 0, 0) for chain_id in found if chain_id not in known)]
        return {
            "ok": report.ok,
            "chains": [
                {"id": chain_id, "from": low, "to": high, "checkpoints": 0}
                | ({"firstBad": found[chain_id]} if chain_id in found else {})
                for chain_id, low, high in ends
            ],
        }

    def _verify(self) -> Report:
        with self._database.synchronous() as connection:
            return verify(connection)

    async def note_completed(self, signature: Signature, wanted: "Wanted", rows: int) -> None:
        """Record that an export was handed out to its end. Raises: psycopg.Error."""
        metadata = {"format": str(wanted.form), "filters": wanted.filters.as_metadata(), "rows": rows}
        async with Unit(self._database, self._chain, signature) as unit:
            unit.record(AuditAction.AUDIT_EXPORTED, {**metadata, "complete": True})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an export consists of, fixed at its start."""

    workspace_id: str
    filters: Filters
    window: Window
    last_id: int
    form: ExportFormat


class Export:
    """A running export. Whoever holds it must close it."""

    def __init__(
        self,
        connection: Connection,
        turn: str,
        wanted: Wanted,
        limit_headers: dict[str, str],
        reader: AuditReader,
        signature: Signature,
    ) -> None:
        self._connection = connection
        self._turn = turn
        self._wanted = wanted
        self._reader = reader
        self._signature = signature
        self.form = FORMS[wanted.form]
        self.limit_headers = limit_headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file, a hundred rows at a time, so that calls go on in between; ends only when its end is recorded."""
        form, rows = self.form, 0
        async for batch in self._batches():
            if not rows:
                yield form.head
            for start in range(0, len(batch), _SLICE_ROWS):
                part = batch[start : start + _SLICE_ROWS]
                yield form.rows(part, not rows)
                rows += len(part)
                await asyncio.sleep(0)
        yield form.tail if rows else form.nothing
        await store.leave_turn(self._connection, self._turn)
        await self._reader.note_completed(self._signature, self._wanted, rows)

    async def _batches(self) -> AsyncIterator[list[Record]]:
        wanted, after = self._wanted, None
        while True:
            batch = await store.list_page(
                self._connection,
                wanted.workspace_id,
                wanted.filters,
                wanted.window,
                BATCH_ROWS,
                after,
                wanted.last_id,
            )
            if batch:
                yield batch
            if len(batch) < BATCH_ROWS:
                return
            after = _position(batch[-1])

    async def close(self) -> None:
        """Give the connection back; the turn goes with it."""
        await self._connection.close()


def _position(record: Record) -> tuple[datetime, int]:
    return datetime.fromisoformat(record.timestamp), int(record.id)
