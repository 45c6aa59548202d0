"""Accounts made on the command line, and what callers see of themselves: http.md 15.2, operations.md 15."""

from typing import Any

import pytest

from agenthifive.db.unit import Signature
from agenthifive.errors import AppError
from agenthifive.people.jobs import sweep_ended
from agenthifive.people.model import Account
from agenthifive.words import PrincipalType, Role
from people.stage import ADAM, AGENT_TOKEN, MALLORY, OLGA, PASSWORD, VERA, Stage

CLI = Signature("cli:root", PrincipalType.CLI, "root")


async def make(stage: Stage, email: str, *arguments: Any, **options: Any) -> Account:
    async with stage.unit(CLI) as unit:
        return await stage.people.accounts.create_user(unit, email, "Adam", *arguments, **options)


async def test_the_first_account_is_superadmin_and_owns_a_workspace(stage: Stage) -> None:
    account = await make(stage, ADAM, PASSWORD)
    assert (account.user.platform_role, account.role) == ("superadmin", Role.OWNER)
    assert account.user.email_verified_at is not None
    [created], [workspace] = await stage.events("user_created"), await stage.events("workspace_created")
    assert created["metadata"] == {"method": "cli", "email": ADAM}
    assert (created["actor"], created["principal_type"], created["principal_id"]) == ("cli:root", "cli", "root")
    assert created["workspace_id"] == workspace["workspace_id"] == account.workspace_id
    await stage.sign_in(ADAM)


async def test_later_accounts_are_users_unless_said(stage: Stage, olga: Account) -> None:
    assert (await make(stage, ADAM, PASSWORD)).user.platform_role == "user"
    assert (await make(stage, VERA, PASSWORD, is_superadmin=True)).user.platform_role == "superadmin"


async def test_an_account_can_join_a_workspace(stage: Stage, olga: Account) -> None:
    account = await make(stage, ADAM, PASSWORD, olga.workspace_id, Role.APPROVER)
    assert (account.workspace_id, account.role) == (olga.workspace_id, Role.APPROVER)
    me = (await (await stage.sign_in(ADAM)).get("/v1/me")).json()
    assert me["workspace"] == {"id": olga.workspace_id, "name": "Olga's workspace", "role": "approver"}
    assert await stage.fetch("SELECT count(*) FROM t_workspaces") == [(1,)]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((OLGA.upper(), PASSWORD), "conflict"),
        (("adam", PASSWORD), "INVALID_EMAIL"),
        ((ADAM, "password1234"), "PASSWORD_TOO_COMMON"),
        ((ADAM, PASSWORD, "01890000-0000-7000-8000-000000000000"), "not_found"),
        ((ADAM, PASSWORD, "no id"), "not_found"),
    ],
)
async def test_accounts_that_are_refused(stage: Stage, olga: Account, arguments: tuple[Any, ...], code: str) -> None:
    with pytest.raises(AppError) as refused:
        await make(stage, *arguments)
    assert refused.value.code == code
    assert await stage.fetch("SELECT count(*) FROM t_users") == [(1,)]
    assert len(await stage.events("user_created")) == 1  # Olga's


async def test_a_workspace_keeps_its_one_owner(stage: Stage, olga: Account) -> None:
    with pytest.raises(AppError) as refused:
        await make(stage, ADAM, PASSWORD, olga.workspace_id, Role.OWNER)
    assert refused.value.code == "conflict"


