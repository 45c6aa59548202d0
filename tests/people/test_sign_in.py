"""Sign-in, sign-out, the session and the proof of presence: contract/http.md sections 8, 14.1 and 16."""

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from agenthifive.operations.ratelimit import Window
from agenthifive.people import failures
from agenthifive.people.model import Account
from agenthifive.people.registration import Registration
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import Role
from people.stage import ADAM, AGENT_TOKEN, OLGA, PASSWORD, WEB_URL, Browser, Stage

SIGN_IN = "/api/auth/sign-in/email"
WRONG = "orchid-lantern-gravel-78"


async def try_to(client: httpx.AsyncClient, email: str = OLGA, password: str = PASSWORD) -> httpx.Response:
    return await client.post(SIGN_IN, json={"email": email, "password": password})


def refusal(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["message"] == body["error"]
    assert answer.headers["x-agenthifive-error"] == body["code"]
    assert "ah5_session" not in answer.headers.get("set-cookie", "")
    return answer.status_code, body["code"]


async def test_providers(stage: Stage) -> None:
    answer = await stage.browser().get("/api/auth/providers")
    assert answer.json() == {"email": True, "social": [], "passkeys": True, "registration": "closed"}


async def test_providers_names_every_way_in(stage: Stage) -> None:
    people = stage.room(options={"turnstile_site_key": "0x4AAA", "registration": Registration("invite")})
    assert (await stage.browser(people).get("/api/auth/providers")).json() == {
        "email": True,
        "social": [],
        "passkeys": True,
        "registration": "invite",
        "turnstileSiteKey": "0x4AAA",
    }
    people.close()


async def test_signing_in(stage: Stage, olga: Account) -> None:
    answer = await try_to(stage.browser(), " Olga@EXAMPLE.com")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["redirect"], body["token"]) == (False, None)
    assert set(body["user"]) == {"id", "name", "email", "emailVerified", "image", "createdAt", "updatedAt"}
    assert (body["user"]["id"], body["user"]["email"], body["user"]["emailVerified"]) == (olga.user.id, OLGA, True)
    assert answer.headers["cache-control"] == "no-store"
    [event] = await stage.events("user_signed_in")
    assert event["metadata"] == {"method": "password", "factors": ["password"]}
    assert (event["actor"], event["principal_type"], event["workspace_id"]) == (olga.user.id, "user", olga.workspace_id)


async def test_unknown_members_are_ignored_and_missing_ones_named(stage: Stage, olga: Account) -> None:
    client = stage.browser()
    body: dict[str, Any] = {"email": OLGA, "password": PASSWORD, "callbackURL": "/x"}
    assert (await client.post(SIGN_IN, json=body)).status_code == 200
    answer = await client.post(SIGN_IN, json={"email": OLGA})
    assert refusal(answer) == (400, "INVALID_REQUEST")
    assert [field["path"] for field in answer.json()["fields"]] == ["password"]
    assert refusal(await client.post(SIGN_IN, json={"email": OLGA, "password": 7})) == (400, "INVALID_REQUEST")
    twice = await client.post(
        SIGN_IN, content=b'{"email":"a","email":"b"}', headers={"content-type": "application/json"}
    )
    assert refusal(twice) == (400, "INVALID_JSON")


@pytest.mark.parametrize("email", ["nobody@example.com", "no address", "olga\x00@example.com", "", "a" * 5000])
async def test_an_unknown_address_answers_like_a_wrong_password(stage: Stage, olga: Account, email: str) -> None:
    unknown, wrong = await try_to(stage.browser(), email), await try_to(stage.browser(), OLGA, WRONG)
    assert refusal(unknown) == refusal(wrong) == (401, "INVALID_EMAIL_OR_PASSWORD")
    assert unknown.content == wrong.content


