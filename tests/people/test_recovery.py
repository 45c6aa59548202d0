"""Choosing a password by a link: contract/http.md section 14.1, acceptance 28, goals S6 (reset link)."""

import asyncio
from typing import Any

import httpx
import pytest

from agenthifive.operations.ratelimit import Window
from agenthifive.people import links
from agenthifive.people.links import Purpose
from agenthifive.people.model import Account
from agenthifive.people.service import People
from people.stage import ADAM, OLGA, PASSWORD, Browser, Stage

ASK = "/api/auth/request-password-reset"
RESET = "/api/auth/reset-password"
NEW = "velvet-harbour-thistle-12"


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def ask(stage: Stage, email: str = OLGA, people: People | None = None, **members: Any) -> httpx.Response:
    """Ask for a link, and let what follows happen."""
    people = people or stage.people
    answer = await stage.browser(people).post(ASK, json={"email": email, **members})
    await people.errands.close()
    return answer


async def link(stage: Stage, email: str = OLGA) -> str:
    """The token of a fresh reset link."""
    assert (await ask(stage, email)).status_code == 200
    return stage.postbox.token(email)


async def reset(client: Browser, token: str, password: str = NEW, **members: Any) -> httpx.Response:
    return await client.post(RESET, json={"token": token, "newPassword": password, **members})


async def sign_in(stage: Stage, password: str, email: str = OLGA) -> httpx.Response:
    return await stage.browser().post("/api/auth/sign-in/email", json={"email": email, "password": password})


async def test_a_reset_ends_every_session_and_works_once(stage: Stage, olga: Account) -> None:
    """Acceptance 28."""
    first, second = await stage.sign_in(OLGA), await stage.sign_in(OLGA)
    other = stage.room()
    on_another_replica = stage.browser(other, cookies={"ah5_session": first.cookies["ah5_session"]})
    token = await link(stage)
    answer = await reset(stage.browser(), token)
    assert (answer.status_code, answer.json()) == (200, {"status": True})
    for browser in (first, second, on_another_replica):
        assert (await browser.get("/v1/me")).status_code == 401
        assert (await browser.get("/api/auth/get-session")).json() is None
    assert await stage.fetch("SELECT 1 FROM t_sessions") == []
    assert refused(await reset(stage.browser(), token, "another-harbour-thistle-13")) == (400, "INVALID_TOKEN")
    assert (await sign_in(stage, PASSWORD)).status_code == 401
    assert (await sign_in(stage, NEW)).status_code == 200
    [event] = await stage.events("password_reset")
    assert (event["metadata"], event["actor"]) == ({"sessionsEnded": 2}, olga.user.id)
    assert stage.postbox.mails[-1].subject == "Your password was changed"
    other.close()


async def test_fifty_parallel_uses_of_one_link_are_one_success(stage: Stage, olga: Account) -> None:
    token, other = await link(stage), stage.room()
    clients = [stage.browser(), stage.browser(other)]
    chosen = [f"velvet-harbour-thistle-{n}" for n in range(50)]
    answers = await asyncio.gather(*(reset(clients[n % 2], token, chosen[n]) for n in range(50)))
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] + [400] * 49
    assert {refused(answer) for answer in answers if answer.status_code == 400} == {(400, "INVALID_TOKEN")}
    assert (await sign_in(stage, chosen[statuses.index(200)])).status_code == 200
    assert len(await stage.events("password_reset")) == 1
    other.close()


@pytest.mark.parametrize("going_on", ["https://evil.test", "//evil.test", "/\\evil.test", "reset", "", "/a/../b"])
async def test_only_a_path_of_ours_is_gone_on_to(stage: Stage, olga: Account, going_on: str) -> None:
    answer = await ask(stage, redirectTo=going_on)
    assert refused(answer) == (400, "INVALID_CALLBACK_URL")
    assert stage.postbox.mails == []


async def test_a_link_leads_to_the_one_page_that_takes_it(stage: Stage, olga: Account) -> None:
    """Whoever asks cannot choose where the token of somebody else is sent."""
    assert (await ask(stage, redirectTo="/dashboard")).status_code == 200
    assert str(stage.postbox.mails[-1].link).startswith(f"{stage.people.web_url}/reset-password?token=")


