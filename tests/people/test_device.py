"""A program signs in by a code: a person sees what asks, decides once, and one poll gets the token.

Source: contract/http.md section 14.4, acceptance 32.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

from agenthifive.ids import new_id
from agenthifive.people.device import LETTERS, read_user_code
from agenthifive.words import PAT_DEFAULT_SCOPES, PAT_SCOPES
from application import WEB_URL, Place, run_application
from databases import fresh_database
from jwt_stage import csrf, sign_in

START = "/api/auth/device-code"
POLL = f"{START}/poll"
DECIDE = f"{START}/decision"


@pytest_asyncio.fixture(scope="module")
async def replicas(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Place]]:
    with fresh_database(f"device_{worker_id}") as made:
        home = tmp_path_factory.mktemp("home")
        async with (
            run_application(made.app_dsn, home) as first,
            run_application(made.app_dsn, home, has_owner=False) as second,
        ):
            second.owner_id, second.workspace_id = first.owner_id, first.workspace_id
            yield [first, second]


@pytest_asyncio.fixture
async def place(replicas: list[Place]) -> Place:
    """The instance without what other tests counted."""
    await replicas[0].execute("DELETE FROM t_rate_limits", [])
    return replicas[0]


@pytest_asyncio.fixture
async def olga(place: Place) -> dict[str, str]:
    """The headers of Olga's browser, freshly signed in."""
    return await csrf(place, await sign_in(place, place.owner_id))


async def start(place: Place, **body: Any) -> dict[str, Any]:
    answer = await place.ask("POST", START, body=body or None, headers={"user-agent": "ah5/1.0"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def poll(place: Place, started: dict[str, Any]) -> httpx.Response:
    return await place.ask("POST", POLL, body={"deviceCode": started["deviceCode"]})


async def decide(place: Place, browser: dict[str, str], started: dict[str, Any], **body: Any) -> httpx.Response:
    decision = {"userCode": started["userCode"], "approve": True, **body}
    return await place.ask("POST", DECIDE, body=decision, headers=browser)


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def events(place: Place, action: str) -> list[dict[str, Any]]:
    rows = await place.execute(
        "SELECT to_jsonb(e) FROM l_audit_events e WHERE action = %s AND workspace_id = %s ORDER BY id",
        [action, place.workspace_id],
    )
    return [row[0] for row in rows]


async def tokens(place: Place) -> int:
    [(count,)] = await place.execute("SELECT count(*) FROM t_personal_tokens", [])
    return int(count)


async def test_a_program_is_told_its_codes(place: Place) -> None:
    answer = await place.ask("POST", START)
    started = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert started.keys() == {"deviceCode", "userCode", "verificationUri", "verificationUriComplete", "expiresIn",
                              "interval"}  # fmt: skip
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", started["deviceCode"])
    assert re.fullmatch(f"[{LETTERS}]{{4}}-[{LETTERS}]{{4}}", started["userCode"])
    assert started["verificationUri"] == f"{WEB_URL}/device"
    assert started["verificationUriComplete"] == f"{WEB_URL}/device?code={started['userCode']}"
    assert (started["expiresIn"], started["interval"]) == (600, 5)


async def test_the_database_knows_neither_code(place: Place) -> None:
    started = await start(place)
    [(row,)] = await place.execute("SELECT json_agg(to_jsonb(d))::text FROM t_device_logins d", [])
    for code in (started["deviceCode"], started["userCode"], started["userCode"].replace("-", "")):
        assert code not in row


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "a\u202eb", 1])
async def test_a_program_with_a_name_that_deceives_is_refused(place: Place, name: object) -> None:
    answer = await place.ask("POST", START, body={"clientName": name})
    assert told(answer) == (400, "INVALID_REQUEST")


async def test_the_11th_start_within_a_minute_waits(place: Place) -> None:
    answers = [await place.ask("POST", START) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]


async def test_a_person_sees_what_asks(place: Place, olga: dict[str, str]) -> None:
    started = await start(place, clientName="ah5 on build-7")
    answer = await place.ask("GET", f"{START}?code={started['userCode'].lower()}", headers=olga)
    shown = answer.json()
    assert (shown["clientName"], shown["ipAddress"], shown["userAgent"]) == ("ah5 on build-7", "203.0.113.7", "ah5/1.0")
    assert 0 <= shown["ageSeconds"] < 60
    assert shown["workspaceId"] == place.workspace_id
    assert shown["expiresInDays"] == 30
    [workspace] = shown["workspaces"]
    assert (workspace["id"], workspace["role"]) == (place.workspace_id, "owner")
    assert workspace["scopes"] == list(PAT_SCOPES)
    assert workspace["defaultScopes"] == list(PAT_DEFAULT_SCOPES)


