"""Instance administration: who is there, who is stopped, and never nobody left to administer."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agenthifive.people.links import Purpose, find
from people.company import ANN, MEMBERS, UNKNOWN, Company, code_of, found_company, make_room
from people.stage import ADAM, MALLORY, OLGA, VERA, WEB_URL, Stage

USERS = "/v1/admin/users"


@pytest_asyncio.fixture
async def company(stage: Stage) -> AsyncIterator[Company]:
    people = make_room(stage)
    yield await found_company(stage, people)
    people.close()


async def promote(company: Company, email: str) -> None:
    answer = await company[OLGA].patch(f"{USERS}/{company.id(email)}/role", json={"platformRole": "superadmin"})
    assert answer.status_code == 200, answer.text


async def superadmins(company: Company) -> set[str]:
    rows = await company.stage.fetch("SELECT email FROM t_users WHERE platform_role = 'superadmin'")
    return {row[0] for row in rows}


ROUTES = [
    ("GET", "/v1/admin/stats", None),
    ("GET", USERS, None),
    ("POST", USERS, {"email": "nina@example.com", "name": "Nina"}),
    ("GET", f"{USERS}/{{id}}", None),
    ("PATCH", f"{USERS}/{{id}}/role", {"platformRole": "superadmin"}),
    ("POST", f"{USERS}/{{id}}/disable", None),
    ("POST", f"{USERS}/{{id}}/enable", None),
    ("POST", f"{USERS}/{{id}}/sign-out", None),
    ("POST", f"{USERS}/{{id}}/reset-two-factor", None),
    ("DELETE", f"{USERS}/{{id}}", None),
    ("GET", "/v1/admin/workspaces", None),
    ("GET", "/v1/admin/workspaces/{id}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=[f"{row[0]} {row[1]}" for row in ROUTES])
async def test_nobody_but_superadmins_in_person_administers(
    company: Company, method: str, path: str, body: object
) -> None:
    """Outsiders: an owner, an admin, a token of the superadmin, an agent, nobody, and for writes an old sign-in."""
    stage, path = company.stage, path.replace("{id}", company.id(VERA))
    token = (await company[OLGA].post("/v1/tokens", json={"name": "all", "scopes": ["*"]})).json()["plainToken"]
    before = await stage.fetch("SELECT id, platform_role, disabled_at FROM t_users ORDER BY id")
    for email in (MALLORY, ANN, VERA):
        assert code_of(await company[email].request(method, path, json=body)) == (403, "insufficient_role")
    for credential, code in ((token, "pat_not_allowed"), ("ah5t_" + "b" * 43, "agent_not_allowed")):
        browser = stage.browser(company.people, headers={"authorization": f"Bearer {credential}"})
        assert code_of(await browser.request(method, path, json=body)) == (403, code)
    assert (await stage.browser(company.people).request(method, path, json=body)).status_code == 401
    if method != "GET":
        await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '11 minutes'")
        assert code_of(await company[OLGA].request(method, path, json=body)) == (403, "reauth_required")
    assert await stage.fetch("SELECT id, platform_role, disabled_at FROM t_users ORDER BY id") == before


async def test_the_figures_of_the_instance(company: Company) -> None:
    stats = (await company[OLGA].get("/v1/admin/stats")).json()
    assert (stats["totalUsers"], stats["totalWorkspaces"], stats["totalAgents"], stats["totalConnections"]) == (
        5,
        2,
        0,
        0,
    )
    [(rows,)] = await company.stage.fetch(
        "SELECT count(*) FROM l_audit_events"
        " WHERE workspace_id IS NULL OR workspace_id IN (SELECT id FROM t_workspaces)"
    )
    assert stats["recentAuditCount"] == rows


async def test_accounts_are_found_by_parts_of_their_address_or_name(company: Company) -> None:
    olga = company[OLGA]
    everybody = (await olga.get(USERS)).json()
    assert everybody["total"] == 5
    assert [one["email"] for one in everybody["users"]] == [OLGA, ANN, ADAM, VERA, MALLORY]
    first = everybody["users"][0]
    assert set(first) == {
        "id", "email", "name", "platformRole", "emailVerified", "twoFactor", "disabledAt", "createdAt", "lastSeenAt",
        "workspaces",
    }  # fmt: skip
    assert first["workspaces"] == [{"id": company.workspace_id, "name": "Olga's workspace", "role": "owner"}]
    page = (await olga.get(USERS, params={"limit": 2, "offset": 1})).json()
    assert ([one["email"] for one in page["users"]], page["total"]) == ([ANN, ADAM], 5)
    found = (await olga.get(USERS, params={"search": "EVIL.te"})).json()
    assert [one["email"] for one in found["users"]] == [MALLORY]
    assert (await olga.get(USERS, params={"search": "%"})).json()["total"] == 0
    for query in ({"limit": 101}, {"limit": 0}, {"offset": -1}):
        assert code_of(await olga.get(USERS, params=query)) == (400, "invalid_request")
    one = await olga.get(f"{USERS}/{company.id(VERA)}")
    assert one.json()["user"]["email"] == VERA
    assert {code_of(await olga.get(f"{USERS}/{bad}")) for bad in (UNKNOWN, "x")} == {(404, "not_found")}


async def test_workspaces_are_shown_by_counts_and_identities_only(company: Company) -> None:
    shown = (await company[OLGA].get("/v1/admin/workspaces", params={"search": "mallory"})).json()
    assert shown["total"] == 1
    [one] = shown["workspaces"]
    assert set(one) == {"id", "name", "ownerId", "members", "agents", "connections", "createdAt"}
    assert (one["ownerId"], one["members"]) == (company.id(MALLORY), 1)
    assert (await company[OLGA].get(f"/v1/admin/workspaces/{one['id']}")).json() == {"workspace": one}
    assert code_of(await company[OLGA].get(f"/v1/admin/workspaces/{UNKNOWN}")) == (404, "not_found")


async def test_a_superadmin_without_a_workspace_administers_and_does_nothing_else(company: Company) -> None:
    await promote(company, VERA)
    assert (await company[VERA].delete(f"{MEMBERS}/{company.id(VERA)}")).status_code == 200
    assert (await company[VERA].get(USERS)).status_code == 200
    for path in (MEMBERS, "/v1/workspaces/current", "/v1/tokens"):
        assert code_of(await company[VERA].get(path)) == (403, "not_a_member")
    selected = await company[VERA].post(f"/v1/workspaces/{company.workspace_id}/select")
    assert code_of(selected) == (404, "not_found")


async def test_a_new_account_gets_a_link_that_sets_its_password(company: Company) -> None:
    body = {"email": "nina@example.com", "name": "Nina", "workspaceId": company.workspace_id, "role": "approver"}
    made = await company[OLGA].post(USERS, json=body)
    assert made.status_code == 201, made.text
    user = made.json()["user"]
    assert (user["email"], user["emailVerified"], user["platformRole"]) == ("nina@example.com", True, "user")
    assert [one["role"] for one in user["workspaces"]] == ["approver"]
    url = made.json()["setPasswordUrl"]
    assert url.startswith(f"{WEB_URL}/reset-password?token=")
    async with company.stage.database.transaction() as connection:
        assert await find(connection, Purpose.RESET, url.partition("token=")[2]) == user["id"]
    [(hours,)] = await company.stage.fetch(
        "SELECT extract(epoch FROM expires_at - created_at) / 3600 FROM t_one_time_links WHERE purpose = 'reset'"
    )
    assert hours == 24
    row = (await company.stage.events("user_created"))[-1]
    assert row["metadata"] == {"method": "admin", "email": "nina@example.com"}
    assert code_of(await company[OLGA].post(USERS, json=body)) == (409, "conflict")
    for wrong, expected in (
        ({**body, "email": "nobody"}, (400, "invalid_request")),
        ({**body, "name": ""}, (400, "invalid_request")),
        ({**body, "role": "owner"}, (400, "invalid_request")),
        ({"email": "x@example.com", "name": "X", "role": "viewer"}, (400, "invalid_request")),
        ({**body, "colour": 1}, (400, "unknown_field")),
        ({**body, "email": "x@example.com", "workspaceId": UNKNOWN}, (404, "not_found")),
    ):
        assert code_of(await company[OLGA].post(USERS, json=wrong)) == expected


async def test_nobody_changes_their_own_standing(company: Company) -> None:
    own = f"{USERS}/{company.id(OLGA)}"
    for answer in (
        await company[OLGA].patch(f"{own}/role", json={"platformRole": "user"}),
        await company[OLGA].post(f"{own}/disable"),
        await company[OLGA].delete(own),
    ):
        assert code_of(answer) == (400, "self_change")
    assert await superadmins(company) == {OLGA}


async def test_two_superadmins_who_demote_each_other_at_once_leave_one(company: Company) -> None:
    for _ in range(5):
        await promote(company, ADAM) if await superadmins(company) == {OLGA} else None
        answers = await asyncio.gather(
            company[OLGA].patch(f"{USERS}/{company.id(ADAM)}/role", json={"platformRole": "user"}),
            company[ADAM].patch(f"{USERS}/{company.id(OLGA)}/role", json={"platformRole": "user"}),
        )
        assert sorted(answer.status_code for answer in answers) == [200, 403]
        [left] = await superadmins(company)
        if left == ADAM:
            back = await company[ADAM].patch(f"{USERS}/{company.id(OLGA)}/role", json={"platformRole": "superadmin"})
            assert back.status_code == 200
            assert (
                await company[OLGA].patch(f"{USERS}/{company.id(ADAM)}/role", json={"platformRole": "user"})
            ).status_code == 200


@pytest.mark.parametrize("how", ["role", "disable", "delete"])
async def test_the_last_enabled_superadmin_stays(company: Company, how: str) -> None:
    """An operator has no account to protect: only the last-one rule speaks."""
    await promote(company, ADAM)
    assert (await company[OLGA].post(f"{USERS}/{company.id(ADAM)}/disable")).status_code == 200
    admin, stage = company.people.admin, company.stage
    with pytest.raises(Exception, match="conflict"):
        async with stage.unit() as unit:
            if how == "role":
                await admin.set_role(unit, None, company.id(OLGA), "user")
            elif how == "disable":
                await admin.disable(unit, None, company.id(OLGA))
            else:
                await admin.delete(unit, None, company.id(OLGA))  # type: ignore[arg-type]
    assert await superadmins(company) == {OLGA, ADAM}
    assert await stage.fetch("SELECT disabled_at FROM t_users WHERE id = %s", company.id(OLGA)) == [(None,)]


async def test_who_is_disabled_is_out_until_enabled_and_then_has_the_old_tokens(company: Company) -> None:
    token = (await company[VERA].post("/v1/tokens", json={"name": "script"})).json()["plainToken"]
    program = company.stage.browser(company.people, headers={"authorization": f"Bearer {token}"})
    stopped = await company[OLGA].post(f"{USERS}/{company.id(VERA)}/disable")
    assert stopped.json() == {"success": True, "sessionsEnded": 1, "tokensStopped": 1}
    assert code_of(await company[VERA].get("/v1/me")) == (401, "invalid_token")
    assert code_of(await program.get("/v1/me")) == (401, "invalid_token")
    assert code_of(await company[OLGA].post(f"{USERS}/{company.id(VERA)}/disable")) == (409, "conflict")
    members = (await company[OLGA].get(MEMBERS)).json()["members"]
    assert [one["status"] for one in members if one["email"] == VERA] == ["disabled"]
    assert (await company[OLGA].post(f"{USERS}/{company.id(VERA)}/enable")).json() == {"success": True}
    assert code_of(await company[OLGA].post(f"{USERS}/{company.id(VERA)}/enable")) == (409, "conflict")
    assert (await program.get("/v1/me")).status_code == 200
    assert code_of(await company[VERA].get("/v1/me")) == (401, "invalid_token")
    [row] = await company.stage.events("user_disabled")
    assert row["metadata"] == {"userId": company.id(VERA), "sessionsEnded": 1, "tokensStopped": 1}
    assert row["workspace_id"] is None
    assert len(await company.stage.events("user_enabled")) == 1


async def test_signing_somebody_out_ends_their_sessions_and_not_their_tokens(company: Company) -> None:
    token = (await company[VERA].post("/v1/tokens", json={"name": "script"})).json()["plainToken"]
    program = company.stage.browser(company.people, headers={"authorization": f"Bearer {token}"})
    answer = await company[OLGA].post(f"{USERS}/{company.id(VERA)}/sign-out")
    assert answer.json() == {"success": True, "sessionsEnded": 1}
    assert code_of(await company[VERA].get("/v1/me")) == (401, "invalid_token")
    assert (await program.get("/v1/me")).status_code == 200
    row = (await company.stage.events("user_signed_out"))[-1]
    assert row["metadata"] == {"userId": company.id(VERA), "sessions": 1, "all": True}


async def test_second_factors_are_taken_away_and_the_sessions_end(company: Company) -> None:
    await company.stage.fetch(
        "INSERT INTO t_totp (user_id, secret, secret_kid, confirmed_at) VALUES (%s, 'sealed', 'kid', now())",
        company.id(VERA),
    )
    shown = await company[OLGA].get(f"{USERS}/{company.id(VERA)}")
    assert shown.json()["user"]["twoFactor"] is True
    members = (await company[OLGA].get(MEMBERS)).json()["members"]
    assert {one["email"] for one in members if one["twoFactor"]} == {VERA}
    answer = await company[OLGA].post(f"{USERS}/{company.id(VERA)}/reset-two-factor")
    assert answer.json() == {"success": True, "sessionsEnded": 1}
    assert (await company[OLGA].get(f"{USERS}/{company.id(VERA)}")).json()["user"]["twoFactor"] is False
    assert code_of(await company[VERA].get("/v1/me")) == (401, "invalid_token")
    [row] = await company.stage.events("two_factor_reset")
    assert (row["metadata"]["userId"], row["workspace_id"]) == (company.id(VERA), None)


async def test_an_account_is_deleted_unless_others_depend_on_it(company: Company) -> None:
    await promote(company, ADAM)
    owner = await company[ADAM].delete(f"{USERS}/{company.id(OLGA)}")
    assert code_of(owner) == (409, "conflict")
    assert await company.role(OLGA) == "owner"
    assert (await company[OLGA].delete(f"{USERS}/{company.id(MALLORY)}")).json() == {"success": True}
    assert await company.stage.fetch("SELECT count(*) FROM t_users WHERE email = %s", MALLORY) == [(0,)]
    foreign = company.accounts[MALLORY].workspace_id
    assert await company.stage.fetch("SELECT count(*) FROM t_workspaces WHERE id = %s", foreign) == [(0,)]
    assert code_of(await company[MALLORY].get("/v1/me")) == (401, "invalid_token")
    assert code_of(await company[OLGA].delete(f"{USERS}/{company.id(MALLORY)}")) == (404, "not_found")
    [row] = await company.stage.events("user_deleted")
    assert row["metadata"] == {"userId": company.id(MALLORY)}
    [gone] = await company.stage.events("workspace_deleted")
    assert gone["workspace_id"] == foreign


async def test_who_is_demoted_meanwhile_administers_nothing(company: Company) -> None:
    await promote(company, ADAM)
    demote = company[OLGA].patch(f"{USERS}/{company.id(ADAM)}/role", json={"platformRole": "user"})
    disable = [company[ADAM].post(f"{USERS}/{company.id(VERA)}/disable") for _ in range(5)]
    answers = await asyncio.gather(demote, *disable)
    assert answers[0].status_code == 200
    assert code_of(await company[ADAM].post(f"{USERS}/{company.id(MALLORY)}/disable")) == (403, "insufficient_role")
    assert await company.stage.fetch("SELECT disabled_at FROM t_users WHERE email = %s", MALLORY) == [(None,)]
