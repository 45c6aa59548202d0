"""The first person: a set-up link works once, for a day, for exactly one of any number of people at once."""

import asyncio
from typing import Any

import httpx
import pytest

from agenthifive.errors import AppError
from agenthifive.operations.ratelimit import Window
from agenthifive.people.model import Account
from agenthifive.people.setup import FirstPerson
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import Role
from people.stage import OLGA, PASSWORD, RELEASE, WEB_URL, Stage

SET_UP = "/api/auth/setup"


def body(link_token: str, **changes: Any) -> dict[str, Any]:
    return {"token": link_token, "name": "Olga", "email": OLGA, "password": PASSWORD, **changes}


def code(answer: httpx.Response) -> tuple[int, str]:
    assert answer.json()["message"] == answer.json()["error"]
    return answer.status_code, answer.json()["code"]


async def test_the_link_points_at_our_own_page_and_only_its_hash_is_stored(stage: Stage) -> None:
    async with stage.unit() as unit:
        link = await stage.people.setup.issue_link(unit)
    assert link.startswith(f"{WEB_URL}/setup?token=")
    token = link.partition("=")[2]
    assert len(token) == 43
    rows = await stage.fetch(
        "SELECT token_hash, purpose, used_at, expires_at - created_at = interval '24 hours' FROM t_one_time_links"
    )
    assert rows == [(sha256_hex(token), "setup", None, True)]


async def test_the_first_person_becomes_superadmin_and_owner_and_is_signed_in(stage: Stage) -> None:
    browser = stage.browser()
    answer = await browser.post(SET_UP, json=body(await stage.link_token(), name="  Olga ", email="Olga@Example.com"))
    assert answer.status_code == 200, answer.text
    user = answer.json()["user"]
    assert (user["name"], user["email"], user["emailVerified"]) == ("Olga", "Olga@Example.com", True)
    assert answer.headers["cache-control"] == "no-store"
    me = (await browser.get("/v1/me")).json()
    assert me["user"]["platformRole"] == "superadmin"
    assert (me["workspace"]["name"], me["workspace"]["role"]) == ("Olga's workspace", "owner")
    stored = (await stage.fetch("SELECT password_hash FROM t_users"))[0][0]
    assert stored.startswith("$argon2id$")
    assert (
        await browser.post("/api/auth/sign-in/email", json={"email": OLGA, "password": PASSWORD})
    ).status_code == 200


async def test_what_is_recorded_of_a_set_up(stage: Stage) -> None:
    answer = await stage.browser().post(SET_UP, json=body(await stage.link_token()))
    user_id = answer.json()["user"]["id"]
    [set_up], [registered] = await stage.events("instance_set_up"), await stage.events("user_registered")
    [created] = await stage.events("workspace_created")
    assert (set_up["metadata"], set_up["workspace_id"]) == (RELEASE, None)
    assert registered["metadata"] == {"method": "setup", "email": OLGA}
    assert created["metadata"] == {"name": "Olga's workspace"}
    assert created["workspace_id"] == registered["workspace_id"] is not None
    for event in (set_up, registered, created):
        assert (event["actor"], event["principal_id"], event["ip"]) == (user_id, user_id, "203.0.113.7")


async def test_a_link_works_once(stage: Stage) -> None:
    token = await stage.link_token()
    assert (await stage.browser().post(SET_UP, json=body(token))).status_code == 200
    again = await stage.browser().post(SET_UP, json=body(token, email="mallory@evil.test"))
    assert code(again) == (410, "GONE")
    assert await stage.fetch("SELECT count(*) FROM t_users") == [(1,)]


async def test_a_link_works_for_a_day(stage: Stage) -> None:
    token = await stage.link_token()
    await stage.fetch("UPDATE t_one_time_links SET expires_at = now()")
    assert code(await stage.browser().post(SET_UP, json=body(token))) == (410, "GONE")


@pytest.mark.parametrize("token", ["", "x", "a" * 43, "\x00", "é" * 43])
async def test_an_unknown_link_is_gone(stage: Stage, token: str) -> None:
    await stage.link_token()
    assert code(await stage.browser().post(SET_UP, json=body(token))) == (410, "GONE")
    assert await stage.fetch("SELECT count(*) FROM t_users") == [(0,)]


async def test_a_new_link_voids_the_earlier_one(stage: Stage) -> None:
    earlier, later = await stage.link_token(), await stage.link_token()
    assert code(await stage.browser().post(SET_UP, json=body(earlier))) == (410, "GONE")
    assert (await stage.browser().post(SET_UP, json=body(later))).status_code == 200


async def test_links_issued_side_by_side_leave_one_that_works(stage: Stage) -> None:
    await asyncio.gather(*(stage.link_token() for _ in range(8)))
    assert await stage.fetch("SELECT count(*) FROM t_one_time_links") == [(1,)]


async def test_no_link_for_an_instance_that_is_set_up(stage: Stage, olga: Account) -> None:
    with pytest.raises(AppError) as refused:
        await stage.link_token()
    assert refused.value.code == "ALREADY_SET_UP"
    assert await stage.fetch("SELECT 1 FROM t_one_time_links") == []


async def test_a_live_link_is_of_no_use_once_somebody_has_an_account(stage: Stage) -> None:
    token = await stage.link_token()
    await stage.add("adam@example.com")
    assert code(await stage.browser().post(SET_UP, json=body(token))) == (409, "ALREADY_SET_UP")
    assert await stage.fetch("SELECT used_at FROM t_one_time_links") == [(None,)]
    assert await stage.fetch("SELECT count(*) FROM t_users") == [(1,)]