@pytest.mark.parametrize("email", ["nobody@example.com", "no address", "", "olga@example.com\r\nBcc: a@b.example"])
async def test_asking_tells_nothing_about_an_address(stage: Stage, olga: Account, email: str) -> None:
    unknown, known = await ask(stage, email), await ask(stage)
    assert (unknown.status_code, unknown.content) == (known.status_code, known.content)
    assert {name for name in unknown.headers if name != "x-request-id"} == {
        name for name in known.headers if name != "x-request-id"
    }
    assert [mail.to for mail in stage.postbox.mails] == [OLGA]
    [event] = await stage.events("password_reset_requested")
    assert (event["metadata"], event["actor"]) == ({"userId": olga.user.id}, "anonymous")


async def test_the_answer_waits_for_nothing_that_depends_on_the_address(stage: Stage, olga: Account) -> None:
    """When the answer is there, nobody has looked the address up yet: its timing cannot tell."""
    seen = []

    class Waiting:
        def run(self, work: Any) -> None:
            seen.append(work)

        async def close(self) -> None:
            """Nothing runs."""

    people = stage.room()
    people.recovery._errands = Waiting()  # type: ignore[assignment]
    for email in (OLGA, "nobody@example.com"):
        assert (await stage.browser(people).post(ASK, json={"email": email})).status_code == 200
    assert len(seen) == 2
    assert await stage.fetch("SELECT 1 FROM t_one_time_links") == []
    people.close()


async def test_a_disabled_account_gets_no_link(stage: Stage, olga: Account) -> None:
    await stage.fetch("UPDATE t_users SET disabled_at = now()")
    assert (await ask(stage)).status_code == 200
    assert stage.postbox.mails == []


async def test_an_account_gets_three_links_an_hour_and_nobody_notices(stage: Stage, olga: Account) -> None:
    answers = [await ask(stage, OLGA.upper() if n % 2 else OLGA) for n in range(6)]
    assert {answer.status_code for answer in answers} == {200}
    assert len(stage.postbox.mails) == len(await stage.events("password_reset_requested")) == 3


async def test_the_address_limit_of_the_route(stage: Stage, olga: Account) -> None:
    people = stage.room(password_reset=Window(2, 3600))
    answers = [await ask(stage, "nobody@example.com", people) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["limit"]["name"] == "password_reset"
    people.close()


async def test_a_newer_link_voids_the_earlier_one(stage: Stage, olga: Account) -> None:
    first, second = await link(stage), await link(stage)
    assert refused(await reset(stage.browser(), first)) == (400, "INVALID_TOKEN")
    assert (await reset(stage.browser(), second)).status_code == 200


async def test_a_link_ends_after_an_hour(stage: Stage, olga: Account) -> None:
    token = await link(stage)
    [(left,)] = await stage.fetch("SELECT extract(epoch FROM expires_at - now())::int FROM t_one_time_links")
    assert 3590 <= left <= 3600
    await stage.fetch("UPDATE t_one_time_links SET expires_at = now()")
    assert refused(await reset(stage.browser(), token)) == (400, "INVALID_TOKEN")


@pytest.mark.parametrize("token", ["", "x", "a" * 43, "a" * 5000, "\x00"])
async def test_tokens_that_are_none(stage: Stage, olga: Account, token: str) -> None:
    await link(stage)
    assert refused(await reset(stage.browser(), token)) == (400, "INVALID_TOKEN")
    assert (await sign_in(stage, PASSWORD)).status_code == 200


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("abcde-fghij", "PASSWORD_TOO_SHORT"),
        ("password1234", "PASSWORD_TOO_COMMON"),
        (OLGA, "PASSWORD_TOO_COMMON"),
        ("x" * 129, "INVALID_REQUEST"),
    ],
)
async def test_a_refused_password_leaves_the_link_unspent(
    stage: Stage, olga: Account, password: str, code: str
) -> None:
    token = await link(stage)
    answer = await reset(stage.browser(), token, password)
    assert refused(answer) == (400, code)
    assert [field["path"] for field in answer.json()["fields"]] == ["newPassword"]
    assert (await sign_in(stage, PASSWORD)).status_code == 200
    assert (await reset(stage.browser(), token)).status_code == 200


