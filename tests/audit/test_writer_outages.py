"""The writer while its database is locked, gone, frozen, forbidden or silent: refused in time, whole afterwards.

Deadlines are a few tenths of a second here, and nothing is started anew: the same writer must recover by itself.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from agenthifive.audit import lane as lane_module
from agenthifive.audit import writer as writer_module
from agenthifive.audit.chains import AdminChain
from agenthifive.audit.jobs import close_orphans
from agenthifive.audit.lane import Entry, Kind
from agenthifive.audit.model import Event
from agenthifive.audit.writer import AuditUnavailable, Writer
from agenthifive.db.database import Database
from agenthifive.db.direct import Direct
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.ids import wire_time_of
from agenthifive.words import AuditAction
from audit.logs import Log

MakeEvent = Callable[..., Event]
DEADLINE_S = 0.4
PATIENCE_S = 0.2
LOOSE_S = 3.0  # a loaded machine is late, but not by that much
OUTCOMES = "SELECT metadata->>'outcome' FROM l_audit_events WHERE intent_id = %s"
EXISTS = "SELECT count(*) FROM l_audit_events WHERE audit_id = %s"


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "_READ_BACK_S", PATIENCE_S)
    monkeypatch.setattr(writer_module, "OUTCOME_PATIENCE_S", PATIENCE_S)


@pytest_asyncio.fixture
async def writer(make_writer: Callable[..., Writer]) -> AsyncIterator[Writer]:
    built = make_writer(deadline_s=DEADLINE_S)
    await built.start()
    yield built
    await built.close()


class Caller:
    """Somebody whose calls are recorded."""

    def __init__(self, writer: Writer, make_event: MakeEvent, log: Log, database: Database) -> None:
        self.writer = writer
        self.make_event = make_event
        self.log = log
        self.database = database

    def intent(self, at: str | None = None) -> Entry:
        event = self.make_event(AuditAction.EXECUTION_REQUESTED, timestamp=at or wire_time_of(time.time()))
        return self.writer.entry(Kind.INTENT, event)

    def outcome(self, intent: Entry) -> Entry:
        event = self.make_event(AuditAction.EXECUTION_COMPLETED, intent_id=intent.event.audit_id)
        return self.writer.entry(Kind.OUTCOME, event)

    async def append(self) -> Entry:
        entry = self.intent()
        await self.writer.append(entry)
        return entry

    async def is_refused(self, at: str | None = None) -> Entry:
        """An intent that is refused, in time."""
        started = time.monotonic()
        entry = self.intent(at)
        with pytest.raises(AuditUnavailable):
            await self.writer.append(entry)
        assert time.monotonic() - started < DEADLINE_S + LOOSE_S
        return entry

    async def recovers(self) -> Entry:
        """An intent that is accepted as soon as the writer has noticed that it can."""
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(AuditUnavailable):
                    return await self.append()

    async def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self.database.transaction() as connection:
            return await (await connection.execute(statement, values)).fetchall()

    async def settles(self, statement: str, expected: list[tuple[Any, ...]], *values: Any) -> None:
        """Wait until a question has this answer."""
        async with asyncio.timeout(10):
            while await self.ask(statement, *values) != expected:
                pass

    def backends(self) -> list[int]:
        """The server's processes behind both lanes."""
        wires = [lane._connection for lane in self.writer._lanes]
        return [wire._connection.info.backend_pid for wire in wires if wire is not None]

    def end_sessions(self) -> None:
        self.log.do("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", self.backends())

    def is_whole(self) -> bool:
        """No gap, no fork, no wrong link, whatever happened."""
        return self.log.verify().ok


@pytest.fixture
def caller(writer: Writer, make_event: MakeEvent, log: Log, log_database: Database) -> Caller:
    return Caller(writer, make_event, log, log_database)


@contextlib.contextmanager
def locked(log: Log, mode: str) -> Iterator[None]:
    """Somebody holds the table."""
    with log.superuser(autocommit=False) as culprit:
        culprit.execute(f"LOCK TABLE l_audit_events IN {mode} MODE")
        yield
        culprit.rollback()


@pytest.mark.parametrize("mode", ["EXCLUSIVE", "ACCESS EXCLUSIVE"])
async def test_a_held_lock_refuses_within_the_deadline_and_is_forgotten_afterwards(caller: Caller, mode: str) -> None:
    await caller.append()
    with locked(caller.log, mode):
        refused = [await caller.is_refused() for _ in range(2)]
    await caller.recovers()
    assert caller.is_whole()
    for entry in refused:  # what was refused is not there, or says that nothing was sent
        written = await caller.ask(EXISTS, entry.event.audit_id)
        if written == [(1,)]:
            await caller.settles(OUTCOMES, [("not_sent",)], entry.event.audit_id)


