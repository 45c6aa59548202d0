"""Personal access tokens: contract/http.md sections 10, 11 and 15.3."""

import asyncio
from typing import Any

import httpx
import pytest

from agenthifive.operations.ratelimit import Window
from agenthifive.people.model import Account
from agenthifive.people.tokens import DESCRIPTIONS
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import PAT_SCOPES, SENSITIVE_SCOPES, PrincipalType, Role
from people.stage import ADAM, AGENT_TOKEN, MALLORY, OLGA, VERA, Browser, Stage

DEFAULT = ["vault:execute", "capabilities:read", "connections:read", "connections:write", "audit:read"]
UNKNOWN_ID = "01890000-0000-7000-8000-000000000000"


async def create(browser: Browser, **body: Any) -> httpx.Response:
    return await browser.post("/v1/tokens", json={"name": "CI", **body})


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


@pytest.fixture
async def browser(stage: Stage, olga: Account) -> Browser:
    return await stage.sign_in(OLGA)


async def test_a_new_token(stage: Stage, olga: Account, browser: Browser) -> None:
    answer = await create(browser, name="  CI ", expiresInDays=1)
    assert answer.status_code == 200
    body = answer.json()
    token, plain = body["token"], body["plainToken"]
    assert set(body) == {"token", "plainToken"}
    assert set(token) == {
        "id", "name", "scopes", "expiresAt", "lastUsedAt", "createdAt", "isExpired", "hintSuffix",
    }  # fmt: skip
    assert (token["name"], token["lastUsedAt"], token["isExpired"]) == ("CI", None, False)
    assert sorted(token["scopes"]) == sorted(DEFAULT)
    assert len(plain) == 48
    assert plain.startswith("ah5p_")
    assert token["hintSuffix"] == plain[-4:]
    assert answer.headers["cache-control"] == "no-store"
    assert "x-ratelimit-remaining" in answer.headers
    rows = await stage.fetch(
        "SELECT token_hash, expires_at - created_at = interval '1 day', to_jsonb(t)::text FROM t_personal_tokens t"
    )
    assert rows[0][:2] == (sha256_hex(plain), True)
    assert plain not in rows[0][2]
    [event] = await stage.events("pat_created")
    assert event["metadata"] == {
        "tokenId": token["id"],
        "name": "CI",
        "scopes": token["scopes"],
        "expiresAt": token["expiresAt"],
    }
    assert (event["actor"], event["workspace_id"]) == (olga.user.id, olga.workspace_id)