async def test_a_password_may_have_128_characters_of_any_kind(stage: Stage, olga: Account) -> None:
    password = "Zu spät — 遅すぎる " + "x" * 113
    assert len(password) == 128
    assert (await reset(stage.browser(), await link(stage), password)).status_code == 200
    assert (await sign_in(stage, password)).status_code == 200


@pytest.mark.parametrize("revokes", [True, False, None])
async def test_tokens_end_where_wished(stage: Stage, olga: Account, revokes: bool | None) -> None:
    browser = await stage.sign_in(OLGA)
    pat = (await browser.post("/v1/tokens", json={"name": "CI"})).json()["plainToken"]
    adam = await stage.add(ADAM)
    hers = {"authorization": f"Bearer {pat}"}
    await reset(stage.browser(), await link(stage), revokeTokens=revokes)
    assert (await stage.browser().get("/v1/me", headers=hers)).status_code == (401 if revokes else 200)
    [event] = await stage.events("password_reset")
    assert event["metadata"] == {"sessionsEnded": 1, **({"tokensRevoked": 1} if revokes else {})}
    assert (await sign_in(stage, PASSWORD, ADAM)).status_code == 200, adam


async def test_only_this_persons_sessions_end(stage: Stage, olga: Account) -> None:
    await stage.add(ADAM)
    adam = await stage.sign_in(ADAM)
    await reset(stage.browser(), await link(stage))
    assert (await adam.get("/v1/me")).status_code == 200


async def test_a_reset_lets_somebody_in_who_was_locked_out(stage: Stage, olga: Account) -> None:
    for _ in range(6):
        await sign_in(stage, "orchid-lantern-gravel-78")
    assert (await sign_in(stage, PASSWORD)).status_code == 429
    await reset(stage.browser(), await link(stage))
    assert (await sign_in(stage, NEW)).status_code == 200


async def test_an_account_without_password_chooses_one(stage: Stage, olga: Account) -> None:
    async with stage.unit() as unit:
        adam = await stage.people.accounts.create_user(unit, ADAM, "Adam", None)
        token = await links.issue(await unit.begin(), Purpose.RESET, adam.user.id, links.SET_PASSWORD_TTL_S)
    [(left,)] = await stage.fetch("SELECT extract(epoch FROM expires_at - now())::int FROM t_one_time_links")
    assert left > 23 * 3600
    assert (await reset(stage.browser(), token)).status_code == 200
    assert (await sign_in(stage, NEW, ADAM)).status_code == 200


async def test_no_session_slips_past_a_reset(stage: Stage, olga: Account) -> None:
    """A sign-in whose password was compared before the reset, and which opens its session while it runs."""
    [(old,)] = await stage.fetch("SELECT password_hash FROM t_users")
    async with stage.unit() as resetting:
        connection = await resetting.begin()
        await connection.execute("UPDATE t_users SET password_hash = 'another'")
        await connection.execute("DELETE FROM t_sessions")
        async with stage.unit() as signing_in:
            opening = asyncio.create_task(stage.people.sessions.open(signing_in, olga.user.id, ["password"], old))
            waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            while not opening.done() and not await stage.fetch(waiting):
                await asyncio.sleep(0)
            await resetting.finish()
            assert await opening is None
    assert await stage.fetch("SELECT 1 FROM t_sessions") == []


async def test_no_connection_is_held_while_a_password_is_hashed(
    stage: Stage, olga: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, seen = await link(stage), []

    async def look(_: str) -> str:
        seen.append(stage.database.stats()["pool_available"] == stage.database.stats()["pool_size"])
        return "$argon2id$"

    monkeypatch.setattr(stage.people.passwords, "hash", look)
    await reset(stage.browser(), token)
    assert seen == [True]
