"""Providers and clients that break the rules of HTTP: refused by name, recorded, in bounded memory."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.broker import sending
from agenthifive.db.database import Database
from fakes import Received, Script, raw, respond
from world import SECRET, Bot, World, make_world

OK = b"HTTP/1.1 200 OK\r\n"
BAD_REPLIES: dict[str, tuple[bytes, str]] = {
    "100 000 fields": (OK + b"".join(b"x-%d: y\r\n" % n for n in range(100_000)) + b"\r\n", "headers"),
    "two lengths": (OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", "framing"),
    "one length twice": (OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}", "framing"),
    "length and coding": (
        OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "framing",
    ),
    "chunk size overflows": (
        OK + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "framing",
    ),
    "bytes after the end": (OK + b"content-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n", "framing"),
    "bytes after the last chunk": (OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nx", "framing"),
    "it ends early": (OK + b"content-length: 20\r\n\r\n{}", "framing"),
    "bare line feeds": (b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}", "framing"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", "framing"),
    "a switch of protocols": (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "framing"),
    "interim heads without end": (b"HTTP/1.1 103 Early\r\n\r\n" * 20, "framing"),
    "an unknown encoding": (OK + b"content-encoding: br\r\ncontent-length: 2\r\n\r\n{}", "encoding"),
    "a broken encoding": (OK + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}", "encoding"),
}


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    async with make_world(database, instance, admin_dsn) as made:
        yield made


@pytest.fixture(autouse=True)
def _quiet_provider(world: World) -> None:
    world.provider.script = respond(200, b'{"ok":true}')
    world.provider.received.clear()


async def outcome_of(world: World, audit_id: str) -> dict[str, Any]:
    """The outcome row, once it is there."""
    async with asyncio.timeout(10):
        while len(rows := await world.rows(audit_id)) < 2:
            await asyncio.sleep(0.01)
    return rows[1]


@pytest.mark.parametrize(("reply", "detail"), BAD_REPLIES.values(), ids=BAD_REPLIES.keys())
async def test_a_reply_that_is_not_plain_http_is_refused_and_recorded_as_perhaps_acted_on(
    world: World, reply: bytes, detail: str
) -> None:
    bot = await world.ready()
    world.provider.script = raw(reply)
    answer = await bot.execute()
    body = answer.json()
    assert (answer.status_code, body["code"], body["detail"], body["outcome"]) == (
        502, "upstream_invalid", detail, "unknown",
    )  # fmt: skip
    assert answer.headers["x-agenthifive-error"] == "upstream_invalid"
    outcome = await outcome_of(world, body["auditId"])
    assert (outcome["decision"], outcome["metadata"]["errorCode"]) == ("error", "upstream_invalid")
    assert len(world.provider.received) == 1
    world.provider.script = respond()
    assert (await bot.execute()).status_code == 200


@pytest.mark.parametrize(
    ("answers", "detail"),
    [
        (["93.184.216.34", "10.0.0.5"], "private"),
        (["93.184.216.34", "fd00::1"], "unique_local"),
        (["::ffff:169.254.169.254"], "v4_mapped"),
        (["64:ff9b::a9fe:a9fe"], "nat64"),
        (["2002:7f00:1::1"], "sixto4"),
        (["168.63.129.16"], "metadata"),
        (["169.254.169.254"], "metadata"),
    ],
)
async def test_a_name_that_leads_inside_is_refused_without_saying_where(
    world: World, monkeypatch: pytest.MonkeyPatch, answers: list[str], detail: str
) -> None:
    bot = await world.ready()
    egress = world.replicas[0].egress

    async def resolve(host: str, port: int) -> list[str]:
        return answers

    monkeypatch.setattr(egress, "_resolve", resolve)
    monkeypatch.setattr(egress, "_idle", {})
    connections = world.provider.connections
    answer = await bot.execute()
    body = answer.json()
    assert (answer.status_code, body["code"], body["detail"], body["outcome"]) == (
        403, "egress_blocked", detail, "not_sent",
    )  # fmt: skip
    assert not any(address in answer.text for address in answers)
    outcome = await outcome_of(world, body["auditId"])
    assert (outcome["action"], outcome["decision"]) == ("execution_denied", "denied")
    assert outcome["metadata"]["addressClass"] == detail
    assert outcome["metadata"]["address"] in answers
    assert (world.provider.connections, world.provider.received) == (connections, [])


async def test_a_client_that_stops_reading_a_download_is_dropped_and_nothing_piles_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "STALL_S", 0.3)
    bot = await world.ready()
    left = asyncio.Event()
    sent_bytes = 0

    async def endless(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal sent_bytes
        writer.write(OK + b"content-type: application/zip\r\ncontent-length: %d\r\n\r\n" % (60 * 1024 * 1024))
        try:
            while not (writer.transport.is_closing() or request.has_left):
                writer.write(b"\x00\xff" * 32768)
                await asyncio.wait_for(writer.drain(), 5)
                sent_bytes += 65536
        finally:
            left.set()

    world.provider.script = endless
    call = json.dumps({"model": "B", "connectionId": bot.connection_id, "method": "GET", "url": f"{world.origin}/v1/f",
                       "download": True}).encode()  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", world.replicas[0].port, limit=1024)
    writer.write(
        b"POST /v1/vault/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b" % (bot.token.encode(), len(call), call)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(OK)
    async with asyncio.timeout(10):
        await left.wait()
    writer.close()
    assert sent_bytes < 32 * 1024 * 1024, "what the client does not read is not read from the provider either"
    audit_id = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)[
        "x-agenthifive-audit-id"
    ]
    assert (await outcome_of(world, audit_id))["metadata"]["clientGone"] is True


async def test_a_client_that_stops_reading_a_large_reply_is_counted_and_dropped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "STALL_S", 0.3)
    bot = await world.ready()
    world.provider.script = respond(200, b'"' + b"x" * 9_000_000 + b'"')
    whole = await bot.execute()
    assert (whole.status_code, len(whole.json()["body"])) == (200, 9_000_000)
    call = json.dumps({"model": "B", "connectionId": bot.connection_id, "method": "GET", "url": f"{world.origin}/v1/f"})
    reader, writer = await asyncio.open_connection("127.0.0.1", world.replicas[0].port, limit=1024)
    writer.write(
        f"POST /v1/vault/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {bot.token}\r\ncontent-length: {len(call)}\r\n\r\n{call}".encode()
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(OK)
    calls = world.replicas[0].http._calls
    assert calls == {bot.agent_id: 1}, "an answer that nobody reads is a call under way"
    async with asyncio.timeout(5):
        while calls:
            await asyncio.sleep(0.01)
        received = await reader.read(-1)
    assert len(received) < 9_000_000
    writer.close()


async def test_an_agent_that_sends_its_calls_slowly_takes_no_places_from_others(world: World) -> None:
    bot, other = await world.ready(), await world.ready()
    head = (
        b"POST /v1/vault/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer %b\r\ncontent-length: 100\r\n\r\n{" % bot.token.encode()
    )
    opened = [await asyncio.open_connection("127.0.0.1", world.replicas[0].port) for _ in range(72)]
    for _, writer in opened:
        writer.write(head)
    async with asyncio.timeout(5):
        while len(refused := [reader for reader, _ in opened if reader._buffer]) < 8:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
    assert len(refused) == 8, "those beyond twice the 32 that may run at a time"
    said = await refused[0].read(4096)
    assert said.startswith(b"HTTP/1.1 429 ")
    assert b'"code":"rate_limited"' in said
    assert b'"detail":"in_flight"' in said
    assert (await other.execute()).status_code == 200
    for _, writer in opened:
        writer.close()


async def test_hanging_calls_of_one_agent_leave_another_its_calls(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = world.replicas[0].broker
    monkeypatch.setattr(world.replicas[0].http, "_process_max", 80)
    monkeypatch.setattr(broker, "_options", dataclasses.replace(broker._options, head_timeout_s=60))
    bot, other = await world.ready(), await world.ready()
    gate = asyncio.Event()

    async def held(request: Received, writer: asyncio.StreamWriter) -> None:
        if request.target == "/v1/hang":
            await gate.wait()
        await respond()(request, writer)

    world.provider.script = held
    call = json.dumps(
        {"model": "B", "connectionId": bot.connection_id, "method": "GET", "url": f"{world.origin}/v1/hang"}
    )
    request = (
        "POST /v1/vault/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
        f"authorization: Bearer {bot.token}\r\ncontent-length: {len(call)}\r\n\r\n{call}"
    ).encode()

    async def hang() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.replicas[0].port)
        writer.write(request)
        said = await reader.read()
        writer.close()
        return said

    hanging: set[asyncio.Task[bytes]] = set()
    refused: list[bytes] = []
    for _ in range(10):  # a hundred at a time, more than the process carries
        hanging |= {asyncio.create_task(hang()) for _ in range(100)}
        while len(hanging) > 32:
            done, hanging = await asyncio.wait(hanging, return_when=asyncio.FIRST_COMPLETED)
            refused += [task.result() for task in done]
    assert {said[:12] for said in refused} == {b"HTTP/1.1 429"}
    assert all(b'"detail":"in_flight"' in said for said in refused)
    answers = [await other.execute() for _ in range(50)]
    assert {answer.status_code for answer in answers} == {200}
    gate.set()
    assert {said[:12] for said in await asyncio.gather(*hanging)} == {b"HTTP/1.1 200"}
    assert len([request for request in world.provider.received if request.target == "/v1/hang"]) == 32


class TestRedirectOfTheCatalog:
    """Microsoft's contents are fetched where they lie, once and without the credential."""

    @pytest_asyncio.fixture
    async def bot(self, world: World, monkeypatch: pytest.MonkeyPatch) -> Bot:
        agent_id, token = await world.add_agent()
        connection_id = await world.add_connection("microsoft-onedrive", {"accessToken": SECRET, "tokenType": "Bearer"})
        allowlist = {"baseUrl": "https://graph.microsoft.com", "methods": ["GET", "POST"], "pathPatterns": ["/v1.0/**"]}
        policy_id = await world.add_policy(agent_id, connection_id, allowlists=[allowlist])
        await world.settle()
        egress = world.replicas[0].egress
        dial = egress._dial

        async def to_provider(scheme: str, host: str, port: int) -> Any:
            assert (scheme, port) == ("https", 443)
            return await dial("http", "api.example.com", world.provider.port)

        monkeypatch.setattr(egress, "_dial", to_provider)
        monkeypatch.setattr(egress, "_idle", {})
        return Bot(world, agent_id, token, connection_id, policy_id)

    def content_at(self, *places: str) -> Script:
        """Graph answers 302 to the first place, that one to the second, the last one with the content."""
        left = list(places)

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            reply = respond(302, b"", ("location", left.pop(0))) if left else respond(200, b'{"content":1}')
            await reply(request, writer)

        return script

    async def get(self, bot: Bot, method: str = "GET") -> httpx.Response:
        return await bot.execute(
            url="https://graph.microsoft.com/v1.0/me/drive/items/1/content", method=method,
            headers={"accept": "text/plain", "if-match": "7", "range": "bytes=0-9"},
        )  # fmt: skip

    async def test_it_is_fetched_once_without_the_credential(self, world: World, bot: Bot) -> None:
        world.provider.script = self.content_at("https://contoso-my.sharepoint.com/a/b?tempauth=x")
        answer = await self.get(bot)
        assert (answer.status_code, answer.json()["body"]) == (200, {"content": 1}), answer.text
        first, second = world.provider.received
        assert first.header("authorization") == f"Bearer {SECRET}"
        assert (second.header("host"), second.target) == ("contoso-my.sharepoint.com", "/a/b?tempauth=x")
        assert sorted(name.lower() for name, _ in second.headers) == ["accept", "accept-encoding", "host", "range"]
        metadata = (await outcome_of(world, answer.json()["auditId"]))["metadata"]
        assert (metadata["attempts"], metadata["redirectHost"]) == (2, "contoso-my.sharepoint.com")

    @pytest.mark.parametrize(
        ("places", "method"),
        [
            (["https://a.b.sharepoint.com/x"], "GET"),
            (["https://sharepoint.com/x"], "GET"),
            (["https://evil.test/x"], "GET"),
            (["http://contoso-my.sharepoint.com/x"], "GET"),
            (["https://contoso-my.sharepoint.com:8443/x"], "GET"),
            (["https://contoso-my.sharepoint.com@evil.test/x"], "GET"),
            (["https://contoso-my.sharepoint.com/a", "https://contoso-my.sharepoint.com/b"], "GET"),
            (["https://contoso-my.sharepoint.com/x"], "POST"),
        ],
    )
    async def test_no_other_place_is_followed(self, world: World, bot: Bot, places: list[str], method: str) -> None:
        world.provider.script = self.content_at(*places)
        answer = await self.get(bot, method)
        assert (answer.status_code, answer.json()["code"]) == (403, "redirect_blocked"), answer.text
        assert len(world.provider.received) == len(places)
        assert SECRET not in str(world.provider.received[1:])