async def test_of_many_who_use_one_link_at_once_one_succeeds(stage: Stage) -> None:
    token, other = await stage.link_token(), stage.room()
    clients = [stage.browser(people) for people in (stage.people, other)]
    answers = await asyncio.gather(
        *(clients[n % 2].post(SET_UP, json=body(token, email=f"p{n}@example.com")) for n in range(12))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [410] * 11
    assert await stage.fetch("SELECT count(*) FROM t_users") == [(1,)]
    assert await stage.fetch("SELECT count(*) FROM t_workspaces") == [(1,)]
    assert len(await stage.events("instance_set_up")) == 1
    other.close()


async def test_of_many_with_links_of_their_own_one_succeeds(stage: Stage) -> None:
    """Two live links cannot come about, but if they did the database would still admit one first person."""
    tokens = [f"{n}" * 43 for n in range(6)]
    for token in tokens:
        await stage.fetch(
            "INSERT INTO t_one_time_links (token_hash, purpose, expires_at)"
            " VALUES (%s, 'setup', now() + interval '1 hour')",
            sha256_hex(token),
        )
    client = stage.browser()
    answers = await asyncio.gather(
        *(client.post(SET_UP, json=body(token, email=f"{token[0]}@example.com")) for token in tokens)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    assert await stage.fetch("SELECT count(*) FROM t_users") == [(1,)]


async def test_a_set_up_and_the_command_line_do_not_both_create_the_first_user(stage: Stage) -> None:
    token = await stage.link_token()
    answers = await asyncio.gather(
        stage.browser().post(SET_UP, json=body(token)), stage.add("adam@example.com"), return_exceptions=True
    )
    first = answers[0]
    assert isinstance(first, httpx.Response)
    superadmins = await stage.fetch("SELECT count(*) FROM t_users WHERE platform_role = 'superadmin'")
    assert superadmins == [(1,)]
    assert first.status_code in (200, 409)


@pytest.mark.parametrize(
    ("changes", "refused", "fields"),
    [
        ({"name": ""}, "INVALID_REQUEST", ["name"]),
        ({"name": "a" * 101}, "INVALID_REQUEST", ["name"]),
        ({"email": "olga"}, "INVALID_EMAIL", ["email"]),
        ({"password": "short"}, "PASSWORD_TOO_SHORT", ["password"]),
        ({"password": "password1234"}, "PASSWORD_TOO_COMMON", ["password"]),
        ({"password": "olga@EXAMPLE.com"}, "PASSWORD_TOO_COMMON", ["password"]),
        ({"name": "Olga Petrovna", "password": "olga petrovna"}, "PASSWORD_TOO_COMMON", ["password"]),
        ({"password": "x" * 129}, "INVALID_REQUEST", ["password"]),
        ({"email": "olga", "password": "short", "name": " "}, "INVALID_REQUEST", ["name", "email", "password"]),
        ({"email": None}, "INVALID_REQUEST", ["email"]),
        ({"token": 7}, "INVALID_REQUEST", ["token"]),
    ],
)
async def test_texts_that_are_refused_leave_the_link_usable(
    stage: Stage, changes: dict[str, Any], refused: str, fields: list[str]
) -> None:
    token = await stage.link_token()
    answer = await stage.browser().post(SET_UP, json=body(token, **changes))
    assert code(answer) == (400, refused)
    assert [field["path"] for field in answer.json()["fields"]] == fields
    assert "short" not in answer.text.replace("PASSWORD_TOO_SHORT", "")
    assert (await stage.browser().post(SET_UP, json=body(token))).status_code == 200


async def test_a_dead_link_costs_no_hashing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: str) -> str:
        raise AssertionError("hashed for nobody")

    monkeypatch.setattr(stage.people.passwords, "hash", fail)
    assert code(await stage.browser().post(SET_UP, json=body("x"))) == (410, "GONE")


async def test_links_are_limited_per_address(stage: Stage) -> None:
    people = stage.room(one_time_link=Window(2, 60))
    client = stage.browser(people, ip="198.51.100.78")
    statuses = [(await client.post(SET_UP, json=body("x"))).status_code for _ in range(3)]
    assert statuses == [410, 410, 429]
    assert (await client.get("/setup?token=x")).status_code == 429
    people.close()


async def test_the_first_token_opens_everything_the_owner_may(stage: Stage) -> None:
    token = await stage.link_token()
    async with stage.unit() as unit:
        first = FirstPerson(token, "Olga", OLGA, PASSWORD)
        established = await stage.people.setup.redeem(unit, first)
        issued = await stage.people.setup.create_first_token(unit, established.account, via="setup")
    caller = await stage.people.caller_by_pat(issued.plain)
    assert caller is not None
    assert caller.role is Role.OWNER
    assert {"agents:write", "policies:write", "connections:write", "vault:execute"} <= caller.scopes
    [event] = await stage.events("pat_created")
    assert event["metadata"]["via"] == "setup"
    assert event["workspace_id"] == established.account.workspace_id


def test_no_secret_shows_when_a_value_is_printed() -> None:
    assert PASSWORD not in repr(FirstPerson("t" * 43, "Olga", OLGA, PASSWORD))
    assert "ttt" not in repr(FirstPerson("t" * 43, "Olga", OLGA, PASSWORD))
