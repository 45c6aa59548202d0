"""Response rules hold in every form a reply can take, over real sockets: what an agent must not see never arrives."""

import asyncio
import base64
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.broker import sending
from agenthifive.db.database import Database
from broker.llm_streams import DIALECTS, NUMBER, as_sse, read_sse
from fakes import Received, Script, raw, respond
from world import SECRET, Bot, World, make_world

MARK = "[REDACTED]"
REDACT = {"id": "r1", "match": {}, "filter": {"redact": [{"type": "custom", "pattern": r"\d{16}"}]}}
DENY = {"id": "r2", "match": {}, "filter": {"denyFields": ["secret"]}}
SSE = ("content-type", "text/event-stream")
ESCAPED = "\\u0034" + NUMBER[1:]
BODIES = {
    "json": ("application/json", f'{{"a":"x {NUMBER}","n":{NUMBER}}}'),
    "escapes": ("application/json", f'{{"a":"x {ESCAPED}"}}'),
    "a name twice": ("application/json", f'{{"a":1,"a":"x {ESCAPED}"}}'),
    "broken json": ("application/json", f'{{"a":"x {ESCAPED}"'),
    "problem": ("application/problem+json", f'{{"detail":"x {NUMBER}"}}'),
    "list of events": ("application/json", json.dumps(DIALECTS["gemini"].events(["x ", *NUMBER]))),
    "text": ("text/plain", f"x {NUMBER} y"),
    "latin text": ("text/plain; charset=iso-8859-1", f"x {NUMBER} y"),
    "xml": ("application/atom+xml", f"<a>x {NUMBER}</a>"),
    "form": ("application/x-www-form-urlencoded", f"a={NUMBER}"),
    "events": ("text/event-stream", f'data: {{"a":"x {NUMBER}"}}\r\n\r\ndata:{{"a":"x {ESCAPED}"}}\r\n\r\n: c\r\n\r\n'),
    "spread": ("text/event-stream", as_sse(DIALECTS["chat"].events(["x ", *NUMBER]), DIALECTS["chat"]).decode()),
    "lines": ("application/x-ndjson", f'{{"a":"x {NUMBER}"}}\n{{"n":{NUMBER}}}\n'),
    "sequence": ("application/json-seq", f'\x1e{{"a":"x {NUMBER}"}}\n\x1e{{"a":"x {ESCAPED}"}}\n'),
    "no type": ("", f"x {NUMBER}"),
}


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    async with make_world(database, instance, admin_dsn) as made:
        yield made


@pytest.fixture(autouse=True)
def _quiet_provider(world: World) -> None:
    world.provider.script = respond(200, b'{"ok":true}')
    world.provider.received.clear()


async def bot_with(world: World, *rules: dict[str, Any], **facets: Any) -> Bot:
    return await world.ready(rules={"request": [], "response": list(rules), "fieldStepUpEnabled": False}, **facets)


def bytewise(content_type: str, body: bytes, *, status: int = 200, encoding: str = "") -> Script:
    """A reply of which every byte is a chunk of its own."""
    head = f"HTTP/1.1 {status} X\r\ntransfer-encoding: chunked\r\n"
    head += f"content-type: {content_type}\r\n" if content_type else ""
    head += f"content-encoding: {encoding}\r\n" if encoding else ""
    chunks = b"".join(b"1\r\n%b\r\n" % bytes([byte]) for byte in body)
    return raw(head.encode() + b"\r\n" + chunks + b"0\r\n\r\n", close=False)


def scripts(content_type: str, body: bytes) -> Sequence[Script]:
    """One reply in one piece, byte by byte, and compressed."""
    typed = [("content-type", content_type)]
    packed = gzip.compress(body)
    whole = raw(b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body), close=False)
    return [
        respond(200, body, *typed) if content_type else whole,
        bytewise(content_type, body),
        bytewise(content_type, packed, encoding="gzip"),
    ]


