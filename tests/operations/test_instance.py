"""A restored database: one epoch higher, once, and nothing issued before works but personal access tokens."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agenthifive.db.unit import SYSTEM
from agenthifive.operations.instance import identify
from agenthifive.operations.one_time import KEPT, SPENT
from agenthifive.people import links, passwords
from agenthifive.people.links import Purpose
from agenthifive.settings import load_settings
from application import WEB_URL, Place, run_application
from databases import TestDatabase, fresh_database, open_pool

PASSWORD = "orchid-lantern-gravel-77"
# what a restore leaves behind: the identity of the cluster the dump came from
MOVE = "UPDATE t_instance SET system_identifier = '7000000000000000001'"
JWK = {
    "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}  # fmt: skip


@pytest.fixture
def copy(worker_id: str) -> Iterator[TestDatabase]:
    """A database of its own."""
    with fresh_database(f"instance_{worker_id}") as made:
        yield made


def ask(database: TestDatabase, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.admin_dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "TIME_COST", 1)


async def _sign_in(place: Place) -> str:
    people = place.app.keeper.people
    async with place.app.unit() as unit:
        await people.accounts.create_user(unit, "olga@example.com", "Olga", PASSWORD)
    answer = await place.client.post(
        "/api/auth/sign-in/email", json={"email": "olga@example.com", "password": PASSWORD},
        headers={"origin": WEB_URL},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return "; ".join(f"{name}={value}" for name, value in place.client.cookies.items())


async def test_after_a_restore_only_personal_access_tokens_work(copy: TestDatabase, tmp_path: Path) -> None:
    async with run_application(copy.app_dsn, tmp_path) as before:
        pat = await before.add_pat(before.owner_id)
        _, agent_token = await before.add_agent()
        created = await before.ask("POST", "/v1/agents", pat, {"name": "New"})
        secret = created.json()["bootstrapSecret"]
        cookie = await _sign_in(before)
        async with before.app.unit() as unit:
            reset = await links.issue(await unit.begin(), Purpose.RESET, before.owner_id, 3600)
        for token in (pat, agent_token):
            assert (await before.ask("GET", "/v1/connections", token)).status_code == 200
        signed_in = await before.ask("GET", "/api/auth/get-session", headers={"cookie": cookie})
        assert signed_in.json()["user"]["email"] == "olga@example.com"
    ask(copy, MOVE)
    async with run_application(copy.app_dsn, tmp_path, has_owner=False) as after:
        assert (await after.ask("GET", "/v1/connections", pat)).status_code == 200
        assert (await after.ask("GET", "/v1/connections", agent_token)).status_code == 401
        enrolled = await after.ask("POST", "/v1/agents/bootstrap", None, {"bootstrapSecret": secret, "publicKey": JWK})
        assert (enrolled.status_code, enrolled.json()["code"]) == (401, "invalid_bootstrap_secret")
        signed_out = await after.ask("GET", "/api/auth/get-session", headers={"cookie": cookie})
        assert signed_out.json() is None or signed_out.json().get("user") is None
        async with after.app.unit() as unit:
            assert await links.spend(await unit.begin(), Purpose.RESET, reset) is None
        restored_at_s = after.app.restored_at_s
        assert restored_at_s is not None
        assert abs(restored_at_s - time.time()) < 60
        assert after.app.instance.epoch == 2
    rows = ask(copy, "SELECT actor, metadata FROM l_audit_events WHERE action = 'database_restored'")
    assert [actor for actor, _ in rows] == ["system"]
    metadata = rows[0][1]
    assert (metadata["epoch"], metadata["previousEpoch"]) == (2, 1)
    assert {kind: metadata["voided"][kind] for kind in ("sessions", "agentTokens", "bootstrapSecrets", "links")} == {
        "sessions": 1, "agentTokens": 1, "bootstrapSecrets": 1, "links": 1,
    }  # fmt: skip


async def test_replicas_that_start_at_once_raise_the_epoch_once(copy: TestDatabase, tmp_path: Path) -> None:
    settings = load_settings({"AGENTHIFIVE_HOME": str(tmp_path), "HOME": str(tmp_path)}, cwd=tmp_path).settings
    async with open_pool(copy.app_dsn) as database:
        assert (await identify(database, settings, SYSTEM)).instance.epoch == 1
        ask(copy, MOVE)
        found = await asyncio.gather(*(identify(database, settings, SYSTEM) for _ in range(10)))
    assert {each.instance.epoch for each in found} == {2}
    assert len([each for each in found if each.restored is not None]) == 1
    assert ask(copy, "SELECT count(*) FROM l_audit_events WHERE action = 'database_restored'") == [(1,)]


async def test_a_database_that_stays_where_it_is_keeps_its_epoch(copy: TestDatabase, tmp_path: Path) -> None:
    settings = load_settings({"AGENTHIFIVE_HOME": str(tmp_path), "HOME": str(tmp_path)}, cwd=tmp_path).settings
    async with open_pool(copy.app_dsn) as database:
        first = await identify(database, settings, SYSTEM)
        assert await identify(database, settings, SYSTEM) == first
    assert (first.instance.epoch, first.restored_at_s, first.restored) == (1, None, None)
    assert ask(copy, "SELECT count(*) FROM l_audit_events") == [(0,)]


async def test_another_oid_in_the_same_cluster_is_a_copy_too(copy: TestDatabase, tmp_path: Path) -> None:
    settings = load_settings({"AGENTHIFIVE_HOME": str(tmp_path), "HOME": str(tmp_path)}, cwd=tmp_path).settings
    async with open_pool(copy.app_dsn) as database:
        await identify(database, settings, SYSTEM)
        ask(copy, "UPDATE t_instance SET database_oid = database_oid + 1")
        found = await identify(database, settings, SYSTEM)
    assert (found.instance.epoch, found.restored is not None) == (2, True)


async def test_what_cannot_be_spent_keeps_the_epoch_down(copy: TestDatabase, tmp_path: Path) -> None:
    """All or nothing: a start that fails half-way is tried again by the next one."""
    settings = load_settings({"AGENTHIFIVE_HOME": str(tmp_path), "HOME": str(tmp_path)}, cwd=tmp_path).settings
    async with open_pool(copy.app_dsn) as database:
        await identify(database, settings, SYSTEM)
        ask(copy, MOVE)
        ask(copy, "REVOKE DELETE ON t_sessions FROM agenthifive_app")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await identify(database, settings, SYSTEM)
        assert ask(copy, "SELECT epoch FROM t_instance") == [(1,)]
        assert ask(copy, "SELECT count(*) FROM l_audit_chains") == [(0,)]
        ask(copy, "GRANT DELETE ON t_sessions TO agenthifive_app")
        assert (await identify(database, settings, SYSTEM)).instance.epoch == 2


def test_everything_kept_as_a_hash_is_spent_or_explained(copy: TestDatabase) -> None:
    """A new table with a one-time secret is one line in operations/one_time.py."""
    spent = {kind.table for kind in SPENT}
    columns = ask(
        copy,
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name LIKE 't\\_%' AND column_name ~ '_hash(es)?$'",
    )
    assert columns
    assert [f"{table}.{column}" for table, column in columns
            if table not in spent and f"{table}.{column}" not in KEPT] == []  # fmt: skip


def test_every_kind_has_a_name_of_its_own() -> None:
    assert len({kind.name for kind in SPENT}) == len({kind.table for kind in SPENT}) == len(SPENT)


async def test_a_table_that_is_not_there_yet_is_passed_over(copy: TestDatabase, tmp_path: Path) -> None:
    settings = load_settings({"AGENTHIFIVE_HOME": str(tmp_path), "HOME": str(tmp_path)}, cwd=tmp_path).settings
    ask(copy, "DROP TABLE t_one_time_links")
    async with open_pool(copy.app_dsn) as database:
        await identify(database, settings, SYSTEM)
        ask(copy, MOVE)
        found = await identify(database, settings, SYSTEM)
    assert found.restored is not None
    assert "links" not in found.restored.voided
