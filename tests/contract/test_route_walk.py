"""Every route with every kind of caller: who is not declared gets the declared refusal, and nothing changes.

Generated from the route table, so a new route is walked on the day it is declared. Source: contract/goals.md S7.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agenthifive.edge.callers import admits_role
from agenthifive.ids import new_id
from agenthifive.words import PAT_SCOPES, Role
from application import Place, run_application
from contract.routes import UNKNOWN, walk
from databases import fresh_database


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with fresh_database(f"walk_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path_factory.mktemp("home")) as running:
            yield running


async def counts(place: Place) -> list[tuple[object, ...]]:
    """Everything a refused call could have changed."""
    return await place.execute(
        "SELECT (SELECT count(*) FROM t_agents), (SELECT count(*) FROM t_connections),"
        " (SELECT count(*) FROM t_policies), (SELECT count(*) FROM t_personal_tokens),"
        " (SELECT count(*) FROM t_users), (SELECT count(*) FROM t_sessions)", []
    )  # fmt: skip


async def test_the_walk_covers_the_whole_table(place: Place) -> None:
    assert len(walk(place)) > 60
    assert {method for _, method, _ in walk(place)} == {"GET", "POST", "PUT", "PATCH", "DELETE"}


async def test_without_a_credential_every_route_but_the_public_ones_answers_401(place: Place) -> None:
    before = await counts(place)
    for access, method, path in walk(place):
        if access.is_public:
            continue
        answer = await place.ask(method, path, body={} if method != "GET" else None)
        assert (answer.status_code, answer.json()["code"].lower()) == (401, "authentication_required"), (method, path)
        assert answer.headers["x-agenthifive-error"].lower() == "authentication_required"
        assert "www-authenticate" in answer.headers
    assert await counts(place) == before


async def test_agents_reach_no_route_that_is_not_declared_for_them(place: Place) -> None:
    _, token = await place.add_agent()
    before = await counts(place)
    for access, method, path in walk(place):
        if access.is_public or access.agents:
            continue
        answer = await place.ask(method, path, token, body={} if method != "GET" else None)
        assert (answer.status_code, answer.json()["code"].lower()) == (403, "agent_not_allowed"), (method, path)
    assert await counts(place) == before
    [(rows,)] = await place.execute("SELECT count(*) FROM l_audit_events WHERE action = 'access_denied'", [])
    assert rows >= 1


async def test_a_token_without_the_scope_is_told_which_one_it_lacks(place: Place) -> None:
    for access, method, path in walk(place):
        if access.is_public or access.scope is None or not access.pats:
            continue
        others = tuple(scope for scope in PAT_SCOPES if scope is not access.scope)
        token = await place.add_pat(place.owner_id, others)
        answer = await place.ask(method, path, token, body={} if method != "GET" else None)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), (method, path)
        assert answer.json()["hint"] == str(access.scope)


async def test_a_role_that_is_too_low_is_refused_before_any_look_up(place: Place) -> None:
    for role in Role:
        if role is Role.OWNER:
            continue
        token = await place.add_pat(await place.add_person(role))
        for access, method, path in walk(place):
            if access.is_public or not access.pats or admits_role(access.role, role):
                continue
            answer = await place.ask(method, path, token, body={} if method != "GET" else None)
            assert answer.status_code == 403, (role, method, path)
            assert answer.json()["code"] in ("insufficient_role", "insufficient_scope"), (role, method, path)


async def test_routes_for_people_refuse_tokens(place: Place) -> None:
    token = await place.add_pat(place.owner_id)
    for access, method, path in walk(place):
        if access.is_public or access.pats:
            continue
        answer = await place.ask(method, path, token, body={} if method != "GET" else None)
        assert (answer.status_code, answer.json()["code"].lower()) in ((403, "pat_not_allowed"), (403, "agent_only"))


async def test_ids_of_another_workspace_answer_like_unknown_ones(place: Place) -> None:
    other = new_id()
    mallory = await place.add_pat(await place.add_person("owner", other), workspace_id=other)
    olga = await place.add_pat(place.owner_id)
    agent_id, _ = await place.add_agent()
    created = await place.ask(
        "POST",
        "/v1/connections/api-key",
        olga,
        {"service": "notion", "apiKey": "ntn_" + "1" * 46, "skipValidation": True},
    )
    assert created.status_code == 200, created.text
    connection_id = created.json()["connection"]["id"]
    policy = await place.ask("POST", "/v1/policies", olga, {"agentId": agent_id, "connectionId": connection_id})
    assert policy.status_code == 201, policy.text
    ids = {"agent": agent_id, "connection": connection_id, "policy": policy.json()["policy"]["id"]}
    before = await counts(place)
    walked = 0
    for access, method, path in walk(place):
        if UNKNOWN not in path or access.is_public or not access.pats:
            continue
        for known in ids.values():
            body = {} if method != "GET" else None
            foreign = await place.ask(method, path.replace(UNKNOWN, known), mallory, body)
            unknown = await place.ask(method, path, mallory, body)
            assert foreign.status_code == unknown.status_code, (method, path)
            assert foreign.content.replace(known.encode(), UNKNOWN.encode()) == unknown.content, (method, path)
            walked += 1
    assert walked > 40
    assert await counts(place) == before


async def test_a_disabled_person_is_stopped_with_every_token(place: Place) -> None:
    user_id = await place.add_person("admin")
    token = await place.add_pat(user_id)
    assert (await place.ask("GET", "/v1/me", token)).status_code == 200
    await place.execute("UPDATE t_users SET disabled_at = now() WHERE id = %s", [user_id])
    answer = await place.ask("GET", "/v1/me", token)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


async def test_unknown_paths_and_methods_are_named(place: Place) -> None:
    missing = await place.ask("GET", "/v1/nope")
    assert (missing.status_code, missing.json()["code"]) == (404, "route_not_found")
    wrong = await place.ask("PATCH", "/v1/agents")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert set(wrong.headers["allow"].replace(" ", "").split(",")) >= {"GET", "POST"}
    for path in ("/connections", "/v1/v1/connections", "/v1/connections/"):
        assert (await place.ask("GET", path)).json()["code"] == "authentication_required"
    for path in ("/v1/v1/v1/connections", "/members"):
        assert (await place.ask("GET", path)).status_code == 404