async def test_only_a_session_sees_and_decides(place: Place, olga: dict[str, str]) -> None:
    started = await start(place)
    pat = await place.add_pat(place.owner_id)
    _, agent = await place.add_agent()
    body = {"userCode": started["userCode"], "approve": True}
    for method, path, sent in (("GET", f"{START}?code={started['userCode']}", None), ("POST", DECIDE, body)):
        assert told(await place.ask(method, path, body=sent))[0] == 401
        assert told(await place.ask(method, path, pat, sent)) == (403, "PAT_NOT_ALLOWED")
        assert told(await place.ask(method, path, agent, sent)) == (403, "AGENT_NOT_ALLOWED")
    without = {"cookie": olga["cookie"]}
    other = await csrf(place, await sign_in(place, place.owner_id))
    for headers in (without, {**without, "x-ah5-csrf": other["x-ah5-csrf"]}):
        assert told(await place.ask("POST", DECIDE, body=body, headers=headers)) == (403, "CSRF_FAILED")
    foreign = {**olga, "origin": "https://evil.test"}
    assert told(await place.ask("POST", DECIDE, body=body, headers=foreign)) == (403, "ORIGIN_NOT_ALLOWED")
    assert (await poll(place, started)).status_code == 202


async def test_an_approved_program_gets_a_token_with_what_was_shown(place: Place, olga: dict[str, str]) -> None:
    started = await start(place, clientName="ah5 on build-7")
    waiting = await poll(place, started)
    assert (waiting.status_code, waiting.json()) == (202, {"status": "pending", "interval": 5})
    assert (await decide(place, olga, started)).json() == {"status": "approved"}
    answer = await poll(place, started)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json().keys() == {"token", "expiresAt"}
    days = datetime.fromisoformat(answer.json()["expiresAt"]) - datetime.now(UTC)
    assert 29 <= days.days <= 30
    me = (await place.ask("GET", "/v1/me", answer.json()["token"])).json()
    assert (me["user"]["id"], me["workspace"]["id"]) == (place.owner_id, place.workspace_id)
    assert me["principal"]["scopes"] == [scope for scope in PAT_SCOPES if scope in PAT_DEFAULT_SCOPES]
    approved, created = (await events(place, "device_login_approved"))[-1], (await events(place, "pat_created"))[-1]
    assert approved["metadata"] == {"clientName": "ah5 on build-7", "scopes": list(PAT_DEFAULT_SCOPES)}
    assert (created["metadata"]["via"], created["metadata"]["name"]) == ("device", "ah5 on build-7")
    assert (approved["actor"], created["actor"]) == (place.owner_id, place.owner_id)
    listed = (await place.ask("GET", "/v1/tokens", headers=olga)).json()["tokens"]
    assert listed[-1]["name"] == "ah5 on build-7"


async def test_scopes_days_and_workspace_may_be_chosen(place: Place, olga: dict[str, str]) -> None:
    other = new_id()
    values = [other, place.owner_id]
    await place.execute("INSERT INTO t_workspaces (id, name, owner_id) VALUES (%s, 'Other', %s)", values)
    await place.execute("INSERT INTO t_members VALUES (%s, %s, 'owner', now())", values)
    started = await start(place)
    chosen = {"workspaceId": other, "scopes": ["audit:read"], "expiresInDays": 1}
    assert (await decide(place, olga, started, **chosen)).status_code == 200
    answer = await poll(place, started)
    me = (await place.ask("GET", "/v1/me", answer.json()["token"])).json()
    assert (me["workspace"]["id"], me["principal"]["scopes"]) == (other, ["audit:read"])
    left = datetime.fromisoformat(answer.json()["expiresAt"]) - datetime.now(UTC)
    assert left.days == 0


@pytest.mark.parametrize(
    "body",
    [{"expiresInDays": 0}, {"expiresInDays": 366}, {"expiresInDays": "30"}, {"scopes": []}, {"scopes": ["root"]},
     {"scopes": ["capabilities:request"]}, {"approve": "yes"}, {"userCode": 1}],
)  # fmt: skip
async def test_a_decision_that_is_none_changes_nothing(place: Place, olga: dict[str, str], body: Any) -> None:
    started = await start(place)
    assert told(await decide(place, olga, started, **body)) == (400, "INVALID_REQUEST")
    assert (await poll(place, started)).status_code == 202


