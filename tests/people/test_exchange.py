"""A session becomes a JWT for its own person only, in a workspace of theirs only.

Source: contract/http.md section 13, acceptance 10, 11, 14, 17 and 38.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from agenthifive.ids import new_id
from application import WEB_URL, Place, run_application
from databases import TestDatabase, fresh_database
from jwt_stage import EXCHANGE, WIDE_LIMITS, exchange, sign_in, user_jwt
from signing_keys import environ, taken_apart


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with fresh_database(f"exchange_{worker_id}") as made:
        home = tmp_path_factory.mktemp("home")
        async with run_application(made.app_dsn, home, **environ("a"), **WIDE_LIMITS) as running:
            yield running


@pytest.fixture
def own(worker_id: str) -> Iterator[TestDatabase]:
    with fresh_database(f"exchange_own_{worker_id}") as made:
        yield made


def told(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert body["message"] == body["error"]
    return answer.status_code, body["code"]


async def test_the_cookie_alone_is_enough(place: Place) -> None:
    cookie = await sign_in(place, place.owner_id)
    for headers in ({}, {"origin": WEB_URL}, {"sec-fetch-site": "same-origin"}):
        answer = await exchange(place, cookie, **headers)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json().keys() == {"token", "expiresAt"}


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.test"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
     {"origin": WEB_URL, "sec-fetch-site": "cross-site"}],
)  # fmt: skip
async def test_another_site_gets_nothing(place: Place, headers: dict[str, str]) -> None:
    answer = await exchange(place, await sign_in(place, place.owner_id), **headers)
    assert told(answer) == (403, "ORIGIN_NOT_ALLOWED")
    assert "token" not in answer.json()


async def test_without_a_session_there_is_no_token(place: Place) -> None:
    cookie = await sign_in(place, place.owner_id)
    for spoilt in (None, "ah5_session=", "ah5_session=x", cookie[:-1], cookie + "x"):
        assert told(await exchange(place, spoilt)) == (401, "UNAUTHORIZED")
    await place.execute("DELETE FROM t_sessions", [])
    assert told(await exchange(place, cookie)) == (401, "UNAUTHORIZED")


async def test_no_other_credential_becomes_a_jwt(place: Place) -> None:
    cookie = await sign_in(place, place.owner_id)
    _, agent = await place.add_agent()
    for token in (await place.add_pat(place.owner_id), agent, await user_jwt(place, cookie)):
        assert told(await exchange(place, None, authorization=f"Bearer {token}")) == (401, "UNAUTHORIZED")
        assert told(await exchange(place, cookie, authorization=f"Bearer {token}")) == (401, "UNAUTHORIZED")


async def test_a_disabled_account_is_told_so(place: Place) -> None:
    adam = await place.add_person("admin")
    cookie = await sign_in(place, adam)
    await place.execute("UPDATE t_users SET disabled_at = now() WHERE id = %s", [adam])
    assert told(await exchange(place, cookie)) == (403, "ACCOUNT_DISABLED")


async def test_a_workspace_of_ones_own_may_be_named(place: Place) -> None:
    other = new_id()
    mallory = await place.add_person("owner", other)
    await place.execute(
        "INSERT INTO t_members (workspace_id, user_id, role, joined_at) VALUES (%s, %s, 'viewer', now())",
        [place.workspace_id, mallory],
    )
    cookie = await sign_in(place, mallory)
    for body, workspace_id, role in (
        (None, other, "owner"),
        ({}, other, "owner"),
        ({"workspaceId": None}, other, "owner"),
        ({"workspaceId": place.workspace_id, "colour": 1}, place.workspace_id, "viewer"),
    ):
        claims = taken_apart(await user_jwt(place, cookie, body))[1]
        assert (claims["wid"], claims["roles"]) == (workspace_id, [role])


async def test_a_workspace_of_others_is_refused_like_one_that_is_not(place: Place) -> None:
    other = new_id()
    await place.add_person("owner", other)
    cookie = await sign_in(place, place.owner_id)
    answers = [await exchange(place, cookie, {"workspaceId": named}) for named in (other, new_id(), "w", "")]
    assert {told(answer) for answer in answers} == {(403, "NOT_A_MEMBER")}
    assert len({answer.content for answer in answers}) == 1
    assert told(await exchange(place, cookie, {"workspaceId": 1})) == (400, "INVALID_REQUEST")


async def test_a_lost_membership_is_told(place: Place) -> None:
    adam = await place.add_person("admin")
    cookie = await sign_in(place, adam)
    await place.execute("DELETE FROM t_members WHERE user_id = %s", [adam])
    assert told(await exchange(place, cookie)) == (403, "NOT_A_MEMBER")


async def test_where_nobody_registers_nobody_gets_a_workspace(place: Place) -> None:
    nobody = await place.add_person(None)
    assert told(await exchange(place, await sign_in(place, nobody))) == (403, "NOT_A_MEMBER")
    assert await place.execute("SELECT FROM t_members WHERE user_id = %s", [nobody]) == []


@pytest.mark.parametrize("rule", ["open", "domain:example.com"])
async def test_where_people_register_a_verified_person_gets_one_workspace(
    own: TestDatabase, tmp_path: Path, rule: str
) -> None:
    async with run_application(own.app_dsn, tmp_path, REGISTRATION=rule, **environ("a"), **WIDE_LIMITS) as place:
        nobody = await place.add_person(None)
        cookie = await sign_in(place, nobody)
        answers = await asyncio.gather(*(exchange(place, cookie) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        rows = await place.execute(
            "SELECT w.id::text, w.name, m.role FROM t_members m JOIN t_workspaces w ON w.id = m.workspace_id"
            " WHERE m.user_id = %s", [nobody],
        )  # fmt: skip
        [(workspace_id, name, role)] = rows
        assert (name, role) == ("nobody's workspace", "owner")
        assert {taken_apart(answer.json()["token"])[1]["wid"] for answer in answers} == {workspace_id}
        created = await place.execute(
            "SELECT actor FROM l_audit_events WHERE action = 'workspace_created' AND workspace_id = %s", [workspace_id]
        )
        assert created == [(nobody,)]
        assert (await place.ask("GET", "/v1/workspaces/current", headers={"cookie": cookie})).status_code == 200


@pytest.mark.parametrize("rule", ["open", "invite", "closed"])
async def test_an_unverified_person_gets_none(own: TestDatabase, tmp_path: Path, rule: str) -> None:
    async with run_application(own.app_dsn, tmp_path, REGISTRATION=rule, **environ("a"), **WIDE_LIMITS) as place:
        nobody = await place.add_person(None)
        await place.execute("UPDATE t_users SET email_verified_at = NULL WHERE id = %s", [nobody])
        assert told(await exchange(place, await sign_in(place, nobody))) == (403, "NOT_A_MEMBER")
        assert await place.execute("SELECT FROM t_members WHERE user_id = %s", [nobody]) == []


async def test_the_31st_within_a_minute_waits(own: TestDatabase, tmp_path: Path) -> None:
    async with run_application(own.app_dsn, tmp_path, **environ("a")) as place:
        cookie = await sign_in(place, place.owner_id)
        answers = [await exchange(place, cookie) for _ in range(31)]
        assert [answer.status_code for answer in answers] == [200] * 30 + [429]
        assert told(answers[-1]) == (429, "RATE_LIMITED")
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert answers[0].headers["x-ratelimit-limit"] == "30"


async def test_a_disabled_person_is_stopped_on_every_replica_and_let_in_again(
    own: TestDatabase, tmp_path: Path
) -> None:
    """Session, JWT and personal token at once; enabling restores the personal token."""
    settings = {**environ("a"), **WIDE_LIMITS}
    async with (
        run_application(own.app_dsn, tmp_path, **settings) as first,
        run_application(own.app_dsn, tmp_path, has_owner=False, **settings) as second,
    ):
        cookie, pat = await sign_in(first, first.owner_id), await first.add_pat(first.owner_id)
        token = await user_jwt(second, cookie)
        credentials = ({"cookie": cookie}, {"authorization": f"Bearer {token}"}, {"x-api-key": pat})
        for place in (first, second):
            for headers in credentials:
                assert (await place.ask("GET", "/v1/me", headers=headers)).status_code == 200
        await first.execute("UPDATE t_users SET disabled_at = now() WHERE id = %s", [first.owner_id])
        for place in (first, second):
            for headers in credentials:
                assert (await place.ask("GET", "/v1/me", headers=headers)).status_code == 401
        await first.execute("UPDATE t_users SET disabled_at = NULL WHERE id = %s", [first.owner_id])
        assert (await second.ask("GET", "/v1/me", headers={"x-api-key": pat})).status_code == 200


async def test_another_secret_ends_every_session(own: TestDatabase, tmp_path: Path) -> None:
    async with run_application(own.app_dsn, tmp_path, **environ("a")) as place:
        cookie = await sign_in(place, place.owner_id)
    secret = "another-secret-of-at-least-thirty-two-characters"
    async with run_application(
        own.app_dsn, tmp_path, has_owner=False, BETTER_AUTH_SECRET=secret, **environ("a")
    ) as place:
        assert (await place.ask("GET", "/api/auth/get-session", headers={"cookie": cookie})).json() is None
        assert told(await exchange(place, cookie)) == (401, "UNAUTHORIZED")


async def test_a_token_in_the_query_is_no_credential_and_in_no_log(
    place: Place, capfd: pytest.CaptureFixture[str]
) -> None:
    token = await user_jwt(place, await sign_in(place, place.owner_id))
    _, agent = await place.add_agent()
    for text in (token, agent):
        for name in ("key", "access_token", "token"):
            answer = await place.ask("GET", f"/v1/connections?{name}={text}")
            assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credential_type")
            assert text not in answer.text
    place.app.journal.flush()
    written = capfd.readouterr()
    assert token not in written.out + written.err
    assert agent not in written.out + written.err
    rows = await place.execute("SELECT count(*) FROM l_audit_events e WHERE to_jsonb(e)::text LIKE %s", [f"%{token}%"])
    assert rows == [(0,)]


async def test_the_route_takes_posts_only(place: Place) -> None:
    assert (await place.ask("GET", EXCHANGE)).status_code == 405