async def test_thirty_days_unless_said(stage: Stage, browser: Browser) -> None:
    assert (await create(browser, expiresInDays=None, scopes=None)).status_code == 200
    rows = await stage.fetch("SELECT expires_at - created_at = interval '30 days' FROM t_personal_tokens")
    assert rows == [(True,)]


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"expiresInDays": 0}, "invalid_request", "expiresInDays"),
        ({"expiresInDays": 366}, "invalid_request", "expiresInDays"),
        ({"expiresInDays": "30"}, "invalid_request", "expiresInDays"),
        ({"expiresInDays": 1.5}, "invalid_request", "expiresInDays"),
        ({"expiresInDays": True}, "invalid_request", "expiresInDays"),
        ({"name": ""}, "invalid_request", "name"),
        ({"name": " "}, "invalid_request", "name"),
        ({"name": "a" * 101}, "invalid_request", "name"),
        ({"name": "a\x00b"}, "invalid_request", "name"),
        ({"name": None}, "invalid_request", "name"),
        ({"scopes": []}, "invalid_request", "scopes"),
        ({"scopes": ["agents:manage"]}, "invalid_request", "scopes"),
        ({"scopes": ["capabilities:request"]}, "invalid_request", "scopes"),
        ({"scopes": "vault:execute"}, "invalid_request", "scopes"),
        ({"colour": 1}, "unknown_field", "colour"),
        ({"expires_in_days": 1}, "unknown_field", "expires_in_days"),
    ],
)
async def test_bodies_that_are_refused(
    stage: Stage, browser: Browser, body: dict[str, Any], code: str, field: str
) -> None:
    answer = await create(browser, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert [entry["path"] for entry in answer.json()["fields"]] == [field]
    assert await stage.fetch("SELECT 1 FROM t_personal_tokens") == []


async def test_a_year_is_the_longest_life(browser: Browser) -> None:
    assert (await create(browser, expiresInDays=365)).status_code == 200


async def test_a_star_is_stored_as_every_scope_by_name(browser: Browser) -> None:
    for scopes in (["*"], ["audit:read", "*"]):
        assert (await create(browser, scopes=scopes)).json()["token"]["scopes"] == list(PAT_SCOPES)
    twice = await create(browser, scopes=["audit:read", "audit:read"])
    assert twice.json()["token"]["scopes"] == ["audit:read"]


@pytest.mark.parametrize("scope", [*sorted(SENSITIVE_SCOPES), "*"])
async def test_sensitive_scopes_need_a_recent_sign_in(stage: Stage, browser: Browser, scope: str) -> None:
    await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '10 minutes 2 seconds'")
    answer = await create(browser, scopes=["audit:read", scope])
    assert (answer.status_code, answer.json()["code"]) == (403, "reauth_required")
    assert await stage.fetch("SELECT 1 FROM t_personal_tokens") == []
    assert (await create(browser, scopes=["audit:read", "vault:execute"])).status_code == 200
    await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '9 minutes'")
    assert (await create(browser, scopes=[scope])).status_code == 200


@pytest.mark.parametrize(
    ("role", "scope", "is_allowed"),
    [
        (Role.ADMIN, "*", True),
        (Role.APPROVER, "*", False),
        (Role.APPROVER, "approvals:decide", True),
        (Role.APPROVER, "agents:write", True),
        (Role.APPROVER, "policies:write", False),
        (Role.APPROVER, "credentials:resolve", False),
        (Role.VIEWER, "approvals:decide", False),
        (Role.VIEWER, "agents:write", False),
        (Role.VIEWER, "workspace:write", False),
        (Role.VIEWER, "audit:export", True),
    ],
)
async def test_sensitive_scopes_need_a_role_that_can_use_them(
    stage: Stage, olga: Account, role: Role, scope: str, is_allowed: bool
) -> None:
    await stage.add(ADAM, olga.workspace_id, role)
    answer = await create(await stage.sign_in(ADAM), scopes=[scope])
    assert answer.status_code == (200 if is_allowed else 403), answer.text
    if not is_allowed:
        assert answer.json()["code"] == "insufficient_role"


async def test_a_token_does_no_more_than_its_owners_role_does_today(stage: Stage, olga: Account) -> None:
    await stage.add(ADAM, olga.workspace_id, Role.ADMIN)
    plain = (await create(await stage.sign_in(ADAM), scopes=["*"])).json()["plainToken"]
    caller = await stage.people.caller_by_pat(plain)
    assert caller is not None
    assert caller.scopes == frozenset(PAT_SCOPES)
    await stage.fetch("UPDATE t_members SET role = 'viewer' WHERE role = 'admin'")
    caller = await stage.people.caller_by_pat(plain)
    assert caller is not None
    assert caller.role is Role.VIEWER
    assert caller.scopes.isdisjoint({"vault:execute", "connections:write", "agents:write", "approvals:decide"})
    assert {"audit:read", "audit:export", "connections:read"} <= caller.scopes


async def test_a_viewer_gets_the_default_token_and_it_stays_a_viewers(stage: Stage, olga: Account) -> None:
    await stage.add(VERA, olga.workspace_id, Role.VIEWER)
    answer = await create(await stage.sign_in(VERA))
    assert sorted(answer.json()["token"]["scopes"]) == sorted(DEFAULT)
    me = await stage.browser().get("/v1/me", headers=bearer(answer.json()["plainToken"]))
    assert me.json()["principal"]["scopes"] == ["capabilities:read", "connections:read", "audit:read"]


async def test_a_token_becomes_its_caller(stage: Stage, olga: Account, browser: Browser) -> None:
    body = (await create(browser, scopes=["audit:read"])).json()
    caller = await stage.people.caller_by_pat(body["plainToken"])
    assert caller is not None
    assert (caller.kind, caller.id, caller.user_id) == (PrincipalType.PAT, body["token"]["id"], olga.user.id)
    assert (caller.workspace_id, caller.csrf, caller.auth_time_s) == (olga.workspace_id, None, None)
    assert await stage.people.caller_by_pat("ah5p_" + "x" * 43) is None


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE t_users SET disabled_at = now()",
        "UPDATE t_personal_tokens SET expires_at = now()",
        "UPDATE t_personal_tokens SET revoked_at = now()",
        "DELETE FROM t_members",
    ],
)
async def test_what_ends_a_token(stage: Stage, browser: Browser, change: str) -> None:
    plain = (await create(browser)).json()["plainToken"]
    await stage.fetch(change)
    assert await stage.people.caller_by_pat(plain) is None
    answer = await stage.browser().get("/v1/me", headers=bearer(plain))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


