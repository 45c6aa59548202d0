"""The token exchange when the database fails, or when the agent is changed at the same moment."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.audit.chains import AdminChain
from agenthifive.db.database import Database, DatabaseOptions
from agents.stage import Agent, Stage, open_stage, told


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stage(database, admin_chain, admin_dsn) -> AsyncIterator[Stage]:
    async with open_stage(database, admin_chain, admin_dsn) as opened:
        yield opened


async def expect_unavailable(stage: Stage, agent, assertion: str) -> None:
    before = await stage.spent(agent)
    answer = await stage.exchange(assertion)
    assert told(answer) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert await stage.spent(agent) == before


@pytest.mark.parametrize(
    ("right", "table"),
    [
        ("INSERT", "l_jti_replay_cache"),
        ("INSERT", "t_agent_access_tokens"),
        ("INSERT", "l_audit_events"),
        ("SELECT", "t_agents"),
    ],
)
async def test_a_database_that_refuses_is_no_401_and_costs_no_assertion(stage, signers, right, table) -> None:
    agent = await stage.make_agent(signers["ES256"])
    assertion = agent.assertion()
    await stage.sql(f"REVOKE {right} ON {table} FROM agenthifive_app")
    try:
        await expect_unavailable(stage, agent, assertion)
    finally:
        await stage.sql(f"GRANT {right} ON {table} TO agenthifive_app")
    assert (await stage.exchange(assertion)).status_code == 200


@pytest_asyncio.fixture(loop_scope="session")
async def impatient(stage, instance, app_dsn) -> AsyncIterator[Stage]:
    """A replica whose database gives up after a tenth of a second."""
    options = DatabaseOptions(app_dsn, pool_max=4, statement_timeout_ms=100, lock_timeout_ms=100)
    database = Database(options)
    await database.open()
    impatient = Stage(database, AdminChain(database, instance), stage.admin)
    await impatient.exchange("nonsense")
    yield impatient
    await impatient.close()
    await database.close()


async def test_a_statement_that_takes_too_long_is_no_401_and_costs_no_assertion(stage, impatient, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    assertion = agent.assertion()
    async with stage.admin.transaction():
        await stage.sql("LOCK TABLE l_jti_replay_cache IN ACCESS EXCLUSIVE MODE")
        assert told(await stage.exchange(assertion, impatient.client)) == (503, "unavailable")
    assert await stage.spent(agent) == (0, 0)
    assert (await stage.exchange(assertion, impatient.client)).status_code == 200


async def test_a_commit_that_fails_is_no_401_and_costs_no_assertion(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    assertion = agent.assertion()
    await stage.sql(
        "CREATE FUNCTION fail_commit() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no disk' USING ERRCODE = 'disk_full'; END $$"
    )
    await stage.sql(
        "CREATE CONSTRAINT TRIGGER fail_commit AFTER INSERT ON t_agent_access_tokens DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION fail_commit()"
    )
    try:
        await expect_unavailable(stage, agent, assertion)
    finally:
        await stage.sql("DROP FUNCTION fail_commit CASCADE")
    assert (await stage.exchange(assertion)).status_code == 200


async def wait_for_lock(stage: Stage) -> None:
    """Until a session of this database waits for a row."""
    statement = (
        "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with asyncio.timeout(5):
        while (await stage.sql(statement))[0]["n"] == 0:
            await asyncio.sleep(0)


CHANGES = [
    ("description = 'x'", (200, None)),
    ("status = 'disabled'", (401, "agent_disabled")),
    ("public_key_jwk = NULL, public_key_thumbprint = NULL", (401, "invalid_agent")),
    ("public_key_jwk = %s, public_key_thumbprint = 'other'", (401, "assertion_signature_invalid")),
]


async def change_agent(stage: Stage, agent: Agent, change: str) -> None:
    values = [json.dumps(type(agent.signer)("ES256").jwk)] if "%s" in change else []
    await stage.sql(f"UPDATE t_agents SET {change} WHERE id = %s", *values, agent.id)


@pytest.mark.parametrize(("change", "expected"), CHANGES)
async def test_an_exchange_waits_for_a_change_and_judges_what_came_of_it(stage, signers, change, expected) -> None:
    agent = await stage.make_agent(signers["ES256"])
    async with stage.admin.transaction():
        await change_agent(stage, agent, change)
        exchange = asyncio.create_task(stage.exchange(agent.assertion()))
        await wait_for_lock(stage)
    assert told(await exchange) == expected
    assert await stage.spent(agent) == ((1, 1) if expected[0] == 200 else (0, 0))


@pytest.mark.parametrize(("change", "expected"), CHANGES)
async def test_a_change_between_look_up_and_commit_is_not_overlooked(
    stage, signers, monkeypatch, change, expected
) -> None:
    """Otherwise a key that was just replaced would still buy a token for two hours."""
    agent = await stage.make_agent(signers["ES256"])
    append, changes = stage.replica.writer.append, [change]

    async def change_then_append(entry: Any) -> None:
        if changes:
            await change_agent(stage, agent, changes.pop())
        await append(entry)

    monkeypatch.setattr(stage.replica.writer, "append", change_then_append)
    assert told(await stage.exchange(agent.assertion())) == expected
    assert await stage.spent(agent) == ((1, 1) if expected[0] == 200 else (0, 0))
