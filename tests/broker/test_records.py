"""What the log says of calls, and what it never says."""

from collections.abc import AsyncIterator

import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.db.database import Database
from fakes import respond
from world import SECRET, World, make_world

PLANTED = {place: f"planted-in-{place}-4f1c9b" for place in ("query", "header", "body", "map", "reply", "name")}


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    async with make_world(database, instance, admin_dsn) as made:
        yield made


async def test_no_secret_body_query_value_header_or_reply_is_in_any_row(world: World) -> None:
    bot = await world.ready(
        rules={"request": [{"id": "r1", "match": {"methods": ["DELETE"]}, "action": "deny"}], "response": []}
    )
    world.provider.script = respond(200, f'{{"a":"{PLANTED["reply"]}"}}'.encode(), ("x-a", PLANTED["reply"]))
    for members in (
        {"method": "POST"},
        {"method": "DELETE"},
        {"method": "POST", "url": "https://evil.test/x"},
        {"method": "POST", "headers": {"a b": PLANTED["header"]}},
        {"method": "POST", "stream": True},
    ):
        call = {
            "path": f"/v1/x?a={PLANTED['query']}",
            "query": {"b": PLANTED["map"]},
            "headers": {"x-a": PLANTED["header"]},
            "body": {"a": PLANTED["body"]},
            **members,
        }
        await bot.execute(**call)  # type: ignore[arg-type]
    [(text, rows)] = await world.execute(
        "SELECT string_agg(to_jsonb(e)::text, ' '), count(*) FROM l_audit_events e WHERE agent_id = %s", [bot.agent_id]
    )
    assert rows == 7, "two of each call that went out, one of each refused"
    for planted in (*PLANTED.values(), SECRET, bot.token):
        assert planted not in text, planted
    assert '"queryNames": ["a", "b"]' in text


async def test_every_row_of_a_call_says_who_where_and_under_what(world: World) -> None:
    bot = await world.ready()
    answer = await bot.execute(http_headers={"user-agent": "bot/1"})
    for row in await world.rows(answer.json()["auditId"]):
        assert row["actor"] == f"agent:{bot.agent_id}"
        assert (row["principal_type"], row["principal_id"]) == ("agent", bot.agent_id)
        assert (row["connection_id"], row["policy_id"]) == (bot.connection_id, bot.policy_id)
        assert (row["workspace_id"], row["ip"], row["user_agent"]) == (world.workspace_id, "127.0.0.1", "bot/1")
        assert row["request_id"] == answer.headers["x-request-id"]
