"""People manage agents: life cycle, roles, workspaces, and what the log says of it."""

import asyncio
import re
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import Role, Scope
from agents.stage import Stage, open_stage, told

MEMBERS = [
    *("id", "name", "description", "iconUrl", "status", "enrolledAt", "createdAt", "updatedAt", "lastSeenAt"),
    *("publicKeyThumbprint", "keyAlg", "activeTokens", "createdBy", "disabledAt", "disabledReason"),
]
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stage(database, admin_chain, admin_dsn) -> AsyncIterator[Stage]:
    async with open_stage(database, admin_chain, admin_dsn) as opened:
        yield opened


def routes_of(agent_id: str) -> list[tuple[str, str, dict | None]]:
    """Every route about one agent, with a body that is right."""
    path = f"/v1/agents/{agent_id}"
    return [
        ("GET", path, None),
        ("PUT", path, {"name": "taken over"}),
        ("POST", f"{path}/bootstrap-secret", None),
        ("POST", f"{path}/revoke-tokens", None),
        ("POST", f"{path}/disable", {"reason": "mine now"}),
        ("POST", f"{path}/enable", None),
        ("DELETE", path, None),
    ]


async def call(stage: Stage, headers, method: str, path: str, body=None):
    return await stage.client.request(method, path, headers=headers, **({} if body is None else {"json": body}))


async def test_a_new_agent_gets_a_secret_that_is_told_once(stage) -> None:
    answer = await stage.client.post("/v1/agents", headers=stage.here.headers(), json={"name": " n "})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    agent, secret = answer.json()["agent"], answer.json()["bootstrapSecret"]
    assert list(agent) == MEMBERS
    assert (agent["name"], agent["description"], agent["status"]) == ("n", "", "created")
    assert agent["createdBy"] == stage.here.owner_id
    assert [agent[name] for name in ("iconUrl", "enrolledAt", "lastSeenAt", "disabledAt")] == [None] * 4
    assert re.fullmatch(r"ah5b_[A-Za-z0-9_-]{43}", secret)
    assert INSTANT.fullmatch(answer.json()["bootstrapSecretExpiresAt"])
    stored = await stage.sql("SELECT * FROM t_agent_bootstrap_secrets WHERE agent_id = %s", agent["id"])
    assert [row["secret_hash"] for row in stored] == [sha256_hex(secret)]
    assert secret not in str(stored)
    listed = await stage.client.get(f"/v1/agents/{agent['id']}", headers=stage.here.headers())
    assert listed.json() == {"agent": agent}
    rows = await stage.audit(agent["id"])
    assert [row["action"] for row in rows] == ["agent_created", "agent_bootstrap_secret_issued"]
    assert rows[0]["metadata"] == {"name": "n"}
    assert secret not in str(rows)
    assert {row["actor"] for row in rows} == {stage.here.owner_id}
    assert {row["workspace_id"] for row in rows} == {stage.here.id}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": " \t "},
        {"name": None},
        {"name": 7},
        {"name": "x" * 101},
        {"name": "a\nb"},
        {"name": "a\u0000b"},
        {"name": "a\u202eb"},
        {"name": "n", "description": "x" * 2001},
        {"name": "n", "description": "\u0000"},
        {"name": "n", "iconUrl": "http://example.com/i.png"},
        {"name": "n", "iconUrl": "https:///i.png"},
        {"name": "n", "iconUrl": "https://user@example.com/i.png"},
        {"name": "n", "iconUrl": "javascript:alert(1)"},
        {"name": "n", "iconUrl": "https://[/i.png"},
        {"name": "n", "iconUrl": "https://example.com/" + "x" * 2048},
        {"name": "n", "workspaceId": "0"},
    ],
)
async def test_what_is_no_agent_is_not_created(stage, body) -> None:
    before = await stage.sql("SELECT count(*) FROM t_agents")
    answer = await stage.client.post("/v1/agents", headers=stage.here.headers(), json=body)
    assert answer.status_code == 400
    assert answer.json()["code"] == ("unknown_field" if "workspaceId" in body else "invalid_request")
    assert answer.json()["fields"]
    assert await stage.sql("SELECT count(*) FROM t_agents") == before