@contextlib.asynccontextmanager
async def opened(bot: Bot, **members: Any) -> AsyncIterator[httpx.Response]:
    """An `execute` whose answer is read while it comes."""
    call = {"model": "B", "connectionId": bot.connection_id, "method": "GET", "url": f"{bot.world.origin}/v1/s",
            "stream": True, **members}  # fmt: skip
    async with bot.world.client.stream(
        "POST", f"{bot.world.replicas[0].base}/v1/vault/execute", content=msgspec.json.encode(call),
        headers={"authorization": f"Bearer {bot.token}", "content-type": "application/json"},
    ) as answer:  # fmt: skip
        yield answer


@pytest.mark.parametrize("form", BODIES)
async def test_a_finding_arrives_in_no_form_of_reply(world: World, form: str) -> None:
    bot = await bot_with(world, REDACT)
    content_type, body = BODIES[form]
    for members in ({}, {"stream": True}, {"download": True}):
        answers = []
        for script in scripts(content_type, body.encode()):
            world.provider.script = script
            answer = await bot.execute(**members)
            assert answer.status_code == 200, answer.text
            answers.append(answer.json()["body"] if not members else answer.text)
        assert answers[0] == answers[1] == answers[2]
        shown = answers[0] if isinstance(answers[0], str) else json.dumps(answers[0])
        assert NUMBER not in shown
        assert "424242" not in shown
        assert MARK in shown


async def test_the_spread_text_is_joined_without_its_finding_and_the_stream_is_whole(world: World) -> None:
    bot = await bot_with(world, REDACT)
    world.provider.script = respond(200, BODIES["spread"][1].encode(), SSE)
    for members in ({}, {"stream": True}, {"download": True}):
        answer = await bot.execute(**members)
        data = answer.content if members else answer.json()["body"].encode()
        *events, (_, last) = read_sse(data)
        assert last == "[DONE]"
        assert DIALECTS["chat"].join([json.loads(text) for _, text in events]) == f"x {MARK}"


@pytest.mark.parametrize("form", ["json", "text", "events", "spread", "lines"])
@pytest.mark.parametrize("status", [400, 429, 503])
async def test_provider_errors_are_filtered_too(world: World, form: str, status: int) -> None:
    bot = await bot_with(world, REDACT)
    content_type, body = BODIES[form]
    world.provider.script = respond(status, body.encode(), ("content-type", content_type))
    for members in ({}, {"stream": True}, {"download": True}):
        answer = await bot.execute(**members)
        assert answer.json()["status"] == status
        assert "4242" not in answer.text
        assert MARK in answer.text


async def test_a_file_that_rules_apply_to_is_never_passed(world: World) -> None:
    bot = await bot_with(world, REDACT)
    world.provider.script = respond(200, b"%PDF-1.7 \xff", ("content-type", "application/pdf"))
    for members in ({}, {"stream": True}, {"download": True}):
        answer = await bot.execute(**members)
        assert (answer.status_code, answer.json()["code"]) == (403, "response_not_filterable")
        assert answer.json()["detail"] == "binary"
        assert "PDF-1" not in answer.text


async def test_a_file_inside_json_is_judged_by_its_own_type(world: World) -> None:
    bot = await bot_with(world, REDACT)

    def attachment(content: bytes, content_type: str) -> bytes:
        data = base64.b64encode(content).decode()
        return json.dumps({"data": data, "mimeType": content_type, "filename": f"{NUMBER}.txt"}).encode()

    world.provider.script = respond(200, attachment(b"x" * 100 + NUMBER.encode(), "text/plain"))
    answer = await bot.execute(download=True)
    assert (answer.status_code, answer.text) == (200, "x" * 100 + MARK)
    assert answer.headers["content-type"] == "text/plain"
    assert "4242" not in answer.headers["content-disposition"]
    world.provider.script = respond(200, attachment(b"\xff" * 100, "application/pdf"))
    answer = await bot.execute(download=True)
    assert (answer.status_code, answer.json()["detail"]) == (403, "binary")


