"""Workspaces and members: who may what, one owner at any instant, and nothing of what is gone goes on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agenthifive.ids import new_id
from people.company import ANN, MEMBERS, UNKNOWN, Company, code_of, found_company, make_room
from people.stage import ADAM, MALLORY, OLGA, VERA, Stage

CURRENT = "/v1/workspaces/current"


@pytest_asyncio.fixture
async def company(stage: Stage) -> AsyncIterator[Company]:
    people = make_room(stage)
    yield await found_company(stage, people)
    people.close()


async def test_only_superadmins_open_workspaces_unless_the_setting_says_anyone(company: Company) -> None:
    refused = await company[ADAM].post("/v1/workspaces", json={"name": "Side project"})
    assert code_of(refused) == (403, "insufficient_role")
    made = await company[OLGA].post("/v1/workspaces", json={"name": "Second"})
    assert made.status_code == 201
    assert (made.json()["workspace"]["name"], made.json()["workspace"]["role"]) == ("Second", "owner")
    people = make_room(company.stage, workspace_creation="anyone")
    adam = await company.stage.sign_in(ADAM, people)
    assert (await adam.post("/v1/workspaces", json={"name": "Side project"})).status_code == 201
    assert [row["metadata"]["name"] for row in await company.stage.events("workspace_created")][-2:] == [
        "Second",
        "Side project",
    ]
    people.close()


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "\u202eevil", 5])
async def test_a_workspace_needs_a_name_that_can_be_seen(company: Company, name: object) -> None:
    assert code_of(await company[OLGA].post("/v1/workspaces", json={"name": name})) == (400, "invalid_request")
    unknown = await company[OLGA].post("/v1/workspaces", json={"name": "x", "colour": 1})
    assert code_of(unknown) == (400, "unknown_field")


async def test_a_session_acts_in_the_workspace_it_selected(company: Company) -> None:
    olga = company[OLGA]
    second = (await olga.post("/v1/workspaces", json={"name": "Second"})).json()["workspace"]["id"]
    assert (await olga.get(CURRENT)).json()["id"] == company.workspace_id
    selected = await olga.post(f"/v1/workspaces/{second}/select")
    assert selected.json()["workspace"]["id"] == second
    assert (await olga.get(CURRENT)).json()["id"] == second
    foreign = company.accounts[MALLORY].workspace_id
    answers = [await olga.post(f"/v1/workspaces/{one}/select") for one in (foreign, UNKNOWN, "x")]
    assert {code_of(answer) for answer in answers} == {(404, "not_found")}
    assert len({answer.content for answer in answers}) == 1
    assert (await olga.get(CURRENT)).json()["id"] == second


async def test_only_the_owner_renames_the_workspace_and_names_its_domains(company: Company) -> None:
    for email in (ANN, ADAM, VERA):
        assert code_of(await company[email].put(CURRENT, json={"name": "Mine"})) == (403, "insufficient_role")
    changed = await company[OLGA].put(CURRENT, json={"name": "Works", "orgDomains": ["Example.com", "example.com"]})
    assert (changed.json()["name"], changed.json()["orgDomains"]) == ("Works", ["example.com"])
    [row] = await company.stage.events("workspace_updated")
    assert row["metadata"] == {
        "name": "Works",
        "fields": ["name", "orgDomains"],
        "from": "Olga's workspace",
        "to": "Works",
    }
    for body in ({}, {"orgDomains": ["*"]}, {"orgDomains": ["nodots"]}, {"orgDomains": "example.com"}):
        assert code_of(await company[OLGA].put(CURRENT, json=body)) == (400, "invalid_request")


async def test_members_are_seen_by_every_member_and_by_nobody_else(company: Company) -> None:
    for email in (OLGA, ANN, ADAM, VERA):
        members = (await company[email].get(MEMBERS)).json()["members"]
        assert [(one["email"], one["role"], one["status"]) for one in members] == [
            (OLGA, "owner", "active"),
            (ANN, "admin", "active"),
            (ADAM, "approver", "active"),
            (VERA, "viewer", "active"),
        ]
        assert {type(one["lastSeenAt"]) for one in members} == {str}
    assert [one["email"] for one in (await company[MALLORY].get(MEMBERS)).json()["members"]] == [MALLORY]


async def test_a_foreign_member_answers_like_an_unknown_one(company: Company) -> None:
    """Acceptance 5."""
    mallory = company[MALLORY]
    for path in (company.id(ADAM), UNKNOWN, "nobody"):
        patched = await mallory.patch(f"{MEMBERS}/{path}", json={"role": "viewer"})
        deleted = await mallory.delete(f"{MEMBERS}/{path}")
        moved = await mallory.post(f"{CURRENT}/transfer", json={"userId": path})
        assert [code_of(answer) for answer in (patched, deleted, moved)] == [(404, "not_found")] * 3
        assert patched.content == deleted.content == moved.content
    assert await company.role(ADAM) == "approver"


async def test_admins_manage_approvers_and_viewers_and_the_owner_manages_admins(company: Company) -> None:
    """Acceptance 9."""
    ann, olga = company[ANN], company[OLGA]
    for email in (ADAM, VERA):
        appointed = await ann.patch(f"{MEMBERS}/{company.id(email)}", json={"role": "admin"})
        assert code_of(appointed) == (403, "insufficient_role")
    assert (await ann.patch(f"{MEMBERS}/{company.id(VERA)}", json={"role": "approver"})).status_code == 200
    assert (await olga.patch(f"{MEMBERS}/{company.id(ADAM)}", json={"role": "admin"})).status_code == 200
    for answer in (
        await ann.patch(f"{MEMBERS}/{company.id(ADAM)}", json={"role": "viewer"}),
        await ann.delete(f"{MEMBERS}/{company.id(ADAM)}"),
    ):
        assert code_of(answer) == (403, "insufficient_role")
    for answer in (
        await ann.patch(f"{MEMBERS}/{company.id(OLGA)}", json={"role": "viewer"}),
        await ann.delete(f"{MEMBERS}/{company.id(OLGA)}"),
        await olga.patch(f"{MEMBERS}/{company.id(OLGA)}", json={"role": "admin"}),
        await olga.delete(f"{MEMBERS}/{company.id(OLGA)}"),
    ):
        assert code_of(answer) == (409, "conflict")
    assert code_of(await olga.patch(f"{MEMBERS}/{company.id(VERA)}", json={"role": "owner"})) == (
        400,
        "invalid_request",
    )
    assert [await company.role(email) for email in (OLGA, ANN, ADAM, VERA)] == ["owner", "admin", "admin", "approver"]
    rows = await company.stage.events("member_role_changed")
    assert [row["metadata"] for row in rows] == [
        {"userId": company.id(VERA), "from": "viewer", "to": "approver"},
        {"userId": company.id(ADAM), "from": "approver", "to": "admin"},
    ]


async def test_approvers_and_viewers_remove_nobody_but_may_leave(company: Company) -> None:
    for email in (ADAM, VERA):
        for other in (company.id(ANN), UNKNOWN):
            answer = await company[email].delete(f"{MEMBERS}/{other}")
            assert code_of(answer) == (403, "insufficient_role")
    left = await company[VERA].delete(f"{MEMBERS}/{company.id(VERA)}")
    assert left.json() == {"removed": True}
    assert await company.role(VERA) is None
    assert (await company[VERA].get("/v1/me")).json()["workspace"] is None
    assert code_of(await company[VERA].get(CURRENT)) == (403, "not_a_member")
    assert (await company[VERA].get("/v1/workspaces")).json() == {"workspaces": []}


async def test_who_is_removed_loses_tokens_and_session_for_good(company: Company) -> None:
    token = (await company[ADAM].post("/v1/tokens", json={"name": "script"})).json()["plainToken"]
    program = company.stage.browser(company.people, headers={"authorization": f"Bearer {token}"})
    assert (await program.get("/v1/me")).status_code == 200
    removed = await company[ANN].delete(f"{MEMBERS}/{company.id(ADAM)}")
    assert removed.json() == {"removed": True}
    assert code_of(await program.get("/v1/me")) == (401, "invalid_token")
    assert code_of(await company[ADAM].get(MEMBERS)) == (403, "not_a_member")
    [row] = await company.stage.events("member_removed")
    assert row["metadata"] == {"userId": company.id(ADAM), "role": "approver", "tokensRevoked": 1}
    await company.stage.fetch(
        "INSERT INTO t_members (workspace_id, user_id, role) VALUES (%s, %s, 'approver')",
        company.workspace_id,
        company.id(ADAM),
    )
    assert code_of(await program.get("/v1/me")) == (401, "invalid_token")


async def test_the_ownership_goes_to_a_verified_member_and_the_old_owner_stays_as_admin(company: Company) -> None:
    await company.stage.fetch("UPDATE t_users SET email_verified_at = NULL WHERE id = %s", company.id(VERA))
    transfer = f"{CURRENT}/transfer"
    assert code_of(await company[ANN].post(transfer, json={"userId": company.id(ANN)})) == (403, "insufficient_role")
    for email, expected in ((VERA, (409, "conflict")), (OLGA, (409, "conflict")), (MALLORY, (404, "not_found"))):
        assert code_of(await company[OLGA].post(transfer, json={"userId": company.id(email)})) == expected
    done = await company[OLGA].post(transfer, json={"userId": company.id(ADAM)})
    assert done.json()["workspace"]["role"] == "admin"
    assert [await company.role(email) for email in (OLGA, ADAM)] == ["admin", "owner"]
    assert (await company[ADAM].get(CURRENT)).json()["ownerId"] == company.id(ADAM)
    [row] = await company.stage.events("workspace_transferred")
    assert (row["metadata"]["from"], row["metadata"]["to"]) == (company.id(OLGA), company.id(ADAM))


async def test_there_is_one_owner_however_many_transfers_meet(company: Company) -> None:
    targets = [company.id(ANN), company.id(ADAM), company.id(VERA)] * 5
    answers = await asyncio.gather(
        *(company[OLGA].post(f"{CURRENT}/transfer", json={"userId": target}) for target in targets)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [403] * 14
    owners = await company.stage.fetch(
        "SELECT m.user_id, w.owner_id FROM t_members m JOIN t_workspaces w ON w.id = m.workspace_id"
        " WHERE m.workspace_id = %s AND m.role = 'owner'",
        company.workspace_id,
    )
    assert len(owners) == 1
    assert owners[0][0] == owners[0][1]
    assert len(await company.stage.events("workspace_transferred")) == 1


async def test_an_admin_who_is_demoted_meanwhile_manages_nobody(company: Company) -> None:
    demote = company[OLGA].patch(f"{MEMBERS}/{company.id(ANN)}", json={"role": "viewer"})
    removals = [company[ANN].delete(f"{MEMBERS}/{company.id(VERA)}") for _ in range(5)]
    answers = await asyncio.gather(demote, *removals)
    assert answers[0].status_code == 200
    gone = await company.role(VERA) is None
    assert [answer.status_code for answer in answers[1:]].count(200) == (1 if gone else 0)
    assert code_of(await company[ANN].delete(f"{MEMBERS}/{company.id(ADAM)}")) == (403, "insufficient_role")
    assert await company.role(ADAM) == "approver"


async def test_a_workspace_is_deleted_by_its_owner_who_types_its_name(company: Company) -> None:
    stage, olga = company.stage, company[OLGA]
    token = (await company[ADAM].post("/v1/tokens", json={"name": "script"})).json()["plainToken"]
    agent_id = new_id()
    await stage.fetch(
        "INSERT INTO t_agents (id, workspace_id, name, status, created_by) VALUES (%s, %s, 'Bot', 'active', %s)",
        agent_id,
        company.workspace_id,
        company.id(OLGA),
    )
    body = {"confirmName": "Olga's workspace"}
    assert code_of(await company[ANN].request("DELETE", CURRENT, json=body)) == (403, "insufficient_role")
    for wrong in ({"confirmName": "olga's workspace"}, {}):
        assert code_of(await olga.request("DELETE", CURRENT, json=wrong)) == (400, "invalid_request")
    assert await stage.fetch("SELECT count(*) FROM t_agents WHERE id = %s", agent_id) == [(1,)]
    assert (await olga.request("DELETE", CURRENT, json=body)).json() == {"deleted": True}
    assert await stage.fetch("SELECT count(*) FROM t_workspaces WHERE id = %s", company.workspace_id) == [(0,)]
    assert await stage.fetch("SELECT count(*) FROM t_agents WHERE id = %s", agent_id) == [(0,)]
    program = stage.browser(company.people, headers={"authorization": f"Bearer {token}"})
    assert code_of(await program.get("/v1/me")) == (401, "invalid_token")
    assert (await olga.get("/v1/me")).json()["workspace"] is None
    [row] = await stage.events("workspace_deleted")
    assert row["workspace_id"] == company.workspace_id
    assert await stage.events("pat_created") != []


async def test_transfer_and_deletion_need_a_recent_sign_in(company: Company) -> None:
    await company.stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '11 minutes'")
    answers = [
        await company[OLGA].post(f"{CURRENT}/transfer", json={"userId": company.id(ADAM)}),
        await company[OLGA].request("DELETE", CURRENT, json={"confirmName": "Olga's workspace"}),
    ]
    assert [code_of(answer) for answer in answers] == [(403, "reauth_required")] * 2
    assert await company.role(OLGA) == "owner"


async def test_people_and_their_tokens_do_not_manage_workspaces_beyond_the_table(company: Company) -> None:
    token = (await company[OLGA].post("/v1/tokens", json={"name": "all", "scopes": ["*"]})).json()["plainToken"]
    program = company.stage.browser(company.people, headers={"authorization": f"Bearer {token}"})
    assert (await program.get(MEMBERS)).status_code == 200
    assert (await program.patch(f"{MEMBERS}/{company.id(VERA)}", json={"role": "approver"})).status_code == 200
    for answer in (
        await program.get("/v1/workspaces"),
        await program.post("/v1/workspaces", json={"name": "x"}),
        await program.put(CURRENT, json={"name": "x"}),
        await program.post(f"{CURRENT}/transfer", json={"userId": company.id(ADAM)}),
        await program.request("DELETE", CURRENT, json={"confirmName": "Olga's workspace"}),
        await program.delete(f"{MEMBERS}/{company.id(VERA)}"),
        await program.post(f"/v1/workspaces/{company.workspace_id}/select"),
    ):
        assert code_of(answer) == (403, "pat_not_allowed")