async def test_without_a_password_nobody_signs_in(stage: Stage) -> None:
    await make(stage, ADAM, None)
    answer = await stage.browser().post("/api/auth/sign-in/email", json={"email": ADAM, "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_EMAIL_OR_PASSWORD")


async def test_me_of_a_person(stage: Stage, olga: Account) -> None:
    body = (await (await stage.sign_in(OLGA)).get("/v1/me")).json()
    assert body == {
        "user": {"id": olga.user.id, "name": "Olga", "email": OLGA, "platformRole": "superadmin", "twoFactor": False},
        "workspace": {"id": olga.workspace_id, "name": "Olga's workspace", "role": "owner"},
        "principal": {"kind": "user", "scopes": ["*"]},
    }


async def test_me_of_a_token(stage: Stage, olga: Account) -> None:
    issued = (
        await (await stage.sign_in(OLGA)).post("/v1/tokens", json={"name": "CI", "scopes": ["audit:read"]})
    ).json()
    for header in ("x-api-key", "x-goog-api-key"):
        body = (await stage.browser().get("/v1/me", headers={header: issued["plainToken"]})).json()
        assert body["principal"] == {"kind": "pat", "scopes": ["audit:read"], "tokenId": issued["token"]["id"]}
        assert body["user"]["id"] == olga.user.id


async def test_workspaces(stage: Stage, olga: Account) -> None:
    mallory = await stage.add(MALLORY)
    body = (await (await stage.sign_in(MALLORY)).get("/v1/workspaces")).json()
    [workspace] = body["workspaces"]
    assert set(workspace) == {"id", "name", "role", "createdAt"}
    assert (workspace["id"], workspace["role"]) == (mallory.workspace_id, "owner")


async def test_the_current_workspace_is_flat(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    body = (await browser.get("/v1/workspaces/current")).json()
    assert set(body) == {"id", "name", "ownerId", "createdAt", "updatedAt", "role"}
    assert (body["id"], body["ownerId"], body["role"]) == (olga.workspace_id, olga.user.id, "owner")
    issued = (await browser.post("/v1/tokens", json={"name": "CI", "scopes": ["workspace:read"]})).json()
    headers = {"authorization": f"Bearer {issued['plainToken']}"}
    assert (await stage.browser().get("/v1/workspaces/current", headers=headers)).json() == body
    listed = await stage.browser().get("/v1/workspaces", headers=headers)
    assert (listed.status_code, listed.json()["code"]) == (403, "pat_not_allowed")


@pytest.mark.parametrize("path", ["/v1/me", "/v1/workspaces", "/v1/workspaces/current"])
async def test_outsiders(stage: Stage, olga: Account, path: str) -> None:
    answer = await stage.browser().get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "authentication_required")
    agent = await stage.browser().get(path, headers={"authorization": f"Bearer {AGENT_TOKEN}"})
    assert (agent.status_code, agent.json()["code"]) == (403, "agent_not_allowed")


async def test_sweeping_removes_only_what_has_ended(stage: Stage, olga: Account) -> None:
    for _ in range(3):
        await stage.sign_in(OLGA)
    hashes = "SELECT token_hash FROM t_sessions ORDER BY created_at"
    first, second, third = (row[0] for row in await stage.fetch(hashes))
    await stage.fetch("UPDATE t_sessions SET last_seen_at = now() - interval '13 hours' WHERE token_hash = %s", second)
    await stage.fetch("UPDATE t_sessions SET expires_at = now() - interval '1 s' WHERE token_hash = %s", third)
    await stage.browser().post("/api/auth/sign-in/email", json={"email": "x@example.com", "password": "x"})
    await stage.browser().post("/api/auth/sign-in/email", json={"email": "y@example.com", "password": "y"})
    await stage.fetch(
        "UPDATE t_sign_in_failures SET locked_until = now() - interval '25 hours'"
        " WHERE account_key = (SELECT min(account_key) FROM t_sign_in_failures)"
    )
    await stage.fetch(
        "INSERT INTO t_one_time_links (token_hash, purpose, expires_at) VALUES ('a', 'setup', now() - interval '8 d'),"
        " ('b', 'setup', now() + interval '1 h')"
    )
    async with stage.database.transaction() as connection:
        assert await sweep_ended(connection, 12 * 3600) == 4
    assert await stage.fetch(hashes) == [(first,)]
    assert await stage.fetch("SELECT token_hash FROM t_one_time_links") == [("b",)]
    assert await stage.fetch("SELECT count(*) FROM t_sign_in_failures") == [(1,)]


async def test_the_room_names_its_timers(stage: Stage, olga: Account) -> None:
    await stage.sign_in(OLGA)
    await stage.fetch("UPDATE t_sessions SET expires_at = now()")
    [job] = stage.people.jobs
    async with stage.unit() as unit:
        await job.run(unit)
    assert await stage.fetch("SELECT 1 FROM t_sessions") == []
