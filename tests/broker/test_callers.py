"""Who may call a provider: agents, and persons and their tokens in the name of one agent of their workspace."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from agenthifive.broker.model import Principal
from agenthifive.ids import new_id
from agenthifive.words import PAT_SCOPES, PrincipalType, Scope
from application import Place, run_application
from databases import fresh_database
from fakes import Provider, provider

KEY = "sk-the-secret-value-that-nobody-may-see-0123456789"


@dataclass
class House:
    """An application with a provider, a connection to it and two agents with policies on it."""

    place: Place
    provider: Provider
    olga: str
    connection_id: str = ""

    async def call(self, token: str, **members: Any) -> httpx.Response:
        """POST /v1/vault/execute."""
        call = {
            "model": "B",
            "connectionId": self.connection_id,
            "method": "GET",
            "url": f"{self.origin}/v1/x",
            **members,
        }
        return await self.place.ask("POST", "/v1/vault/execute", token, call)

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.provider.port}"

    async def connect(self) -> str:
        made = await self.place.ask(
            "POST", "/v1/connections/http", self.olga,
            {"label": new_id(), "baseUrl": self.origin, "authType": "bearer", "apiKey": KEY},
        )  # fmt: skip
        assert made.status_code == 200, made.text
        return str(made.json()["connection"]["id"])

    async def grant(self, agent_id: str, **facets: Any) -> str:
        allowlists = [{"baseUrl": self.origin, "methods": ["GET"], "pathPatterns": ["/v1/**"]}]
        made = await self.place.ask(
            "POST", "/v1/policies", self.olga,
            {"agentId": agent_id, "connectionId": self.connection_id, "allowlists": allowlists, **facets},
        )  # fmt: skip
        assert made.status_code == 201, made.text
        return str(made.json()["policy"]["id"])

    async def rows(self, audit_id: str) -> list[dict[str, Any]]:
        found = await self.place.execute(
            "SELECT to_jsonb(e) FROM l_audit_events e WHERE audit_id = %s OR intent_id = %s ORDER BY id",
            [audit_id, audit_id],
        )
        return [row[0] for row in found]


@pytest_asyncio.fixture(scope="module")
async def house(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    with fresh_database(f"callers_{worker_id}") as made:
        async with (
            run_application(
                made.app_dsn, tmp_path_factory.mktemp("home"), SSRF_ALLOWLIST_HOSTS="localhost=127.0.0.0/8|::1/128"
            ) as place,
            provider() as upstream,
        ):
            built = House(place, upstream, await place.add_pat(place.owner_id))
            built.connection_id = await built.connect()
            yield built


@pytest.fixture(autouse=True)
def _quiet_provider(house: House) -> None:
    house.provider.received.clear()


async def test_a_token_of_a_person_acts_under_the_newest_policy_that_allows_the_model(house: House) -> None:
    first, _ = await house.place.add_agent()
    second, _ = await house.place.add_agent()
    await house.grant(first)
    newest = await house.grant(second)
    answer = await house.call(house.olga)
    assert answer.status_code == 200, answer.text
    assert house.provider.received[0].header("authorization") == f"Bearer {KEY}"
    intent, outcome = await house.rows(answer.json()["auditId"])
    for row in (intent, outcome):
        assert (row["actor"], row["principal_type"], row["agent_id"]) == (house.place.owner_id, "pat", second)
    assert intent["policy_id"] == newest
    named = await house.call(house.olga, agentId=first)
    assert named.status_code == 200
    assert (await house.rows(named.json()["auditId"]))[0]["agent_id"] == first


async def test_an_agent_of_nobody_or_of_others_cannot_be_named(house: House) -> None:
    home = new_id()
    await house.place.add_person("owner", home)
    foreign, _ = await house.place.add_agent(home)
    answers = [await house.call(house.olga, agentId=agent_id) for agent_id in (foreign, new_id(), "nonsense")]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "not_found")}
    assert house.provider.received == []


async def test_a_disabled_agent_lends_its_policy_to_nobody(house: House) -> None:
    unused, house.connection_id = house.connection_id, await house.connect()
    try:
        older, _ = await house.place.add_agent()
        newer, _ = await house.place.add_agent()
        await house.grant(older)
        await house.grant(newer)
        disabled = await house.place.ask("POST", f"/v1/agents/{newer}/disable", house.olga)
        assert disabled.status_code == 200
        answer = await house.call(house.olga)
        assert (await house.rows(answer.json()["auditId"]))[0]["agent_id"] == older
        named = await house.call(house.olga, agentId=newer)
        assert (named.status_code, named.json()["code"]) == (404, "not_found")
    finally:
        house.connection_id = unused
    assert len(house.provider.received) == 1


async def test_an_agent_cannot_name_another(house: House) -> None:
    strong, _ = await house.place.add_agent()
    weak, token = await house.place.add_agent()
    await house.grant(strong)
    answer = await house.call(token, agentId=strong)
    assert (answer.status_code, answer.json()["code"]) == (403, "no_policy")
    assert (await house.rows(answer.json()["auditId"]))[0]["agent_id"] == weak
    assert house.provider.received == []


async def test_without_a_policy_nobody_calls(house: House) -> None:
    unused, house.connection_id = house.connection_id, await house.connect()
    try:
        _, agent = await house.place.add_agent()
        for token in (house.olga, agent):
            answer = await house.call(token)
            assert (answer.status_code, answer.json()["code"]) == (403, "no_policy"), answer.text
    finally:
        house.connection_id = unused
    assert house.provider.received == []


@pytest.mark.parametrize("path", ["/v1/vault/execute", "/vault/execute", "/v1/v1/vault/execute",
                                  "/v1/vault/llm/openai/models", "/v1/v1/vault/llm/openai/models"])  # fmt: skip
async def test_roles_and_scopes_that_do_not_suffice_are_refused_and_recorded(house: House, path: str) -> None:
    place = house.place
    others = tuple(scope for scope in PAT_SCOPES if scope is not Scope.VAULT_EXECUTE)
    code = "insufficient_scope"  # a token holds those scopes only that the role of its owner can use
    for token in (
        await place.add_pat(await place.add_person("viewer")),
        await place.add_pat(await place.add_person("approver")),
        await place.add_pat(place.owner_id, others),
    ):
        answer = await place.ask("POST", path, token, {"model": "B"})
        assert (answer.status_code, answer.headers["x-agenthifive-error"]) == (403, code), (path, answer.text)
        [(denied,)] = await place.execute(
            "SELECT metadata->>'code' FROM l_audit_events WHERE action = 'access_denied' ORDER BY id DESC LIMIT 1", []
        )
        assert denied == code
    assert house.provider.received == []


async def test_an_agents_token_without_the_scope_is_refused_and_recorded_in_its_name(house: House) -> None:
    agent_id, token = await house.place.add_agent()
    await house.place.execute(
        "UPDATE t_agent_access_tokens SET scopes = '{connections:read}' WHERE agent_id = %s", [agent_id]
    )
    answer = await house.call(token)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    [row] = await house.place.execute(
        "SELECT actor, metadata->>'code', metadata->>'route' FROM l_audit_events"
        " WHERE action = 'access_denied' AND agent_id = %s", [agent_id],
    )  # fmt: skip
    assert row == (f"agent:{agent_id}", "insufficient_scope", "/v1/vault/execute")
    assert house.provider.received == []


async def test_a_token_of_another_workspace_finds_nothing(house: House) -> None:
    home = new_id()
    mallory = await house.place.add_pat(await house.place.add_person("owner", home), workspace_id=home)
    foreign = await house.call(mallory)
    unknown = await house.call(mallory, connectionId=new_id())
    assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found")
    assert {**foreign.json(), "auditId": ""} == {**unknown.json(), "auditId": ""}
    assert house.provider.received == []


async def test_what_a_person_may_no_longer_do_stops_within_the_second(house: House) -> None:
    place = house.place
    agent_id, _ = await place.add_agent()
    await house.grant(agent_id)
    adam = await place.add_person("admin")
    token = await place.add_pat(adam)
    assert (await house.call(token, agentId=agent_id)).status_code == 200
    await place.execute("UPDATE t_members SET role = 'viewer' WHERE user_id = %s", [adam])
    assert (await house.call(token, agentId=agent_id)).json()["code"] == "insufficient_scope"
    await place.execute("UPDATE t_users SET disabled_at = now() WHERE id = %s", [adam])
    assert (await house.call(token, agentId=agent_id)).status_code == 401
    assert len(house.provider.received) == 1


@pytest.mark.parametrize(
    "end",
    [
        "UPDATE t_personal_tokens SET revoked_at = now() WHERE user_id = %s",
        "UPDATE t_members SET role = 'viewer' WHERE user_id = %s",
        "DELETE FROM t_members WHERE user_id = %s",
        "UPDATE t_users SET disabled_at = now() WHERE id = %s",
    ],
    ids=["token revoked", "role lowered", "removed", "disabled"],
)
async def test_what_a_person_began_is_no_longer_theirs_when_they_are_stopped(house: House, end: str) -> None:
    adam = await house.place.add_person("admin")
    await house.place.add_pat(adam)
    [(token_id,)] = await house.place.execute("SELECT id::text FROM t_personal_tokens WHERE user_id = %s", [adam])
    grants, scopes = house.place.app.broker.grants, frozenset({Scope.VAULT_EXECUTE})
    began = Principal(PrincipalType.PAT, token_id, adam, house.place.workspace_id, scopes)
    assert not await grants.is_revoked(began, 0.0)
    await house.place.execute(end, [adam])
    assert await grants.is_revoked(began, 0.0)