async def test_texts_can_be_changed_and_the_icon_cleared(stage) -> None:
    icon = "https://example.com/i.png"
    agent = await stage.make_agent(name="first", description="line 1\nline 2", iconUrl=icon)
    path, headers = f"/v1/agents/{agent.id}", stage.here.headers()
    for body in ({}, {"name": None}, {"description": None}):
        assert told(await stage.client.put(path, headers=headers, json=body)) == (400, "invalid_request")
    for body in ({"name": " "}, {"iconUrl": "http://x"}, {"status": "active"}):
        assert (await stage.client.put(path, headers=headers, json=body)).status_code == 400
    changed = (await stage.client.put(path, headers=headers, json={"name": " second "})).json()["agent"]
    assert [changed[name] for name in ("name", "description", "iconUrl")] == ["second", "line 1\nline 2", icon]
    changed = (await stage.client.put(path, headers=headers, json={"iconUrl": None, "description": ""})).json()["agent"]
    assert [changed[name] for name in ("name", "description", "iconUrl")] == ["second", "", None]
    rows = await stage.audit(agent.id, "agent_updated")
    assert [row["metadata"] for row in rows] == [{"fields": ["name"]}, {"fields": ["description", "iconUrl"]}]


async def test_foreign_unknown_and_malformed_ids_are_the_same_404(stage, signers) -> None:
    agent = await stage.make_agent(signers["EdDSA"], stage.elsewhere)
    before = await stage.sql("SELECT * FROM t_agents WHERE id = %s", agent.id)
    ids = (agent.id, str(uuid4()), "nonsense", agent.id.upper(), "%27%20OR%20true")
    for mine, *others in zip(*(routes_of(agent_id) for agent_id in ids), strict=True):
        answers = [await call(stage, stage.here.headers(), *route) for route in (mine, *others)]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1
    assert await stage.sql("SELECT * FROM t_agents WHERE id = %s", agent.id) == before
    listed = (await stage.client.get("/v1/agents", headers=stage.here.headers())).json()["agents"]
    assert agent.id not in {item["id"] for item in listed}
    assert {row["workspace_id"] for row in await stage.audit(agent.id)} == {stage.elsewhere.id}


async def test_the_list_is_oldest_first_and_of_one_workspace(stage) -> None:
    workspace = await stage.make_workspace()
    made = [(await stage.make_agent(workspace=workspace, name=f"n{number}")).id for number in range(3)]
    answer = await stage.client.get("/v1/agents", headers=workspace.headers(Role.VIEWER))
    assert [agent["id"] for agent in answer.json()["agents"]] == made
    assert all(list(agent) == MEMBERS for agent in answer.json()["agents"])


async def test_a_workspace_never_has_more_agents_than_allowed(stage) -> None:
    workspace = await stage.make_workspace()
    client = stage.make_replica(max_agents_per_workspace=2).client()
    answers = await asyncio.gather(
        *(client.post("/v1/agents", headers=workspace.headers(), json={"name": "n"}) for _ in range(6))
    )
    assert sorted(map(told, answers)) == [(200, None)] * 2 + [(409, "agent_limit")] * 4


ALLOWED = {
    "GET": set(Role),
    "PUT": {Role.OWNER, Role.ADMIN},
    "bootstrap-secret": {Role.OWNER, Role.ADMIN},
    "revoke-tokens": {Role.OWNER, Role.ADMIN, Role.APPROVER},
    "disable": {Role.OWNER, Role.ADMIN, Role.APPROVER},
    "enable": {Role.OWNER, Role.ADMIN},
    "DELETE": {Role.OWNER, Role.ADMIN},
}


