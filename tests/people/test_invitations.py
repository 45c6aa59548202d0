"""Invitations: bound to an address, good once, worth what whoever invited may still do."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from agenthifive.vault.hashing import sha256_hex
from people.company import ANN, INVITATIONS, MEMBERS, UNKNOWN, Company, Letters, code_of, found_company, make_room
from people.stage import ADAM, MALLORY, OLGA, PASSWORD, VERA, WEB_URL, Stage, cookies_of

NINA = "nina@example.com"
ACCEPT = "/api/auth/invitations/accept"
NEW = {"name": "Nina", "password": PASSWORD}


@pytest_asyncio.fixture
async def company(stage: Stage) -> AsyncIterator[Company]:
    people = make_room(stage, registration="invite")
    yield await found_company(stage, people)
    people.close()


async def invite(company: Company, email: str = NINA, role: str = "approver", by: str = OLGA) -> str:
    """The token of a fresh invitation."""
    answer = await company[by].post(INVITATIONS, json={"email": email, "role": role})
    assert answer.status_code == 201, answer.text
    return token_of(answer)


def token_of(answer: httpx.Response) -> str:
    url = answer.json()["inviteUrl"]
    assert url.startswith(f"{WEB_URL}/invite?token=")
    return str(url.partition("token=")[2])


async def accept(company: Company, token: str, **members: object) -> httpx.Response:
    return await company.stage.browser(company.people).post(ACCEPT, json={"token": token, **NEW, **members})


async def test_a_colleague_joins_as_approver_with_a_new_account(company: Company) -> None:
    token = await invite(company)
    browser = company.stage.browser(company.people)
    seen = await browser.get(f"/api/auth/invitations/{token}")
    assert {name: value for name, value in seen.json().items() if name != "expiresAt"} == {
        "workspaceName": "Olga's workspace",
        "email": NINA,
        "role": "approver",
        "accountExists": False,
    }
    assert seen.headers["referrer-policy"] == "no-referrer"
    joined = await browser.post(ACCEPT, json={"token": token, **NEW})
    assert joined.status_code == 200, joined.text
    assert (joined.json()["workspace"]["id"], joined.json()["workspace"]["role"]) == (company.workspace_id, "approver")
    assert company.people.cookie_name in cookies_of(joined)
    me = (await browser.get("/v1/me")).json()
    assert (me["user"]["email"], me["user"]["platformRole"], me["workspace"]["role"]) == (NINA, "user", "approver")
    [(verified, workspaces)] = await company.stage.fetch(
        "SELECT u.email_verified_at IS NOT NULL, (SELECT count(*) FROM t_members m WHERE m.user_id = u.id)"
        " FROM t_users u WHERE email = %s",
        NINA,
    )
    assert (verified, workspaces) == (True, 1)
    for action in ("invitation_created", "user_registered", "invitation_accepted", "member_added", "user_signed_in"):
        [row] = [row for row in await company.stage.events(action) if row["workspace_id"] == company.workspace_id][-1:]
        assert row["decision"] == "allowed"
    [registered] = await company.stage.events("user_registered")
    assert registered["metadata"] == {"method": "invitation", "email": NINA}


async def test_fifty_parallel_uses_of_a_link_admit_one(company: Company) -> None:
    """Goal S6."""
    token = await invite(company)
    answers = await asyncio.gather(*(accept(company, token) for _ in range(50)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 1
    assert {code_of(answer) for answer in answers if answer.status_code != 200} <= {
        (410, "GONE"),
        (401, "UNAUTHORIZED"),
    }
    assert await company.stage.fetch("SELECT count(*) FROM t_users WHERE email = %s", NINA) == [(1,)]
    assert len(await company.stage.events("member_added")) == 1
    again = await accept(company, token)
    assert code_of(again) == (410, "GONE")


async def test_the_link_is_kept_as_a_hash_and_recorded_nowhere(company: Company) -> None:
    token = await invite(company)
    [(stored,)] = await company.stage.fetch("SELECT token_hash FROM t_invitations")
    assert stored == sha256_hex(token)
    [row] = await company.stage.events("invitation_created")
    assert token not in str(row)
    assert (row["metadata"]["email"], row["metadata"]["role"]) == (NINA, "approver")


async def test_the_mail_carries_the_link_and_the_answer_does_not(stage: Stage) -> None:
    letters = Letters()
    people = make_room(stage, letters, registration="invite")
    company = await found_company(stage, people)
    await stage.fetch("UPDATE t_workspaces SET name = '<b>Works</b>' WHERE id = %s", company.workspace_id)
    answer = await company[OLGA].post(INVITATIONS, json={"email": NINA, "role": "viewer"})
    assert answer.json()["delivered"] is True
    assert "inviteUrl" not in answer.json()
    [mail] = letters.posted
    assert (mail.to, mail.subject) == (NINA, "Invitation to <b>Works</b>")
    assert "<b>" not in mail.html
    token = mail.text.partition("token=")[2].split()[0]
    assert (await accept(company, token)).status_code == 200
    refused = await company[OLGA].post(INVITATIONS, json={"email": NINA, "role": "viewer"})
    assert code_of(refused) == (409, "conflict")
    assert len(letters.posted) == 1
    people.close()


async def test_somebody_with_an_account_accepts_signed_in_and_lands_in_the_workspace(company: Company) -> None:
    token = await invite(company, MALLORY, "viewer")
    stranger = await accept(company, token)
    assert code_of(stranger) == (401, "UNAUTHORIZED")
    wrong = await company[VERA].post(ACCEPT, json={"token": token})
    assert code_of(wrong) == (403, "WRONG_ACCOUNT")
    seen = await company[MALLORY].get(f"/api/auth/invitations/{token}")
    assert seen.json()["accountExists"] is True
    joined = await company[MALLORY].post(ACCEPT, json={"token": token})
    assert joined.json()["workspace"]["role"] == "viewer"
    assert (await company[MALLORY].get("/v1/me")).json()["workspace"]["id"] == company.workspace_id
    assert len((await company[MALLORY].get("/v1/workspaces")).json()["workspaces"]) == 2
    assert await company.role(VERA) == "viewer"


async def test_a_request_of_another_site_accepts_nothing(company: Company) -> None:
    token = await invite(company, MALLORY, "viewer")
    answer = await company[MALLORY].post(ACCEPT, json={"token": token}, headers={"origin": "https://evil.test"})
    assert answer.status_code == 403
    assert await company.role(MALLORY) is None


async def test_when_registration_is_closed_only_accounts_accept_and_the_inviter_is_warned(stage: Stage) -> None:
    people = make_room(stage)
    company = await found_company(stage, people)
    answer = await company[OLGA].post(INVITATIONS, json={"email": NINA, "role": "viewer"})
    assert "REGISTRATION=closed" in answer.json()["warnings"][0]
    refused = await accept(company, token_of(answer))
    assert code_of(refused) == (403, "REGISTRATION_CLOSED")
    assert await stage.fetch("SELECT count(*) FROM t_users WHERE email = %s", NINA) == [(0,)]
    token = await invite(company, MALLORY, "viewer")
    assert (await company[MALLORY].post(ACCEPT, json={"token": token})).status_code == 200
    people.close()


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"password": "short"}, "PASSWORD_TOO_SHORT"),
        ({"password": "password1234"}, "PASSWORD_TOO_COMMON"),
        ({"name": ""}, "INVALID_REQUEST"),
        ({"name": None}, "INVALID_REQUEST"),
    ],
)
async def test_a_bad_text_leaves_the_link_usable(company: Company, members: dict[str, object], code: str) -> None:
    token = await invite(company)
    assert code_of(await accept(company, token, **members)) == (400, code)
    assert (await accept(company, token)).status_code == 200


@pytest.mark.parametrize(
    "email", ["", "nobody", "a@b@c", "x\r\nBcc: all@example.com@example.com", "a" * 250 + "@b.test"]
)
async def test_what_is_no_address_is_not_invited(company: Company, email: str) -> None:
    answer = await company[OLGA].post(INVITATIONS, json={"email": email, "role": "viewer"})
    assert code_of(answer) == (400, "invalid_request")
    assert await company.stage.fetch("SELECT count(*) FROM t_invitations") == [(0,)]


async def test_members_and_the_invited_are_not_invited_again(company: Company) -> None:
    await invite(company)
    for email in (NINA.upper(), ADAM.upper()):
        answer = await company[OLGA].post(INVITATIONS, json={"email": email, "role": "viewer"})
        assert code_of(answer) == (409, "conflict")
    await company.stage.fetch("UPDATE t_invitations SET expires_at = now() - interval '1 second'")
    await invite(company)
    assert len((await company[OLGA].get(INVITATIONS)).json()["invitations"]) == 1


async def test_admins_invite_approvers_and_viewers_and_the_owner_admins_too(company: Company) -> None:
    refused = await company[ANN].post(INVITATIONS, json={"email": NINA, "role": "admin"})
    assert code_of(refused) == (403, "insufficient_role")
    assert code_of(await company[OLGA].post(INVITATIONS, json={"email": NINA, "role": "owner"})) == (
        400,
        "invalid_request",
    )
    for email in (ADAM, VERA):
        for answer in (
            await company[email].post(INVITATIONS, json={"email": NINA, "role": "viewer"}),
            await company[email].get(INVITATIONS),
        ):
            assert code_of(answer) == (403, "insufficient_role")
    await invite(company, role="admin")
    [one] = (await company[ANN].get(INVITATIONS)).json()["invitations"]
    assert (one["email"], one["role"], one["invitedBy"]) == (NINA, "admin", company.id(OLGA))
    for answer in (
        await company[ANN].post(f"{INVITATIONS}/{one['id']}/resend"),
        await company[ANN].delete(f"{INVITATIONS}/{one['id']}"),
    ):
        assert code_of(answer) == (403, "insufficient_role")


async def test_a_new_link_kills_the_old_one_and_taking_back_kills_both(company: Company) -> None:
    old = await invite(company)
    [one] = (await company[OLGA].get(INVITATIONS)).json()["invitations"]
    renewed = await company[ANN].post(f"{INVITATIONS}/{one['id']}/resend")
    assert (renewed.status_code, renewed.json()["invitation"]["invitedBy"]) == (200, company.id(ANN))
    assert code_of(await accept(company, old)) == (410, "GONE")
    assert (await company[ANN].delete(f"{INVITATIONS}/{one['id']}")).json() == {"deleted": True}
    assert code_of(await accept(company, token_of(renewed))) == (410, "GONE")
    for answer in (
        await company[OLGA].delete(f"{INVITATIONS}/{one['id']}"),
        await company[OLGA].post(f"{INVITATIONS}/{UNKNOWN}/resend"),
        await company[OLGA].delete(f"{INVITATIONS}/x"),
    ):
        assert code_of(answer) == (404, "not_found")
    assert [len(await company.stage.events(f"invitation_{end}")) for end in ("resent", "revoked")] == [1, 1]


async def test_an_accepted_invitation_is_over(company: Company) -> None:
    token = await invite(company)
    [one] = (await company[OLGA].get(INVITATIONS)).json()["invitations"]
    assert (await accept(company, token)).status_code == 200
    assert (await company[OLGA].get(INVITATIONS)).json() == {"invitations": []}
    for answer in (
        await company[OLGA].delete(f"{INVITATIONS}/{one['id']}"),
        await company[OLGA].post(f"{INVITATIONS}/{one['id']}/resend"),
    ):
        assert code_of(answer) == (410, "gone")


async def test_an_invitation_of_another_workspace_answers_like_an_unknown_one(company: Company) -> None:
    """Acceptance 5."""
    await invite(company)
    [one] = (await company[OLGA].get(INVITATIONS)).json()["invitations"]
    for path in (one["id"], UNKNOWN):
        answers = [
            await company[MALLORY].post(f"{INVITATIONS}/{path}/resend"),
            await company[MALLORY].delete(f"{INVITATIONS}/{path}"),
        ]
        assert [code_of(answer) for answer in answers] == [(404, "not_found")] * 2
        assert answers[0].content == answers[1].content
    assert (await company[MALLORY].get(INVITATIONS)).json() == {"invitations": []}
    assert len((await company[OLGA].get(INVITATIONS)).json()["invitations"]) == 1


@pytest.mark.parametrize("end", ["removed", "demoted", "disabled"])
async def test_a_link_is_worth_nothing_once_the_inviter_may_not_invite(company: Company, end: str) -> None:
    token = await invite(company, by=ANN)
    if end == "removed":
        assert (await company[OLGA].delete(f"{MEMBERS}/{company.id(ANN)}")).status_code == 200
    elif end == "demoted":
        assert (await company[OLGA].patch(f"{MEMBERS}/{company.id(ANN)}", json={"role": "viewer"})).status_code == 200
    else:
        assert (await company[OLGA].post(f"/v1/admin/users/{company.id(ANN)}/disable")).status_code == 200
    assert code_of(await accept(company, token)) == (410, "GONE")
    assert await company.stage.fetch("SELECT count(*) FROM t_users WHERE email = %s", NINA) == [(0,)]


async def test_a_link_is_over_after_a_week(company: Company) -> None:
    token = await invite(company)
    [(days,)] = await company.stage.fetch(
        "SELECT extract(epoch FROM expires_at - created_at) / 86400 FROM t_invitations"
    )
    assert days == 7
    await company.stage.fetch("UPDATE t_invitations SET expires_at = now() - interval '1 second'")
    assert code_of(await accept(company, token)) == (410, "GONE")
    unknown = await company.stage.browser(company.people).get(f"/api/auth/invitations/{'x' * 43}")
    assert code_of(unknown) == (410, "GONE")
