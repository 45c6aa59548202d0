"""What agents are told of the catalog and of their own part in it, and where tokens come from."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest_asyncio

from agenthifive.words import Scope
from agents.stage import WEB_URL, Agent, Stage, open_stage, told


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stage(database, admin_chain, admin_dsn) -> AsyncIterator[Stage]:
    async with open_stage(database, admin_chain, admin_dsn) as opened:
        yield opened


async def connect(stage: Stage, service_id: str, label: str, variant: str | None = None) -> str:
    """A healthy connection of the first workspace."""
    service = stage.catalog.get(service_id)
    connection_id = str(uuid4())
    await stage.sql(
        "INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status)"
        " VALUES (%s, %s, %s, %s, %s, %s, 'healthy')",
        connection_id,
        stage.here.id,
        service.provider,
        service.id,
        variant or service.default_variant.id,
        label,
    )
    return connection_id


async def allow(stage: Stage, agent: Agent, connection_id: str, template: str | None, document: str = "{}") -> str:
    """An active policy of the agent."""
    policy_id = str(uuid4())
    await stage.sql(
        "INSERT INTO t_policies (id, workspace_id, agent_id, connection_id, action_template_id, document)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        policy_id,
        agent.workspace.id,
        agent.id,
        connection_id,
        template,
        document,
    )
    return policy_id


async def me(stage: Stage, headers: dict[str, str]) -> dict[str, Any]:
    answer = await stage.client.get("/v1/capabilities/me", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_whole_catalog_is_listed_in_its_order_alike_for_everybody(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    path = "/v1/capabilities/services"
    callers = [await stage.token(agent), stage.here.headers(), stage.pat(Scope.CAPABILITIES_READ)]
    answers = [await stage.client.get(path, headers=headers) for headers in callers]
    assert len({answer.content for answer in answers}) == 1
    body = answers[0].json()
    assert [service["id"] for service in body["services"]] == [service.id for service in stage.catalog.services]
    gmail = next(service for service in body["services"] if service["id"] == "google-gmail")
    wanted = ("name", "provider", "singleton", "category", "credentialType")
    assert [gmail[name] for name in wanted] == ["Gmail", "google", False, "data", "oauth"]
    assert {tuple(action) for action in gmail["actions"]} == {("id", "label", "description", "requiresApproval")}
    assert [action["id"] for action in gmail["actions"]] == ["gmail-read", "gmail-manage"]
    nothing = {"available": False, "source": None}
    assert body["oauthStatus"] == dict.fromkeys(stage.catalog.oauth_providers, nothing)
    assert {"google", "microsoft"} <= set(body["oauthStatus"])
    assert told(await stage.client.get(path)) == (401, "authentication_required")
    assert told(await stage.client.get(path, headers=stage.pat(Scope.AGENTS_READ))) == (403, "insufficient_scope")


async def test_only_an_agent_has_capabilities_of_its_own(stage) -> None:
    for headers in (stage.here.headers(), stage.pat()):
        answer = await stage.client.get("/v1/capabilities/me", headers=headers)
        assert told(answer) == (403, "agent_only")


async def test_an_agent_sees_its_own_active_policies_and_what_is_left(stage, signers) -> None:
    agent, other = [await stage.make_agent(signers["ES256"]) for _ in range(2)]
    headers = await stage.token(agent)
    empty = await me(stage, headers)
    every = [action.id for service in stage.catalog.services for action in service.file.templates]
    assert empty["activeConnections"] == empty["pendingRequests"] == []
    assert [action["id"] for action in empty["availableActions"]] == every
    assert {tuple(action) for action in empty["availableActions"]} == {
        ("id", "serviceId", "label", "description", "requiresApproval")
    }

    telegram = await connect(stage, "telegram", "Team bot")
    gmail = await connect(stage, "google-gmail", "Ops mailbox")
    notion = await connect(stage, "notion", "Wiki", "token")
    bot = await allow(stage, agent, telegram, None)
    mail = await allow(stage, agent, gmail, "gmail-read", '{"allowedModels": ["A", "B"]}')
    await allow(stage, other, notion, "notion")
    await stage.sql("UPDATE t_connections SET status = 'needs_reauth' WHERE id = %s", gmail)
    found = await me(stage, headers)
    assert found["activeConnections"] == [
        {
            "connectionId": None,
            "service": "telegram",
            "provider": "telegram",
            "status": "healthy",
            "credentialType": "bot_token",
            "category": "communication",
            "displayName": stage.catalog.get("telegram").file.name,
            "label": "Team bot",
            "actionTemplateId": "",
            "policyId": bot,
            "allowedModels": ["B"],
        },
        {
            "connectionId": gmail,
            "service": "google-gmail",
            "provider": "google",
            "status": "needs_reauth",
            "credentialType": "oauth",
            "category": "data",
            "displayName": "Gmail",
            "label": "Ops mailbox",
            "actionTemplateId": "gmail-read",
            "policyId": mail,
            "allowedModels": ["A", "B"],
        },
    ]
    assert [action["id"] for action in found["availableActions"]] == [name for name in every if name != "gmail-read"]

    await stage.sql("UPDATE t_policies SET status = 'revoked' WHERE id = %s", bot)
    assert [entry["policyId"] for entry in (await me(stage, headers))["activeConnections"]] == [mail]
    await stage.sql("UPDATE t_connections SET status = 'revoked' WHERE id = %s", gmail)
    assert await me(stage, headers) == empty


async def test_a_connection_the_catalog_no_longer_knows_is_left_out(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    for column in ("service", "variant"):
        connection_id = await connect(stage, "notion", "Wiki")
        await allow(stage, agent, connection_id, None)
        await stage.sql(f"UPDATE t_connections SET {column} = 'gone' WHERE id = %s", connection_id)
    assert (await me(stage, await stage.token(agent)))["activeConnections"] == []


async def test_the_document_of_the_authorization_server_names_our_address(stage) -> None:
    document = (await stage.client.get("/.well-known/oauth-authorization-server")).json()
    assert document["issuer"] == WEB_URL
    assert document["token_endpoint"] == f"{WEB_URL}/v1/agents/token"
    assert document["jwks_uri"] == f"{WEB_URL}/.well-known/jwks.json"
    assert document["grant_types_supported"] == ["client_credentials"]
    assert document["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
    assert document["token_endpoint_auth_signing_alg_values_supported"] == ["ES256", "EdDSA", "RS256"]
