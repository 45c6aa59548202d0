"""Who must have a second factor, what they may do without one, and how lost ones are reset.

Contract http.md section 14.3 (REQUIRE_TWO_FACTOR) and 15.11 (reset-two-factor).
"""

import asyncio

import psycopg
import pytest

from agenthifive.broker.http import EXECUTE_ACCESS
from agenthifive.broker.llm import LLM_ACCESS
from agenthifive.edge.routing import DeclaredRoute
from agenthifive.people import api, pages
from agenthifive.people.jobs import sweep_ended
from agenthifive.people.model import Account
from agenthifive.words import Role
from databases import TestDatabase
from people.factors import SIGN_IN, add_passkey, begin_proving, enable_totp, half_way, prove, refusal
from people.stage import ADAM, OLGA, PASSWORD, VERA, Browser, Stage

DEMANDED = (403, "two_factor_required")
SET_UP = {
    "GET /api/auth/csrf",
    "POST /api/auth/reauthenticate",
    "GET /v1/me",
    "POST /api/auth/passkey/register/options",
    "POST /api/auth/passkey/register/verify",
    "GET /api/auth/passkeys",
    "PATCH /api/auth/passkeys/{passkey_id}",
    "DELETE /api/auth/passkeys/{passkey_id}",
    "POST /api/auth/totp/setup",
    "POST /api/auth/totp/confirm",
    "POST /api/auth/totp/disable",
    "POST /api/auth/totp/recovery-codes",
}


async def create_token(browser: Browser) -> tuple[int, str | None]:
    answer = await browser.post("/v1/tokens", json={"name": "CI"})
    return answer.status_code, answer.json().get("code")


