"""What people do with their own account: contract/http.md section 14.1."""

import asyncio
from typing import Any

import httpx
import pytest

from agenthifive.ids import new_id
from agenthifive.people.model import Account
from agenthifive.people.passwords import AT_A_TIME
from people.stage import ADAM, AGENT_TOKEN, MALLORY, OLGA, PASSWORD, Browser, Stage, cookies_of

CHANGE = "/api/auth/change-password"
USER = "/api/auth/user"
LIST = "/api/auth/list-sessions"
REVOKE = "/api/auth/revoke-session"
OTHERS = "/api/auth/revoke-other-sessions"
NEW = "velvet-harbour-thistle-12"
WRONG = "orchid-lantern-gravel-78"


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def change(browser: Browser, current: str = PASSWORD, new: str = NEW) -> httpx.Response:
    return await browser.post(CHANGE, json={"currentPassword": current, "newPassword": new})


async def sign_in(stage: Stage, password: str, email: str = OLGA) -> httpx.Response:
    return await stage.browser().post("/api/auth/sign-in/email", json={"email": email, "password": password})


async def test_changing_the_password_ends_the_other_sessions(stage: Stage, olga: Account) -> None:
    here, there = await stage.sign_in(OLGA), await stage.sign_in(OLGA)
    assert (await change(here)).status_code == 200
    assert (await here.get("/v1/me")).status_code == 200
    assert (await there.get("/v1/me")).status_code == 401
    assert (await sign_in(stage, PASSWORD)).status_code == 401
    assert (await sign_in(stage, NEW)).status_code == 200
    [event] = await stage.events("password_changed")
    assert (event["metadata"], event["actor"]) == ({"sessionsEnded": 1}, olga.user.id)
    assert [(mail.to, mail.subject) for mail in stage.postbox.mails] == [(OLGA, "Your password was changed")]


async def test_a_wrong_password_changes_nothing_and_is_counted(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    for _ in range(5):
        assert refused(await change(browser, WRONG)) == (401, "INVALID_PASSWORD")
    assert refused(await change(browser)) == (429, "TOO_MANY_ATTEMPTS")
    assert (await sign_in(stage, PASSWORD)).status_code == 200, "a stranger's sign-in is counted apart"
    assert await stage.events("password_changed") == []
    assert stage.postbox.mails == []


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("abcde-fghij", "PASSWORD_TOO_SHORT"),
        ("password1234", "PASSWORD_TOO_COMMON"),
        (OLGA.upper(), "PASSWORD_TOO_COMMON"),
        ("x" * 129, "INVALID_REQUEST"),
    ],
)
async def test_new_passwords_that_are_refused(stage: Stage, olga: Account, password: str, code: str) -> None:
    answer = await change(await stage.sign_in(OLGA), PASSWORD, password)
    assert refused(answer) == (400, code)
    assert answer.json()["fields"][0]["path"] == "newPassword"
    assert (await sign_in(stage, PASSWORD)).status_code == 200


