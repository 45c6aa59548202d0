"""Each vendor's own API through the proxy: paths, keys and streams as its SDK sends them, refusals it understands."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.db.database import Database
from fakes import raw, respond
from world import SECRET, Bot, World, make_world

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = [b'event: a\ndata: {"n":%d}\n\n' % n for n in range(20)]
IN_THREE_DAYS = (datetime.now(UTC) + timedelta(days=3)).isoweekday() % 7


@dataclass(frozen=True)
class Vendor:
    """How one SDK speaks, and what must stand on the wire."""

    slug: str
    service: str
    host: str
    token_header: str
    asked: str
    sent: str
    key_header: str
    key: str
    is_refusal: Any


VENDORS = [
    Vendor("anthropic", "anthropic-messages", "api.anthropic.com", "x-api-key", "v1/messages", "/v1/messages",
           "x-api-key", SECRET,
           lambda body, code: body["type"] == "error" and body["error"]["type"] == "permission_error"),
    Vendor("openai", "openai", "api.openai.com", "authorization", "responses", "/v1/responses", "authorization",
           f"Bearer {SECRET}",
           lambda body, code: (body["error"]["type"], body["error"]["code"]) == ("permission_error", code)),
    Vendor("gemini", "gemini", "generativelanguage.googleapis.com", "x-goog-api-key",
           "models/m:streamGenerateContent?alt=sse", "/v1beta/models/m:streamGenerateContent?alt=sse",
           "x-goog-api-key", SECRET,
           lambda body, code: (body["error"]["code"], body["error"]["status"]) == (403, "PERMISSION_DENIED")),
    Vendor("openrouter", "openrouter", "openrouter.ai", "authorization", "api/v1/chat/completions",
           "/api/v1/chat/completions", "authorization", f"Bearer {SECRET}",
           lambda body, code: (body["error"]["code"], body["error"]["metadata"]["code"]) == (403, code)),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    async with make_world(database, instance, admin_dsn) as made:
        yield made


@pytest.fixture(params=VENDORS, ids=lambda vendor: vendor.slug)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    found: Vendor = request.param
    return found


async def user_of(world: World, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, **facets: Any) -> Bot:
    """An agent with a policy on the vendor's connection; the vendor ends at the recording provider."""
    agent_id, token = await world.add_agent()
    await world.execute("UPDATE t_connections SET deleted_at = now() WHERE service = %s", [vendor.service])
    connection_id = await world.add_connection(vendor.service, {"apiKey": SECRET})
    allowlist = {"baseUrl": f"https://{vendor.host}", "methods": ["POST"], "pathPatterns": ["/**"]}
    policy_id = await world.add_policy(agent_id, connection_id, allowlists=[allowlist], **facets)
    await world.settle()
    world.provider.received.clear()
    egress = world.replicas[0].egress
    dial = egress._dial

    async def to_provider(scheme: str, host: str, port: int) -> Any:
        assert (scheme, host, port) == ("https", vendor.host, 443)
        return await dial("http", "api.example.com", world.provider.port)

    monkeypatch.setattr(egress, "_dial", to_provider)
    monkeypatch.setattr(egress, "_idle", {})
    return Bot(world, agent_id, token, connection_id, policy_id)


async def ask(world: World, vendor: Vendor, bot: Bot, **headers: str) -> httpx.Response:
    value = f"Bearer {bot.token}" if vendor.token_header == "authorization" else bot.token
    return await world.client.post(
        f"{world.replicas[0].base}/v1/vault/llm/{vendor.slug}/{vendor.asked}",
        content=b'{"model": "m",  "stream":true}',
        headers={vendor.token_header: value, "content-type": "application/json", **headers},
    )


async def test_a_stream_passes_and_only_the_key_is_exchanged(
    world: World, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await user_of(world, vendor, monkeypatch)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS)
    world.provider.script = raw(SSE + chunks + b"0\r\n\r\n", close=False)
    answer = await ask(world, vendor, bot, **{"x-ah5-session-key": "s", "x-stainless-lang": "python"})
    assert (answer.status_code, answer.content) == (200, b"".join(EVENTS)), answer.text
    assert answer.headers["x-agenthifive-audit-id"]
    [request] = world.provider.received
    assert (request.method, request.target, request.header("host")) == ("POST", vendor.sent, vendor.host)
    assert request.header(vendor.key_header) == vendor.key
    assert request.body == b'{"model": "m",  "stream":true}'
    wire = str(request.headers).lower()
    assert bot.token not in wire
    assert "x-ah5" not in wire


async def test_the_vendors_own_errors_pass_as_they_are(
    world: World, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await user_of(world, vendor, monkeypatch)
    for status in (400, 401, 429, 529):
        world.provider.script = respond(status, b'{"error":{"message":"theirs"}}', ("retry-after", "7"))
        answer = await ask(world, vendor, bot)
        assert (answer.status_code, answer.content) == (status, b'{"error":{"message":"theirs"}}')
        assert answer.headers["retry-after"] == "7"
        assert "x-agenthifive-error" not in answer.headers


async def test_a_closed_window_is_an_error_the_sdk_raises_at_once(
    world: World, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = {"dayOfWeek": IN_THREE_DAYS, "startHour": 0, "endHour": 1, "timezone": "UTC"}
    bot = await user_of(world, vendor, monkeypatch, timeWindows=[window])
    answer = await ask(world, vendor, bot)
    assert answer.status_code == 403
    assert vendor.is_refusal(answer.json(), "time_window_closed"), answer.text
    assert answer.headers["x-agenthifive-error"] == "time_window_closed"
    assert answer.headers["x-should-retry"] == "false", "an SDK would repeat it for days"
    assert answer.headers["x-agenthifive-audit-id"]
    assert world.provider.received == []


async def test_redirects_are_never_followed_nor_shown(
    world: World, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await user_of(world, vendor, monkeypatch)
    for location in (f"https://{vendor.host}/elsewhere", "https://evil.test/"):
        world.provider.script = respond(307, b"", ("location", location))
        answer = await ask(world, vendor, bot)
        assert (answer.status_code, answer.headers["x-agenthifive-error"]) == (502, "llm_redirect")
        assert "location" not in answer.headers
    assert len(world.provider.received) == 2


async def test_a_compressed_body_is_refused_because_nobody_here_could_judge_it(
    world: World, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await user_of(world, vendor, monkeypatch)
    for content_type in ("application/json", "application/octet-stream"):
        answer = await ask(world, vendor, bot, **{"content-encoding": "gzip", "content-type": content_type})
        assert (answer.status_code, answer.headers["x-agenthifive-error"]) == (415, "unsupported_media_type")
    assert world.provider.received == []