def test_only_the_set_up_is_open_without_a_factor() -> None:
    open_routes = {
        f"{method} {route.path}"
        for room in (api, pages)
        for route in room.routes.router.routes
        if isinstance(route, DeclaredRoute) and not route.access.is_public and not route.access.needs_factor
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert open_routes == SET_UP
    assert EXECUTE_ACCESS.needs_factor
    assert LLM_ACCESS.needs_factor


async def test_without_a_factor_an_admin_can_only_set_one_up(stage: Stage, olga: Account) -> None:
    people = stage.room(rule="admins")
    browser = await stage.sign_in(OLGA, people)
    answer = await browser.post("/v1/tokens", json={"name": "CI"})
    assert (answer.status_code, answer.json()["code"], answer.json()["hint"]) == (*DEMANDED, "/dashboard/security")
    assert (await browser.get("/v1/workspaces/current")).status_code == 403
    assert (await browser.get("/v1/me")).json()["user"]["twoFactor"] is False
    assert (await browser.get("/api/auth/get-session")).json()["user"]["id"] == olga.user.id
    assert (await browser.post("/api/auth/reauthenticate", json={"password": PASSWORD})).status_code == 200
    await enable_totp(stage, browser)
    assert await create_token(browser) == (200, None)
    assert (await browser.post("/api/auth/sign-out", json={})).status_code == 200
    assert await stage.fetch("SELECT count(*) FROM t_personal_tokens") == [(1,)]
    people.close()


async def test_a_passkey_is_enough(stage: Stage, olga: Account) -> None:
    people = stage.room(rule="all")
    browser = await stage.sign_in(OLGA, people)
    assert await create_token(browser) == DEMANDED
    await add_passkey(browser)
    assert await create_token(browser) == (200, None)
    people.close()


async def test_an_unfinished_set_up_is_not_enough(stage: Stage, olga: Account) -> None:
    people = stage.room(rule="all")
    browser = await stage.sign_in(OLGA, people)
    assert (await browser.post("/api/auth/totp/setup", json={})).status_code == 200
    assert await create_token(browser) == DEMANDED
    people.close()


async def test_tokens_of_a_person_without_a_factor_rest(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    token = (await browser.post("/v1/tokens", json={"name": "CI", "scopes": ["workspace:read"]})).json()["plainToken"]
    people = stage.room(rule="admins")
    program = stage.browser(people, headers={"authorization": f"Bearer {token}"})
    answer = await program.get("/v1/workspaces/current")
    assert (answer.status_code, answer.json()["code"]) == DEMANDED
    await enable_totp(stage, browser)
    assert (await program.get("/v1/workspaces/current")).status_code == 200
    people.close()


@pytest.mark.parametrize(
    ("rule", "role", "demanded"),
    [
        ("off", Role.ADMIN, False),
        ("admins", Role.VIEWER, False),
        ("admins", Role.APPROVER, False),
        ("admins", Role.ADMIN, True),
        ("all", Role.VIEWER, True),
    ],
)
async def test_of_whom_the_rule_demands_it(stage: Stage, olga: Account, rule: str, role: Role, demanded: bool) -> None:
    await stage.add(VERA, olga.workspace_id, role)
    people = stage.room(rule=rule)
    assert await create_token(await stage.sign_in(VERA, people)) == (DEMANDED if demanded else (200, None))
    people.close()


async def test_who_administers_one_workspace_is_an_admin_in_every_other(stage: Stage, olga: Account) -> None:
    """The session is in the workspace joined first, where Adam only approves."""
    adam = await stage.add(ADAM, olga.workspace_id, Role.APPROVER)
    people = stage.room(rule="admins")
    browser = await stage.sign_in(ADAM, people)
    assert await create_token(browser) == (200, None)
    await stage.fetch(
        "WITH made AS (INSERT INTO t_workspaces (id, name, owner_id) VALUES (gen_random_uuid(), 'W', %s) RETURNING id)"
        " INSERT INTO t_members (workspace_id, user_id, role) SELECT id, %s, 'owner' FROM made",
        adam.user.id,
        adam.user.id,
    )
    assert await create_token(browser) == DEMANDED
    people.close()


async def test_a_superadmin_needs_one_without_any_workspace(stage: Stage, olga: Account) -> None:
    people = stage.room(rule="admins")
    await stage.fetch("UPDATE t_members SET role = 'viewer'")
    assert await create_token(await stage.sign_in(OLGA, people)) == DEMANDED
    people.close()


async def test_removing_the_last_factor_leads_back_to_the_set_up(stage: Stage, olga: Account) -> None:
    people = stage.room(rule="admins")
    browser = await stage.sign_in(OLGA, people)
    await add_passkey(browser)
    [(passkey_id,)] = await stage.fetch("SELECT id::text FROM t_passkeys")
    assert (await browser.delete(f"/api/auth/passkeys/{passkey_id}")).status_code == 200
    assert await create_token(browser) == DEMANDED
    people.close()


async def test_methods_name_what_completes_a_sign_in(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    body = {"email": OLGA, "password": PASSWORD}
    for add, methods in ((add_passkey(browser), ["passkey"]), (enable_totp(stage, browser), ["totp", "passkey"])):
        await add
        assert (await stage.browser().post(SIGN_IN, json=body)).json()["methods"] == methods


async def test_a_reset_removes_every_factor_and_ends_every_session(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    device = await add_passkey(browser)
    _, codes = await enable_totp(stage, browser)
    waiting = await half_way(stage)
    await stage.add(ADAM, olga.workspace_id, Role.APPROVER)
    others = await add_passkey(await stage.sign_in(ADAM))
    async with stage.unit() as unit:
        assert await stage.people.second_factors.reset(unit, olga.user.id) == 1
    assert (await browser.get("/v1/me")).status_code == 401
    answer = await waiting.post("/api/auth/totp/verify", json={"recoveryCode": codes[0]})
    assert refusal(answer) == (410, "GONE")
    assert refusal(await prove(stage.browser(), device)) == (401, "INVALID_CREDENTIAL")
    assert (await create_token(await stage.sign_in(OLGA)))[0] == 200, "the password alone opens the account again"
    assert (await prove(stage.browser(), others)).status_code == 200, "nobody else lost anything"
    [event] = await stage.events("two_factor_reset")
    assert event["metadata"] == {"userId": olga.user.id, "sessionsEnded": 1}


async def test_a_reset_that_is_undone_removes_nothing(stage: Stage, olga: Account) -> None:
    await add_passkey(await stage.sign_in(OLGA))
    with pytest.raises(RuntimeError):
        async with stage.unit() as unit:
            await stage.people.second_factors.reset(unit, olga.user.id)
            raise RuntimeError
    assert await stage.fetch("SELECT count(*) FROM t_passkeys") == [(1,)]
    assert await stage.events("two_factor_reset") == []


async def test_sweeping_leaves_what_is_under_way(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    device = await add_passkey(browser)
    await enable_totp(stage, browser)
    await half_way(stage)
    await half_way(stage)
    await prove(stage.browser(), device)
    await stage.add(VERA, olga.workspace_id)
    await (await stage.sign_in(VERA)).post("/api/auth/totp/setup", json={})
    await stage.fetch("UPDATE t_pending_sign_ins SET expires_at = now() WHERE id = (SELECT min(id::text)::uuid"
                      " FROM t_pending_sign_ins)")  # fmt: skip
    await stage.fetch("UPDATE t_spent_challenges SET spent_at = now() - interval '61 minutes'")
    challenges = (await stage.fetch("SELECT count(*) FROM t_spent_challenges"))[0][0]
    await stage.fetch("UPDATE t_totp SET created_at = now() - interval '11 minutes'")
    async with stage.database.transaction() as connection:
        assert await sweep_ended(connection, 12 * 3600) == 2 + challenges
    assert await stage.fetch("SELECT count(*) FROM t_pending_sign_ins") == [(1,)]
    assert await stage.fetch("SELECT user_id::text FROM t_totp") == [(olga.user.id,)]


@pytest.mark.parametrize("way", ["code", "passkey"])
async def test_a_sign_in_waits_for_a_reset_before_it_holds_anything(
    stage: Stage, olga: Account, own_database: TestDatabase, way: str
) -> None:
    """Both take the account first, so neither waits for the other in a circle."""
    browser = await stage.sign_in(OLGA)
    device = await add_passkey(browser)
    _, codes = await enable_totp(stage, browser)
    waiting = await half_way(stage)
    options = await begin_proving(waiting)
    async with await psycopg.AsyncConnection.connect(own_database.admin_dsn) as reset:
        await reset.execute("SELECT FROM t_users FOR NO KEY UPDATE")
        if way == "code":
            request = asyncio.create_task(waiting.post("/api/auth/totp/verify", json={"recoveryCode": codes[0]}))
        else:
            request = asyncio.create_task(prove(waiting, device, options))
        while await stage.fetch("SELECT 1 FROM pg_locks WHERE NOT granted") == []:
            assert not request.done(), "it did not wait"
            await asyncio.sleep(0)
        for table in ("t_passkeys", "t_totp", "t_recovery_codes", "t_pending_sign_ins"):
            await reset.execute(f"SELECT FROM {table} FOR UPDATE NOWAIT")
        await reset.rollback()
        assert (await request).status_code == 200