async def test_nobody_gives_away_more_than_their_role_can_use(place: Place) -> None:
    viewer = await place.add_person("viewer")
    browser = await csrf(place, await sign_in(place, viewer))
    started = await start(place)
    for scopes in (["vault:execute"], ["policies:write"], ["*"], ["audit:read", "connections:write"]):
        await place.execute("DELETE FROM t_rate_limits", [])
        assert told(await decide(place, browser, started, scopes=scopes)) == (403, "INSUFFICIENT_ROLE")
    assert (await decide(place, browser, started)).status_code == 200
    token = (await poll(place, started)).json()["token"]
    me = (await place.ask("GET", "/v1/me", token)).json()
    assert set(me["principal"]["scopes"]) == {"connections:read", "audit:read", "capabilities:read"}
    [(stored,)] = await place.execute("SELECT scopes FROM t_personal_tokens ORDER BY created_at DESC LIMIT 1", [])
    assert set(stored) == set(me["principal"]["scopes"])


async def test_a_workspace_of_others_cannot_be_given_away(place: Place, olga: dict[str, str]) -> None:
    other = new_id()
    await place.add_person("owner", other)
    started = await start(place)
    for workspace_id in (other, new_id(), "w"):
        answer = await decide(place, olga, started, workspaceId=workspace_id)
        assert told(answer) == (403, "NOT_A_MEMBER")
    assert (await poll(place, started)).status_code == 202


async def test_sensitive_scopes_need_a_recent_sign_in(place: Place, olga: dict[str, str]) -> None:
    started = await start(place)
    await place.execute("UPDATE t_sessions SET auth_time = now() - interval '11 minutes'", [])
    assert told(await decide(place, olga, started, scopes=["agents:write"])) == (403, "REAUTH_REQUIRED")
    assert (await decide(place, olga, started, scopes=["agents:read"])).status_code == 200
    await place.execute("UPDATE t_sessions SET auth_time = now()", [])
    again = await start(place)
    assert (await decide(place, olga, again, scopes=["agents:write"])).status_code == 200


async def test_a_denied_program_gets_nothing(place: Place, olga: dict[str, str]) -> None:
    before = await tokens(place)
    started = await start(place, clientName="unknown")
    assert (await decide(place, olga, started, approve=False)).json() == {"status": "denied"}
    for _ in range(2):
        answer = await poll(place, started)
        assert told(answer) == (403, "ACCESS_DENIED")
        assert answer.json()["status"] == "denied"
    assert await tokens(place) == before
    denied = (await events(place, "device_login_denied"))[-1]
    assert (denied["decision"], denied["metadata"]["clientName"]) == ("denied", "unknown")


async def test_denying_needs_no_recent_sign_in(place: Place, olga: dict[str, str]) -> None:
    started = await start(place)
    await place.execute("UPDATE t_sessions SET auth_time = now() - interval '11 hours'", [])
    assert (await decide(place, olga, started, approve=False, scopes=["agents:write"])).status_code == 200


async def test_a_code_is_decided_once(place: Place, olga: dict[str, str]) -> None:
    started = await start(place)
    answers = await asyncio.gather(
        *(decide(place, olga, started, approve=bool(number % 2)) for number in range(5)), return_exceptions=False
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    await place.execute("DELETE FROM t_rate_limits", [])
    assert told(await decide(place, olga, started)) == (409, "CONFLICT")
    assert told(await place.ask("GET", f"{START}?code={started['userCode']}", headers=olga)) == (409, "CONFLICT")


async def test_after_ten_minutes_it_is_over(place: Place, olga: dict[str, str]) -> None:
    approved, waiting = await start(place), await start(place)
    assert (await decide(place, olga, approved)).status_code == 200
    await place.execute("UPDATE t_device_logins SET expires_at = now()", [])
    before = await tokens(place)
    for started in (approved, waiting):
        assert told(await poll(place, started)) == (410, "GONE")
        assert told(await decide(place, olga, started)) == (410, "GONE")
    assert told(await place.ask("GET", f"{START}?code={waiting['userCode']}", headers=olga)) == (410, "GONE")
    assert await tokens(place) == before


async def test_an_unknown_code_is_none(place: Place, olga: dict[str, str]) -> None:
    for code in ("BBBB-BBBB", "AAAA-AAAA", "", "x", "BBBBBBBBB", "ÄÄÄÄ-ÄÄÄÄ"):
        await place.execute("DELETE FROM t_rate_limits", [])
        assert told(await decide(place, olga, {"userCode": code})) == (404, "NOT_FOUND")
    assert told(await place.ask("GET", START, headers=olga)) == (404, "NOT_FOUND")
    for code in ("x" * 43, "", "é"):
        assert told(await place.ask("POST", POLL, body={"deviceCode": code})) == (410, "GONE")


async def test_codes_cannot_be_tried_out(place: Place, olga: dict[str, str]) -> None:
    """Five a minute and session, looks and decisions together."""
    for number in range(5):
        path = f"{START}?code=BBBB-BBBB"
        answer = await (place.ask("GET", path, headers=olga) if number % 2 else decide(place, olga, {"userCode": "B"}))
        assert answer.status_code == 404
    started = await start(place)
    assert told(await place.ask("GET", f"{START}?code={started['userCode']}", headers=olga)) == (429, "RATE_LIMITED")
    answer = await decide(place, olga, started)
    assert told(answer) == (429, "RATE_LIMITED")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await poll(place, started)).status_code == 202


