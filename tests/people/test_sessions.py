"""A session cookie works exactly while we signed it, its session is in force and its user is enabled."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.people.model import Account
from agenthifive.people.sessions import SessionKeys
from agenthifive.vault import base64url
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import PrincipalType, Role
from people.stage import ADAM, OLGA, PASSWORD, Browser, Stage, cookies_of

KEYS = SessionKeys(b"k" * 32)


def test_the_cookie_is_the_token_and_its_hmac() -> None:
    token = "t" * 43
    cookie = KEYS.sign(token)
    assert cookie.startswith(token + ".")
    assert len(base64url.decode(cookie[44:])) == 32
    assert KEYS.read(cookie) == token


@given(st.text(max_size=120))
def test_no_made_up_cookie_is_read(text: str) -> None:
    assert KEYS.read(text) is None


@given(st.integers(0, 86), st.characters(codec="latin-1"))
def test_no_changed_cookie_is_read(place: int, character: str) -> None:
    cookie = KEYS.sign("aB-_" * 10 + "xyz")
    changed = cookie[:place] + character + cookie[place + 1 :]
    assert (KEYS.read(changed) is None) == (changed != cookie)


def test_another_secret_reads_no_cookie_and_makes_other_csrf_tokens() -> None:
    other = SessionKeys(b"l" * 32)
    assert other.read(KEYS.sign("t" * 43)) is None
    assert other.csrf_token("a") != KEYS.csrf_token("a")
    assert KEYS.csrf_token("a") != KEYS.csrf_token("b")


async def test_only_the_hash_of_the_token_is_stored(stage: Stage, olga: Account) -> None:
    cookie = await _cookie(stage)
    rows = await stage.fetch("SELECT to_jsonb(s)::text, s.token_hash FROM t_sessions s")
    assert rows[0][1] == sha256_hex(cookie[:43])
    assert cookie[:43] not in rows[0][0]


async def test_a_session_becomes_its_user(stage: Stage, olga: Account) -> None:
    caller = await stage.people.caller_by_session(await _cookie(stage))
    assert caller is not None
    assert (caller.kind, caller.id, caller.user_id) == (PrincipalType.USER, olga.user.id, olga.user.id)
    assert (caller.workspace_id, caller.role, caller.platform_role) == (olga.workspace_id, Role.OWNER, "superadmin")
    assert caller.csrf
    assert caller.auth_time_s


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE t_users SET disabled_at = now()",
        "UPDATE t_sessions SET expires_at = now()",
        "UPDATE t_sessions SET last_seen_at = now() - interval '12 hours 1 second'",
        "DELETE FROM t_sessions",
    ],
)
async def test_what_ends_a_session(stage: Stage, olga: Account, change: str) -> None:
    cookie = await _cookie(stage)
    await stage.fetch(change)
    assert await stage.people.caller_by_session(cookie) is None
    assert await stage.people.sessions.find(cookie) is None


async def test_use_keeps_a_session_but_not_beyond_a_week(stage: Stage, olga: Account) -> None:
    cookie = await _cookie(stage)
    await stage.fetch("UPDATE t_sessions SET last_seen_at = now() - interval '11 hours'")
    session = await stage.people.sessions.find(cookie)
    assert session is not None
    assert 3500 < (session.ends_at - session.last_seen_at).total_seconds() - 11 * 3600 < 3700
    again = await stage.people.sessions.find(cookie)
    assert again is not None
    assert (again.ends_at - session.ends_at).total_seconds() > 10 * 3600
    assert (await stage.fetch("SELECT expires_at - created_at = interval '7 days' FROM t_sessions"))[0][0] is True


async def test_use_is_written_at_most_once_a_minute(stage: Stage, olga: Account) -> None:
    cookie = await _cookie(stage)
    before = await stage.fetch("SELECT xmin::text FROM t_sessions")
    await stage.people.sessions.find(cookie)
    assert await stage.fetch("SELECT xmin::text FROM t_sessions") == before


async def test_a_session_of_a_lost_membership_says_so(stage: Stage, olga: Account) -> None:
    await stage.add(ADAM, olga.workspace_id, Role.APPROVER)
    adam = await stage.sign_in(ADAM)
    await stage.fetch("DELETE FROM t_members WHERE role = 'approver'")
    answer = await adam.get("/v1/workspaces/current")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_a_member")
    caller = await stage.people.caller_by_session(adam.cookies["ah5_session"])
    assert caller is not None
    assert (caller.workspace_id, caller.role) == ("", None)


async def test_on_https_the_cookie_is_bound_to_the_host(stage: Stage, olga: Account) -> None:
    people = stage.room("https://ah5.example.com")
    body = {"email": OLGA, "password": PASSWORD}
    answer = await stage.browser(people).post("/api/auth/sign-in/email", json=body)
    line = cookies_of(answer)["__Host-ah5_session"]
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=604800"} <= set(line.split("; ")[1:])
    assert "domain" not in line.lower()
    people.close()


async def test_on_http_the_cookie_is_plain_and_http_only(stage: Stage, olga: Account) -> None:
    answer = await stage.browser().post("/api/auth/sign-in/email", json={"email": OLGA, "password": PASSWORD})
    parts = set(cookies_of(answer)["ah5_session"].split("; ")[1:])
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= parts
    assert "Secure" not in parts


async def test_a_session_that_is_not_to_be_remembered_has_no_age(stage: Stage, olga: Account) -> None:
    body = {"email": OLGA, "password": PASSWORD, "rememberMe": False}
    answer = await stage.browser().post("/api/auth/sign-in/email", json=body)
    assert "max-age" not in cookies_of(answer)["ah5_session"].lower()


async def test_a_new_secret_signs_everybody_out(stage: Stage, olga: Account) -> None:
    cookie = await _cookie(stage)
    people = stage.room(secret=b"another secret of the tests, as long")
    client = stage.browser(people, cookies={"ah5_session": cookie})
    answer = await client.get("/api/auth/get-session")
    assert (answer.status_code, answer.json()) == (200, None)
    assert (await client.get("/v1/me")).status_code == 401
    people.close()


async def test_the_first_of_two_cookies_counts_everywhere(stage: Stage, olga: Account) -> None:
    """A second cookie of the same name, planted by a neighbour site, is not read by some routes and not by others."""
    cookie = await _cookie(stage)
    client = stage.browser(headers={"cookie": f"ah5_session={cookie}; ah5_session=planted"})
    assert (await client.get("/v1/me")).status_code == 200
    assert (await client.get("/api/auth/get-session")).json() is not None
    assert (await client.post("/api/auth/sign-out", json={})).status_code == 200
    assert (await client.get("/v1/me")).status_code == 401


async def test_an_account_that_changes_while_its_password_is_compared_gets_no_session(
    stage: Stage, olga: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_right = stage.people.passwords.is_right

    async def change_meanwhile(stored: str | None, password: str) -> bool:
        result = await is_right(stored, password)
        await stage.fetch("UPDATE t_users SET disabled_at = now()")
        return result

    monkeypatch.setattr(stage.people.passwords, "is_right", change_meanwhile)
    answer = await stage.browser().post("/api/auth/sign-in/email", json={"email": OLGA, "password": PASSWORD})
    assert answer.status_code == 401
    assert await stage.fetch("SELECT 1 FROM t_sessions") == []


async def test_two_requests_at_once_both_find_the_session(stage: Stage, olga: Account) -> None:
    cookie = await _cookie(stage)
    await stage.fetch("UPDATE t_sessions SET last_seen_at = now() - interval '1 hour'")
    found = await asyncio.gather(*(stage.people.caller_by_session(cookie) for _ in range(8)))
    assert all(found)


async def _cookie(stage: Stage) -> str:
    browser: Browser = await stage.sign_in(OLGA)
    return browser.cookies["ah5_session"]