async def test_use_is_noted_at_most_once_a_minute(stage: Stage, browser: Browser) -> None:
    plain = (await create(browser)).json()["plainToken"]
    await stage.people.caller_by_pat(plain)
    first = await stage.fetch("SELECT last_used_at, xmin::text FROM t_personal_tokens")
    assert first[0][0] is not None
    await asyncio.gather(*(stage.people.caller_by_pat(plain) for _ in range(4)))
    assert await stage.fetch("SELECT last_used_at, xmin::text FROM t_personal_tokens") == first
    await stage.fetch("UPDATE t_personal_tokens SET last_used_at = now() - interval '61 seconds'")
    await stage.people.caller_by_pat(plain)
    assert (await stage.fetch("SELECT last_used_at > now() - interval '30 seconds' FROM t_personal_tokens"))[0][0]


async def test_the_list_is_ones_own_oldest_first_without_revoked_ones(
    stage: Stage, olga: Account, browser: Browser
) -> None:
    ids = [(await create(browser, name=f"token {n}")).json()["token"]["id"] for n in range(3)]
    await browser.delete(f"/v1/tokens/{ids[1]}")
    await stage.fetch("UPDATE t_personal_tokens SET expires_at = now() WHERE name = 'token 2'")
    await stage.add(ADAM, olga.workspace_id, Role.ADMIN)
    await create(await stage.sign_in(ADAM), name="of Adam")
    answer = await browser.get("/v1/tokens")
    assert [(token["id"], token["isExpired"]) for token in answer.json()["tokens"]] == [(ids[0], False), (ids[2], True)]
    assert "ah5p_" not in answer.text


async def test_scopes_and_their_meaning(browser: Browser) -> None:
    body = (await browser.get("/v1/tokens/scopes")).json()
    assert [scope["id"] for scope in body["scopes"]] == list(PAT_SCOPES)
    assert {scope["id"] for scope in body["scopes"] if scope["sensitive"]} == SENSITIVE_SCOPES
    assert all(scope["description"] == DESCRIPTIONS[scope["id"]] for scope in body["scopes"])
    assert sorted(body["default"]) == sorted(DEFAULT)


async def test_renaming(stage: Stage, browser: Browser) -> None:
    token_id = (await create(browser)).json()["token"]["id"]
    answer = await browser.put(f"/v1/tokens/{token_id}", json={"name": "Laptop"})
    assert (answer.status_code, answer.json()) == (200, {"token": {"id": token_id, "name": "Laptop"}})
    assert (await browser.get("/v1/tokens")).json()["tokens"][0]["name"] == "Laptop"
    [event] = await stage.events("pat_renamed")
    assert event["metadata"] == {"tokenId": token_id, "name": "Laptop"}
    assert (await browser.put(f"/v1/tokens/{token_id}", json={"name": "x", "scopes": ["*"]})).status_code == 400


async def test_revoking(stage: Stage, browser: Browser) -> None:
    body = (await create(browser)).json()
    token_id = body["token"]["id"]
    answer = await browser.delete(f"/v1/tokens/{token_id}")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert await stage.people.caller_by_pat(body["plainToken"]) is None
    assert (await browser.delete(f"/v1/tokens/{token_id}")).status_code == 404
    assert (await browser.put(f"/v1/tokens/{token_id}", json={"name": "x"})).status_code == 404
    [event] = await stage.events("pat_revoked")
    assert event["metadata"] == {"tokenId": token_id, "name": "CI"}


async def test_a_token_may_end_itself_and_nothing_else(stage: Stage, browser: Browser) -> None:
    one, other = (await create(browser)).json(), (await create(browser)).json()
    client = stage.browser(headers=bearer(one["plainToken"]))
    assert (await client.delete(f"/v1/tokens/{other['token']['id']}")).json()["code"] == "pat_not_allowed"
    answer = await client.delete("/v1/tokens/current")
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert (await client.delete("/v1/tokens/current")).status_code == 401
    assert await stage.people.caller_by_pat(other["plainToken"]) is not None
    [event] = await stage.events("pat_revoked")
    assert (event["principal_type"], event["principal_id"]) == ("pat", one["token"]["id"])


