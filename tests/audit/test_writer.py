"""The broker's writer on a real database: what it promises, kept under concurrency and for neighbours of bad luck."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.audit.lane import BudgetExceeded, Claim, Entry, KeyTaken, Kind, RateUnit, _claims, _units
from agenthifive.audit.model import Event
from agenthifive.audit.writer import AuditUnavailable, Writer
from agenthifive.db.database import Database
from agenthifive.ids import new_id
from agenthifive.words import AuditAction
from audit.logs import Log

MakeEvent = Callable[..., Event]
MakeWriter = Callable[..., Writer]
ROW = "SELECT intent_id::text, metadata, chain_id::text FROM l_audit_events WHERE audit_id = %s"


@pytest_asyncio.fixture
async def writer(make_writer: MakeWriter) -> AsyncIterator[Writer]:
    built = make_writer()
    await built.start()
    yield built
    await built.close()


class Pen:
    """Writes rows of calls through a writer."""

    def __init__(self, writer: Writer, make_event: MakeEvent) -> None:
        self.writer = writer
        self.make_event = make_event

    def intent(self, unit: RateUnit | None = None, claim: Claim | None = None, **members: Any) -> Entry:
        event = self.make_event(AuditAction.EXECUTION_REQUESTED, **members)
        entry = self.writer.entry(Kind.INTENT, event)
        entry.unit, entry.claim = unit, claim
        return entry

    def outcome(self, intent_id: str, **members: Any) -> Entry:
        event = self.make_event(AuditAction.EXECUTION_COMPLETED, intent_id=intent_id, **members)
        return self.writer.entry(Kind.OUTCOME, event)

    async def call(self) -> str:
        """A whole call; its intent's id."""
        entry = self.intent()
        await self.writer.append(entry)
        assert await self.writer.conclude(self.outcome(entry.event.audit_id))
        return entry.event.audit_id


@pytest.fixture
def pen(writer: Writer, make_event: MakeEvent) -> Pen:
    return Pen(writer, make_event)


def claim(key: str) -> Claim:
    return Claim("agent-1", key, "fingerprint", new_id(), 3600)


async def fates(entries: list[tuple[Writer, Entry]]) -> list[BaseException | None]:
    """What became of entries appended all at once."""
    return await asyncio.gather(*(writer.append(entry) for writer, entry in entries), return_exceptions=True)


async def test_a_row_is_in_the_log_when_append_returns(pen: Pen, log: Log) -> None:
    entry = pen.intent()
    await pen.writer.append(entry)
    assert len(log.ask(ROW, entry.event.audit_id)) == 1


async def test_append_waits_for_the_commit_and_commits_are_durable(pen: Pen, log: Log, log_database: Database) -> None:
    """No record, no request: nothing may leave while the row is only on its way."""
    entry = pen.intent()
    with log.superuser(autocommit=False) as culprit:
        culprit.execute("LOCK TABLE l_audit_events IN EXCLUSIVE MODE")
        task = asyncio.create_task(pen.writer.append(entry))
        async with asyncio.timeout(5):
            while not await is_waiting(log_database):
                assert not task.done()
        culprit.commit()
    await task
    connection = await pen.writer._lanes[0]._connect()
    cursor = await connection.execute("SHOW synchronous_commit")
    assert await cursor.fetchone() == ("on",)
    await connection.close()


async def is_waiting(database: Database) -> bool:
    """Whether somebody waits for a lock on the log."""
    async with database.transaction() as connection:
        cursor = await connection.execute(
            "SELECT FROM pg_locks WHERE NOT granted AND relation = 'l_audit_events'::regclass"
        )
        return await cursor.fetchone() is not None


async def test_many_calls_at_once_share_commits_and_leave_two_whole_chains(pen: Pen, log: Log) -> None:
    intents = await asyncio.gather(*(pen.call() for _ in range(300)))
    rows = log.ask("SELECT chain_id::text, count(*), max(chain_seq) FROM l_audit_events GROUP BY 1")
    ours = {chain: (rows_, head) for chain, rows_, head in rows if chain in pen.writer.chain_ids}
    assert len(ours) == 2
    assert all(count == head for count, head in ours.values())
    assert sum(count for count, _ in ours.values()) == 2 * len(set(intents)) == 600
    commits = log.ask(
        "SELECT count(DISTINCT xmin::text) FROM l_audit_events WHERE chain_id = ANY(%s)", pen.writer.chain_ids
    )
    assert commits[0][0] < 100
    assert log.verify().ok


