"""The admin chain: a change and its row commit together, whoever else is writing and whatever breaks."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.audit.model import Event
from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.ids import new_id
from agenthifive.words import AuditAction
from audit.logs import Log

MakeEvent = Callable[..., Event]
LINK = "INSERT INTO t_one_time_links (token_hash, purpose, expires_at) VALUES (%s, 'setup', now())"
LINKS = "SELECT count(*) FROM t_one_time_links WHERE token_hash = %s"
ROWS = "SELECT count(*), max(chain_seq) FROM l_audit_events WHERE chain_id = %s"


@pytest.fixture
def chain(log_database: Database) -> AdminChain:
    return AdminChain(log_database, Instance(new_id(), 1))


async def change(database: Database, chain: AdminChain, name: str) -> str:
    """A change with its row; the row's audit id."""
    async with Unit(database, chain, SYSTEM) as unit:
        await (await unit.begin()).execute(LINK, [name])
        return unit.record(AuditAction.INSTANCE_SET_UP)


async def test_a_change_and_its_row_are_there_together(log: Log, log_database: Database, chain: AdminChain) -> None:
    name = new_id()
    audit_id = await change(log_database, chain, name)
    assert log.ask(LINKS, name) == [(1,)]
    assert log.ask("SELECT action, actor FROM l_audit_events WHERE audit_id = %s", audit_id) == [
        ("instance_set_up", "system")
    ]


async def test_without_its_row_a_change_is_not_made_and_uses_no_number(
    log: Log, log_database: Database, chain: AdminChain
) -> None:
    await change(log_database, chain, new_id())
    name = new_id()
    log.do("REVOKE INSERT ON l_audit_events FROM agenthifive_app")
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await change(log_database, chain, name)
    finally:
        log.do("GRANT INSERT ON l_audit_events TO agenthifive_app")
    assert log.ask(LINKS, name) == [(0,)]
    await change(log_database, chain, name)
    assert log.ask(ROWS, chain.chain_id) == [(2, 2)]
    assert log.verify().ok


async def test_a_change_that_fails_leaves_no_row(log: Log, log_database: Database, chain: AdminChain) -> None:
    name = new_id()
    await change(log_database, chain, name)
    with pytest.raises(psycopg.errors.UniqueViolation):
        await change(log_database, chain, name)
    assert log.ask(ROWS, chain.chain_id) == [(1, 1)]


async def test_units_side_by_side_share_one_whole_chain(log: Log, log_database: Database, chain: AdminChain) -> None:
    await asyncio.gather(*(change(log_database, chain, new_id()) for _ in range(40)))
    assert log.ask(ROWS, chain.chain_id) == [(40, 40)]
    assert log.verify().ok


async def test_a_commit_nobody_confirmed_ends_the_chain(
    log: Log, log_database: Database, chain: AdminChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row may or may not have arrived; nothing is ever linked to a guess."""
    await change(log_database, chain, new_id())
    before, name = chain.chain_id, new_id()

    async def commit_and_die(self: Connection) -> None:
        await original(self)
        raise psycopg.OperationalError("lost")

    original = psycopg.AsyncConnection.commit
    with monkeypatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "commit", commit_and_die)
        with pytest.raises(psycopg.OperationalError):
            await change(log_database, chain, name)
    assert chain.chain_id is None
    assert log.ask(LINKS, name) == [(1,)]
    await change(log_database, chain, new_id())
    assert chain.chain_id not in (None, before)
    assert log.ask(ROWS, before) == [(2, 2)]
    assert log.verify().ok


async def test_a_chain_can_be_opened_before_the_first_request(log: Log, chain: AdminChain) -> None:
    assert chain.chain_id is None
    await chain.open()
    assert log.ask("SELECT kind FROM l_audit_chains WHERE chain_id = %s", chain.chain_id) == [("admin",)]
