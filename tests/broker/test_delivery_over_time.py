"""Streams, downloads, disconnects, idempotency, faults and the LLM proxy, over real sockets."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.broker.broker import BrokerOptions
from agenthifive.db.database import Database
from databases import fresh_database, open_pool
from fakes import Received, raw, respond
from world import SECRET, Bot, World, make_world

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest_asyncio.fixture(scope="module")
async def world(instance: Instance, worker_id: str) -> AsyncIterator[World]:
    """On a database of its own: faults are for nobody else."""
    with fresh_database(f"faults_{worker_id}") as own:
        async with open_pool(own.app_dsn) as pool, make_world(pool, instance, own.admin_dsn, replicas=2) as made:
            yield made


@pytest.fixture(autouse=True)
def _quiet_provider(world: World) -> None:
    world.provider.script = respond(200, b'{"ok":true}')
    world.provider.received.clear()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def outcome_of(world: World, audit_id: str) -> dict[str, object]:
    """The outcome row, once it is there."""
    async with asyncio.timeout(10):
        while len(rows := await world.rows(audit_id)) < 2:
            await asyncio.sleep(0.01)
    return rows[1]


def stream(bot: Bot, **members: object) -> "object":
    call = {"model": "B", "connectionId": bot.connection_id, "method": "GET", "url": f"{bot.world.origin}/v1/s",
            "stream": True, **members}  # fmt: skip
    return bot.world.client.stream(
        "POST", f"{bot.world.replicas[0].base}/v1/vault/execute", content=msgspec.json.encode(call),
        headers={"authorization": f"Bearer {bot.token}", "content-type": "application/json"},
    )  # fmt: skip


async def test_events_arrive_as_they_are_sent_and_the_outcome_follows(world: World) -> None:
    bot = await world.ready()
    gates = [asyncio.Event() for _ in range(3)]

    async def paced(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        for number, gate in enumerate(gates):
            await gate.wait()
            writer.write(chunk(b"data: event %d\n\n" % number))
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    world.provider.script = paced
    async with stream(bot) as answer:  # type: ignore[attr-defined]
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["x-accel-buffering"] == "no"
        pieces = answer.aiter_raw()
        for number, gate in enumerate(gates):
            gate.set()
            assert await anext(pieces) == b"data: event %d\n\n" % number
        assert [piece async for piece in pieces] == []
    outcome = await outcome_of(world, answer.headers["x-agenthifive-audit-id"])
    assert (outcome["decision"], outcome["metadata"]["dataSize"]) == ("allowed", 45)  # type: ignore[index]


async def test_a_secret_split_over_events_and_chunks_is_scrubbed(world: World) -> None:
    bot = await world.ready()
    text = b"data: " + SECRET.encode() + b" end\n\n"
    pieces = b"".join(chunk(text[at : at + 3]) for at in range(0, len(text), 3))
    world.provider.script = raw(SSE + pieces + b"0\r\n\r\n", close=False)
    async with stream(bot) as answer:  # type: ignore[attr-defined]
        received = await answer.aread()
    assert received == b"data: [REDACTED:credential] end\n\n"


async def test_a_stream_that_breaks_ends_in_an_error_event_and_without_a_final_chunk(world: World) -> None:
    bot = await world.ready()
    world.provider.script = raw(SSE + chunk(b"data: 1\n\n"))
    received = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with stream(bot) as answer:  # type: ignore[attr-defined]
            async for piece in answer.aiter_raw():
                received += piece
    assert received.startswith(b"data: 1\n\n")
    assert b"event: agenthifive-error" in received
    assert b'{"code":"upstream_invalid"' in received
    outcome = await outcome_of(world, answer.headers["x-agenthifive-audit-id"])
    assert (outcome["decision"], outcome["metadata"]["outcome"]) == ("error", "unknown")  # type: ignore[index]


async def test_when_the_client_leaves_a_stream_the_provider_sees_it_within_a_second(world: World) -> None:
    bot = await world.ready()
    left = asyncio.Event()

    async def endless(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        try:
            while not (writer.transport.is_closing() or request.has_left):
                writer.write(chunk(b"data: x\n\n"))
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            left.set()

    world.provider.script = endless
    async with stream(bot) as answer:  # type: ignore[attr-defined]
        await anext(answer.aiter_raw())
        audit_id = answer.headers["x-agenthifive-audit-id"]
    async with asyncio.timeout(1.5):
        await left.wait()
    outcome = await outcome_of(world, audit_id)
    assert outcome["metadata"]["clientGone"] is True  # type: ignore[index]


async def test_when_the_client_leaves_a_get_it_is_cancelled_and_a_post_runs_to_its_end(world: World) -> None:
    bot = await world.ready()
    finished: list[str] = []

    async def slow(request: Received, writer: asyncio.StreamWriter) -> None:
        for _ in range(150):
            if writer.transport.is_closing() or request.has_left:
                return
            await asyncio.sleep(0.02)
        finished.append(request.method)
        await respond()(request, writer)

    world.provider.script = slow
    for method in ("GET", "POST"):
        with pytest.raises(httpx.ReadTimeout):
            async with httpx.AsyncClient(timeout=1.0) as impatient:
                await impatient.post(
                    f"{world.replicas[0].base}/v1/vault/execute",
                    content=msgspec.json.encode(
                        {
                            "model": "B",
                            "connectionId": bot.connection_id,
                            "method": method,
                            "url": f"{world.origin}/v1/{method}",
                        }
                    ),
                    headers={"authorization": f"Bearer {bot.token}", "content-type": "application/json"},
                )
    rows = await world.execute(
        "SELECT audit_id::text, metadata->>'method' FROM l_audit_events WHERE agent_id = %s"
        " AND action = 'execution_requested' ORDER BY id", [bot.agent_id],
    )  # fmt: skip
    outcomes = {method: await outcome_of(world, audit_id) for audit_id, method in rows}
    assert outcomes["GET"]["metadata"]["clientGone"] is True  # type: ignore[index]
    assert outcomes["GET"]["metadata"]["outcome"] == "unknown"  # type: ignore[index]
    assert outcomes["POST"]["metadata"]["responseStatus"] == 200  # type: ignore[index]
    assert finished == ["POST"]


@pytest.mark.parametrize(
    ("statement", "column"),
    [
        ("UPDATE t_agents SET status = 'disabled' WHERE id = %s", "agent_id"),
        ("DELETE FROM t_agent_access_tokens WHERE agent_id = %s", "agent_id"),
        (
            "UPDATE t_users SET disabled_at = now() WHERE id = (SELECT created_by FROM t_agents WHERE id = %s)",
            "agent_id",
        ),
        ("UPDATE t_connections SET status = 'revoked' WHERE id = %s", "connection_id"),
        ("UPDATE t_policies SET status = 'revoked' WHERE id = %s", "policy_id"),
        (
            "UPDATE t_policies SET version = 2, document = jsonb_set(document, '{allowlists}', '[]') WHERE id = %s",
            "policy_id",
        ),
    ],
    ids=[
        "agent disabled",
        "tokens revoked",
        "creator disabled",
        "connection revoked",
        "policy revoked",
        "policy edited to deny",
    ],
)
async def test_a_running_stream_ends_within_two_seconds_of_losing_its_ground(
    world: World, statement: str, column: str
) -> None:
    bot = await world.ready()

    async def endless(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        while not writer.transport.is_closing():
            writer.write(chunk(b"data: x\n\n"))
            await writer.drain()
            await asyncio.sleep(0.02)

    world.provider.script = endless
    with pytest.raises(httpx.RemoteProtocolError):
        async with stream(bot) as answer:  # type: ignore[attr-defined]
            pieces = answer.aiter_raw()
            await anext(pieces)
            await world.execute(statement, [getattr(bot, column)])
            async with asyncio.timeout(2):
                async for _ in pieces:
                    pass
    await world.execute("UPDATE t_users SET disabled_at = NULL", [])
    await world.settle()


async def test_a_download_is_passed_on_in_bounded_memory(world: World) -> None:
    bot = await world.ready()
    size = 64 * 1024 * 1024

    async def big(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 65536):
            writer.write(b"\x00\xff" * 32768)
            await writer.drain()

    world.provider.script = big
    total = 0
    async with stream(bot, stream=False, download=True) as answer:  # type: ignore[attr-defined]
        async for piece in answer.aiter_raw():
            total += len(piece)
            assert all(
                wire._buffered < 1024 * 1024 for wires in world.replicas[0].egress._idle.values() for wire in wires
            )
    assert total == size


async def test_idempotency_keys_act_once_and_answer_alike(world: World) -> None:
    bot = await world.ready(rateLimits={"maxRequestsPerHour": 50})
    key = {"idempotency-key": "order-1"}
    world.provider.script = respond(201, b'{"id":7}')
    first = await bot.execute(method="POST", body={"a": 1}, http_headers=key)
    world.provider.script = respond(500, b"{}")
    again = await bot.execute(method="POST", body={"a": 1}, http_headers=key, replica=1)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["x-agenthifive-idempotent-replay"] == "true"
    assert len(world.provider.received) == 1
    other = await bot.execute(method="POST", body={"a": 2}, http_headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(world.provider.received) == 1


async def test_parallel_calls_with_one_key_reach_the_provider_once(world: World) -> None:
    bot = await world.ready()
    gate = asyncio.Event()

    async def held(request: Received, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await respond(200, b'{"n":1}')(request, writer)

    world.provider.script = held
    key = {"idempotency-key": "order-2"}
    calls = [
        asyncio.create_task(bot.execute(method="POST", body={}, http_headers=key, replica=n % 2)) for n in range(10)
    ]
    done, running = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    while len(running) > 1:
        more, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    gate.set()
    answers = [task.result() for task in done] + [await task for task in running]
    codes = sorted(answer.json().get("code", "ok") for answer in answers)
    assert codes == ["idempotency_in_progress"] * 9 + ["ok"]
    assert len(world.provider.received) == 1


async def test_a_key_whose_call_may_have_acted_is_never_sent_again_and_an_unsent_one_is_free(world: World) -> None:
    bot = await world.ready()
    world.provider.script = raw(b"HTTP/1.1 200")
    key = {"idempotency-key": "order-3"}
    assert (await bot.execute(method="POST", body={}, http_headers=key)).json()["outcome"] == "unknown"
    answer = await bot.execute(method="POST", body={}, http_headers=key)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_outcome_unknown")
    assert len(world.provider.received) == 1
    egress, resolve = world.replicas[0].egress, world.replicas[0].egress._resolve

    async def nothing(host: str, port: int) -> list[str]:
        return []

    egress._idle.clear()
    egress._resolve = nothing
    key = {"idempotency-key": "order-4"}
    failed = await bot.execute(method="POST", body={}, http_headers=key)
    assert (failed.json()["code"], failed.json()["outcome"]) == ("upstream_unreachable", "not_sent")
    egress._resolve = resolve
    world.provider.script = respond()
    assert (await bot.execute(method="POST", body={}, http_headers=key)).status_code == 200


async def test_an_agent_cannot_have_more_calls_running_than_its_limit(world: World) -> None:
    bot = await world.ready()
    gate = asyncio.Event()

    async def held(request: Received, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await respond()(request, writer)

    world.provider.script = held
    client = httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=100))
    original, world.client = world.client, client
    try:
        calls = [asyncio.create_task(bot.execute()) for _ in range(60)]
        refused = 0
        for task in asyncio.as_completed(calls):
            answer = await task
            if answer.status_code == 429:
                refused += 1
                assert (answer.json()["code"], answer.json()["detail"]) == ("rate_limited", "in_flight")
                if refused == 28:
                    other = await world.ready()
                    waiting = asyncio.create_task(other.execute())
                    gate.set()
                    assert (await waiting).status_code == 200
        assert refused == 28
    finally:
        world.client = original
        await client.aclose()


class TestDatabaseFaults:
    """No record, no request: whatever PostgreSQL does, nothing leaves unrecorded and recovery needs no restart."""

    async def _refused_quickly(self, world: World, bot: Bot) -> None:
        before = len(world.provider.received)
        started = time.monotonic()
        answers = await asyncio.gather(*(bot.execute() for _ in range(20)))
        assert time.monotonic() - started < 3.5  # two seconds of patience, and a loaded machine
        assert {answer.status_code for answer in answers} == {503}
        assert {answer.json()["code"] for answer in answers} <= {"audit_unavailable", "unavailable"}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        assert len(world.provider.received) == before

    async def _recovers(self, bot: Bot) -> None:
        async with asyncio.timeout(5):
            while (await bot.execute()).status_code != 200:
                await asyncio.sleep(0.05)

    async def test_a_lock_on_the_log(self, world: World) -> None:
        bot = await world.ready()
        assert (await bot.execute()).status_code == 200
        with world.admin() as admin, admin.transaction():
            admin.execute("LOCK TABLE l_audit_events IN ACCESS EXCLUSIVE MODE")
            await self._refused_quickly(world, bot)
        await self._recovers(bot)

    async def test_the_right_to_insert_taken_away(self, world: World) -> None:
        bot = await world.ready()
        assert (await bot.execute()).status_code == 200
        with world.admin() as admin:
            admin.execute("REVOKE INSERT ON l_audit_events FROM agenthifive_app")
            try:
                await self._refused_quickly(world, bot)
            finally:
                admin.execute("GRANT INSERT ON l_audit_events TO agenthifive_app")
        await self._recovers(bot)

    async def test_every_connection_cut(self, world: World) -> None:
        bot = await world.ready()
        assert (await bot.execute()).status_code == 200
        with world.admin() as admin:
            for _ in range(5):
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agenthifive_app'"
                    " AND datname = current_database()"
                )
                answer = await bot.execute()
                assert answer.status_code in (200, 503)
        await self._recovers(bot)
        await world.database._pool.check()  # what no call used since is dead as well

    async def test_the_log_lost_between_intent_and_outcome(self, world: World) -> None:
        bot = await world.ready()
        for method in ("POST", "GET"):
            with world.admin() as admin:

                async def break_the_log(request: Received, writer: asyncio.StreamWriter) -> None:
                    admin.execute("REVOKE INSERT ON l_audit_events FROM agenthifive_app")
                    await respond(200, b'{"done":1}')(request, writer)

                world.provider.script = break_the_log
                answer = await bot.execute(method=method)
                admin.execute("GRANT INSERT ON l_audit_events TO agenthifive_app")
            if method == "POST":
                assert (answer.status_code, answer.json()["outcomeRecorded"]) == (200, False)
                assert answer.headers["x-agenthifive-audit-outcome"] == "deferred"
            else:
                assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
                assert "done" not in answer.text
            assert (await outcome_of(world, answer.json()["auditId"]))["metadata"]["responseStatus"] == 200  # type: ignore[index]

    async def test_freshness_that_cannot_be_confirmed(self, world: World) -> None:
        bot = await world.ready()
        changes = world.replicas[0].changes
        with world.admin() as admin, admin.transaction():
            admin.execute("LOCK TABLE t_changes IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(5):
                while changes.is_fresh:
                    await asyncio.sleep(0.02)
            before = len(world.provider.received)
            answer = await bot.execute()
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert len(world.provider.received) == before
        await self._recovers(bot)


class TestLlmProxy:
    """A vendor's SDK pointed at the proxy with the agent's token as key."""

    @pytest_asyncio.fixture
    async def bot(self, world: World, monkeypatch: pytest.MonkeyPatch) -> Bot:
        agent_id, token = await world.add_agent()
        await world.execute("UPDATE t_connections SET deleted_at = now() WHERE service = 'openai'")
        connection_id = await world.add_connection("openai", {"apiKey": SECRET})
        policy_id = await world.add_policy(
            agent_id, connection_id,
            allowlists=[{"baseUrl": "https://api.openai.com", "methods": ["GET", "POST"], "pathPatterns": ["/v1/**"]}],
        )  # fmt: skip
        await world.settle()
        for replica in world.replicas:  # https to the vendor ends at the loopback double
            dial = replica.egress._dial

            async def to_provider(scheme: str, host: str, port: int, dial=dial) -> object:  # type: ignore[no-untyped-def]
                assert (scheme, host, port) == ("https", "api.openai.com", 443)
                return await dial("http", "api.example.com", world.provider.port)

            monkeypatch.setattr(replica.egress, "_dial", to_provider)
            monkeypatch.setattr(replica.egress, "_idle", {})
        return Bot(world, agent_id, token, connection_id, policy_id)

    def url(self, world: World, path: str) -> str:
        return f"{world.replicas[0].base}/v1/vault/llm/openai/{path}"

    async def test_bytes_pass_unchanged_and_the_key_is_swapped(self, world: World, bot: Bot) -> None:
        world.provider.script = respond(200, b'{"id": "x"}', ("x-request-id", "req_1"), ("x-ratelimit-limit", "9"),
                                        ("set-cookie", "a=b"))  # fmt: skip
        body = b'{"model": "gpt-x",  "messages": []}'
        for path, header in (("chat/completions", "authorization"), ("v1/chat/completions", "x-api-key")):
            value = f"Bearer {bot.token}" if header == "authorization" else bot.token
            answer = await world.client.post(
                self.url(world, path), content=body,
                headers={header: value, "content-type": "application/json", "x-ah5-session-key": "s"},
            )  # fmt: skip
            assert (answer.status_code, answer.content) == (200, b'{"id": "x"}')
            request = world.provider.received[-1]
            assert (request.target, request.body) == ("/v1/chat/completions", body)
            assert request.header("authorization") == f"Bearer {SECRET}"
            assert not any(bot.token in value or name.startswith("x-ah5") for name, value in request.headers)
            assert (answer.headers["x-request-id"], answer.headers["x-ratelimit-limit"]) == ("req_1", "9")
            assert "x-agenthifive-request-id" in answer.headers
            assert "set-cookie" not in answer.headers

    async def test_a_refusal_has_the_vendors_shape_and_forbids_retries(self, world: World, bot: Bot) -> None:
        await world.execute(
            "UPDATE t_policies SET version = 2, document = jsonb_set(document, '{allowlists}', '[]') WHERE id = %s",
            [bot.policy_id],
        )
        await world.settle()
        answer = await world.client.post(
            self.url(world, "chat/completions"), content=b"{}", headers={"authorization": f"Bearer {bot.token}"}
        )
        assert answer.status_code == 403
        assert answer.json()["error"]["type"] == "permission_error"
        assert answer.json()["error"]["code"] == "allowlist_denied"
        assert answer.headers["x-should-retry"] == "false"
        assert answer.headers["x-agenthifive-error"] == "allowlist_denied"
        assert answer.headers["x-agenthifive-audit-id"]
        assert world.provider.received == []

    async def test_provider_errors_pass_as_they_are(self, world: World, bot: Bot) -> None:
        world.provider.script = respond(400, b'{"error":{"message":"bad"}}')
        answer = await world.client.post(
            self.url(world, "responses"), content=b"{}", headers={"authorization": f"Bearer {bot.token}"}
        )
        assert (answer.status_code, answer.json()) == (400, {"error": {"message": "bad"}}), answer.text
        assert "x-agenthifive-error" not in answer.headers

    async def test_streams_pass_event_by_event(self, world: World, bot: Bot) -> None:
        events = [b'data: {"n":%d}\n\n' % n for n in range(200)] + [b"data: [DONE]\n\n"]
        world.provider.script = raw(SSE + b"".join(map(chunk, events)) + b"0\r\n\r\n", close=False)
        async with world.client.stream(
            "POST", self.url(world, "chat/completions"), content=b'{"stream":true}',
            headers={"authorization": f"Bearer {bot.token}"},
        ) as answer:  # fmt: skip
            assert await answer.aread() == b"".join(events)
        assert answer.headers["content-type"] == "text/event-stream"

    @pytest.mark.parametrize(
        ("path", "headers", "content", "status", "code"),
        [
            ("../../x", {}, b"{}", 400, "invalid_url"),
            ("chat/completions", {}, b'{"a":1,"a":2}', 400, "invalid_json"),
            ("chat/completions", {"upgrade": "websocket"}, b"{}", 400, "upgrade_not_supported"),
            ("chat/completions", {"x-ah5-connection-id": "nope"}, b"{}", 404, "not_found"),
        ],
    )
    async def test_bad_input(
        self, world: World, bot: Bot, path: str, headers: dict[str, str], content: bytes, status: int, code: str
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.replicas[0].port)
        lines = [
            f"POST /v1/vault/llm/openai/{path} HTTP/1.1",
            "host: x",
            f"authorization: Bearer {bot.token}",
            f"content-length: {len(content)}",
            "connection: close",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 %d" % status), head
        assert f"x-agenthifive-error: {code}".encode() in head
        assert "error" in json.loads(body)
        assert world.provider.received == []

    async def test_an_unknown_vendor_and_the_old_path(self, world: World, bot: Bot) -> None:
        base = world.replicas[0].base
        headers = {"authorization": f"Bearer {bot.token}"}
        answer = await world.client.get(f"{base}/v1/vault/llm/nobody/x", headers=headers)
        assert (answer.status_code, answer.headers["x-agenthifive-error"]) == (404, "unsupported_llm_provider")
        moved = await world.client.post(f"{base}/v1/llm/proxy/openai/chat/completions?a=1", headers=headers)
        assert (moved.status_code, moved.headers["location"]) == (308, "/v1/vault/llm/openai/chat/completions?a=1")


async def test_the_head_timeout_is_the_providers_and_recorded_as_unknown(
    database: Database, instance: Instance, admin_dsn: str
) -> None:
    async with make_world(database, instance, admin_dsn, replicas=0) as world:
        await world.start_replica(BrokerOptions(http_hosts=frozenset({"api.example.com"}), head_timeout_s=0.2))
        bot = await world.ready()

        async def silent(request: Received, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(3600)

        world.provider.script = silent
        answer = await bot.execute()
        body = answer.json()
        assert (answer.status_code, body["code"], body["detail"], body["outcome"]) == (
            504, "upstream_timeout", "head", "unknown",
        )  # fmt: skip
        assert len(await world.rows(body["auditId"])) == 2