async def test_ended_sessions_cost_at_most_the_calls_that_were_under_way(caller: Caller) -> None:
    await caller.append()
    chains = set(caller.writer.chain_ids)
    caller.end_sessions()
    await caller.recovers()
    await caller.recovers()
    assert set(caller.writer.chain_ids) == chains  # nothing was in doubt: the chains go on
    assert caller.is_whole()


async def test_sessions_ended_in_the_middle_of_a_commit_lose_nothing_and_invent_nothing(caller: Caller) -> None:
    with locked(caller.log, "EXCLUSIVE"):
        tasks = [asyncio.create_task(caller.writer.append(caller.intent())) for _ in range(30)]
        await caller.settles(
            "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 'l_audit_events'::regclass", [(True,)]
        )
        caller.end_sessions()
        fates = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(fate) for fate in fates} <= {AuditUnavailable, type(None)}
    assert AuditUnavailable in {type(fate) for fate in fates}
    await caller.recovers()
    assert caller.is_whole()


@pytest.mark.parametrize(
    ("forbid", "allow"),
    [
        ("REVOKE INSERT ON l_audit_events FROM agenthifive_app", "GRANT INSERT ON l_audit_events TO agenthifive_app"),
        ("ALTER TABLE l_audit_events RENAME TO l_hidden", "ALTER TABLE l_hidden RENAME TO l_audit_events"),
    ],
)
async def test_what_may_not_be_written_is_refused_and_works_once_it_may(
    caller: Caller, forbid: str, allow: str
) -> None:
    chains = set(caller.writer.chain_ids)
    caller.log.do(forbid)
    try:
        await caller.is_refused()
        await caller.is_refused()
        assert not all(lane.is_up for lane in caller.writer._lanes)
    finally:
        caller.log.do(allow)
    await caller.recovers()
    assert set(caller.writer.chain_ids) == chains
    assert caller.is_whole()