async def test_two_replicas_admit_exactly_the_budget(make_writer: MakeWriter, make_event: MakeEvent, log: Log) -> None:
    unit = RateUnit(new_id(), new_id(), 37)
    other = RateUnit(new_id(), unit.connection_id, 1000)
    async with both(make_writer) as writers:
        pens = [Pen(writer, make_event) for writer in writers]
        entries = [(pen.writer, pen.intent(unit)) for _ in range(40) for pen in pens]
        beside = [(pen.writer, pen.intent(other)) for _ in range(10) for pen in pens]
        fate = await fates(entries + beside)
    refused = [error for error in fate[:80] if error is not None]
    assert Counter(type(error) for error in refused) == {BudgetExceeded: 43}
    assert fate[80:] == [None] * 20
    assert all(isinstance(error, BudgetExceeded) and error.retry_after_s > 0 for error in refused)
    assert {error.used for error in refused if isinstance(error, BudgetExceeded)} <= set(range(38))
    assert log.ask("SELECT sum(calls)::int FROM t_call_minutes WHERE agent_id = %s", unit.agent_id) == [(37,)]
    accepted = [entry.event.audit_id for (_, entry), error in zip(entries, fate, strict=False) if error is None]
    written = log.ask("SELECT count(*) FROM l_audit_events WHERE audit_id = ANY(%s::uuid[])",
                      [entry.event.audit_id for _, entry in entries])  # fmt: skip
    assert written == [(len(accepted),)] == [(37,)]
    assert log.verify().ok


class both:  # noqa: N801 - reads as a verb of the tests
    """Two started writers, closed after the block."""

    def __init__(self, make_writer: MakeWriter) -> None:
        self.writers = [make_writer(), make_writer()]

    async def __aenter__(self) -> list[Writer]:
        for writer in self.writers:
            await writer.start()
        return self.writers

    async def __aexit__(self, *_: object) -> None:
        for writer in self.writers:
            await writer.close()


async def test_a_call_without_room_does_not_spend_and_does_not_hold_up_its_batch(pen: Pen, log: Log) -> None:
    full = RateUnit(new_id(), new_id(), 0)
    fate = await fates([(pen.writer, pen.intent(full)), (pen.writer, pen.intent()), (pen.writer, pen.intent(full))])
    assert [type(error) for error in fate] == [BudgetExceeded, type(None), BudgetExceeded]
    assert log.ask("SELECT FROM t_call_minutes WHERE agent_id = %s", full.agent_id) == []


async def test_limits_that_differ_for_one_pair_are_judged_one_by_one(pen: Pen) -> None:
    """A policy is raised between two calls that then share a batch: neither may block the other for ever."""
    agent, connection = new_id(), new_id()
    await asyncio.gather(*(pen.writer.append(pen.intent(RateUnit(agent, connection, 9))) for _ in range(4)))
    old, new = RateUnit(agent, connection, 5), RateUnit(agent, connection, 9)
    fate = await fates([(pen.writer, pen.intent(old)), (pen.writer, pen.intent(new)), (pen.writer, pen.intent(old))])
    assert [type(error) for error in fate] == [type(None), type(None), BudgetExceeded]


@pytest.mark.parametrize("attempt", range(4))
async def test_an_idempotency_key_is_claimed_once_over_two_replicas(
    make_writer: MakeWriter, make_event: MakeEvent, log: Log, attempt: int
) -> None:
    """Who comes too late is told so: never "unavailable", never through."""
    keys = [f"{new_id()}-{number}" for number in range(3)]
    async with both(make_writer) as writers:
        pens = [Pen(writer, make_event) for writer in writers]
        entries = [(pen.writer, pen.intent(claim=claim(key))) for _ in range(8) for key in keys for pen in pens]
        beside = [(pen.writer, pen.intent()) for _ in range(10) for pen in pens]
        fate = await fates(entries + beside)
    assert Counter(type(error) for error in fate[: len(entries)]) == {type(None): 3, KeyTaken: len(entries) - 3}
    assert fate[len(entries) :] == [None] * 20
    winners = {entry.event.audit_id for (_, entry), error in zip(entries, fate, strict=False) if error is None}
    held = log.ask("SELECT audit_id::text, state FROM t_idempotency_keys WHERE key = ANY(%s)", keys)
    assert set(held) == {(winner, "running") for winner in winners}
    assert len(held) == 3


async def test_keys_and_pairs_are_taken_in_one_order_whatever_the_order_of_the_calls(pen: Pen) -> None:
    """Two lanes that want the same ones must not wait for each other."""
    units = [RateUnit(new_id(), new_id(), 9) for _ in range(3)]
    entries = [pen.intent(unit, claim(key)) for unit, key in zip(units, ("key-c", "key-a", "key-b"), strict=True)]
    assert _claims(entries) == _claims(entries[::-1])
    assert _units(entries) == _units(entries[::-1])


