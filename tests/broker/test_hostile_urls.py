"""Every row of the table of verdicts, from the agent's JSON to the bytes of the request line.

The connection is bound to https://api.example.com, the policy allows GET /v1/** there. Source: contract/broker.md
section 4.4.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.db.database import Database
from world import SECRET, Bot, World, make_world

ORIGIN = "https://api.example.com"

SENT: dict[str, str] = {
    "/v1/x": "/v1/x",
    "HTTPS://API.EXAMPLE.COM:443/v1/x": "/v1/x",
    "/v1/%78#top": "/v1/x",
    "/v1": "/v1",
    "/v1/a%2fb%20c": "/v1/a%2Fb%20c",
    "/v1/a b": "/v1/a%20b",
    "/v1/me@x/(id='7')/c.d..e/...;v=1": "/v1/me@x/(id='7')/c.d..e/...;v=1",
    "/v1/100%25/a%252Fb": "/v1/100%25/a%252Fb",
    "/v1/x/": "/v1/x/",
    "/v1/Ü?$filter=name eq 'é'": "/v1/%C3%9C?$filter=name%20eq%20'%C3%A9'",
    "/v1/x?u=http://10.0.0.1/": "/v1/x?u=http://10.0.0.1/",
}

REFUSED: dict[str, tuple[int, str, str]] = {
    url: (status, code, detail)
    for status, code, detail, urls in (
        (403, "allowlist_denied", "path", ["/V1/x", "/v1x", "/v2/x"]),
        (400, "invalid_url", "empty_segment", ["https://api.example.com//v1/x"]),
        (
            400,
            "invalid_url",
            "dot_segment",
            [
                "/v1/../admin",
                "/v1/%2e%2e/admin",
                "/v1/.%2E%2fadmin",
                "/v1/%252e%252e/admin",
                "/v1/..;/admin",
                "/v1/x/%5c..%5cadmin",
                "/v1/‥/admin",
            ],
        ),
        (400, "invalid_url", "percent_encoding", ["/v1/%c0%ae%c0%ae/admin", "/v1/%zz", "/v1/%u002e"]),
        (
            400,
            "invalid_url",
            "control_character",
            ["/v1/a%0d%0aX:1", "/v1/a%00", "/v1/a\tb", "/v1/a\rb", "/v1/a\nb", "\thttps://api.example.com/v1/x"],
        ),
        (
            400,
            "invalid_url",
            "userinfo",
            ["https://user@api.example.com/", "https://api.example.com@10.0.0.1/", "https://@api.example.com/"],
        ),
        (400, "invalid_url", "backslash", [r"https://api.example.com\@evil.test/v1/x"]),
        (
            400,
            "invalid_url",
            "host",
            [
                "https://api.example.com%40evil.test/",
                "https://api.example.com./v1/x",
                "https://\u0430pi.example.com/v1/x",
                "https://api\uff11.example.com/v1/x",
                "https://api\u3002example.com/v1/x",
                "https://[api.example.com]/",
            ],
        ),
        (
            400,
            "invalid_url",
            "non_canonical_ip",
            [
                "https://2130706433/",
                "https://0x7f.1/",
                "https://127.1/",
                "https://010.0.0.1/",
                "https://256.0.0.1/",
                "https://[::ffff:7f00:1]/",
            ],
        ),
        (400, "invalid_url", "zone_id", ["https://[fe80::1%25eth0]/"]),
        (403, "allowlist_denied", "port", ["https://api.example.com:8443/v1/x"]),
        (
            400,
            "invalid_url",
            "port",
            [
                "https://api.example.com:/v1/x",
                "https://api.example.com:0443/v1/x",
                "https://api.example.com:0/v1/x",
                "https://api.example.com:65536/v1/x",
            ],
        ),
        (
            400,
            "invalid_url",
            "scheme",
            # api.example.com itself may be called with http here: the operator of this world listed it
            ["http://www.example.com/v1/x", "ftp://api.example.com/v1/x", "file:///etc/passwd", "javascript:alert(1)"],
        ),
        (400, "invalid_url", "relative", ["//api.example.com/v1/x", "/messages/send"]),
        (400, "invalid_url", "syntax", ["https:api.example.com/v1/x", "https:///v1/x"]),
        (
            403,
            "allowlist_denied",
            "host",
            [
                "https://api.example.com.evil.test/v1/x",
                "https://sub.api.example.com/v1/x",
                "https://evil.test/?h=api.example.com",
                "https://10.0.0.1/v1/x",
            ],
        ),
    )
    for url in urls
}
LITERAL = frozenset({"/messages/send", "//api.example.com/v1/x"})


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    async with make_world(database, instance, admin_dsn) as made:
        yield made


@pytest_asyncio.fixture
async def bot(world: World, monkeypatch: pytest.MonkeyPatch) -> Bot:
    agent_id, token = await world.add_agent()
    connection_id = await world.add_connection(
        payload={"authType": "bearer", "apiKey": SECRET}, params={"baseUrl": ORIGIN}
    )
    policy_id = await world.add_policy(
        agent_id, connection_id, allowlists=[{"baseUrl": ORIGIN, "methods": ["GET"], "pathPatterns": ["/v1/**"]}]
    )
    await world.settle()
    world.provider.received.clear()
    egress = world.replicas[0].egress
    dial = egress._dial

    async def to_provider(scheme: str, host: str, port: int) -> Any:
        assert (scheme, host, port) == ("https", "api.example.com", 443)
        return await dial("http", "api.example.com", world.provider.port)

    monkeypatch.setattr(egress, "_dial", to_provider)
    monkeypatch.setattr(egress, "_idle", {})
    return Bot(world, agent_id, token, connection_id, policy_id)


def written(url: str) -> str:
    """As the agent writes it: bare paths stand for the origin and the path."""
    return ORIGIN + url if url.startswith("/") and url not in LITERAL else url


async def test_each_legitimate_row_is_byte_equal_on_the_request_line(world: World, bot: Bot) -> None:
    for url, target in SENT.items():
        answer = await bot.execute(url=written(url))
        assert answer.status_code == 200, (url, answer.text)
        request = world.provider.received[-1]
        assert (request.target, request.header("host")) == (target, "api.example.com"), url
        assert request.header("authorization") == f"Bearer {SECRET}"
    answer = await bot.execute(url=written("/v1/x?alt=json"), query={"alt": "media"})
    assert answer.status_code == 200
    assert world.provider.received[-1].target == "/v1/x?alt=media"
    assert len(world.provider.received) == len(SENT) + 1


async def test_each_hostile_row_has_its_status_code_detail_and_row_and_nothing_is_asked_or_sent(
    world: World, bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr(world.replicas[0].egress, "_resolve", resolve)
    for url, expected in REFUSED.items():
        answer = await bot.execute(url=written(url))
        body = answer.json()
        assert (answer.status_code, body["code"], body.get("detail")) == expected, url
        assert answer.headers["x-agenthifive-error"] == body["code"]
        [row] = await world.rows(body["auditId"])
        assert (row["action"], row["decision"]) == ("execution_denied", "denied"), url
    assert len(REFUSED) > 45
    assert world.provider.received == []
    assert asked == []