@pytest.mark.parametrize("role", Role)
async def test_each_role_may_do_what_it_may_and_no_more(stage, role: Role) -> None:
    agent = await stage.make_agent()
    for method, path, body in routes_of(agent.id):
        verb = path.rpartition("/")[2] if method == "POST" else method
        answer = await call(stage, stage.here.headers(role), method, path, body)
        if role in ALLOWED[verb]:
            assert answer.status_code == 200, (verb, answer.text)
        else:
            assert told(answer) == (403, "insufficient_role")
    created = await stage.client.post("/v1/agents", headers=stage.here.headers(role), json={"name": "n"})
    assert created.status_code == (200 if role in (Role.OWNER, Role.ADMIN) else 403)


async def test_a_pat_needs_the_scope_and_the_role(stage) -> None:
    agent = await stage.make_agent()
    reader, writer = stage.pat(Scope.AGENTS_READ), stage.pat(Scope.AGENTS_WRITE)
    viewer = stage.pat(Scope.AGENTS_READ, Scope.AGENTS_WRITE, role=Role.VIEWER)
    for method, path, body in routes_of(agent.id)[1:]:
        refused = await call(stage, reader, method, path, body)
        assert told(refused) == (403, "insufficient_scope")
        assert refused.json()["hint"] == "agents:write"
        assert told(await call(stage, viewer, method, path, body)) == (403, "insufficient_role")
    assert told(await stage.client.get("/v1/agents", headers=writer)) == (403, "insufficient_scope")
    assert (await stage.client.get("/v1/agents", headers=viewer)).status_code == 200
    made = await stage.client.post("/v1/agents", headers=writer, json={"name": "n"})
    assert made.json()["agent"]["createdBy"] == stage.here.owner_id


async def test_nobody_gets_in_without_a_credential(stage) -> None:
    agent = await stage.make_agent()
    for method, path, body in [
        *routes_of(agent.id),
        ("POST", "/v1/agents", {"name": "n"}),
        ("GET", "/v1/agents", None),
    ]:
        assert told(await call(stage, {}, method, path, body)) == (401, "authentication_required")
        wrong = {"authorization": f"Bearer {agent.secret}"}
        assert told(await call(stage, wrong, method, path, body)) == (401, "wrong_credential_type")


async def test_an_agent_manages_no_agents_by_any_spelling(stage, signers) -> None:
    agent, victim = await stage.make_agent(signers["ES256"]), await stage.make_agent()
    headers = await stage.token(agent)
    unchanged = "SELECT id, name, status, updated_at, public_key_thumbprint FROM t_agents ORDER BY id"
    before = await stage.sql(unchanged)
    tries = [*routes_of(victim.id), *routes_of(agent.id), ("POST", "/v1/agents", {"name": "n"})]
    tries += [("GET", "/agents", None), ("POST", "/agents", {"name": "n"})]
    tries += [(method, f"/v1{path}", body) for method, path, body in routes_of(victim.id)]
    for method, path, body in tries:
        assert told(await call(stage, headers, method, path, body)) == (403, "agent_not_allowed")
    assert await stage.sql(unchanged) == before
    rows = await stage.audit(agent.id, "access_denied")
    assert len(rows) == len(tries)
    assert {row["decision"] for row in rows} == {"denied"}
    assert {row["metadata"]["code"] for row in rows} == {"agent_not_allowed"}


async def test_bare_posts_are_taken_and_other_bodies_are_not(stage) -> None:
    agent = await stage.make_agent()
    path, headers = f"/v1/agents/{agent.id}/disable", stage.here.headers()
    for extra in ({"content-type": "text/xml"}, {"content-encoding": "gzip", "content-type": "application/json"}):
        refused = await stage.client.post(path, headers={**headers, **extra}, content=b"{}")
        assert told(refused) == (415, "unsupported_media_type")
    for body in ({"reason": "x" * 501}, {"reason": 1}, {"forgetKey": "true"}, {"because": "x"}):
        assert (await stage.client.post(path, headers=headers, json=body)).status_code == 400
    assert (await stage.client.post(path, headers=headers)).status_code == 200