@contextlib.contextmanager
def frozen(pids: Sequence[int]) -> Iterator[None]:
    """Processes of the server that neither answer nor end."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_a_frozen_database_refuses_in_time_and_thaws(caller: Caller, log_chain: AdminChain) -> None:
    """Sessions that thaw may still commit what was refused; their chain is given up and so closed like a dead one's."""
    await caller.append()
    pids, before = caller.backends(), caller.writer.chain_ids
    with frozen(pids):
        refused = await asyncio.gather(*(caller.is_refused(wire_time_of(time.time() - 20)) for _ in range(30)))
    await asyncio.gather(*(caller.recovers() for _ in range(60)))
    thawed = [pid for pid in pids if pid not in caller.backends()]
    await caller.settles("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [(0,)], thawed)
    await asyncio.gather(*(caller.recovers() for _ in range(60)))  # what clashes with them is noticed now
    written = "SELECT audit_id FROM l_audit_events WHERE audit_id = ANY(%s::uuid[])"
    late = [str(row[0]) for row in await caller.ask(written, [entry.event.audit_id for entry in refused])]
    given_up = list(set(before) - set(caller.writer.chain_ids))
    caller.log.do("UPDATE t_audit_writers SET heartbeat_at = now() - interval '1 min' WHERE chain_id = ANY(%s::uuid[])",
                  given_up)  # fmt: skip
    async with Unit(caller.database, log_chain, SYSTEM) as unit:
        await close_orphans(unit)
    for audit_id in late:
        await caller.settles("SELECT count(*) FROM l_audit_events WHERE intent_id = %s", [(1,)], audit_id)
        assert (await caller.ask(OUTCOMES, audit_id))[0][0] in ("not_sent", "unknown")
    assert caller.is_whole()


@pytest.mark.parametrize("lane", [0, 1])
async def test_one_frozen_session_does_not_hold_up_the_calls_of_the_other(caller: Caller, lane: int) -> None:
    with frozen([caller.backends()[lane]]):
        fates = [await fate_of(caller.append()) for _ in range(6)]
    assert fates.count(None) >= 4
    assert caller.is_whole()


async def fate_of(attempt: Awaitable[Any]) -> Exception | None:
    try:
        await attempt
    except AuditUnavailable as refused:
        return refused
    return None


async def test_an_outcome_that_takes_long_is_deferred_and_written_later(caller: Caller) -> None:
    intent = await caller.append()
    outcome = caller.outcome(intent)
    with locked(caller.log, "EXCLUSIVE"):
        started = time.monotonic()
        assert not await caller.writer.conclude(outcome)
        assert PATIENCE_S / 2 < time.monotonic() - started < PATIENCE_S + LOOSE_S
        assert await caller.ask(EXISTS, outcome.event.audit_id) == [(0,)]
    await caller.settles(EXISTS, [(1,)], outcome.event.audit_id)
    assert caller.is_whole()


class Wire(Direct):
    """A connection with faults: each statement meets the next one of the plan."""

    plan: list[str] = []  # noqa: RUF012 - set anew by each test
    held: list[Sequence[bytes | None]] = []  # noqa: RUF012

    async def call(self, name: bytes, statement: bytes, values: Sequence[bytes | None]) -> bytes | None:
        fault = Wire.plan.pop(0) if Wire.plan else ""
        if fault == "overtaken":  # the server got it, but will be slow
            Wire.held.append(values)
            raise psycopg.OperationalError(fault)
        if fault == "replaced":  # the slow one commits now, and this one not at all
            await super().call(name, statement, Wire.held[0])
            raise psycopg.OperationalError(fault)
        answer = await super().call(name, statement, values)
        if fault == "unconfirmed":
            raise psycopg.OperationalError(fault)
        if fault == "silent":
            await asyncio.Event().wait()
        return answer


@pytest_asyncio.fixture
async def faulty(
    make_writer: Callable[..., Writer], make_event: MakeEvent, log: Log, log_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Caller]:  # fmt: skip
    monkeypatch.setattr(lane_module, "Direct", Wire)
    Wire.plan, Wire.held = [], []
    built = make_writer(deadline_s=DEADLINE_S)
    await built.start()
    yield Caller(built, make_event, log, log_database)
    await built.close()


async def test_a_commit_whose_confirmation_was_lost_counts_when_the_head_says_so(faulty: Caller) -> None:
    Wire.plan = ["unconfirmed"]
    entry = await faulty.append()
    assert await faulty.ask(EXISTS, entry.event.audit_id) == [(1,)]
    await faulty.recovers()
    assert faulty.is_whole()


async def test_a_refused_intent_that_was_committed_gets_an_outcome_that_says_nothing_was_sent(faulty: Caller) -> None:
    """Its caller was told 503; the log must not leave open what came of it."""
    Wire.plan = ["silent"]
    entry = await faulty.is_refused()
    await faulty.settles(OUTCOMES, [("not_sent",)], entry.event.audit_id)
    assert faulty.is_whole()


async def test_a_caller_that_leaves_during_the_commit_gets_that_outcome_too(faulty: Caller) -> None:
    Wire.plan = ["silent"]
    entry = faulty.intent()
    task = asyncio.create_task(faulty.writer.append(entry))
    await faulty.settles(EXISTS, [(1,)], entry.event.audit_id)
    task.cancel()
    await faulty.settles(OUTCOMES, [("not_sent",)], entry.event.audit_id)


async def test_a_chain_overtaken_by_a_commit_nobody_heard_of_is_given_up(faulty: Caller) -> None:
    """The head was read back before the slow statement committed: what follows must neither fork nor be lost."""
    intent = await faulty.append()
    before = set(faulty.writer.chain_ids)
    Wire.plan = ["overtaken"]
    late = await faulty.is_refused()
    with psycopg.connect(faulty.log.app_dsn) as connection:
        connection.execute("SELECT audit_append(%s::json)", [(Wire.held[0][0] or b"").decode()])
    outcomes = [faulty.outcome(intent)]
    async with asyncio.timeout(LOOSE_S):
        while set(faulty.writer.chain_ids) == before:  # until the lane whose head is old has had its turn
            outcomes.append(faulty.outcome(await faulty.recovers()))
    for outcome in outcomes:
        await faulty.writer.conclude(outcome)
        await faulty.settles(EXISTS, [(1,)], outcome.event.audit_id)
    assert await faulty.ask(EXISTS, late.event.audit_id) == [(1,)]
    assert faulty.is_whole()


async def test_a_batch_in_the_place_of_another_is_not_taken_for_it(
    faulty: Caller, make_writer: Callable[..., Writer]
) -> None:
    """Equally long batches end in the same number; only the hash tells whose rows these are."""
    caller = Caller(make_writer(deadline_s=DEADLINE_S, lanes=1), faulty.make_event, faulty.log, faulty.database)
    await caller.writer.start()
    await caller.append()
    Wire.plan = ["overtaken", "replaced"]
    first, second = await caller.is_refused(), await caller.is_refused()
    assert await caller.ask(EXISTS, first.event.audit_id) == [(1,)]
    assert await caller.ask(EXISTS, second.event.audit_id) == [(0,)]
    await caller.recovers()
    await caller.writer.close()
    assert caller.is_whole()


async def test_a_head_that_cannot_be_read_back_ends_the_chain(faulty: Caller) -> None:
    before = set(faulty.writer.chain_ids)
    Wire.plan = ["silent"]
    entry = faulty.intent()
    task = asyncio.create_task(faulty.writer.append(entry))
    await faulty.settles(EXISTS, [(1,)], entry.event.audit_id)
    with locked(faulty.log, "ACCESS EXCLUSIVE"):
        with pytest.raises(AuditUnavailable):
            await task
        await asyncio.sleep(3)  # longer than the lane tries to read the head back
    async with asyncio.timeout(LOOSE_S):
        while set(faulty.writer.chain_ids) == before:
            await faulty.recovers()
    assert faulty.is_whole()
