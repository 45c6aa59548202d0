"""Intents of dead processes get exactly one outcome; those of living ones are left alone."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from agenthifive.audit.chains import CLOSE, AdminChain, Instance, open_new
from agenthifive.audit.jobs import beat, close_orphans
from agenthifive.audit.model import Chain, Event
from agenthifive.db.database import Database
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.ids import new_id, wire_time_of
from agenthifive.words import AuditAction, PrincipalType
from audit.logs import Log

MakeEvent = Callable[..., Event]
SILENT = "UPDATE t_audit_writers SET heartbeat_at = now() - make_interval(secs => %s) WHERE chain_id = %s"
OUTCOMES = """
    SELECT action, decision, metadata, actor, principal_type, principal_id, workspace_id::text, agent_id::text,
           connection_id::text, policy_id::text, ip, user_agent, request_id
      FROM l_audit_events WHERE intent_id = %s
"""
CLOSED = "SELECT closed_at IS NOT NULL FROM t_audit_writers WHERE chain_id = %s"


@pytest.fixture(scope="module")
def log(make_log: Callable[[], Log]) -> Log:
    """A log of this module's own."""
    return make_log()


class Process:
    """A process that writes a chain, and may die."""

    def __init__(self, log: Log, database: Database, chain: AdminChain, make_event: MakeEvent) -> None:
        self.log = log
        self.database = database
        self.admin = chain
        self.make_event = make_event
        self.chain: Chain | None = None

    @property
    def chain_id(self) -> str:
        assert self.chain is not None
        return self.chain.chain_id

    async def write(self, *events: Event) -> None:
        async with self.database.transaction() as connection:
            if self.chain is None:
                self.chain = await open_new(connection, Instance(new_id(), 1), "broker", "broker-1")
            rows, self.chain = self.chain.link(events)
            await connection.execute("SELECT audit_append(%s::json)", [rows.decode()])

    def intent(self, action: AuditAction = AuditAction.EXECUTION_REQUESTED, age_s: float = 20, **members: Any) -> Event:
        return self.make_event(action, timestamp=wire_time_of(time.time() - age_s), **members)

    def falls_silent(self, seconds: float = 31) -> None:
        self.log.do(SILENT, seconds, self.chain_id)

    async def run_job(self) -> int:
        async with Unit(self.database, self.admin, SYSTEM) as unit:
            return await close_orphans(unit)

    def outcomes(self, intent: Event) -> list[tuple[Any, ...]]:
        return self.log.ask(OUTCOMES, intent.audit_id)

    def is_closed(self) -> bool:
        return self.log.ask(CLOSED, self.chain_id) == [(True,)]


@pytest.fixture
def process(log: Log, log_database: Database, log_chain: AdminChain, make_event: MakeEvent) -> Process:
    log.do("UPDATE t_audit_writers SET closed_at = now()")  # what an earlier test left alive may die of age by now
    return Process(log, log_database, log_chain, make_event)


async def test_an_intent_of_a_dead_process_is_closed_as_unknown_in_its_own_name(process: Process) -> None:
    members = {
        "actor": "agent:a", "principal_type": PrincipalType.PAT, "principal_id": "t", "workspace_id": new_id(),
        "agent_id": new_id(), "connection_id": new_id(), "policy_id": new_id(), "ip": "::1", "user_agent": "u",
        "request_id": "r",
    }  # fmt: skip
    intent = process.intent(**members)
    vend = process.intent(AuditAction.TOKEN_VEND_REQUESTED)
    await process.write(intent, vend)
    process.falls_silent()
    assert await process.run_job() == 2
    crash = {"errorCode": "crash", "outcome": "unknown"}
    assert process.outcomes(intent) == [("execution_completed", "error", crash, *members.values())]
    assert process.outcomes(vend)[0][:3] == ("token_vended", "error", crash)
    assert process.is_closed()
    assert process.log.verify().ok


