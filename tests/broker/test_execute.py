"""POST /v1/vault/execute end to end: what the agent gets, what the provider saw, what the log says."""

import asyncio
import base64
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.db.database import Database
from agenthifive.vault.keyring import Keyring
from fakes import Received, raw, respond, respond_gzip
from world import HOST, SECRET, World, make_world


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    async with make_world(database, instance, admin_dsn, replicas=2) as made:
        yield made


@pytest.fixture(autouse=True)
def _quiet_provider(world: World) -> None:
    world.provider.script = respond(200, b'{"ok":true}')
    world.provider.received.clear()


async def test_an_allowed_call_reaches_the_provider_with_the_credential_and_leaves_two_rows(world: World) -> None:
    bot = await world.ready()
    seen: list[int] = []

    async def look(request: Received, writer: asyncio.StreamWriter) -> None:
        rows = await world.execute(
            "SELECT count(*) FROM l_audit_events WHERE agent_id = %s AND action = 'execution_requested'", [bot.agent_id]
        )
        seen.append(rows[0][0])
        await respond(200, b'{"ok": true}', ("X-Thing", "1"))(request, writer)

    world.provider.script = look
    answer = await bot.execute("/v1/x?a=1", headers={"Accept": "application/json"})
    body = answer.json()
    assert answer.status_code == 200
    assert {**body, "auditId": None} == {
        "model": "B",
        "status": 200,
        "headers": {"x-thing": "1", "content-type": "application/json"},
        "body": {"ok": True},
        "auditId": None,
    }
    assert seen == [1], "the intent is committed before the provider hears of the call"
    [request] = world.provider.received
    assert (request.method, request.target, request.header("host")) == (
        "GET",
        "/v1/x?a=1",
        f"{HOST}:{world.provider.port}",
    )
    assert request.header("authorization") == f"Bearer {SECRET}"
    assert request.header("accept") == "application/json"
    intent, outcome = await world.rows(body["auditId"])
    assert (intent["action"], intent["decision"], outcome["action"], outcome["decision"]) == (
        "execution_requested", "allowed", "execution_completed", "allowed",
    )  # fmt: skip
    assert outcome["intent_id"] == intent["audit_id"] == answer.headers["x-agenthifive-audit-id"]
    assert intent["metadata"]["queryNames"] == ["a"]
    assert outcome["metadata"]["responseStatus"] == 200
    assert answer.headers["cache-control"] == "no-store"
    assert SECRET not in answer.text
    assert SECRET not in str(intent) + str(outcome)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, "authentication_required"),
        ("ah5t_" + "x" * 43, "invalid_token"),
        ("ah5b_" + "x" * 43, "wrong_credential_type"),
    ],
)
async def test_without_a_live_token_nothing_is_sent(world: World, token: str | None, code: str) -> None:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    answer = await world.client.post(f"{world.replicas[0].base}/v1/vault/execute", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer.headers["x-agenthifive-error"] == code
    assert world.provider.received == []


async def test_an_expired_token_and_a_token_without_the_scope_are_refused(world: World) -> None:
    bot = await world.ready()
    for scopes, ttl, status, code in (
        (("vault:execute",), "-1 second", 401, "invalid_token"),
        (("connections:read",), "1 hour", 403, "insufficient_scope"),
    ):
        _, token = await world.add_agent(scopes, ttl)
        answer = await bot.execute(http_headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert world.provider.received == []


async def test_what_is_outside_the_allowlist_is_refused_with_advice_and_one_row(world: World) -> None:
    bot = await world.ready(allowlists=[{"baseUrl": world.origin, "methods": ["GET"], "pathPatterns": ["/v1/**"]}])
    for path, method, detail, advice in (("/v2/x", "GET", "path", "/v1/"), ("/v1/x", "POST", "method", "GET")):
        answer = await bot.execute(path, method)
        body = answer.json()
        assert (answer.status_code, body["code"], body["detail"]) == (403, "allowlist_denied", detail)
        assert advice in body["error"] + str(body.get("hint"))
        [row] = await world.rows(body["auditId"])
        assert (row["action"], row["decision"], row["metadata"]["reason"]) == (
            "execution_denied", "denied", "allowlist_denied",
        )  # fmt: skip
    assert world.provider.received == []


async def test_a_host_the_connection_is_not_bound_to_is_refused_whatever_the_policy_says(world: World) -> None:
    bot = await world.ready(allowlists=[{"baseUrl": "https://evil.test", "methods": ["GET"], "pathPatterns": ["/**"]}])
    answer = await bot.execute(url="https://evil.test/x")
    assert (answer.status_code, answer.json()["code"]) == (403, "host_not_bound")
    assert world.provider.received == []


HOSTILE = {
    "/v1/../admin": "dot_segment",
    "/v1/%2e%2e/admin": "dot_segment",
    "/v1/%252e%252e/admin": "dot_segment",
    "/v1/..;/admin": "dot_segment",
    "//v1/x": "empty_segment",
    "/v1/%zz": "percent_encoding",
    "/v1/a%0d%0aX:1": "control_character",
    "/v1/x\\y": "backslash",
}


@pytest.mark.parametrize(("path", "detail"), HOSTILE.items())
async def test_a_url_that_can_be_read_in_two_ways_is_refused(world: World, path: str, detail: str) -> None:
    bot = await world.ready()
    answer = await bot.execute(path)
    body = answer.json()
    assert (answer.status_code, body["code"], body["detail"]) == (400, "invalid_url", detail)
    assert len(await world.rows(body["auditId"])) == 1
    assert world.provider.received == []


LEGITIMATE = {
    "/v1/%78#top": "/v1/x",
    "/v1/a%2fb%20c": "/v1/a%2Fb%20c",
    "/v1/a b": "/v1/a%20b",
    "/v1/me@x/(id='7')/c.d..e/...;v=1": "/v1/me@x/(id='7')/c.d..e/...;v=1",
    "/v1/100%25/a%252Fb": "/v1/100%25/a%252Fb",
    "/v1/Ü?$filter=name eq 'é'": "/v1/%C3%9C?$filter=name%20eq%20'%C3%A9'",
    "/v1/x?u=http://10.0.0.1/": "/v1/x?u=http://10.0.0.1/",
}


@pytest.mark.parametrize(("path", "target"), LEGITIMATE.items())
async def test_what_was_judged_is_what_is_sent(world: World, path: str, target: str) -> None:
    bot = await world.ready()
    assert (await bot.execute(path)).status_code == 200
    assert [request.target for request in world.provider.received] == [target]


async def test_query_entries_replace_parameters_before_rules_see_them(world: World) -> None:
    rules = {"request": [{"id": "r1", "match": {"queryPattern": "alt=media"}, "action": "deny", "label": "No media"}],
             "response": []}  # fmt: skip
    bot = await world.ready(rules=rules)
    for members in ({"path": "/v1/x?alt=media"}, {"query": {"alt": "media"}},
                    {"path": "/v1/x?alt=json", "query": {"alt": "media"}}):  # fmt: skip
        answer = await bot.execute(**members)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (403, "rule_denied")
    assert world.provider.received == []
    await bot.execute("/v1/x?alt=media", query={"alt": "json"})
    assert [request.target for request in world.provider.received] == ["/v1/x?alt=json"]


async def test_callers_credentials_hops_and_overrides_never_reach_the_provider(world: World) -> None:
    bot = await world.ready()
    headers = {
        "Authorization": "Bearer mine", "Cookie": "a=b", "Proxy-Authorization": "x", "X-Goog-Api-Key": "k",
        "Forwarded": "for=1", "X-Forwarded-For": "1.1.1.1", "Keep-Alive": "1", "TE": "x", "Connection": "X-Secret",
        "X-Secret": "s", "x-ah5-session-key": "k", "X-HTTP-Method-Override": "DELETE", "If-Match": "7",
    }  # fmt: skip
    assert (await bot.execute(headers=headers)).status_code == 200
    [request] = world.provider.received
    names = [name.lower() for name, _ in request.headers]
    assert sorted(names) == ["accept-encoding", "authorization", "host", "if-match", "user-agent"]
    assert request.header("authorization") == f"Bearer {SECRET}"
    assert request.method == "GET"


@pytest.mark.parametrize("headers", [{"x": "a\r\nb: c"}, {f"x-{n}": "y" for n in range(65)}, {"a b": "c"}])
async def test_headers_that_could_smuggle_are_refused(world: World, headers: dict[str, str]) -> None:
    bot = await world.ready()
    answer = await bot.execute(headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")
    assert world.provider.received == []


BAD_BODIES: dict[str, tuple[bytes, int, str]] = {
    "duplicate member": (b'{"model":"B","model":"A"}', 400, "invalid_json"),
    "duplicate inside body": (b'{"model":"B","service":"x","body":{"a":1,"a":2}}', 400, "invalid_json"),
    "NaN": (b'{"model":"B","body":NaN}', 400, "invalid_json"),
    "too deep": (b"[" * 100 + b"]" * 100, 400, "invalid_json"),
    "not an object": (b"[]", 400, "invalid_request"),
    "no model": (b'{"service":"x"}', 400, "invalid_request"),
    "unknown model": (b'{"model":"C","service":"x"}', 400, "invalid_request"),
    "no target": (b'{"model":"B","method":"GET","url":"https://x/"}', 400, "missing_target"),
    "mistyped": (b'{"model":"B","service":"x","url":7}', 400, "invalid_request"),
    "method": (b'{"model":"B","service":"slack","method":"TRACE","url":"https://x/"}', 400, "invalid_request"),
    "number as body": (
        b'{"model":"B","connectionId":"%s","method":"POST","url":"%s/x","body":7}', 400, "invalid_request",
    ),
    "bad base64": (
        b'{"model":"B","connectionId":"%s","method":"POST","url":"%s/x","body":{"_binary":true,"data":"?"}}', 400,
        "invalid_binary_body",
    ),
    "unknown connection": (
        b'{"model":"B","connectionId":"00000000-0000-4000-8000-000000000000","method":"GET","url":"https://x/"}', 404,
        "not_found",
    ),
    "unknown service": (b'{"model":"B","service":"nope","method":"GET","url":"https://x/"}', 400, "unknown_service"),
    "not a singleton": (
        b'{"model":"B","service":"github","method":"GET","url":"https://x/"}', 400, "service_not_singleton",
    ),
    "no such singleton here": (b'{"model":"B","service":"slack","method":"GET","url":"https://slack.com/api/x"}', 404,
                               "no_healthy_connection"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "code"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_call_that_cannot_be_read_is_refused_with_its_code(
    world: World, body: bytes, status: int, code: str
) -> None:
    bot = await world.ready()
    if body.count(b"%s") == 2:
        body = body % (bot.connection_id.encode(), world.origin.encode())
    answer = await world.client.post(
        f"{world.replicas[0].base}/v1/vault/execute",
        content=body,
        headers={"authorization": f"Bearer {bot.token}", "content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["x-agenthifive-error"] == code
    assert world.provider.received == []


async def test_bodies_arrive_as_the_bytes_that_were_meant(world: World) -> None:
    bot = await world.ready()
    picture = bytes(range(256))
    cases: list[tuple[Any, dict[str, str], bytes, str]] = [
        ({"a": 1, "é": [None]}, {}, '{"a":1,"é":[null]}'.encode(), "application/json"),
        ('{"a":1}', {}, b'{"a":1}', "application/json"),
        (
            "a=1&b=2",
            {"content-type": "application/x-www-form-urlencoded"},
            b"a=1&b=2",
            "application/x-www-form-urlencoded",
        ),
        ("hello", {}, b"hello", "text/plain"),
        (
            {"_binary": True, "data": base64.b64encode(picture).decode()},
            {"content-type": "image/png"},
            picture,
            "image/png",
        ),
    ]
    for body, headers, expected, content_type in cases:
        assert (await bot.execute(method="POST", body=body, headers=headers)).status_code == 200
        request = world.provider.received[-1]
        assert request.body == expected
        assert str(request.header("content-type")).startswith(content_type)


async def test_payload_over_the_policys_limit_is_refused_before_anything_is_spent(world: World) -> None:
    bot = await world.ready(rateLimits={"maxRequestsPerHour": 1, "maxPayloadSizeBytes": 100})
    answer = await bot.execute(method="POST", body={"x": "y" * 200})
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert "100" in answer.json()["error"]
    assert (await bot.execute()).status_code == 200, "no rate unit was used"


async def test_fifty_parallel_calls_on_two_replicas_under_a_limit_of_five(world: World) -> None:
    bot = await world.ready(rateLimits={"maxRequestsPerHour": 5})
    answers = await asyncio.gather(*(bot.execute(replica=n % 2) for n in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 45
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "budget_exceeded"
    assert int(refused.headers["retry-after"]) == refused.json()["retryAfter"] >= 1
    assert "used" not in refused.json()
    [row] = await world.rows(refused.json()["auditId"])
    assert (row["action"], row["metadata"]["limit"]) == ("rate_limit_exceeded", 5)
    assert len(world.provider.received) == 5


async def test_redirects_stay_on_the_judged_origin(world: World) -> None:
    bot = await world.ready()
    blocked = ["http://10.0.0.1/", f"http://other.example.com:{world.provider.port}/", "//other.example.com/x",
               "https://user@api.example.com/", "file:///etc/passwd", f"https://{HOST}/"]  # fmt: skip
    for status in (300, 301, 302, 303, 305, 307, 308):
        for location in blocked:
            world.provider.script = respond(status, b"", ("location", location))
            before = len(world.provider.received)
            answer = await bot.execute()
            assert (answer.status_code, answer.json()["code"]) == (403, "redirect_blocked"), (status, location)
            assert answer.json()["outcome"] == "unknown"
            assert len(world.provider.received) == before + 1
        world.provider.script = respond(status, b"", ("location", "/v1/other"))
        assert (await bot.execute()).json()["status"] == status


async def test_an_echoed_credential_never_reaches_the_agent(world: World) -> None:
    bot = await world.ready()
    forms = [SECRET, base64.b64encode(SECRET.encode()).decode(), base64.b64encode(b"x" + SECRET.encode()).decode(),
             SECRET.encode().hex(), SECRET.replace("-", "%2D")]  # fmt: skip
    body = ('{"echo":["' + '","'.join(forms) + '"]}').encode()
    world.provider.script = respond(200, body, ("x-echo", SECRET))
    for members in ({}, {"stream": True}, {"download": True}):
        answer = await bot.execute(**members)  # type: ignore[arg-type]
        assert answer.status_code == 200
        assert SECRET not in answer.text
        assert SECRET.encode().hex() not in answer.text
        assert "[REDACTED:credential]" in answer.text


async def test_providers_cannot_set_our_headers(world: World) -> None:
    bot = await world.ready()
    world.provider.script = respond(
        200, b"{}", ("set-cookie", "a=b"), ("x-agenthifive-approval-required", "true"),
        ("access-control-allow-origin", "*"), ("x-agenthifive-error", "fake"),
    )  # fmt: skip
    answer = await bot.execute()
    assert answer.json()["headers"] == {"content-type": "application/json"}
    assert not {"set-cookie", "x-agenthifive-approval-required", "access-control-allow-origin"} & set(answer.headers)
    assert "x-agenthifive-error" not in answer.headers


async def test_provider_errors_are_data(world: World) -> None:
    bot = await world.ready()
    for status in (400, 401, 404, 500, 503):
        world.provider.script = respond(status, b'{"error":"theirs"}')
        answer = await bot.execute()
        assert (answer.status_code, answer.json()["status"], answer.json()["body"]) == (
            200,
            status,
            {"error": "theirs"},
        )
        assert "x-agenthifive-error" not in answer.headers


async def test_texts_empties_and_binaries_have_their_forms(world: World) -> None:
    bot = await world.ready()
    world.provider.script = respond(200, "grüß".encode(), ("content-type", "text/plain"))
    assert (await bot.execute()).json()["body"] == "grüß"
    world.provider.script = raw(b"HTTP/1.1 204 No Content\r\n\r\n", close=False)
    assert (await bot.execute()).json()["body"] is None
    world.provider.script = respond(
        200,
        b"%PDF" + b"x" * 1000,
        ("content-type", "application/pdf"),
        ("content-disposition", 'attachment; filename="q.pdf"'),
    )
    body = (await bot.execute()).json()["body"]
    assert (body["_binaryContent"], body["contentType"], body["sizeBytes"]) == (True, "application/pdf", 1004)
    assert bot.connection_id in body["hint"]
    answer = await bot.execute(download=True)
    assert answer.content == b"%PDF" + b"x" * 1000
    assert answer.headers["content-disposition"].startswith('attachment; filename="q.pdf"')
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-agenthifive-provider-status"] == "200"


async def test_an_attachment_inside_json_becomes_the_file(world: World) -> None:
    bot = await world.ready()
    data = base64.urlsafe_b64encode(b"file content " * 20).decode()
    world.provider.script = respond(200, ('{"size":260,"data":"' + data + '"}').encode())
    assert (await bot.execute(download=True)).content == b"file content " * 20


async def test_replies_over_the_cap_are_never_cut_but_refused(world: World) -> None:
    bot = await world.ready(rateLimits={"maxRequestsPerHour": 100, "maxResponseSizeBytes": 1000})
    exact, over = b'"' + b"x" * 998 + b'"', b'"' + b"x" * 999 + b'"'
    chunked = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    for script, status in (
        (respond(200, exact), 200),
        (respond(200, over), 502),
        (raw(chunked + b"3e9\r\n" + over + b"\r\n0\r\n\r\n"), 502),
        (respond_gzip(exact), 200),
        (respond_gzip(over), 502),
    ):
        world.provider.script = script
        answer = await bot.execute()
        assert answer.status_code == status
        if status == 502:
            assert answer.json()["code"] == "response_too_large"


async def test_a_compression_bomb_is_refused_in_bounded_memory(world: World) -> None:
    bot = await world.ready()
    bomb = await asyncio.to_thread(gzip.compress, b"0" * 64 * 1024 * 1024, 9)
    world.provider.script = respond(200, bomb, ("content-encoding", "gzip"))
    answer = await bot.execute()
    assert (answer.status_code, answer.json()["code"]) == (502, "response_too_large")


async def test_field_rules_shape_json_and_what_cannot_be_filtered_is_refused(world: World) -> None:
    rules = {"request": [], "response": [{"id": "p1", "match": {}, "filter": {"denyFields": ["email"]}}]}
    bot = await world.ready(rules=rules)
    world.provider.script = respond(200, b'{"name":"a","email":"e","l":[{"email":"x","k":1}]}')
    assert (await bot.execute()).json()["body"] == {"name": "a", "l": [{"k": 1}]}
    assert (await bot.execute(download=True)).json() == {"name": "a", "l": [{"k": 1}]}
    for content_type, detail in (("application/pdf", "binary"), ("text/plain", "unparsable")):
        world.provider.script = respond(200, b"%PDF e@x", ("content-type", content_type))
        answer = await bot.execute(download=True)
        assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (
            403, "response_not_filterable", detail,
        )  # fmt: skip


async def test_personal_data_is_taken_out_of_replies_and_requests(world: World) -> None:
    contact = [{"type": "contact"}]
    redact = {"id": "r1", "label": "R", "match": {"pii": {"types": contact, "fields": ["$body"]}}, "action": "redact"}
    reply = {"id": "p1", "match": {}, "filter": {"redact": contact}}
    bot = await world.ready(rules={"request": [redact], "response": [reply]})
    row = '{"olga@example.org":"call +49 30 901820","n":7},'
    for rows in (1, 2000):  # a long reply is filtered beside the other calls
        world.provider.script = respond(200, b"[" + row.encode() * rows + b"null]")
        answer = await bot.execute(method="POST", body={"to": "adam@example.org"})
        assert answer.json()["body"] == [{"[REDACTED]": "call [REDACTED]", "n": 7}] * rows + [None]
        assert answer.json()["redactions"] == [{"type": "email", "field": "to", "count": 1}]
    assert {received.body for received in world.provider.received} == {b'{"to":"[PII_REDACTED:email]"}'}


async def test_a_hold_is_refused_and_recorded_with_its_own_code(world: World) -> None:
    bot = await world.ready(stepUpApproval="always")
    answer = await bot.execute()
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (403, "approval_required", "step_up")
    [row] = await world.rows(answer.json()["auditId"])
    assert row["metadata"]["causes"] == ["step_up"]
    assert world.provider.received == []


async def test_report_mode_sends_and_says_what_it_would_have_denied(world: World) -> None:
    bot = await world.ready(enforcement="report", allowlists=[])
    answer = await bot.execute()
    assert answer.status_code == 200
    intent, _ = await world.rows(answer.json()["auditId"])
    assert intent["metadata"]["wouldDeny"] == [{"code": "allowlist_denied", "ruleLabel": None}]
    refused = await bot.execute(url="https://evil.test/")
    assert (refused.status_code, refused.json()["code"]) == (403, "host_not_bound")


@pytest.mark.parametrize(
    ("status", "code"), [("revoked", "connection_revoked"), ("needs_reauth", "connection_needs_reauth")]
)
async def test_a_connection_that_is_not_well_is_refused(world: World, status: str, code: str) -> None:
    bot = await world.ready()
    await world.execute("UPDATE t_connections SET status = %s WHERE id = %s", [status, bot.connection_id])
    await world.settle()
    answer = await bot.execute()
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert world.provider.received == []


async def test_another_workspace_and_another_agent_get_nothing(
    world: World, database: Database, admin_dsn: str
) -> None:
    bot = await world.ready()
    _, other_token = await world.add_agent()
    answer = await bot.execute(http_headers={"authorization": f"Bearer {other_token}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "no_policy")
    mine, world.workspace_id = world.workspace_id, "11111111-0000-4000-8000-000000000001"
    owner, world.owner_id = world.owner_id, "11111111-0000-4000-8000-000000000002"
    try:
        await world.add_workspace()
        mallory = await world.ready()
    finally:
        world.workspace_id, world.owner_id = mine, owner
    answer = await mallory.execute(connectionId=bot.connection_id)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert world.provider.received == []


async def test_changes_act_on_the_other_replica_within_a_second(world: World) -> None:
    bot = await world.ready()
    for replica in (0, 1):
        assert (await bot.execute(replica=replica)).status_code == 200
    await world.execute("UPDATE t_agents SET status = 'disabled' WHERE id = %s", [bot.agent_id])
    await world.settle()
    for replica in (0, 1):
        assert (await bot.execute(replica=replica)).status_code == 401
    assert len(world.provider.received) == 2


async def test_a_secret_that_cannot_stand_in_a_header_is_not_sent(world: World) -> None:
    agent_id, token = await world.add_agent()
    connection_id = await world.add_connection(payload={"authType": "bearer", "apiKey": "a\r\nb"})
    await world.add_policy(agent_id, connection_id)
    await world.settle()
    bot = await world.ready()
    answer = await bot.execute(connectionId=connection_id, http_headers={"authorization": f"Bearer {token}"})
    body = answer.json()
    assert (answer.status_code, body["code"], body["outcome"]) == (422, "credential_not_injectable", "not_sent")
    assert len(await world.rows(body["auditId"])) == 2
    assert world.provider.received == []


async def test_an_envelope_moved_to_another_row_does_not_open(world: World) -> None:
    one, two = await world.ready(), await world.ready()
    await world.execute(
        "UPDATE t_connections SET encrypted_tokens = (SELECT encrypted_tokens FROM t_connections WHERE id = %s)"
        " WHERE id = %s", [one.connection_id, two.connection_id],
    )  # fmt: skip
    await world.settle()
    answer = await two.execute()
    assert (answer.status_code, answer.json()["code"]) == (500, "credential_unreadable")
    assert answer.json()["outcome"] == "not_sent"
    assert world.provider.received == []


async def test_a_key_this_replica_lacks_is_a_matter_for_the_operator_and_may_be_tried_again(world: World) -> None:
    bot = await world.ready()
    place = ("t_connections", "encrypted_tokens", bot.connection_id, world.workspace_id)
    sealed = Keyring.of([bytes(range(32))]).seal(b"{}", *place)
    await world.execute(
        "UPDATE t_connections SET encrypted_tokens = %s, encrypted_tokens_kid = %s WHERE id = %s",
        [sealed.text, sealed.kid, bot.connection_id],
    )
    await world.settle()
    answer = await bot.execute()
    assert (answer.status_code, answer.json()["code"]) == (503, "key_unavailable")
    assert answer.json()["outcome"] == "not_sent"
    assert "retry-after" in answer.headers
    assert world.provider.received == []


@pytest.mark.parametrize("change", ["variant = 'gone'", "service = 'gone'"])
async def test_a_connection_the_catalog_no_longer_knows_is_none(world: World, change: str) -> None:
    bot = await world.ready()
    await world.execute(f"UPDATE t_connections SET {change} WHERE id = %s", [bot.connection_id])
    await world.settle()
    answer = await bot.execute()
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert world.provider.received == []