async def test_a_file_inside_json_goes_with_the_member_that_holds_it(world: World) -> None:
    inner = json.dumps({"secret": "inner", "pad": "x" * 100}).encode()
    body = json.dumps({"data": base64.b64encode(inner).decode(), "mimeType": "application/json"}).encode()
    world.provider.script = respond(200, body)
    for denied, shown in (("data", {"mimeType": "application/json"}), ("secret", {"pad": "x" * 100})):
        bot = await bot_with(world, {"id": "r3", "match": {}, "filter": {"denyFields": [denied]}})
        assert (await bot.execute(download=True)).json() == shown


async def test_removal_and_redaction_hold_in_one_event(world: World) -> None:
    bot = await bot_with(world, DENY, REDACT)
    world.provider.script = respond(200, as_sse([{"secret": 1, "a": NUMBER}]), SSE)
    for members in ({}, {"stream": True}):
        answer = await bot.execute(**members)
        data = answer.content if members else answer.json()["body"].encode()
        assert [json.loads(text) for _, text in read_sse(data)] == [{"a": MARK}]


async def test_an_event_no_field_rule_can_read_ends_the_stream_and_refuses_the_rest(world: World) -> None:
    bot = await bot_with(world, DENY)
    body = b'data: {"a":1}\n\ndata: {"secret"\n\ndata: {"a":2}\n\n'
    world.provider.script = respond(200, body, SSE)
    received = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with opened(bot) as answer:
            async for piece in answer.aiter_raw():
                received += piece
    assert [text for _, text in read_sse(received)] == ['{"a":1}', '{"code":"response_not_filterable"}']
    answer = await bot.execute()
    assert (answer.status_code, answer.json()["detail"]) == (403, "unparsable")
    async with asyncio.timeout(10):
        while len(rows := await world.rows(answer.json()["auditId"])) < 2:
            await asyncio.sleep(0.01)
    assert rows[1]["metadata"]["errorCode"] == "response_not_filterable"


async def test_a_broken_json_sequence_ends_in_a_record_of_its_own_kind(world: World) -> None:
    bot = await bot_with(world, DENY)
    world.provider.script = respond(200, b'\x1e{"a":1}\n\x1e{"secret"\n\x1e', ("content-type", "application/json-seq"))
    received = b""
    with pytest.raises(httpx.RemoteProtocolError):
        async with opened(bot) as answer:
            async for piece in answer.aiter_raw():
                received += piece
    assert received == b'\x1e{"a":1}\n\x1e{"_agenthifiveError":{"code":"response_not_filterable"}}\n'


async def test_a_whole_completion_tells_no_more_than_its_stream(world: World) -> None:
    bot = await bot_with(world, REDACT)
    call = {"function": {"name": "f", "arguments": f'{{"n":{NUMBER},"s":"{ESCAPED}"}}'}}
    tokens = {"content": [{"token": "42424242"}, {"token": "42424242"}]}
    choice = {"index": 0, "message": {"content": NUMBER, "tool_calls": [call]}, "logprobs": tokens}
    world.provider.script = respond(200, json.dumps({"choices": [choice]}).encode())
    answer = await bot.execute()
    [shown] = answer.json()["body"]["choices"]
    assert "42424242" not in answer.text
    assert shown["message"]["content"] == MARK
    assert json.loads(shown["message"]["tool_calls"][0]["function"]["arguments"]) == {"n": MARK, "s": MARK}


