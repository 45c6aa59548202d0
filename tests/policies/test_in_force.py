"""A saved policy is in force on every replica, heard of or not; one that cannot be read refuses its own calls only."""

from collections.abc import AsyncIterator

import pytest_asyncio
from psycopg.types.json import Jsonb

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.broker.changes import Changes
from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Signature, Unit
from agenthifive.edge.callers import Caller
from agenthifive.policies.service import Policies
from agenthifive.words import PrincipalType, Role
from world import Bot, World, make_world


class DeafChanges(Changes):
    """Reads the counter, and never hears an announcement."""

    async def _open(self) -> Connection:
        connection = await super()._open()
        await connection.execute("UNLISTEN *")
        return connection


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    """Three replicas; the last one hears nothing."""
    async with make_world(database, instance, admin_dsn, replicas=3) as made:
        changes = made.replicas[2].changes
        await changes.close()
        changes.__class__ = DeafChanges
        await changes.start()
        yield made


async def save(world: World, chain: AdminChain, bot: Bot, **facets: object) -> None:
    """Olga changes the policy, as the route does."""
    olga = Caller(PrincipalType.USER, world.owner_id, world.workspace_id, user_id=world.owner_id, role=Role.OWNER)
    signature = Signature(world.owner_id, PrincipalType.USER, world.owner_id, world.workspace_id)
    async with Unit(world.database, chain, signature) as unit:
        await Policies(world.catalog).change(unit, olga, bot.policy_id, facets, None)


async def test_a_saved_policy_is_followed_by_every_replica(world: World, admin_chain: AdminChain) -> None:
    bot = await world.ready()
    for replica in range(3):
        assert (await bot.execute(replica=replica)).status_code == 200
    received = len(world.provider.received)
    closed = {"request": [{"id": "r0", "label": "Closed", "match": {}, "action": "deny"}], "response": []}
    await save(world, admin_chain, bot, rules=closed)
    await world.settle()
    for replica in range(3):
        assert (await bot.execute(replica=replica)).json()["code"] == "rule_denied", replica
    await save(world, admin_chain, bot, rules={"request": [], "response": []})
    await world.settle()
    assert len(world.provider.received) == received
    for replica in range(3):
        assert (await bot.execute(replica=replica)).status_code == 200, replica


async def test_a_policy_that_no_longer_compiles_refuses_its_calls_and_no_others(
    world: World, admin_chain: AdminChain
) -> None:
    bot, other = await world.ready(), await world.ready()
    rule = {"id": "r0", "match": {"urlPattern": "(?=x)"}, "action": "deny"}
    broken = {"request": [rule], "response": [], "fieldStepUpEnabled": False}
    await world.execute(
        "UPDATE t_policies SET document = jsonb_set(document, '{rules}', %s) WHERE id = %s",
        [Jsonb(broken), bot.policy_id],
    )
    await world.settle()
    received = len(world.provider.received)
    answer = await bot.execute()
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert len(world.provider.received) == received
    assert (await other.execute()).status_code == 200
    await save(world, admin_chain, bot, rules={"request": [], "response": []})
    await world.settle()
    assert (await bot.execute()).status_code == 200