async def test_what_has_an_outcome_or_is_no_intent_is_left_alone(process: Process) -> None:
    intent = process.intent()
    done = process.make_event(AuditAction.EXECUTION_COMPLETED, intent_id=intent.audit_id, timestamp=intent.timestamp)
    await process.write(intent, done, process.intent(AuditAction.EXECUTION_DENIED))
    process.falls_silent()
    assert await process.run_job() == 0
    assert len(process.outcomes(intent)) == 1
    assert process.is_closed()


@pytest.mark.parametrize(("silent_s", "age_s"), [(25, 40), (300, 5)])
async def test_a_process_that_beats_or_writes_is_alive(process: Process, silent_s: float, age_s: float) -> None:
    """A heartbeat that does not get through must not close the calls of a process whose rows do."""
    intent = process.intent(age_s=age_s)
    await process.write(intent)
    process.falls_silent(silent_s)
    assert await process.run_job() == 0
    assert process.outcomes(intent) == []
    assert not process.is_closed()


async def test_two_replicas_close_an_intent_once(process: Process, log_chain: AdminChain) -> None:
    intents = [process.intent() for _ in range(20)]
    await process.write(*intents)
    process.falls_silent()
    other = Process(
        process.log, process.database, AdminChain(process.database, Instance(new_id(), 1)), process.make_event
    )
    closed = await asyncio.gather(process.run_job(), other.run_job())
    assert sorted(closed) == [0, 20]
    assert [len(process.outcomes(intent)) for intent in intents] == [1] * 20
    assert await process.run_job() == 0
    assert process.log.verify().ok


async def test_one_run_closes_what_many_restarts_left_open(process: Process) -> None:
    """A server that dies every few seconds never lives long enough to do it bit by bit."""
    intents = []
    for _ in range(120):
        process.chain = None
        intents.append(process.intent())
        await process.write(intents[-1])
        process.falls_silent()
    assert await process.run_job() == 120
    assert [len(process.outcomes(intent)) for intent in intents] == [1] * 120


async def test_the_database_admits_one_outcome_of_an_intent(process: Process) -> None:
    intent = process.intent()
    first, second = (process.make_event(AuditAction.EXECUTION_COMPLETED, intent_id=intent.audit_id) for _ in range(2))
    await process.write(intent, first)
    chain = process.chain
    with pytest.raises(psycopg.errors.UniqueViolation):
        await process.write(second)
    process.chain = chain
    await process.write(process.intent())
    assert len(process.outcomes(intent)) == 1


async def test_a_key_held_by_a_closed_intent_no_longer_says_running(process: Process) -> None:
    intent = process.intent()
    await process.write(intent)
    process.log.do(
        "INSERT INTO t_idempotency_keys (principal, key, fingerprint, audit_id, workspace_id, expires_at)"
        " VALUES ('p', %s, 'f', %s, %s, now() + interval '1 h')", intent.audit_id, intent.audit_id, new_id()
    )  # fmt: skip
    process.falls_silent()
    await process.run_job()
    state = process.log.ask("SELECT state FROM t_idempotency_keys WHERE audit_id = %s", intent.audit_id)
    assert state == [("unknown",)]


async def test_a_chain_taken_for_dead_lives_again_with_its_next_beat(process: Process) -> None:
    """Else nobody would close what it leaves open when it really dies."""
    await process.write(process.intent())
    process.falls_silent()
    await process.run_job()
    assert process.is_closed()
    async with Unit(process.database, process.admin, SYSTEM) as unit:
        await beat(unit, [process.chain_id])
    assert not process.is_closed()
    later = process.intent()
    await process.write(later)
    process.falls_silent()
    assert await process.run_job() == 1
    assert len(process.outcomes(later)) == 1


async def test_an_orderly_end_is_no_death(process: Process) -> None:
    await process.write(process.make_event(timestamp=wire_time_of(time.time() - 60)))
    async with process.database.transaction() as connection:
        await connection.execute(CLOSE, [[process.chain_id]])
    process.falls_silent()
    assert await process.run_job() == 0
    assert process.is_closed()
