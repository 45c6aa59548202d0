"""The kill switch on the hot path: refused within a second on every replica, streams cut within two. Goal R9."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import msgspec
import psycopg
import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.edge.frozen import FreezeScope
from agenthifive.errors import AppError
from agenthifive.ids import new_id
from agenthifive.operations import freeze
from databases import fresh_database, open_pool
from fakes import Received, respond
from world import Bot, World, make_world

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
QUIET = """
    CREATE OR REPLACE FUNCTION announce_change(changed uuid) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO t_changes AS c (workspace_id, n) VALUES (changed, 1)
            ON CONFLICT (workspace_id) DO UPDATE SET n = c.n + 1;
    END $$
"""


@pytest_asyncio.fixture(scope="module")
async def world(instance: Instance, worker_id: str) -> AsyncIterator[World]:
    with fresh_database(f"freeze_{worker_id}") as own:
        async with open_pool(own.app_dsn) as pool, make_world(pool, instance, own.admin_dsn, replicas=2) as made:
            yield made


@pytest_asyncio.fixture(autouse=True)
async def _thawed(world: World) -> AsyncIterator[None]:
    """Each test begins and ends with nothing frozen."""
    world.provider.script = respond(200, b'{"ok":true}')
    world.provider.received.clear()
    yield
    freeze.remove_file(world.home)
    await world.execute("DELETE FROM t_freezes")
    await until(world, is_any=False, within_s=10)


async def until(world: World, *, is_any: bool, within_s: float = 1.0) -> None:
    """Every replica knows, in time."""
    async with asyncio.timeout(within_s):
        while any(replica.grants.frozen.is_any is not is_any for replica in world.replicas):
            await asyncio.sleep(0.005)


async def activate(world: World, scope: FreezeScope, target_id: str | None, reason: str | None = None) -> None:
    async with world.unit() as unit:
        await freeze.activate(unit, scope, target_id, reason)
    await until(world, is_any=True)


async def lift(world: World, scope: FreezeScope, target_id: str | None) -> None:
    async with world.unit() as unit:
        await freeze.lift(unit, scope, target_id)
    await until(world, is_any=False)


def target_of(scope: FreezeScope, bot: Bot) -> str | None:
    return {"instance": None, "workspace": bot.world.workspace_id, "agent": bot.agent_id}[scope]


@contextlib.contextmanager
def stopped_database(world: World) -> Iterator[None]:
    """PostgreSQL is gone for the application."""
    with world.admin() as admin:
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND usename = 'agenthifive_app'"
        )
        try:
            yield
        finally:
            admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")


class Stream:
    """An endless stream of a provider, as its client sees it."""

    def __init__(self, bot: Bot, replica: int = 0) -> None:
        self.bot, self.replica = bot, replica
        self.has_begun = asyncio.Event()
        self.provider_left = asyncio.Event()
        self.received = b""

    async def serve(self, request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        try:
            while not (writer.transport.is_closing() or request.has_left):
                writer.write(b"9\r\ndata: x\n\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            self.provider_left.set()

    async def read(self) -> None:
        """Read to the end, which never is a good one."""
        bot = self.bot
        call = {"model": "B", "connectionId": bot.connection_id, "method": "GET", "url": f"{bot.world.origin}/v1/s",
                "stream": True}  # fmt: skip
        with contextlib.suppress(httpx.RemoteProtocolError):
            async with bot.world.client.stream(
                "POST", f"{bot.world.replicas[self.replica].base}/v1/vault/execute", content=msgspec.json.encode(call),
                headers={"authorization": f"Bearer {bot.token}", "content-type": "application/json"},
            ) as answer:  # fmt: skip
                assert answer.status_code == 200
                async for piece in answer.aiter_raw():
                    self.received += piece
                    self.has_begun.set()


@pytest.mark.parametrize("scope", list(FreezeScope))
async def test_what_is_frozen_makes_no_call_on_any_replica_until_it_is_lifted(world: World, scope: FreezeScope) -> None:
    bot, other = await world.ready(), await world.ready()
    assert (await bot.execute()).status_code == 200
    await activate(world, scope, target_of(scope, bot), "key found in a public repository")
    world.provider.received.clear()
    for replica in (0, 1):
        answer = await bot.execute(replica=replica)
        assert (answer.status_code, answer.json()["code"]) == (403, "frozen")
        assert "public repository" not in answer.text
        [row] = await world.rows(answer.json()["auditId"])
        assert (row["action"], row["decision"], row["metadata"]["reason"]) == ("execution_denied", "denied", "frozen")
        assert (row["agent_id"], row["workspace_id"]) == (bot.agent_id, world.workspace_id)
    assert world.provider.received == []
    expected = 200 if scope is FreezeScope.AGENT else 403
    assert (await other.execute(replica=1)).status_code == expected
    await lift(world, scope, target_of(scope, bot))
    assert (await bot.execute()).status_code == 200


async def test_an_unread_body_is_refused_before_it_is_judged(world: World) -> None:
    bot = await world.ready()
    await activate(world, FreezeScope.AGENT, bot.agent_id)
    answer = await world.client.post(
        f"{world.replicas[0].base}/v1/vault/execute",
        content=b"no JSON at all",
        headers={"authorization": f"Bearer {bot.token}", "content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "frozen")


async def test_the_llm_proxy_is_frozen_in_the_vendors_own_shape(world: World) -> None:
    bot = await world.ready()
    await activate(world, FreezeScope.WORKSPACE, world.workspace_id)
    answer = await world.client.post(
        f"{world.replicas[0].base}/v1/vault/llm/anthropic/v1/messages",
        content=b"{}",
        headers={"authorization": f"Bearer {bot.token}", "content-type": "application/json"},
    )
    assert (answer.status_code, answer.headers["x-agenthifive-error"]) == (403, "frozen")
    assert answer.json()["type"] == "error"
    [row] = await world.rows(answer.headers["x-agenthifive-audit-id"])
    assert (row["action"], row["metadata"]["reason"]) == ("execution_denied", "frozen")


async def test_a_call_whose_body_was_on_its_way_does_not_go_out_after_the_freeze(world: World) -> None:
    """The permissions were right when it began; what counts is the instant of the commit."""
    bot = await world.ready()
    has_begun, goes_on = asyncio.Event(), asyncio.Event()
    body = msgspec.json.encode(
        {"model": "B", "connectionId": bot.connection_id, "method": "POST", "url": f"{world.origin}/v1/x"}
    )

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:10]
        has_begun.set()
        await goes_on.wait()
        yield body[10:]

    sending = asyncio.create_task(
        world.client.post(
            f"{world.replicas[0].base}/v1/vault/execute",
            content=slowly(),
            headers={"authorization": f"Bearer {bot.token}", "content-type": "application/json"},
        )
    )
    await has_begun.wait()
    while world.replicas[0].http.in_flight == 0:
        await asyncio.sleep(0.005)
    await activate(world, FreezeScope.AGENT, bot.agent_id)
    goes_on.set()
    answer = await sending
    assert (answer.status_code, answer.json()["code"]) == (403, "frozen")
    assert world.provider.received == []


async def test_a_lost_notification_changes_nothing(world: World) -> None:
    """Goal R9: the change counter is read all the same."""
    bot = await world.ready()
    with world.admin() as admin:
        [(told,)] = admin.execute("SELECT pg_get_functiondef('announce_change(uuid)'::regprocedure)").fetchall()
        admin.execute(QUIET)
        try:
            await activate(world, FreezeScope.AGENT, bot.agent_id)
            for replica in (0, 1):
                assert (await bot.execute(replica=replica)).json()["code"] == "frozen"
            await lift(world, FreezeScope.AGENT, bot.agent_id)
        finally:
            admin.execute(told)
    assert world.provider.received == []


@pytest.mark.parametrize("scope", list(FreezeScope))
async def test_open_streams_are_cut_within_two_seconds(world: World, scope: FreezeScope) -> None:
    bot = await world.ready()
    stream = Stream(bot, replica=1)
    world.provider.script = stream.serve
    reading = asyncio.create_task(stream.read())
    await stream.has_begun.wait()
    started = time.monotonic()
    await activate(world, scope, target_of(scope, bot))
    await reading
    await stream.provider_left.wait()
    assert time.monotonic() - started <= 2.0
    assert b'{"code":"frozen"' in stream.received
    assert world.replicas[1].live.count == 0


async def test_streams_of_others_go_on(world: World) -> None:
    bot, other = await world.ready(), await world.ready()
    stream = Stream(other)
    world.provider.script = stream.serve
    reading = asyncio.create_task(stream.read())
    await stream.has_begun.wait()
    await activate(world, FreezeScope.AGENT, bot.agent_id)
    size = len(stream.received)
    async with asyncio.timeout(5):
        while len(stream.received) <= size + 100:
            await asyncio.sleep(0.01)
    reading.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reading
    await stream.provider_left.wait()


async def test_a_stream_whose_provider_answers_after_the_freeze_brings_nothing(world: World) -> None:
    bot = await world.ready()
    stream = Stream(bot)
    has_arrived, answers = asyncio.Event(), asyncio.Event()

    async def late(request: Received, writer: asyncio.StreamWriter) -> None:
        has_arrived.set()
        await answers.wait()
        await stream.serve(request, writer)

    world.provider.script = late
    reading = asyncio.create_task(stream.read())
    await has_arrived.wait()
    await activate(world, FreezeScope.AGENT, bot.agent_id)
    answers.set()
    async with asyncio.timeout(2):
        await reading
    assert b"data: x" not in stream.received


async def test_the_file_stops_everything_on_its_machine_and_is_obeyed_without_a_database(world: World) -> None:
    """Goal R9."""
    bot = await world.ready()
    stream = Stream(bot)
    world.provider.script = stream.serve
    reading = asyncio.create_task(stream.read())
    await stream.has_begun.wait()
    with stopped_database(world):
        started = time.monotonic()
        freeze.write_file(world.home, "no database, no mercy")
        await until(world, is_any=True)
        await stream.provider_left.wait()
        await reading
        assert time.monotonic() - started <= 2.0
        assert stream.received.count(b"frozen") == 1
        world.provider.received.clear()
        for replica in (0, 1):
            answer = await bot.execute(replica=replica)
            assert answer.status_code in (403, 503)
            assert answer.json()["code"] in ("frozen", "unavailable", "audit_unavailable")
        assert world.provider.received == []
    world.provider.script = respond(200, b'{"ok":true}')
    async with asyncio.timeout(10):
        while (await bot.execute()).json()["code"] != "frozen":
            await asyncio.sleep(0.05)
    assert world.provider.received == []
    assert freeze.remove_file(world.home)
    await until(world, is_any=False)
    assert (await bot.execute()).status_code == 200


async def test_the_file_is_recorded_by_the_process_that_obeys_it(world: World) -> None:
    freeze.write_file(world.home, "drill")
    await until(world, is_any=True)
    async with asyncio.timeout(5):
        while not (
            rows := await world.execute(
                "SELECT metadata, actor FROM l_audit_events"
                " WHERE action = 'freeze_activated' AND metadata->>'reason' = 'drill'"
            )
        ):
            await asyncio.sleep(0.01)
    assert rows[0] == ({"scope": "instance", "reason": "drill"}, "system")


async def test_nothing_unknown_is_frozen_and_nothing_thawed_is_lifted(world: World) -> None:
    for scope in (FreezeScope.WORKSPACE, FreezeScope.AGENT):
        for target_id in (new_id(), "x"):
            with pytest.raises(AppError, match="not_found"):
                async with world.unit() as unit:
                    await freeze.activate(unit, scope, target_id, None)
    with pytest.raises(AppError, match="conflict"):
        async with world.unit() as unit:
            await freeze.lift(unit, FreezeScope.INSTANCE, None)
    assert await world.execute("SELECT count(*) FROM t_freezes") == [(0,)]


async def test_freezes_are_recorded_where_they_act(world: World) -> None:
    bot = await world.ready()
    await activate(world, FreezeScope.AGENT, bot.agent_id, "drill of today")
    await lift(world, FreezeScope.AGENT, bot.agent_id)
    rows = await world.execute(
        "SELECT action, workspace_id::text, agent_id::text, metadata FROM l_audit_events"
        " WHERE action LIKE 'freeze%%' AND agent_id = %s ORDER BY id",
        [bot.agent_id],
    )
    target = {"scope": "agent", "targetId": bot.agent_id}
    assert [row[3] for row in rows] == [{**target, "reason": "drill of today"}, target]
    assert {row[1:3] for row in rows} == {(world.workspace_id, bot.agent_id)}
    assert json.dumps(rows)


def test_the_database_keeps_one_freeze_of_each_thing(world: World) -> None:
    with world.admin() as admin, pytest.raises(psycopg.errors.CheckViolation):
        admin.execute("INSERT INTO t_freezes (scope, target_id, frozen_by) VALUES ('galaxy', %s, 'x')", [new_id()])