async def test_an_account_without_password_cannot_change_it(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    await stage.fetch("UPDATE t_users SET password_hash = NULL")
    assert refused(await change(browser)) == (401, "INVALID_PASSWORD")


async def test_of_two_changes_side_by_side_one_happens(stage: Stage, olga: Account) -> None:
    here, there = await stage.sign_in(OLGA), await stage.sign_in(OLGA)
    answers = await asyncio.gather(change(here), change(there, PASSWORD, "another-harbour-thistle"))
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    assert len(await stage.events("password_changed")) == 1


async def test_name_and_picture(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    picture = "https://example.com/olga.png"
    answer = await browser.patch(USER, json={"name": " Ólga 奥尔加 ", "image": picture})
    user = answer.json()["user"]
    assert (answer.status_code, user["name"], user["image"]) == (200, "Ólga 奥尔加", picture)
    session = (await browser.get("/api/auth/get-session")).json()
    assert (session["user"]["name"], session["user"]["image"]) == ("Ólga 奥尔加", picture)
    user = (await browser.patch(USER, json={"image": "", "name": None})).json()["user"]
    assert (user["name"], user["image"]) == ("Ólga 奥尔加", None)
    assert [event["metadata"] for event in await stage.events("user_updated")] == [
        {"fields": ["name", "image"]},
        {"fields": ["image"]},
    ]


async def test_changing_nothing_is_recorded_nowhere(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    assert (await browser.patch(USER, json={"email": MALLORY, "platformRole": "superadmin"})).status_code == 200
    assert await stage.fetch("SELECT email, platform_role FROM t_users") == [(OLGA, "superadmin")]
    assert await stage.events("user_updated") == []


@pytest.mark.parametrize(
    "members",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "Olga\r\nBcc: vera@example.com"},
        {"name": "Ol\u202ega"},
        {"name": 7},
        {"image": "http://example.com/x.png"},
        {"image": "javascript:alert(1)"},
        {"image": "https://example.com/\r\nx"},
        {"image": "https://" + "x" * 2000},
    ],
)
async def test_names_and_pictures_that_are_refused(stage: Stage, olga: Account, members: dict[str, Any]) -> None:
    answer = await (await stage.sign_in(OLGA)).patch(USER, json=members)
    assert refused(answer) == (400, "INVALID_REQUEST")
    assert await stage.fetch("SELECT name, image FROM t_users") == [("Olga", None)]


async def test_the_list_of_sessions(stage: Stage, olga: Account) -> None:
    await stage.add(ADAM)
    await stage.sign_in(ADAM)
    ended, here = await stage.sign_in(OLGA), await stage.sign_in(OLGA)
    ended_id = (await ended.get("/api/auth/get-session")).json()["session"]["id"]
    await stage.fetch("UPDATE t_sessions SET last_seen_at = now() - interval '13 hours' WHERE id = %s", ended_id)
    there = await stage.sign_in(OLGA)
    rows = (await here.get(LIST)).json()
    assert [set(row) for row in rows] == [
        {"id", "createdAt", "updatedAt", "expiresAt", "ipAddress", "userAgent", "current"}
    ] * 2
    ids = [(await browser.get("/api/auth/get-session")).json()["session"]["id"] for browser in (here, there)]
    assert {row["id"]: row["current"] for row in rows} == {ids[0]: True, ids[1]: False}


async def test_ending_one_session(stage: Stage, olga: Account) -> None:
    here, there = await stage.sign_in(OLGA), await stage.sign_in(OLGA)
    there_id = (await there.get("/api/auth/get-session")).json()["session"]["id"]
    assert (await here.post(REVOKE, json={"id": there_id})).json() == {"status": True}
    assert (await there.get("/v1/me")).status_code == 401
    assert (await here.get("/v1/me")).status_code == 200
    assert [event["metadata"] for event in await stage.events("session_revoked")] == [{"sessions": 1}]


async def test_foreign_and_unknown_sessions_look_alike(stage: Stage, olga: Account) -> None:
    await stage.add(MALLORY)
    hers, mallory = await stage.sign_in(OLGA), await stage.sign_in(MALLORY)
    foreign = (await hers.get("/api/auth/get-session")).json()["session"]["id"]
    answers = [await mallory.post(REVOKE, json={"id": each}) for each in (foreign, new_id(), "no id", "")]
    assert {refused(answer) for answer in answers} == {(404, "NOT_FOUND")}
    assert len({answer.content for answer in answers}) == 1
    assert (await hers.get("/v1/me")).status_code == 200
    assert await stage.events("session_revoked") == []


async def test_ending_all_other_sessions(stage: Stage, olga: Account) -> None:
    await stage.add(ADAM)
    adam = await stage.sign_in(ADAM)
    browsers = [await stage.sign_in(OLGA) for _ in range(4)]
    assert (await browsers[2].post(OTHERS)).json() == {"status": True}
    assert [(await browser.get("/v1/me")).status_code for browser in browsers] == [401, 401, 200, 401]
    assert (await adam.get("/v1/me")).status_code == 200
    await browsers[2].post(OTHERS)
    assert [event["metadata"] for event in await stage.events("session_revoked")] == [{"sessions": 3, "all": True}]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", CHANGE, {"currentPassword": PASSWORD, "newPassword": NEW}),
        ("PATCH", USER, {"name": "Mallory"}),
        ("GET", LIST, None),
        ("POST", REVOKE, {"id": new_id()}),
        ("POST", OTHERS, {}),
    ],
)
async def test_outsiders(stage: Stage, olga: Account, method: str, path: str, body: Any) -> None:
    browser = await stage.sign_in(OLGA)
    pat = (await browser.post("/v1/tokens", json={"name": "CI"})).json()["plainToken"]
    for text, code in ((AGENT_TOKEN, "AGENT_NOT_ALLOWED"), (pat, "PAT_NOT_ALLOWED")):
        answer = await stage.browser().request(method, path, json=body, headers={"authorization": f"Bearer {text}"})
        assert refused(answer) == (403, code)
    assert (await stage.browser().request(method, path, json=body)).status_code == 401
    if method != "GET":
        for headers in ({"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}):
            answer = await browser.request(method, path, json=body, headers=headers)
            assert refused(answer) == (403, "ORIGIN_NOT_ALLOWED")
    assert await stage.fetch("SELECT name FROM t_users") == [("Olga",)]
    assert (await sign_in(stage, PASSWORD)).status_code == 200


@pytest.mark.parametrize("planted", ["planted", "a" * 43, "a" * 43 + "." + "b" * 43])
async def test_a_planted_cookie_never_becomes_a_session(stage: Stage, olga: Account, planted: str) -> None:
    """Session fixation: whoever signs in gets a value nobody knew before."""
    browser = stage.browser(cookies={"ah5_session": planted})
    answer = await browser.post("/api/auth/sign-in/email", json={"email": OLGA, "password": PASSWORD})
    assert planted not in cookies_of(answer)["ah5_session"]
    thief = stage.browser(cookies={"ah5_session": planted})
    assert (await thief.get("/api/auth/get-session")).json() is None


async def test_a_session_of_somebody_else_does_not_become_hers(stage: Stage, olga: Account) -> None:
    """Mallory plants her own living session; Olga signs in over it and Mallory's cookie stays Mallory's."""
    await stage.add(MALLORY)
    mallory = await stage.sign_in(MALLORY)
    planted = mallory.cookies["ah5_session"]
    victim = stage.browser(cookies={"ah5_session": planted})
    answer = await victim.post("/api/auth/sign-in/email", json={"email": OLGA, "password": PASSWORD})
    assert planted not in cookies_of(answer)["ah5_session"]
    thief = stage.browser(cookies={"ah5_session": planted})
    assert (await thief.get("/api/auth/get-session")).json()["user"]["email"] == MALLORY


async def test_a_flood_of_guesses_is_bounded_and_locks_only_what_was_guessed(stage: Stage, olga: Account) -> None:
    """Credential stuffing over many accounts: never more than two comparisons at a time, and Adam still signs in."""
    await stage.add(ADAM)
    running, peak = 0, 0
    compare = stage.people.passwords._compare

    def watched(stored: str, password: str) -> bool:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        try:
            return compare(stored, password)
        finally:
            running -= 1

    stage.people.passwords._compare = watched  # type: ignore[method-assign]
    client = stage.browser()
    emails = [OLGA if n % 2 else f"nobody{n}@example.com" for n in range(200)]
    body = [{"email": email, "password": f"{WRONG}{n}"} for n, email in enumerate(emails)]
    slots = asyncio.Semaphore(24)

    async def guess(each: dict[str, str]) -> httpx.Response:
        async with slots:
            return await client.post("/api/auth/sign-in/email", json=each)

    answers = await asyncio.gather(*(guess(each) for each in body))
    assert {answer.status_code for answer in answers} <= {401, 429, 503}
    on_olga = [answer.status_code for answer, email in zip(answers, emails, strict=True) if email == OLGA]
    assert on_olga.count(401) <= 5, "what cannot be counted is not compared"
    assert on_olga.count(429) > 0
    assert 1 <= peak <= AT_A_TIME
    for answer in answers:
        assert (answer.status_code == 401) == ("retry-after" not in answer.headers)
    assert (await sign_in(stage, PASSWORD, ADAM)).status_code == 200


async def test_a_person_without_a_workspace_keeps_their_account_in_order(stage: Stage, olga: Account) -> None:
    await stage.add(ADAM)
    adam = await stage.sign_in(ADAM)
    await stage.fetch("DELETE FROM t_members WHERE user_id <> %s", olga.user.id)
    assert (await adam.get("/v1/me")).json()["workspace"] is None
    assert len((await adam.get(LIST)).json()) == 1
    assert (await adam.patch(USER, json={"name": "Ádám"})).json()["user"]["name"] == "Ádám"
    assert (await adam.post("/api/auth/reauthenticate", json={"password": PASSWORD})).status_code == 200
    assert (await change(adam)).status_code == 200


async def test_a_body_of_the_sign_in_routes_has_at_most_64_kib(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    assert refused(await change(browser, "x" * 70_000)) == (413, "PAYLOAD_TOO_LARGE")
    assert (await change(browser)).status_code == 200
