"""Keys whose fate could not be written down: the answer of the call stands, and nothing is ever sent twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.broker import idempotency
from databases import fresh_database, open_pool
from fakes import Received, raw, respond
from world import Bot, World, make_world

KEY = {"idempotency-key": "order-9"}


@pytest_asyncio.fixture(scope="module")
async def world(instance: Instance, worker_id: str) -> AsyncIterator[World]:
    """On a database of its own: faults are for nobody else."""
    with fresh_database(f"keys_{worker_id}") as own:
        async with open_pool(own.app_dsn) as pool, make_world(pool, instance, own.admin_dsn) as made:
            yield made


async def unsettled(world: World, bot: Bot, **members: object) -> dict[str, object]:
    """A call during which the table of keys is lost; its answer."""
    with world.admin() as admin:
        answered = world.provider.script

        async def lose_the_keys(request: Received, writer: asyncio.StreamWriter) -> None:
            admin.execute("REVOKE UPDATE, DELETE ON t_idempotency_keys FROM agenthifive_app")
            await answered(request, writer)

        world.provider.script = lose_the_keys
        try:
            answer = await bot.execute(method="POST", body={}, http_headers=KEY, **members)
        finally:
            admin.execute("GRANT UPDATE, DELETE ON t_idempotency_keys TO agenthifive_app")
        world.provider.script = answered
    return {**answer.json(), "http": answer.status_code}


async def test_a_key_that_cannot_be_settled_never_hides_that_the_call_acted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await world.ready()
    world.provider.script = respond(200, b'{"done":1}')
    answer = await unsettled(world, bot)
    assert (answer["http"], answer["body"]) == (200, {"done": 1})
    again = await bot.execute(method="POST", body={}, http_headers=KEY)
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_in_progress")
    monkeypatch.setattr(idempotency, "_SETTLING_S", 0)
    later = await bot.execute(method="POST", body={}, http_headers=KEY)
    assert (later.status_code, later.json()["code"]) == (409, "idempotency_outcome_unknown")
    assert len(world.provider.received) == 1


async def test_a_key_whose_call_was_not_sent_is_free_even_if_that_could_not_be_settled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await world.ready()
    world.provider.received.clear()
    egress = world.replicas[0].egress
    resolve = egress._resolve

    async def nothing(host: str, port: int) -> list[str]:
        with world.admin() as admin:
            admin.execute("REVOKE UPDATE, DELETE ON t_idempotency_keys FROM agenthifive_app")
        return []

    egress._idle.clear()
    egress._resolve = nothing
    failed = await bot.execute(method="POST", body={}, http_headers=KEY)
    egress._resolve = resolve
    with world.admin() as admin:
        admin.execute("GRANT UPDATE, DELETE ON t_idempotency_keys TO agenthifive_app")
    assert (failed.json()["code"], failed.json()["outcome"]) == ("upstream_unreachable", "not_sent")
    monkeypatch.setattr(idempotency, "_SETTLING_S", 0)
    assert (await bot.execute(method="POST", body={}, http_headers=KEY)).status_code == 200
    assert len(world.provider.received) == 1


async def test_a_reply_that_is_no_http_stays_what_it_is_when_the_key_cannot_be_settled(world: World) -> None:
    bot = await world.ready()
    world.provider.script = raw(b"HTTP/1.1 200")
    answer = await unsettled(world, bot)
    world.provider.script = respond()
    assert (answer["http"], answer["code"], answer["outcome"]) == (502, "upstream_invalid", "unknown")


async def test_a_key_of_one_connection_is_no_key_of_another(world: World) -> None:
    bot = await world.ready()
    world.provider.script = respond()
    world.provider.received.clear()
    other = await world.add_connection()
    await world.add_policy(bot.agent_id, other)
    await world.settle()
    assert (await bot.execute(method="POST", body={}, http_headers=KEY)).status_code == 200
    answer = await bot.execute(method="POST", body={}, http_headers=KEY, connectionId=other)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(world.provider.received) == 1
