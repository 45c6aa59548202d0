"""A running export: what is fixed when it begins, what it holds meanwhile, how it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from agenthifive.audit.api import ExportAnswer
from agenthifive.audit.chains import AdminChain
from agenthifive.audit.export import ExportFormat
from agenthifive.audit.filters import Filters
from agenthifive.audit.model import Event
from agenthifive.audit.service import BATCH_ROWS, AuditReader, Export
from agenthifive.db.database import Database
from agenthifive.db.unit import Signature, Unit
from agenthifive.edge.body import ClientGone
from agenthifive.errors import AppError
from agenthifive.ids import new_id
from agenthifive.operations.ratelimit import RateLimiter, Window
from agenthifive.words import AuditAction, PrincipalType, RateLimit
from audit.logs import Log

MakeEvent = Callable[..., Event]
WORKSPACE = new_id()
ROWS = BATCH_ROWS + 345
SESSIONS = "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%%audit%%'"

TURNS = """
    SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
     WHERE l.locktype = 'advisory' AND d.datname = current_database()
"""


class Desk:
    """Begins exports for users."""

    def __init__(self, database: Database, chain: AdminChain) -> None:
        self.database = database
        self.chain = chain
        self.reader = AuditReader(database, chain, RateLimiter(database, {RateLimit.EXPORT: Window(6, 3600)}))

    async def begin(self, user_id: str | None = None, form: ExportFormat = ExportFormat.JSON) -> Export:
        signature = Signature("system", PrincipalType.SYSTEM, None, WORKSPACE)
        async with Unit(self.database, self.chain, signature) as unit:
            filters = Filters(actions=(AuditAction.EXECUTION_DENIED,))
            return await self.reader.begin_export(
                unit, user_id or new_id(), WORKSPACE, filters, form, datetime.now(UTC)
            )


@pytest_asyncio.fixture(scope="module")
async def desk(log: Log, log_database: Database, log_chain: AdminChain, make_event: MakeEvent) -> AsyncIterator[Desk]:
    log.fill([[make_event(workspace_id=WORKSPACE) for _ in range(ROWS)]])
    yield Desk(log_database, log_chain)


def notes(log: Log) -> list[dict[str, Any]]:
    """The metadata of the rows that exports left, newest last."""
    return [
        row[0] for row in log.ask("SELECT metadata FROM l_audit_events WHERE action = 'audit_exported' ORDER BY id")
    ]


async def test_the_beginning_is_recorded_before_the_first_byte_and_the_end_before_the_last_message(
    desk: Desk, log: Log
) -> None:
    before = len(notes(log))
    export = await desk.begin()
    assert [note["rows"] for note in notes(log)[before:]] == [None]
    pieces = [piece async for piece in export.chunks()]
    await export.close()
    assert len(json.loads(b"".join(pieces))) == ROWS
    assert [(note["rows"], note.get("complete")) for note in notes(log)[before:]] == [(None, None), (ROWS, True)]


async def test_a_long_export_comes_in_small_pieces(desk: Desk) -> None:
    """Memory does not depend on the number of rows."""
    export = await desk.begin()
    pieces = [piece async for piece in export.chunks()]
    await export.close()
    assert max(piece.count(b'"auditId"') for piece in pieces) == 100
    assert len(pieces) == 1 + 10 + 4 + 1


async def test_calls_go_on_while_a_batch_is_written_out(desk: Desk) -> None:
    turns = 0

    async def neighbour() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    export = await desk.begin()
    task = asyncio.create_task(neighbour())
    async for _ in export.chunks():
        pass
    await export.close()
    task.cancel()
    assert turns >= ROWS / 100


async def test_a_user_has_one_export_at_a_time(desk: Desk) -> None:
    user_id = new_id()
    export = await desk.begin(user_id)
    pieces = export.chunks()
    await anext(pieces)
    with pytest.raises(AppError) as refused:
        await desk.begin(user_id)
    assert (refused.value.code, refused.value.detail, refused.value.status) == ("rate_limited", "in_flight", 429)
    assert refused.value.retry_after_s is not None
    other = await desk.begin()
    await other.close()
    async for _ in pieces:
        pass
    await export.close()
    again = await desk.begin(user_id)
    await again.close()


async def test_an_export_is_in_no_transaction_while_its_reader_takes_a_break(desk: Desk, log: Log) -> None:
    """Else a slow reader would keep rows from being cleaned up, and be thrown out after 15 s."""
    export = await desk.begin()
    pieces = export.chunks()
    await anext(pieces)
    states = {row[0] for row in log.ask(SESSIONS)}
    await export.close()
    await pieces.aclose()  # type: ignore[attr-defined]
    assert "idle" in states
    assert "idle in transaction" not in states


async def test_what_was_read_at_the_beginning_does_not_occupy_the_pool(desk: Desk) -> None:
    exports = [await desk.begin() for _ in range(8)]  # the pool holds six
    async with desk.database.transaction() as connection:
        await connection.execute("SELECT 1")
    for export in exports:
        await export.close()


class Wire:
    """A server's side of an answer; `fails_at` breaks it at that message."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.messages: list[Any] = []
        self.fails_at = fails_at

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        if len(self.messages) == self.fails_at:
            raise OSError("gone")

    async def receive(self) -> Any:
        await asyncio.Event().wait()


async def test_a_client_that_leaves_ends_the_export_and_nothing_says_it_was_complete(desk: Desk, log: Log) -> None:
    before, user_id = len(notes(log)), new_id()
    export = await desk.begin(user_id)
    wire = Wire(fails_at=4)
    with pytest.raises(ClientGone):
        await ExportAnswer(export)({"type": "http"}, wire.receive, wire.send)
    assert len(wire.messages) == 4
    assert [note["rows"] for note in notes(log)[before:]] == [None]
    assert export._connection.closed


async def test_an_end_that_cannot_be_recorded_leaves_the_file_unfinished(desk: Desk, log: Log) -> None:
    """The client must not believe it has everything when the log does not say so."""
    export = await desk.begin()
    wire = Wire()
    log.do("REVOKE INSERT ON l_audit_events FROM agenthifive_app")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await ExportAnswer(export)({"type": "http"}, wire.receive, wire.send)
    finally:
        log.do("GRANT INSERT ON l_audit_events TO agenthifive_app")
    assert all(message.get("more_body", True) for message in wire.messages)
    assert export._connection.closed


async def test_an_export_that_cannot_begin_gives_its_turn_back(desk: Desk, log: Log) -> None:
    user_id = new_id()
    log.do("REVOKE INSERT ON l_audit_events FROM agenthifive_app")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await desk.begin(user_id)
    finally:
        log.do("GRANT INSERT ON l_audit_events TO agenthifive_app")
    while log.ask(TURNS) != [(0,)]:  # the server notices within moments that the session is gone
        pass
    await (await desk.begin(user_id)).close()


async def test_rows_that_arrive_after_the_beginning_are_not_in_it(desk: Desk, log: Log, make_event: MakeEvent) -> None:
    """Not even those whose clock is behind."""
    export = await desk.begin()
    pieces = export.chunks()
    first = await anext(pieces)
    early = make_event(workspace_id=WORKSPACE, timestamp="2000-01-01T00:00:00.000Z")
    late = make_event(workspace_id=WORKSPACE)
    log.fill([[early, late]])
    whole = first + b"".join([piece async for piece in pieces])
    await export.close()
    assert len(json.loads(whole)) == ROWS
    assert not {early.audit_id, late.audit_id} & {event["auditId"] for event in json.loads(whole)}
