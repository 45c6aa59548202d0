"""The public key set and the administration of keys, as routes. Source: contract/http.md sections 13 and 15.11."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from application import Place, run_application
from databases import fresh_database
from jwt_stage import JWKS, WIDE_LIMITS, csrf, sign_in, user_jwt
from signing_keys import environ

LIST = "/v1/admin/jwt-keys"
RETIRE = f"{LIST}/old/retire"


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with fresh_database(f"jwt_api_{worker_id}") as made:
        home = tmp_path_factory.mktemp("home")
        async with run_application(made.app_dsn, home, **environ("old"), **WIDE_LIMITS):
            pass
        async with run_application(made.app_dsn, home, **environ("new"), **WIDE_LIMITS) as running:
            await running.execute("UPDATE t_users SET platform_role = 'superadmin' WHERE id = %s", [running.owner_id])
            yield running


async def test_the_key_set_is_public_cacheable_and_has_public_members_only(place: Place) -> None:
    answer = await place.ask("GET", JWKS)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "public, max-age=300"
    keys = answer.json()["keys"]
    assert [each["kid"] for each in keys] == ["new", "old"]
    for each in keys:
        assert each.keys() == {"kty", "use", "alg", "kid", "n", "e"}
        assert (each["kty"], each["use"], each["alg"]) == ("RSA", "sig", "RS256")
    assert (await place.ask("HEAD", JWKS)).status_code == 200


async def test_discovery_names_it(place: Place) -> None:
    answer = await place.ask("GET", "/.well-known/oauth-authorization-server")
    assert answer.json()["jwks_uri"].endswith(JWKS)


async def test_a_superadmin_sees_every_key(place: Place) -> None:
    token = await user_jwt(place, await sign_in(place, place.owner_id))
    keys = (await place.ask("GET", LIST, token)).json()["keys"]
    assert [(each["kid"], each["active"]) for each in keys] == [("new", True), ("old", False)]
    for each in keys:
        assert each.keys() == {"kid", "alg", "active", "firstSeenAt", "lastSignedAt", "retiredAt", "removedAt"}
        assert each["retiredAt"] is None
        assert each["removedAt"] is None


async def test_nobody_else_does_and_nothing_is_retired(place: Place) -> None:
    adam = await place.add_person("admin")
    cookie = await sign_in(place, adam)
    for method, path, body in (("GET", LIST, None), ("POST", RETIRE, {"now": True})):
        answer = await place.ask(method, path, body=body, headers=await csrf(place, cookie))
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")
        answer = await place.ask(method, path, await place.add_pat(place.owner_id), body)
        assert (answer.status_code, answer.json()["code"]) == (403, "pat_not_allowed")
        _, agent = await place.add_agent()
        answer = await place.ask(method, path, agent, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "agent_not_allowed")
        answer = await place.ask(method, path, body=body)
        assert (answer.status_code, answer.json()["code"]) == (401, "authentication_required")
    assert await place.execute("SELECT kid FROM t_jwt_keys WHERE retired_at IS NOT NULL", []) == []


async def test_retiring_needs_a_recent_sign_in_and_a_body_we_know(place: Place) -> None:
    cookie = await sign_in(place, place.owner_id)
    headers = await csrf(place, cookie)
    for body in ({"now": "yes"}, {"now": True, "force": True}, {"now": 1}):
        answer = await place.ask("POST", RETIRE, body=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) in ((400, "invalid_request"), (400, "unknown_field"))
    answer = await place.ask("POST", RETIRE, body={"now": True}, headers={"cookie": cookie})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    await place.execute("UPDATE t_sessions SET auth_time = now() - interval '11 minutes'", [])
    answer = await place.ask("POST", RETIRE, body={"now": True}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required")
    assert await place.execute("SELECT kid FROM t_jwt_keys WHERE retired_at IS NOT NULL", []) == []


async def test_a_retired_key_is_shown_as_such_and_retiring_twice_is_calm(place: Place) -> None:
    headers = await csrf(place, await sign_in(place, place.owner_id))
    answer = await place.ask("POST", RETIRE, headers=headers)
    old = answer.json()["keys"][1]
    assert (old["kid"], old["active"], old["removedAt"]) == ("old", False, None)
    assert old["retiredAt"] is not None
    answer = await place.ask("POST", RETIRE, body={"now": True}, headers=headers)
    assert answer.json()["keys"][1]["retiredAt"] == old["retiredAt"]
    assert answer.json()["keys"][1]["removedAt"] is not None
