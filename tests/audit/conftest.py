"""Logs of a test's own: databases nobody else writes to, and makers of events and writers."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.audit.lane import Lane
from agenthifive.audit.model import Event
from agenthifive.audit.writer import Writer, WriterOptions
from agenthifive.db.database import Connection, Database, DatabaseOptions
from agenthifive.ids import new_id, wire_time_of
from agenthifive.words import AuditAction, AuditDecision, PrincipalType
from audit.logs import Log
from audit.room import FOREIGN, WORKSPACE, House
from databases import create_database

Connect = Callable[[], Awaitable[Connection]]


@pytest.fixture(scope="session")
def make_log(worker_id: str) -> Callable[[], Log]:
    """Makes logs; they go with the cluster, because to drop them one by one would take long."""
    numbers = count()

    def make() -> Log:
        made = create_database(f"audit_{worker_id}_{next(numbers)}")
        return Log(made.app_dsn, made.admin_dsn)

    return make


@pytest.fixture(scope="session")
def log(make_log: Callable[[], Log]) -> Log:
    """The log of all modules that leave it whole; the others have one of their own."""
    return make_log()


@pytest_asyncio.fixture(scope="module")
async def log_database(log: Log) -> AsyncIterator[Database]:
    """A pool of this module's log, as the application role."""
    opened = Database(DatabaseOptions(log.app_dsn, pool_min=1, pool_max=6, pool_timeout_ms=5000))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def log_chain(log_database: Database) -> AdminChain:
    """The chain for management rows of this module's log."""
    return AdminChain(log_database, Instance(new_id(), 1))


@pytest.fixture(scope="module")
def make_writer(log_database: Database, make_event: Callable[..., Event]) -> Callable[..., Writer]:
    """Makes writers of this module's log, like those of so many replicas; `connect` doubles their connections."""
    instance = Instance(new_id(), 1)

    def undo(intent: Event) -> Event:
        return make_event(
            AuditAction.EXECUTION_COMPLETED,
            decision=AuditDecision.ERROR,
            intent_id=intent.audit_id,
            metadata={"outcome": "not_sent"},
        )

    def make(connect: Connect = log_database.dedicated, **options: Any) -> Writer:
        return Writer(lambda name: Lane(connect, instance, name), undo, WriterOptions(**options))

    return make


@pytest.fixture(scope="session")
def make_event() -> Callable[..., Event]:
    """Makes events of an agent; arguments replace members."""

    def make(action: AuditAction = AuditAction.EXECUTION_DENIED, **members: Any) -> Event:
        defaults: dict[str, Any] = {
            "audit_id": new_id(),
            "timestamp": wire_time_of(time.time()),
            "action": action,
            "decision": AuditDecision.ALLOWED,
            "actor": "agent:0f8fad5b-d9cb-469f-a165-70867728950e",
            "principal_type": PrincipalType.AGENT,
        }
        return Event(**(defaults | members))

    return make


@pytest_asyncio.fixture(scope="module")
async def house(log_database: Database, log_chain: AdminChain) -> AsyncIterator[House]:
    built = House(log_database, log_chain)
    yield built
    await built.client.aclose()


@pytest.fixture(scope="session")
def written(log: Log, make_event: Callable[..., Event]) -> list[Event]:
    """Twenty rows of our workspace and one of another, a second apart, oldest first."""
    intent = make_event(
        AuditAction.EXECUTION_REQUESTED, workspace_id=WORKSPACE, timestamp="2026-11-23T15:00:00.000Z",
        user_agent='=HYPERLINK("http://x")', metadata={"path": "/a,b", "wouldDeny": [{"code": "no_policy"}]},
        approval_id=new_id(), request_id="req-7f3a9c01",
    )  # fmt: skip
    outcome = make_event(
        AuditAction.EXECUTION_COMPLETED, workspace_id=WORKSPACE, timestamp="2026-11-23T15:00:01.000Z",
        intent_id=intent.audit_id, metadata={"responseStatus": 200},
    )  # fmt: skip
    events = [intent, outcome]
    for second in range(2, 20):
        action = AuditAction.AGENT_DELETED if second % 2 else AuditAction.POLICY_CREATED
        decision = AuditDecision.DENIED if second == 7 else AuditDecision.ALLOWED
        approval_id = intent.approval_id if second == 9 else None
        at = f"2026-11-23T15:00:{second:02d}.000Z"
        members = {"timestamp": at, "decision": decision, "approval_id": approval_id, "agent_id": new_id()}
        events.append(make_event(action, workspace_id=WORKSPACE, **members))
    foreign = make_event(workspace_id=FOREIGN, timestamp="2026-11-23T15:00:30.000Z", agent_id=new_id())
    log.fill([[*events, foreign]])
    return [*events, foreign]