async def test_a_failure_is_recorded_at_instance_level_without_the_address(stage: Stage, olga: Account) -> None:
    await try_to(stage.browser(), OLGA, WRONG)
    await try_to(stage.browser(), "nobody@example.com", WRONG)
    wrong, unknown = await stage.events("user_sign_in_failed")
    assert wrong["metadata"] == {
        "reason": "wrong_password",
        "emailSha256": sha256_hex(OLGA),
        "userId": olga.user.id,
    }
    assert unknown["metadata"] == {"reason": "unknown_email", "emailSha256": sha256_hex("nobody@example.com")}
    for event in (wrong, unknown):
        assert (event["workspace_id"], event["actor"], event["decision"]) == (None, "anonymous", "denied")
        assert "@" not in str(event["metadata"])


async def test_an_account_without_password_cannot_sign_in(stage: Stage, olga: Account) -> None:
    await stage.fetch("UPDATE t_users SET password_hash = NULL")
    assert refusal(await try_to(stage.browser())) == (401, "INVALID_EMAIL_OR_PASSWORD")


async def test_a_disabled_account_is_told_only_to_who_knows_its_password(stage: Stage, olga: Account) -> None:
    await stage.fetch("UPDATE t_users SET disabled_at = now()")
    assert refusal(await try_to(stage.browser(), OLGA, WRONG)) == (401, "INVALID_EMAIL_OR_PASSWORD")
    assert refusal(await try_to(stage.browser())) == (403, "ACCOUNT_DISABLED")
    assert await stage.fetch("SELECT 1 FROM t_sessions") == []


@pytest.mark.parametrize("email", [OLGA, "nobody@example.com"])
async def test_after_five_failures_the_account_is_locked_for_everybody(stage: Stage, olga: Account, email: str) -> None:
    for _ in range(5):
        assert refusal(await try_to(stage.browser(), email, WRONG))[0] == 401
    locked = await try_to(stage.browser(ip="198.51.100.9"), email)
    assert refusal(locked) == (429, "TOO_MANY_ATTEMPTS")
    assert 55 <= locked.json()["retryAfter"] <= 60
    assert locked.headers["retry-after"] == str(locked.json()["retryAfter"])
    assert (await stage.events("user_sign_in_failed"))[-1]["metadata"]["reason"] == "locked"


async def test_locks_double_up_to_an_hour_and_a_right_password_clears_them(stage: Stage, olga: Account) -> None:
    for _ in range(5):
        await try_to(stage.browser(), OLGA, WRONG)
    minutes = []
    for _ in range(8):
        minutes.append(round((await try_to(stage.browser())).json()["retryAfter"] / 60))
        await stage.fetch("UPDATE t_sign_in_failures SET locked_until = now()")
        assert refusal(await try_to(stage.browser(), OLGA, WRONG))[0] == 401
    assert minutes == [1, 2, 4, 8, 16, 32, 60, 60]
    await stage.fetch("UPDATE t_sign_in_failures SET locked_until = now()")
    assert (await try_to(stage.browser())).status_code == 200
    assert await stage.fetch("SELECT 1 FROM t_sign_in_failures") == []


async def test_four_failures_are_forgotten_after_a_quiet_quarter_of_an_hour(stage: Stage, olga: Account) -> None:
    for _ in range(4):
        await try_to(stage.browser(), OLGA, WRONG)
    await stage.fetch("UPDATE t_sign_in_failures SET locked_until = now() - interval '15 minutes 1 second'")
    for _ in range(4):
        assert refusal(await try_to(stage.browser(), OLGA, WRONG))[0] == 401
    assert (await try_to(stage.browser())).status_code == 200


async def test_tries_side_by_side_are_each_counted(stage: Stage, olga: Account) -> None:
    """Thirty guesses at once get five comparisons, whichever process they reach."""
    other = stage.room()
    clients = [stage.browser(people) for people in (stage.people, other)]
    answers = await asyncio.gather(*(try_to(clients[n % 2], OLGA, WRONG) for n in range(30)))
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 25
    other.close()