async def test_events_arrive_as_they_are_sent(world: World) -> None:
    bot = await bot_with(world, REDACT)
    gates = [asyncio.Event() for _ in range(3)]

    async def paced(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number, gate in enumerate(gates):
            await gate.wait()
            event = b'data: {"n":%d,"t":"%b"}\n\n' % (number, NUMBER.encode())
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        writer.write(b"0\r\n\r\n")

    world.provider.script = paced
    async with opened(bot) as answer:
        pieces = answer.aiter_raw()
        for number, gate in enumerate(gates):
            gate.set()
            assert await anext(pieces) == b'data: {"n":%d,"t":"[REDACTED]"}\n\n' % number
        assert [piece async for piece in pieces] == []


async def test_a_long_text_is_filtered_in_bounded_memory(world: World) -> None:
    bot = await bot_with(world, REDACT)
    line = b"words and words and %b and so on\n" % NUMBER.encode()
    count = 100_000

    async def big(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\ncontent-type: text/csv\r\ncontent-length: %d\r\n\r\n" % (count * len(line)))
        for _ in range(count // 1000):
            writer.write(line * 1000)
            await writer.drain()

    world.provider.script = big
    shown, buffered = 0, []
    async with opened(bot, stream=False, download=True) as answer:
        assert answer.headers["content-disposition"].startswith("attachment")
        async for piece in answer.aiter_raw():
            shown += len(piece)
            assert b"4242" not in piece
            running = [each for streams in world.replicas[0].live._running.values() for each in streams]
            buffered += [each.close.__self__._buffered for each in running]  # type: ignore[attr-defined]
    assert buffered
    assert max(buffered) < 1024 * 1024
    assert shown == count * len(line.replace(NUMBER.encode(), MARK.encode()))


@pytest.mark.parametrize("rules", [(), (REDACT,)])
async def test_a_client_that_stops_reading_is_dropped(
    world: World, monkeypatch: pytest.MonkeyPatch, rules: Sequence[dict[str, Any]]
) -> None:
    monkeypatch.setattr(sending, "STALL_S", 0.3)
    bot = await bot_with(world, *rules)
    left = asyncio.Event()

    async def endless(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not (writer.transport.is_closing() or request.has_left):
                writer.write(b"words and words\n" * 4096)
                await writer.drain()
        left.set()

    world.provider.script = endless
    async with asyncio.timeout(10):
        async with opened(bot, stream=False, download=True) as answer:
            pieces = answer.aiter_raw()
            await anext(pieces)
            await left.wait()
            with pytest.raises(httpx.HTTPError):
                async for _ in pieces:
                    pass


class TestPlaces:
    """Chats an agent is not meant to see are missing in every form of reply."""

    UPDATES = json.dumps(
        {"ok": True, "result": [{"message": {"chat": {"id": n}, "text": t}} for n, t in ((1, "mine"), (2, "other"))]}
    )

    @pytest_asyncio.fixture
    async def bot(self, world: World, monkeypatch: pytest.MonkeyPatch) -> Bot:
        return await singleton(
            world, monkeypatch, "telegram", "api.telegram.org", {"botToken": "123456:" + "A" * 35},
            providerConstraints={"provider": "telegram", "allowedChatIds": ["1"], "trustedSkipsApproval": True},
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("content_type", "template"),
        [
            ("application/json", "{}"),
            ("text/event-stream", "data: {}\n\n"),
            ("application/x-ndjson", "{}\n"),
        ],
    )
    async def test_in_every_form(self, world: World, bot: Bot, content_type: str, template: str) -> None:
        body = template.replace("{}", self.UPDATES).encode()
        world.provider.script = respond(200, body, ("content-type", content_type))
        for members in ({}, {"stream": True}, {"download": True}):
            answer = await bot.execute(url="https://api.telegram.org/bot/getUpdates", **members)
            assert answer.status_code == 200, answer.text
            assert "mine" in answer.text
            assert "other" not in answer.text

    @pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/octet-stream"])
    async def test_what_cannot_be_read_is_refused(self, world: World, bot: Bot, content_type: str) -> None:
        world.provider.script = respond(200, self.UPDATES.encode(), ("content-type", content_type))
        for members in ({}, {"stream": True}, {"download": True}):
            answer = await bot.execute(url="https://api.telegram.org/bot/getUpdates", **members)
            assert (answer.status_code, answer.json()["code"]) == (403, "response_not_filterable")
            assert "other" not in answer.text


class TestLlmProxy:
    """A vendor's SDK sees a stream of its vendor, without what the rules hide."""

    @pytest_asyncio.fixture
    async def bot(self, world: World, monkeypatch: pytest.MonkeyPatch) -> Bot:
        rules = {"request": [], "response": [REDACT], "fieldStepUpEnabled": False}
        return await singleton(world, monkeypatch, "openai", "api.openai.com", {"apiKey": SECRET}, rules=rules)

    @contextlib.asynccontextmanager
    async def asked(self, bot: Bot, path: str = "chat/completions") -> AsyncIterator[httpx.Response]:
        url = f"{bot.world.replicas[0].base}/v1/vault/llm/openai/{path}"
        headers = {"authorization": f"Bearer {bot.token}"}
        async with bot.world.client.stream("POST", url, content=b'{"stream":true}', headers=headers) as answer:
            yield answer

    async def test_a_card_number_in_nineteen_deltas(self, world: World, bot: Bot) -> None:
        dialect = DIALECTS["chat"]
        deltas = ["my card ", *"4242424242424242", ", ", "bye ", SECRET, *["and so on "] * 50]
        for script in (
            respond(200, as_sse(dialect.events(deltas), dialect), SSE),
            bytewise("text/event-stream", as_sse(dialect.events(deltas), dialect)),
        ):
            world.provider.script = script
            async with self.asked(bot) as answer:
                *events, (_, last) = read_sse(await answer.aread())
            assert last == "[DONE]"
            text = dialect.join([json.loads(text) for _, text in events])
            assert text == f"my card {MARK}, bye [REDACTED:credential]" + "and so on " * 50

    async def test_an_endless_event_ends_the_stream_in_the_vendors_shape(self, world: World, bot: Bot) -> None:
        body = b'data: {"choices":[]}\n\ndata: "' + b"x" * 1_100_000 + b'"\n\n'
        world.provider.script = respond(200, body, SSE)
        received = b""
        with pytest.raises(httpx.RemoteProtocolError):
            async with self.asked(bot) as answer:
                async for piece in answer.aiter_raw():
                    received += piece
        first, (_, error) = read_sse(received)
        assert first == (None, '{"choices":[]}')
        assert json.loads(error)["error"]["code"] == "response_too_large"

    @pytest.mark.parametrize("form", ["json", "text", "broken json", "events"])
    @pytest.mark.parametrize("status", [200, 400])
    async def test_other_replies_and_errors(self, world: World, bot: Bot, form: str, status: int) -> None:
        content_type, body = BODIES[form]
        world.provider.script = respond(status, body.encode(), ("content-type", content_type))
        async with self.asked(bot) as answer:
            text = (await answer.aread()).decode()
        assert answer.status_code == status
        assert "4242" not in text
        assert MARK in text
        assert "x-agenthifive-error" not in answer.headers


async def singleton(
    world: World, monkeypatch: pytest.MonkeyPatch, service: str, host: str, payload: dict[str, str], **facets: Any
) -> Bot:
    """An agent on a connection of a service whose https ends at the provider's loopback port."""
    agent_id, token = await world.add_agent()
    await world.execute("UPDATE t_connections SET deleted_at = now() WHERE service = %s", [service])
    connection_id = await world.add_connection(service, payload)
    entry = {"baseUrl": f"https://{host}", "methods": ["GET", "POST"], "pathPatterns": ["/**"]}
    policy_id = await world.add_policy(agent_id, connection_id, allowlists=[entry], **facets)
    await world.settle()
    for replica in world.replicas:
        dial = replica.egress._dial

        async def to_provider(_scheme: str, _host: str, _port: int, dial: Any = dial) -> object:
            return await dial("http", "api.example.com", world.provider.port)

        monkeypatch.setattr(replica.egress, "_dial", to_provider)
        monkeypatch.setattr(replica.egress, "_idle", {})
    return Bot(world, agent_id, token, connection_id, policy_id)
