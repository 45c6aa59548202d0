"""Keys over the API: for a superadmin in person, and no key material in any answer."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from agenthifive.operations import key_store as store
from agenthifive.vault.keyring import Keyring
from application import Place, run_application
from databases import TestDatabase, fresh_database

KEY = "5f" * 15 + "a1" * 17
KID = Keyring.parse(KEY, "").active_kid
ROUTES = [("GET", "/v1/admin/encryption"), ("POST", "/v1/admin/encryption/reencrypt"), ("GET", "/v1/admin/keys")]
ENCRYPTION = {
    "mode": "env",
    "activeKid": KID,
    "kids": [{"kid": KID, "state": "active", "records": 0}],
    "job": {"state": "idle", "done": 0, "total": 0, "failed": 0, "startedAt": None},
}


@pytest_asyncio.fixture(scope="module")
async def made_and_place(
    worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[TestDatabase, Place]]:
    home: Path = tmp_path_factory.mktemp("keys_api")
    with fresh_database(f"keys_api_{worker_id}") as made:
        async with run_application(made.app_dsn, home) as place:
            yield made, place


@pytest_asyncio.fixture
async def place(made_and_place: tuple[TestDatabase, Place]) -> Place:
    """The instance; Olga is its superadmin."""
    _, place = made_and_place
    await place.execute("UPDATE t_users SET platform_role = 'superadmin' WHERE id = %s", [place.owner_id])
    return place


async def session(place: Place, user_id: str) -> Mapping[str, str]:
    """The headers of somebody's browser."""
    people: Any = place.app.keeper.people
    async with place.app.unit() as unit:
        opened = await people.sessions.open(unit, user_id, ["password"])
    cookie = {"cookie": f"{people.cookie_name}={opened.cookie}"}
    csrf = (await place.ask("GET", "/api/auth/csrf", headers=cookie)).json()["token"]
    return {**cookie, "x-ah5-csrf": csrf, "origin": "http://localhost:4000"}


async def test_a_superadmin_sees_kids_and_counts_and_never_a_key(place: Place) -> None:
    headers = await session(place, place.owner_id)
    encryption = await place.ask("GET", "/v1/admin/encryption", headers=headers)
    assert (encryption.status_code, encryption.json()) == (200, ENCRYPTION)
    keys = await place.ask("GET", "/v1/admin/keys", headers=headers)
    jwt = (await place.ask("GET", "/v1/admin/jwt-keys", headers=headers)).json()["keys"]
    assert (keys.status_code, keys.json()) == (200, {"encryption": ENCRYPTION, "jwt": jwt, "audit": []})
    assert [key["active"] for key in jwt] == [True]
    assert KEY not in encryption.text + keys.text


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_else_may_ask(place: Place, method: str, path: str) -> None:
    person = await place.add_person("admin")
    _, agent = await place.add_agent()
    refused = await place.ask(method, path, headers=await session(place, person))
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_role")
    for token, code in ((await place.add_pat(place.owner_id), "pat_not_allowed"), (agent, "agent_not_allowed")):
        refused = await place.ask(method, path, token)
        assert (refused.status_code, refused.json()["code"]) == (403, code)
    assert (await place.ask(method, path)).status_code == 401
    assert await place.execute("SELECT 1 FROM t_key_reencryption", []) == []


async def test_the_job_starts_once_and_needs_a_recent_sign_in(made_and_place: tuple[TestDatabase, Place], place: Place
) -> None:  # fmt: skip
    made, _ = made_and_place
    headers = await session(place, place.owner_id)
    path = "/v1/admin/encryption/reencrypt"
    assert (await place.ask("POST", path, headers=headers)).json() == ENCRYPTION
    with psycopg.connect(made.admin_dsn) as other:
        other.execute(store.HOLD, store.REENCRYPTION_LOCK)
        refused = await place.ask("POST", path, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        running = await place.ask("GET", "/v1/admin/encryption", headers=headers)
        assert running.json()["job"]["state"] == "running"
    await place.execute("UPDATE t_sessions SET auth_time = now() - interval '11 minutes'", [])
    refused = await place.ask("POST", path, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "reauth_required")


async def test_it_does_not_start_while_a_replica_could_not_read_the_result(place: Place) -> None:
    headers = await session(place, place.owner_id)
    await place.execute(
        "INSERT INTO t_key_replicas (id, active_kid, kids, request) VALUES (gen_random_uuid(), 'ff', '{ff}', 0)", []
    )
    refused = await place.ask("POST", "/v1/admin/encryption/reencrypt", headers=headers)
    await place.execute("DELETE FROM t_key_replicas WHERE active_kid = 'ff'", [])
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "1 of 2 replicas" in refused.json()["error"]