async def test_an_expired_key_may_be_claimed_again(pen: Pen, log: Log) -> None:
    key = new_id()
    await pen.writer.append(pen.intent(claim=claim(key)))
    log.do("UPDATE t_idempotency_keys SET expires_at = now() - interval '1 s' WHERE key = %s", key)
    again = pen.intent(claim=claim(key))
    await pen.writer.append(again)
    assert log.ask("SELECT audit_id::text FROM t_idempotency_keys WHERE key = %s", key) == [(again.event.audit_id,)]


async def test_a_row_that_no_database_could_hold_does_not_refuse_its_neighbours(pen: Pen, log: Log) -> None:
    hostile = {"number": 2**80, "nul": "a\0b", "half": "\ud83d", "long": "x" * 50_000}
    odd = pen.intent(metadata=hostile, ip="\0", request_id="\ud800")
    assert await fates([(pen.writer, pen.intent()), (pen.writer, odd), (pen.writer, pen.intent())]) == [None] * 3
    assert log.ask(ROW, odd.event.audit_id)[0][1]["nul"] == "a\ufffdb"
    assert log.verify().ok


async def test_a_second_outcome_is_taken_for_the_first_one(pen: Pen, log: Log) -> None:
    """The job that closes orphans may have been faster; an intent has exactly one outcome."""
    intent_id = await pen.call()
    beside = pen.outcome(await one_intent(pen))
    again = await asyncio.gather(pen.writer.conclude(pen.outcome(intent_id)), pen.writer.conclude(beside))
    assert again == [True, True]
    assert log.ask("SELECT count(*) FROM l_audit_events WHERE intent_id = %s", intent_id) == [(1,)]
    assert len(log.ask(ROW, beside.event.audit_id)) == 1


async def one_intent(pen: Pen) -> str:
    entry = pen.intent()
    await pen.writer.append(entry)
    return entry.event.audit_id


async def test_a_caller_that_left_before_its_row_was_written_leaves_no_row(pen: Pen, log: Log) -> None:
    left, stayed = pen.intent(), pen.intent()
    task = asyncio.create_task(pen.writer.append(left))
    await asyncio.sleep(0)
    task.cancel()
    await pen.writer.append(stayed)
    assert log.ask(ROW, left.event.audit_id) == []


async def test_an_outcome_is_written_although_the_call_it_ends_was_left(pen: Pen, log: Log) -> None:
    intent = pen.intent()
    await pen.writer.append(intent)
    outcome = pen.outcome(intent.event.audit_id)
    task = asyncio.create_task(pen.writer.conclude(outcome))
    await asyncio.sleep(0)
    task.cancel()
    await pen.call()
    assert [row[0] for row in log.ask(ROW, outcome.event.audit_id)] == [intent.event.audit_id]


async def test_closing_writes_what_waits_and_takes_no_more(
    make_writer: MakeWriter, make_event: MakeEvent, log: Log
) -> None:
    writer = make_writer()
    await writer.start()
    pen = Pen(writer, make_event)
    entries = [pen.intent() for _ in range(50)]
    tasks = [asyncio.create_task(writer.append(entry)) for entry in entries]
    await asyncio.sleep(0)
    await writer.close()
    assert await asyncio.gather(*tasks) == [None] * 50
    with pytest.raises(AuditUnavailable):
        await writer.append(pen.intent())
    assert not await writer.conclude(pen.outcome(new_id()))
    assert not writer.is_healthy
    assert writer.depth == 0


async def test_a_full_queue_refuses_at_once(make_writer: MakeWriter, make_event: MakeEvent) -> None:
    writer = make_writer(queue_max=2)  # not started: nobody takes from the queue
    pen = Pen(writer, make_event)
    for _ in range(2):
        writer._put(pen.intent())
    with pytest.raises(AuditUnavailable):
        await writer.append(pen.intent())
    assert writer.depth == 2


async def test_a_lane_says_which_chain_it_writes(pen: Pen, log: Log) -> None:
    records = log.ask("SELECT chain_id::text, kind, writer FROM l_audit_chains WHERE chain_id = ANY(%s::uuid[])",
                      pen.writer.chain_ids)  # fmt: skip
    assert [kind for _, kind, _ in records] == ["broker", "broker"]
    assert {name.rpartition(":")[2] for _, _, name in records} == {"broker-1", "broker-2"}
    alive = log.ask("SELECT closed_at FROM t_audit_writers WHERE chain_id = ANY(%s::uuid[])", pen.writer.chain_ids)
    assert alive == [(None,), (None,)]
    assert pen.writer.is_healthy