async def test_running_sessions_are_not_locked(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    for _ in range(6):
        await try_to(stage.browser(), OLGA, WRONG)
    assert (await browser.get("/v1/me")).status_code == 200
    answer = await browser.post("/api/auth/reauthenticate", json={"password": PASSWORD})
    assert answer.status_code == 200, answer.text


async def test_the_address_limit_of_the_route(stage: Stage, olga: Account) -> None:
    people = stage.room(sign_in=Window(3, 60))
    client = stage.browser(people, ip="198.51.100.77")
    statuses = [(await try_to(client)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    answer = await try_to(client)
    assert refusal(answer) == (429, "RATE_LIMITED")
    assert answer.json()["limit"] == {"name": "sign_in", "max": 3, "windowSeconds": 60}
    people.close()


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.test"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
@pytest.mark.parametrize("path", [SIGN_IN, "/api/auth/sign-out", "/api/auth/setup", "/api/auth/reauthenticate"])
async def test_another_site_signs_nobody_in_or_out(
    stage: Stage, olga: Account, path: str, headers: dict[str, str]
) -> None:
    browser = await stage.sign_in(OLGA)
    body = {"email": OLGA, "password": PASSWORD, "token": "x", "name": "Olga"}
    answer = await browser.post(path, json=body, headers=headers)
    assert refusal(answer) == (403, "ORIGIN_NOT_ALLOWED")
    assert await stage.fetch("SELECT count(*) FROM t_sessions") == [(1,)]


async def test_our_own_pages_may_sign_in(stage: Stage, olga: Account) -> None:
    client = stage.browser(headers={"origin": WEB_URL, "sec-fetch-site": "same-origin"})
    assert (await try_to(client)).status_code == 200


async def test_get_session(stage: Stage, olga: Account) -> None:
    assert (await stage.browser().get("/api/auth/get-session")).content == b"null"
    browser = await stage.sign_in(OLGA)
    body = (await browser.get("/api/auth/get-session")).json()
    assert set(body["session"]) == {
        "id", "expiresAt", "token", "userId", "createdAt", "updatedAt", "ipAddress", "userAgent",
    }  # fmt: skip
    assert body["session"]["token"] == body["session"]["id"]
    assert body["session"]["ipAddress"] == "203.0.113.7"
    assert body["session"]["userId"] == body["user"]["id"] == olga.user.id
    assert browser.cookies["ah5_session"][:43] not in str(body)


async def test_the_session_id_is_no_credential(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    shown = (await browser.get("/api/auth/get-session")).json()["session"]["token"]
    thief = stage.browser(cookies={"ah5_session": shown})
    assert (await thief.get("/api/auth/get-session")).json() is None
    assert (await thief.get("/v1/me", headers={"authorization": f"Bearer {shown}"})).status_code == 401


async def test_signing_out_ends_this_session_only(stage: Stage, olga: Account) -> None:
    first, second = await stage.sign_in(OLGA), await stage.sign_in(OLGA)
    stolen = first.cookies["ah5_session"]
    answer = await first.post("/api/auth/sign-out", json={})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert "ah5_session" not in first.cookies
    assert (await stage.browser(cookies={"ah5_session": stolen}).get("/v1/me")).status_code == 401
    assert (await second.get("/v1/me")).status_code == 200
    [event] = await stage.events("user_signed_out")
    assert (event["actor"], event["metadata"]) == (olga.user.id, {"sessions": 1})


async def test_signing_out_without_a_session_is_fine(stage: Stage) -> None:
    answer = await stage.browser().post("/api/auth/sign-out")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert await stage.events("user_signed_out") == []


async def test_the_csrf_token_belongs_to_the_session(stage: Stage, olga: Account) -> None:
    first, second = await stage.sign_in(OLGA), await stage.sign_in(OLGA)
    assert await first.take_csrf() == await first.take_csrf() != await second.take_csrf()
    assert refusal(await stage.browser().get("/api/auth/csrf")) == (401, "AUTHENTICATION_REQUIRED")


@pytest.mark.parametrize("given", [None, "", "x", "other"])
async def test_without_the_csrf_token_a_cookie_changes_nothing(stage: Stage, olga: Account, given: str | None) -> None:
    browser, other = await stage.sign_in(OLGA), await stage.sign_in(OLGA)
    del browser.headers["x-ah5-csrf"]
    if given is not None:
        browser.headers["x-ah5-csrf"] = await other.take_csrf() if given == "other" else given
    answer = await browser.post("/v1/tokens", json={"name": "CI"})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    assert await stage.fetch("SELECT 1 FROM t_personal_tokens") == []


async def test_reauthenticating_makes_the_sign_in_recent(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '1 hour'")
    answer = await browser.post("/api/auth/reauthenticate", json={"password": PASSWORD})
    assert answer.status_code == 200
    rows = await stage.fetch("SELECT now() - auth_time < interval '10 seconds' FROM t_sessions")
    assert rows == [(True,)]
    assert set(answer.json()) == {"authTime"}
    [event] = await stage.events("user_reauthenticated")
    assert (event["decision"], event["metadata"]) == ("allowed", {"method": "password"})


async def test_reauthenticating_touches_no_other_session(stage: Stage, olga: Account) -> None:
    await stage.sign_in(OLGA)
    browser = await stage.sign_in(OLGA)
    await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '1 hour'")
    await browser.post("/api/auth/reauthenticate", json={"password": PASSWORD})
    rows = await stage.fetch("SELECT count(*) FROM t_sessions WHERE auth_time > now() - interval '1 minute'")
    assert rows == [(1,)]


async def test_a_stolen_session_cannot_guess_the_password(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    for _ in range(5):
        answer = await browser.post("/api/auth/reauthenticate", json={"password": WRONG})
        assert refusal(answer) == (401, "INVALID_PASSWORD")
    answer = await browser.post("/api/auth/reauthenticate", json={"password": PASSWORD})
    assert refusal(answer) == (429, "TOO_MANY_ATTEMPTS")
    denied = await stage.events("user_reauthenticated")
    assert [event["decision"] for event in denied] == ["denied"] * 5
    assert (await try_to(stage.browser())).status_code == 200  # the sign-in counts for itself


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/auth/csrf"), ("POST", "/api/auth/reauthenticate")])
async def test_outsiders_of_the_session_routes(stage: Stage, olga: Account, method: str, path: str) -> None:
    token = await _pat(await stage.sign_in(OLGA))
    body = {"password": PASSWORD} if method == "POST" else None
    for text, code in ((AGENT_TOKEN, "AGENT_NOT_ALLOWED"), (token, "PAT_NOT_ALLOWED")):
        answer = await stage.browser().request(method, path, json=body, headers={"authorization": f"Bearer {text}"})
        assert refusal(answer) == (403, code)
    assert (await stage.browser().request(method, path, json=body)).status_code == 401


async def test_no_connection_is_held_while_a_password_is_compared(
    stage: Stage, olga: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    async def look(*_: Any) -> bool:
        seen.append(stage.database.stats()["pool_available"] == stage.database.stats()["pool_size"])
        return False

    monkeypatch.setattr(stage.people.passwords, "is_right", look)
    await try_to(stage.browser())
    assert seen == [True]


async def test_a_flood_of_failures_is_merged_in_the_log(
    stage: Stage, olga: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "time", SimpleNamespace(time=lambda: 1_764_500_000.0))  # all within one minute
    client = stage.browser(ip="198.51.100.200")
    for n in range(64):
        await try_to(client, f"nobody{n}@example.com", WRONG)
    assert len(await stage.events("user_sign_in_failed")) == 60


async def test_the_session_starts_in_the_workspace_joined_first(stage: Stage, olga: Account) -> None:
    adam = await stage.add(ADAM, olga.workspace_id, Role.APPROVER)
    insert = "INSERT INTO t_workspaces (id, name, owner_id) VALUES (gen_random_uuid(), 'Later', %s)"
    await stage.fetch(insert, adam.user.id)
    await stage.fetch(
        "INSERT INTO t_members (workspace_id, user_id, role, joined_at)"
        " SELECT id, owner_id, 'owner', now() + interval '1 second' FROM t_workspaces WHERE name = 'Later'"
    )
    body = (await (await stage.sign_in(ADAM)).get("/v1/me")).json()
    assert body["workspace"]["id"] == olga.workspace_id


async def _pat(browser: Browser) -> str:
    answer = await browser.post("/v1/tokens", json={"name": "CI"})
    return str(answer.json()["plainToken"])
