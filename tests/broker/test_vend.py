"""Model A: what may be handed out, what is recorded, and that nothing else leaves."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.db.database import Database
from world import SECRET, Bot, World, make_world

IN_THREE_DAYS = (datetime.now(UTC) + timedelta(days=3)).isoweekday() % 7


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    async with make_world(database, instance, admin_dsn) as made:
        yield made


async def holder(
    world: World, service: str, payload: dict[str, Any], params: dict[str, str] | None = None, **facets: Any
) -> Bot:
    """An agent with a policy that lists model A on a connection of the service."""
    agent_id, token = await world.add_agent()
    await world.execute("UPDATE t_connections SET deleted_at = now() WHERE service = %s", [service])
    connection_id = await world.add_connection(service, payload, params)
    policy_id = await world.add_policy(agent_id, connection_id, **{"allowedModels": ["A", "B"], **facets})
    await world.settle()
    return Bot(world, agent_id, token, connection_id, policy_id)


async def ask(bot: Bot, **members: Any) -> Any:
    """A call of model A."""
    return await bot.execute(model="A", **members)


async def actions(world: World, audit_id: str) -> list[tuple[str, str]]:
    return [(row["action"], row["decision"]) for row in await world.rows(audit_id)]


async def test_a_key_is_handed_out_where_the_policy_says_so_twice(world: World) -> None:
    bot = await holder(world, "openai", {"apiKey": SECRET}, vendStaticCredentials=True)
    answer = await ask(bot)
    body = answer.json()
    assert answer.status_code == 200, answer.text
    assert body == {"model": "A", "accessToken": SECRET, "tokenType": body["tokenType"], "expiresIn": 3600,
                    "scopes": [], "auditId": body["auditId"]}  # fmt: skip
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-agenthifive-audit-id"] == body["auditId"]
    assert await actions(world, body["auditId"]) == [("token_vend_requested", "allowed"), ("token_vended", "allowed")]
    assert SECRET not in str(await world.rows(body["auditId"]))
    assert world.provider.received == []


@pytest.mark.parametrize(
    ("service", "payload", "params", "facets", "status", "code"),
    [
        ("openai", {"apiKey": SECRET}, None, {}, 403, "model_denied"),
        ("telegram", {"botToken": "1:" + "A" * 35}, None, {}, 403, "model_denied"),
        ("generic-http", None, None, {"vendStaticCredentials": True}, 403, "model_denied"),
        ("openai", {"apiKey": SECRET}, None, {"allowedModels": ["B"]}, 403, "no_policy"),
        ("openai", {"apiKey": SECRET}, None, {"vendStaticCredentials": True, "stepUpApproval": "always"}, 403,
         "approval_required"),
        ("openai", {"apiKey": SECRET}, None,
         {"vendStaticCredentials": True, "timeWindows": [
             {"dayOfWeek": IN_THREE_DAYS, "startHour": 0, "endHour": 1, "timezone": "UTC"}]}, 403,
         "time_window_closed"),
    ],
    ids=["key", "bot token", "generic", "policy without A", "step-up", "window"],
)  # fmt: skip
async def test_what_is_not_handed_out_is_refused_with_one_row(
    world: World,
    service: str,
    payload: dict[str, Any],
    params: dict[str, str] | None,
    facets: dict[str, Any],
    status: int,
    code: str,
) -> None:
    bot = await holder(world, service, payload, params, **facets)
    answer = await ask(bot)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), answer.text
    assert await actions(world, body["auditId"]) == [("token_vend_denied", "denied")]
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("service", "payload", "params", "kind", "token"),
    [
        ("telegram", {"botToken": "1:" + "A" * 35, "tokenType": "bot"}, None, "Bearer", "1:" + "A" * 35),
        ("notion", {"apiKey": SECRET}, None, "x-api-key", SECRET),
        ("jira", {"apiKey": SECRET, "email": "bot@example.com"}, {"siteUrl": "acme.atlassian.net"}, "Basic",
         base64.b64encode(f"bot@example.com:{SECRET}".encode()).decode()),
    ],
)  # fmt: skip
async def test_each_kind_of_credential_has_its_form(
    world: World, service: str, payload: dict[str, Any], params: dict[str, str] | None, kind: str, token: str
) -> None:
    bot = await holder(world, service, payload, params, vendStaticCredentials=True)
    body = (await ask(bot)).json()
    assert (body.get("tokenType"), body.get("accessToken")) == (kind, token), body


async def test_a_credential_without_its_secret_is_no_empty_token(world: World) -> None:
    bot = await holder(world, "openai", {"other": "x"}, vendStaticCredentials=True)
    answer = await ask(bot)
    assert (answer.status_code, answer.json()["code"]) == (500, "credential_unreadable")


async def test_hand_outs_and_calls_share_one_limit(world: World) -> None:
    bot = await holder(
        world, "openai", {"apiKey": SECRET}, vendStaticCredentials=True, rateLimits={"maxRequestsPerHour": 1}
    )
    assert (await ask(bot)).status_code == 200
    answer = await ask(bot)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (429, "budget_exceeded")
    assert int(answer.headers["retry-after"]) == body["retryAfter"] >= 1
    assert await actions(world, body["auditId"]) == [("rate_limit_exceeded", "denied")]


async def test_a_credential_that_cannot_be_read_leaves_an_intent_with_its_outcome(world: World) -> None:
    bot = await holder(world, "openai", {"apiKey": SECRET}, vendStaticCredentials=True)
    await world.execute(
        "UPDATE t_connections SET encrypted_tokens = replace(encrypted_tokens, '\"tag\":\"', '\"tag\":\"AA')"
        " WHERE id = %s", [bot.connection_id],
    )  # fmt: skip
    await world.settle()
    answer = await ask(bot)
    body = answer.json()
    assert (answer.status_code, body["code"], body["outcome"]) == (500, "credential_unreadable", "not_sent")
    assert await actions(world, body["auditId"]) == [("token_vend_requested", "allowed"), ("token_vended", "error")]


async def test_a_hand_out_that_cannot_be_recorded_does_not_happen(world: World) -> None:
    bot = await holder(world, "openai", {"apiKey": SECRET}, vendStaticCredentials=True)
    assert (await ask(bot)).status_code == 200
    with world.admin() as admin:
        admin.execute("REVOKE INSERT ON l_audit_events FROM agenthifive_app")
        try:
            answer = await ask(bot)
        finally:
            admin.execute("GRANT INSERT ON l_audit_events TO agenthifive_app")
    assert (answer.status_code, answer.json()["code"]) == (503, "audit_unavailable")
    assert SECRET not in answer.text
