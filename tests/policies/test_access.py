"""Who may do what: the outsider at every route, and that a refusal leaves everything as it was."""

import re
from typing import Any

import pytest

from agenthifive.edge.routing import DeclaredRoute
from agenthifive.ids import new_id
from agenthifive.policies.api import routes
from agenthifive.words import Role, Scope
from policies.stage import OPEN, Stage

READS = [
    ("GET", "/v1/policies"),
    ("GET", "/v1/policies/{policy_id}"),
    ("GET", "/v1/policies/{policy_id}/rules"),
    ("POST", "/v1/policies/explain"),
]
ADMINS_READ = [("POST", "/v1/policies/simulate")]
WRITES = [
    ("POST", "/v1/policies"),
    ("POST", "/v1/policies/apply"),
    ("PUT", "/v1/policies/{policy_id}"),
    ("PUT", "/v1/policies/{policy_id}/allowlists"),
    ("PUT", "/v1/policies/{policy_id}/rate-limits"),
    ("PUT", "/v1/policies/{policy_id}/time-windows"),
    ("PUT", "/v1/policies/{policy_id}/rules"),
    ("PUT", "/v1/policies/{policy_id}/provider-constraints"),
    ("DELETE", "/v1/policies/{policy_id}"),
]
TEMPLATES = [
    ("GET", "/v1/templates/{provider}"),
    ("GET", "/v1/templates/{provider}/rules"),
    ("GET", "/v1/templates/{provider}/guards"),
    ("GET", "/v1/templates/{template_id}/config"),
]
BODIES: dict[str, Any] = {
    "": {"enforcement": "report"},
    "allowlists": {"allowlists": []},
    "rate-limits": {"rateLimits": None},
    "time-windows": {"timeWindows": []},
    "rules": {"rules": {"request": [], "response": []}},
    "provider-constraints": {"providerConstraints": None},
}


def test_the_tables_of_this_file_are_all_routes_of_the_room() -> None:
    declared = {
        (min(route.methods - {"HEAD"}), route.path)
        for route in routes.router.routes
        if isinstance(route, DeclaredRoute)
    }
    assert declared == {*READS, *ADMINS_READ, *WRITES, *TEMPLATES}


async def ask(stage: Stage, method: str, path: str, policy: dict[str, Any], headers: dict[str, str]) -> Any:
    """A request that would succeed for somebody who may send it."""
    where = path.format(policy_id=policy["id"], provider="notion", template_id="notion-read")
    body: Any = BODIES.get(re.sub(r".*\{policy_id\}/?", "", path), {})
    if path == "/v1/policies":
        body = {"agentId": policy["agentId"], "connectionId": policy["connectionId"]}
    elif path.endswith("/explain"):
        body = {
            "agentId": policy["agentId"],
            "connectionId": policy["connectionId"],
            "request": {"method": "GET", "url": "https://api.example.com/x"},
        }
    elif path.endswith("/apply"):
        pair = {"agentId": policy["agentId"], "connectionId": policy["connectionId"]}
        body = {"policies": [{**pair, "allowlists": []}]}
    elif path.endswith("/simulate"):
        body = {"agentId": policy["agentId"], "connectionId": policy["connectionId"], "draft": {}}
    elif method in ("GET", "DELETE"):
        body = None
    query = {"tier": "strict"} if path.endswith("/config") else None
    return await stage.client.request(method, where, json=body, params=query, headers=headers)


@pytest.mark.parametrize(("method", "path"), [*READS, *ADMINS_READ, *WRITES, *TEMPLATES])
async def test_agents_and_strangers_are_refused_before_anything_is_looked_up(
    stage: Stage, method: str, path: str
) -> None:
    policy = await stage.create(**OPEN)
    answer = await ask(stage, method, path, policy, stage.here.agent)
    assert (answer.status_code, answer.json()["code"]) == (403, "agent_not_allowed")
    unknown = await ask(stage, method, path, {**policy, "id": new_id()}, stage.here.agent)
    assert unknown.json() == answer.json()
    assert (await ask(stage, method, path, policy, {})).status_code == 401
    assert await stage.read(policy) == policy


@pytest.mark.parametrize(("method", "path"), [*READS, *ADMINS_READ, *WRITES])
async def test_another_workspace_sees_the_same_404_as_for_an_unknown_id(stage: Stage, method: str, path: str) -> None:
    policy = await stage.create(**OPEN)
    answer = await ask(stage, method, path, policy, stage.elsewhere.owner)
    if (method, path) == ("GET", "/v1/policies"):
        assert answer.json() == {"policies": []}
        return
    assert answer.status_code == 404
    nobody = {**policy, "id": new_id(), "agentId": new_id(), "connectionId": new_id()}
    assert (await ask(stage, method, path, nobody, stage.elsewhere.owner)).content == answer.content
    malformed = {**policy, "id": "%00", "agentId": "x", "connectionId": "x"}
    assert (await ask(stage, method, path, malformed, stage.elsewhere.owner)).content == answer.content
    assert await stage.read(policy) == policy


@pytest.mark.parametrize(("method", "path"), [*ADMINS_READ, *WRITES])
async def test_only_owners_and_admins_write_and_simulate(stage: Stage, method: str, path: str) -> None:
    policy = await stage.create(**OPEN)
    for role in (Role.APPROVER, Role.VIEWER):
        answer = await ask(stage, method, path, policy, stage.here.people[role])
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")
    assert await stage.read(policy) == policy


@pytest.mark.parametrize(("method", "path"), [*READS, *TEMPLATES])
async def test_every_member_reads(stage: Stage, method: str, path: str) -> None:
    policy = await stage.create(**OPEN)
    for role in Role:
        answer = await ask(stage, method, path, policy, stage.here.people[role])
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("method", "path"), [*READS, *ADMINS_READ, *WRITES, *TEMPLATES])
async def test_a_token_needs_the_scope_of_the_route(stage: Stage, method: str, path: str) -> None:
    policy = await stage.create(**OPEN)
    if (method, path) in TEMPLATES:
        needed = Scope.CAPABILITIES_READ
    else:
        needed = Scope.POLICIES_WRITE if (method, path) in WRITES else Scope.POLICIES_READ
    others = [scope for scope in Scope if scope is not needed]
    answer = await ask(stage, method, path, policy, stage.pat(*others))
    assert (answer.status_code, answer.json()["hint"]) == (403, needed)
    assert await stage.read(policy) == policy
    allowed = await ask(stage, method, path, policy, stage.pat(needed))
    assert allowed.status_code in (200, 409), allowed.text


async def test_an_admin_writes(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    answer = await ask(stage, "PUT", "/v1/policies/{policy_id}", policy, stage.here.people[Role.ADMIN])
    assert answer.status_code == 200


async def test_bodies_that_are_no_objects_are_refused(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    for body in ([], "x", 5):
        answer = await stage.put(f"/v1/policies/{policy['id']}", body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    twice = await stage.client.put(
        f"/v1/policies/{policy['id']}",
        content=b'{"enforcement":"report","enforcement":"enforce"}',
        headers={**stage.here.owner, "content-type": "application/json"},
    )
    assert (twice.status_code, twice.json()["code"]) == (400, "invalid_json")


async def test_two_megabytes_are_too_much(stage: Stage) -> None:
    answer = await stage.post("/v1/policies", {"agentId": "x" * 2_000_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