async def test_who_polls_too_fast_is_told_to_wait_longer(place: Place) -> None:
    started = await start(place)
    answers = [(await poll(place, started)).json()["interval"] for _ in range(4)]
    assert answers == [5, 10, 15, 20]
    await place.execute("UPDATE t_device_logins SET last_polled_at = now() - interval '1 minute'", [])
    assert (await poll(place, started)).json()["interval"] == 20
    for _ in range(20):
        answer = await poll(place, started)
    assert (answer.status_code, answer.json()["interval"]) == (202, 60)


@pytest.mark.parametrize("copies", [20, 50])
async def test_of_many_polls_over_two_replicas_one_gets_the_token(
    replicas: list[Place], place: Place, olga: dict[str, str], copies: int
) -> None:
    before = await tokens(place)
    started = await start(place)
    assert (await decide(place, olga, started)).status_code == 200
    answers = await asyncio.gather(*(poll(replicas[number % 2], started) for number in range(copies)))
    assert sorted(answer.status_code for answer in answers) == [200] + [410] * (copies - 1)
    assert await tokens(place) == before + 1
    assert told(await poll(place, started)) == (410, "GONE")


@pytest.mark.parametrize(
    "change", ["DELETE FROM t_members WHERE user_id = %s", "UPDATE t_users SET disabled_at = now() WHERE id = %s"]
)
async def test_who_lost_their_rights_since_gives_none_away(place: Place, change: str) -> None:
    adam = await place.add_person("admin")
    started = await start(place)
    assert (await decide(place, await csrf(place, await sign_in(place, adam)), started)).status_code == 200
    await place.execute(change, [adam])
    before = await tokens(place)
    assert told(await poll(place, started)) == (403, "ACCESS_DENIED")
    assert await tokens(place) == before


async def test_who_was_demoted_since_gives_no_more_than_they_have(place: Place) -> None:
    adam = await place.add_person("admin")
    started = await start(place)
    browser = await csrf(place, await sign_in(place, adam))
    assert (await decide(place, browser, started, scopes=["policies:write"])).status_code == 200
    await place.execute("UPDATE t_members SET role = 'viewer' WHERE user_id = %s", [adam])
    assert told(await poll(place, started)) == (403, "INSUFFICIENT_ROLE")


async def test_what_is_over_is_removed_the_next_day(place: Place) -> None:
    await start(place)
    [sweep] = [job for job in place.app.keeper.jobs if job.name == "device_login_sweep"]
    await place.execute("UPDATE t_device_logins SET expires_at = now() - interval '23 hours'", [])
    async with place.app.unit() as unit:
        await sweep.run(unit)
    [(kept,)] = await place.execute("SELECT count(*) FROM t_device_logins", [])
    assert kept > 0
    await place.execute("UPDATE t_device_logins SET expires_at = now() - interval '25 hours'", [])
    async with place.app.unit() as unit:
        await sweep.run(unit)
    assert await place.execute("SELECT FROM t_device_logins", []) == []


def test_a_code_is_read_as_people_write_it() -> None:
    for text in ("WDJB-MJHT", "wdjbmjht", " wdjb mjht ", "WD-JB-MJ-HT"):
        assert read_user_code(text) == "WDJBMJHT"
    for text in ("WDJB-MJH", "WDJB-MJHTT", "AEIO-UYAA", "WDJB_MJHT", "ＷDJB-MJHT"):
        assert read_user_code(text) is None