async def test_a_person_has_no_current_token(browser: Browser) -> None:
    answer = await browser.delete("/v1/tokens/current")
    unknown = await browser.delete(f"/v1/tokens/{UNKNOWN_ID}")
    assert (answer.status_code, answer.json()) == (unknown.status_code, unknown.json())


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("whose", ["colleague", "other workspace", "unknown", "malformed"])
async def test_tokens_of_others_do_not_exist(
    stage: Stage, olga: Account, browser: Browser, method: str, whose: str
) -> None:
    token_id = (await create(browser)).json()["token"]["id"]
    if whose == "other workspace":
        await stage.add(MALLORY)
        outsider = await stage.sign_in(MALLORY)
    else:
        await stage.add(ADAM, olga.workspace_id, Role.ADMIN)
        outsider = await stage.sign_in(ADAM)
    path = {"unknown": UNKNOWN_ID, "malformed": token_id.upper()}.get(whose, token_id)
    body = {"name": "mine"} if method == "PUT" else None
    answer = await outsider.request(method, f"/v1/tokens/{path}", json=body)
    absent = await outsider.request(method, f"/v1/tokens/{UNKNOWN_ID}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.content == absent.content
    assert (await browser.get("/v1/tokens")).json()["tokens"][0]["name"] == "CI"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/tokens"),
        ("POST", "/v1/tokens"),
        ("GET", "/v1/tokens/scopes"),
        ("PUT", f"/v1/tokens/{UNKNOWN_ID}"),
        ("DELETE", f"/v1/tokens/{UNKNOWN_ID}"),
    ],
)
async def test_programs_do_not_manage_tokens(stage: Stage, browser: Browser, method: str, path: str) -> None:
    plain = (await create(browser, scopes=["*"])).json()["plainToken"]
    body = {"name": "more"} if method in ("POST", "PUT") else None
    for headers, expected in (
        ({}, (401, "authentication_required")),
        (bearer(AGENT_TOKEN), (403, "agent_not_allowed")),
        (bearer(plain), (403, "pat_not_allowed")),
    ):
        answer = await stage.browser().request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == expected
    assert await stage.fetch("SELECT count(*) FROM t_personal_tokens") == [(1,)]
    denied = [event["metadata"]["code"] for event in await stage.events("access_denied")]
    assert denied == ["agent_not_allowed", "pat_not_allowed"]


async def test_an_agent_ends_no_token(stage: Stage, browser: Browser) -> None:
    answer = await stage.browser().delete("/v1/tokens/current", headers=bearer(AGENT_TOKEN))
    assert (answer.status_code, answer.json()["code"]) == (403, "agent_not_allowed")


async def test_a_header_token_decides_and_needs_no_csrf(stage: Stage, browser: Browser) -> None:
    plain = (await create(browser)).json()["plainToken"]
    del browser.headers["x-ah5-csrf"]
    answer = await browser.delete("/v1/tokens/current", headers=bearer(plain))
    assert (answer.status_code, answer.json()) == (200, {"success": True})


async def test_a_missing_scope_is_named(stage: Stage, browser: Browser) -> None:
    plain = (await create(browser)).json()["plainToken"]
    answer = await stage.browser().get("/v1/workspaces/current", headers=bearer(plain))
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert answer.json()["hint"] == "workspace:read"


async def test_fifty_live_tokens_are_enough(stage: Stage, olga: Account, browser: Browser) -> None:
    first = (await create(browser)).json()["token"]["id"]
    await stage.fetch(
        "INSERT INTO t_personal_tokens (id, user_id, workspace_id, name, token_hash, hint_suffix, scopes, expires_at)"
        " SELECT gen_random_uuid(), user_id, workspace_id, name, n::text, 'x', scopes, expires_at"
        " FROM t_personal_tokens, generate_series(1, 44) n"
    )
    answers = await asyncio.gather(*(create(browser) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [409] * 7
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"token_limit"}
    assert await stage.fetch("SELECT count(*) FROM t_personal_tokens") == [(50,)]
    await browser.delete(f"/v1/tokens/{first}")
    assert (await create(browser)).status_code == 200


async def test_creating_is_limited_per_person(stage: Stage, olga: Account) -> None:
    people = stage.room(pat_create=Window(2, 3600))
    browser = await stage.sign_in(OLGA, people)
    statuses = [(await create(browser)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    limited = await create(await stage.sign_in(OLGA, people))
    assert limited.json()["limit"]["name"] == "pat_create"
    people.close()


async def test_duplicate_members_are_no_body(browser: Browser) -> None:
    headers = {"content-type": "application/json"}
    answer = await browser.post("/v1/tokens", content=b'{"name":"a","name":"b"}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
