"""POST /v1/policies/explain: the broker's own reading and decision, told; nothing sent, nothing written."""

from typing import Any

import pytest

from agenthifive.ids import new_id
from policies.stage import BASE, EVERYTHING, OPEN, Stage, paths_of

RULES = {
    "request": [
        {"id": "r0", "label": "Deletion", "match": {"methods": ["DELETE"]}, "action": "deny"},
        {
            "id": "r1",
            "label": "Codes",
            "match": {},
            "action": "redact",
            "redactConfig": {"types": [{"type": "custom", "pattern": "X-[0-9]+"}], "fields": ["$body"]},
        },
        {"id": "r2", "label": "Notes", "match": {"urlPattern": "^/notes"}, "action": "require_approval", "guard": "g"},
        {"id": "r3", "label": "Else", "match": {}, "action": "allow"},
    ],
    "response": [
        {"id": "p1", "label": "No owners", "match": {"urlPattern": "^/notes"}, "filter": {"denyFields": ["owner"]}},
        {"id": "p2", "label": "Elsewhere", "match": {"urlPattern": "^/x"}, "filter": {"denyFields": ["owner"]}},
    ],
}


async def ask(stage: Stage, policy: dict[str, Any], request: dict[str, Any], **more: Any) -> Any:
    body = {"agentId": policy["agentId"], "connectionId": policy["connectionId"], "request": request, **more}
    return await stage.post("/v1/policies/explain", body)


def get(path: str = "/x", **more: Any) -> dict[str, Any]:
    return {"method": "GET", "url": BASE + path, **more}


async def test_a_held_call_is_explained_gate_by_gate(stage: Stage) -> None:
    policy = await stage.create(**OPEN, rules=RULES)
    request = {"method": "POST", "url": f"{BASE}/notes/1", "body": {"text": "code X-123", "more": ["X-9"]}}
    before = await stage.counts()
    answer = await ask(stage, policy, request)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert list(told)[:5] == ["decision", "code", "reason", "policyId", "version"]
    assert (told["decision"], told["code"]) == ("require_approval", "rule_approval")
    assert (told["policyId"], told["version"]) == (policy["id"], 1)
    assert told["rule"] == {"id": "r2", "index": 2, "label": "Notes", "guard": "g"}
    assert (told["class"], told["trusted"], told["wouldReport"]) == ("write", False, False)
    assert told["canonical"] == {
        "method": "POST", "url": f"{BASE}/notes/1", "strictPath": "/notes/1", "bodyKind": "json", "bodyBytes": 36,
    }  # fmt: skip
    assert told["redactions"] == [
        {"type": "custom", "field": "text", "count": 1},
        {"type": "custom", "field": "more[0]", "count": 1},
    ]
    gates = [(entry["gate"], entry.get("index"), entry["result"], entry.get("failed")) for entry in told["trace"]]
    assert gates == [
        ("time_window", None, "open", None),
        ("allowlist", None, "match", None),
        ("host_binding", None, "ok", None),
        ("constraints", None, "none", None),
        ("rule", 0, "no", "methods"),
        ("rule", 1, "redacted", None),
        ("rule", 2, "terminal", None),
    ]
    assert told["responseRules"] == [
        {"id": "p1", "label": "No owners", "applies": True},
        {"id": "p2", "label": "Elsewhere", "applies": False},
    ]
    assert told["hint"]
    assert "X-123" not in answer.text
    assert "X-9" not in answer.text
    assert await stage.counts() == before


async def test_a_denied_call_names_rule_and_code(stage: Stage) -> None:
    policy = await stage.create(**OPEN, rules=RULES)
    told = (await ask(stage, policy, {"method": "DELETE", "url": f"{BASE}/x"})).json()
    assert (told["decision"], told["code"], told["rule"]["id"]) == ("deny", "rule_denied", "r0")


async def test_report_mode_says_what_it_would_deny(stage: Stage) -> None:
    policy = await stage.create(**OPEN, rules=RULES, enforcement="report")
    told = (await ask(stage, policy, {"method": "DELETE", "url": f"{BASE}/x"})).json()
    assert (told["decision"], told["wouldReport"]) == ("allow", True)
    assert told["wouldDeny"] == [{"code": "rule_denied", "ruleLabel": "Deletion"}]


async def test_a_change_is_explained_as_soon_as_it_is_saved(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    for entries, decision in (([], "deny"), (EVERYTHING, "allow"), ([], "deny")):
        await stage.put(f"/v1/policies/{policy['id']}/allowlists", {"allowlists": entries})
        assert (await ask(stage, policy, get())).json()["decision"] == decision


async def test_a_draft_is_judged_in_the_place_of_what_is_saved(stage: Stage) -> None:
    policy = await stage.create(**OPEN, rules=RULES)
    draft = {"rules": {"request": [{"label": "No", "match": {}, "action": "deny"}], "response": []}}
    told = (await ask(stage, policy, get(), draft=draft)).json()
    assert (told["code"], told["rule"]["label"], told["policyId"]) == ("rule_denied", "No", policy["id"])
    assert (await ask(stage, policy, get(), draft={"stepUpApproval": "always"})).json()["code"] == "rule_allowed"
    assert (await ask(stage, policy, get(), draft=policy)).json()["decision"] == "allow"
    assert await stage.read(policy) == policy


async def test_a_draft_without_a_saved_policy_stands_on_the_defaults(stage: Stage) -> None:
    pair = {"agentId": await stage.add_agent(), "connectionId": await stage.add_connection("notion")}
    request = {"method": "GET", "url": "https://api.notion.com/v1/pages/1"}
    told = (await ask(stage, pair, request, draft={"stepUpApproval": "always"})).json()
    assert (told["code"], told["policyId"], told["version"]) == ("step_up", None, None)
    assert (await ask(stage, pair, request, draft={})).json()["code"] == "no_rule"


async def test_a_draft_that_could_not_be_saved_is_refused(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    answer = await ask(stage, policy, get(), draft={"allowlists": [{}], "priority": 1})
    assert answer.status_code == 400
    assert ("draft.allowlists[0].baseUrl", "required") in paths_of(answer)
    assert ("draft.priority", "unknown_field") in paths_of(answer)


async def test_the_instant_decides_about_windows(stage: Stage) -> None:
    windows = [{"dayOfWeek": 1, "startHour": 9, "endHour": 17, "timezone": "Europe/Berlin"}]
    policy = await stage.create(**OPEN, timeWindows=windows)
    monday, night = "2026-11-23T12:00:00.000Z", "2026-11-23T22:00:00+01:00"
    assert (await ask(stage, policy, get(), at=monday)).json()["decision"] == "allow"
    closed = (await ask(stage, policy, get(), at=night)).json()
    assert (closed["decision"], closed["code"]) == ("deny", "time_window_closed")
    for wrong in ("yesterday", "2026-11-23T12:00:00", "", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"):
        assert (await ask(stage, policy, get(), at=wrong)).status_code == 400


async def test_the_hourly_budget_is_what_was_used_or_what_is_assumed(stage: Stage) -> None:
    policy = await stage.create(**OPEN, rateLimits={"maxRequestsPerHour": 3})
    assert (await ask(stage, policy, get(), context={"callsLastHour": 3})).json()["code"] == "budget_exceeded"
    assert (await ask(stage, policy, get())).json()["decision"] == "allow"
    await stage.sql(
        "INSERT INTO t_call_minutes VALUES (%s, %s, date_trunc('minute', now()), 3)",
        policy["agentId"], policy["connectionId"],
    )  # fmt: skip
    assert (await ask(stage, policy, get())).json()["code"] == "budget_exceeded"
    assert (await ask(stage, policy, get(), context={"callsLastHour": 0})).json()["decision"] == "allow"


async def test_full_fields_may_be_assumed(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    assert (await ask(stage, policy, get(), context={"requestFullFields": True})).json()[
        "code"
    ] == "fields_not_available"
    assert (await ask(stage, policy, get(requestFullFields=True))).json()["code"] == "fields_not_available"


async def test_without_a_policy_the_answer_is_that_of_the_call(stage: Stage) -> None:
    pair = {"agentId": stage.here.agent_id, "connectionId": await stage.add_connection()}
    told = (await ask(stage, pair, get())).json()
    assert (told["decision"], told["code"], told["policyId"], told["trace"]) == ("deny", "no_policy", None, [])
    assert told["canonical"]["url"] == f"{BASE}/x"


@pytest.mark.parametrize(
    ("status", "code"), [("needs_reauth", "connection_needs_reauth"), ("revoked", "connection_revoked")]
)
async def test_a_sick_connection_is_said(stage: Stage, status: str, code: str) -> None:
    policy = await stage.create(**OPEN)
    await stage.sql("UPDATE t_connections SET status = %s WHERE id = %s", status, policy["connectionId"])
    told = (await ask(stage, policy, get())).json()
    assert (told["decision"], told["code"]) == ("deny", code)


async def test_a_policy_that_does_not_compile_refuses_and_a_draft_can_replace_it(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    await stage.sql(
        "UPDATE t_policies SET document = jsonb_set(document, '{defaultMode}', '\"wild\"') WHERE id = %s", policy["id"]
    )
    assert (await ask(stage, policy, get())).json()["code"] == "unavailable"
    assert (await ask(stage, policy, get(), draft={"defaultMode": "read_only"})).json()["decision"] == "allow"


@pytest.mark.parametrize(
    ("request_", "code", "detail"),
    [
        (get("/a/%2e%2e/b"), "invalid_url", "dot_segment"),
        ({"method": "GET", "url": "ftp://api.example.com/"}, "invalid_url", "scheme"),
        ({"method": "GET", "url": "https://u:p@api.example.com/"}, "invalid_url", "userinfo"),
        ({"method": "TRACE", "url": BASE}, "invalid_request", None),
        ({"method": "GET"}, "invalid_request", None),
        ({"method": "GET", "url": 5}, "invalid_request", None),
        ({"model": "A"}, "invalid_request", None),
        (get(headers={"x-a": "b\r\nc: d"}), "invalid_header", None),
        (get(body={"_binary": True, "data": "*"}), "invalid_binary_body", None),
    ],
)  # fmt: skip
async def test_what_a_call_is_refused_with_before_it_is_judged(
    stage: Stage, request_: dict[str, Any], code: str, detail: str | None
) -> None:
    policy = await stage.create(**OPEN)
    answer = await ask(stage, policy, request_)
    assert (answer.status_code, answer.json()["code"], answer.json().get("detail")) == (400, code, detail), answer.text


async def test_hosts_outside_the_binding_are_refused_whatever_a_draft_says(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    told = (await ask(stage, policy, {"method": "GET", "url": "https://evil.test/x"})).json()
    assert (told["decision"], told["code"]) == ("deny", "allowlist_denied")
    told = (
        await ask(stage, policy, {"method": "GET", "url": "https://evil.test/x"}, draft={"enforcement": "report"})
    ).json()
    assert (told["decision"], told["code"]) == ("deny", "host_not_bound")


async def test_unknown_and_foreign_ids_are_one_404(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    foreign = await stage.add_connection(workspace=stage.elsewhere)
    connections = [(await ask(stage, {**policy, "connectionId": place}, get())) for place in (foreign, new_id(), "x")]
    agents = [
        (await ask(stage, {**policy, "agentId": agent}, get())) for agent in (stage.elsewhere.agent_id, new_id(), "x")
    ]
    for answers in (connections, agents):
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.json()["code"] for answer in answers}) == 1
    assert len({answer.content for answer in agents}) == 1
    assert len({answer.content for answer in connections}) == 1


async def test_a_target_must_be_named(stage: Stage) -> None:
    body = {"agentId": stage.here.agent_id, "request": get()}
    answer = await stage.post("/v1/policies/explain", body)
    assert (answer.status_code, answer.json()["code"]) == (400, "missing_target")
    for service in ("groq", "notion", "nobody", "a\0b"):
        answer = await stage.post("/v1/policies/explain", {**body, "service": service})
        assert (answer.status_code, answer.json()["code"]) == (404, "no_healthy_connection")
    answer = await stage.post("/v1/policies/explain", {**body, "connectionId": new_id(), "why": 1})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")


async def test_calls_of_the_llm_proxy_are_read_as_the_proxy_reads_them(stage: Stage) -> None:
    connection_id = await stage.add_connection("openai", is_singleton=True)
    rules = {"request": [{"label": "Model", "match": {"body": [{"path": "model", "op": "eq", "value": "big"}]},
             "action": "deny"}, {"match": {}, "action": "allow"}], "response": []}  # fmt: skip
    policy = await stage.create(connection_id, rules=rules, defaultMode="read_write")
    body = {"agentId": policy["agentId"], "service": "openai"}

    async def explain(**request: Any) -> Any:
        return await stage.post("/v1/policies/explain", {**body, "request": {"llm": "openai", **request}})

    for path in ("chat/completions", "/v1/chat/completions", "v1/chat/completions"):
        told = (await explain(method="POST", path=path, body={"model": "small", "messages": []})).json()
        assert told["canonical"]["url"] == "https://api.openai.com/v1/chat/completions"
        assert (told["decision"], told["canonical"]["bodyKind"]) == ("allow", "json")
    told = (await explain(method="POST", path="v1/responses?x=1", body='{"model":"big"}')).json()
    assert (told["code"], told["rule"]["label"]) == ("rule_denied", "Model")
    assert told["canonical"]["url"].endswith("/v1/responses?x=1")
    by_id = {"agentId": policy["agentId"], "connectionId": connection_id, "request": {"llm": "openai", "method": "GET",
             "path": "models"}}  # fmt: skip
    assert (await stage.post("/v1/policies/explain", by_id)).json()["decision"] == "allow"
    unknown = await stage.post("/v1/policies/explain", {**by_id, "request": {**by_id["request"], "llm": "nobody"}})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unsupported_llm_provider")
    other = {**by_id, "connectionId": await stage.add_connection("notion")}
    assert (await stage.post("/v1/policies/explain", other)).status_code == 400
    for wrong in ({"path": 5}, {"path": "é"}, {"method": "TRACE"}, {"headers": {"a": 1}}, {"headers": {"a": "☃"}}):
        refused = await explain(**{"method": "POST", "path": "models", **wrong})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")


async def test_own_mail_domains_are_those_of_the_workspace(stage: Stage) -> None:
    rule = {"match": {"body": [{"path": "to", "op": "domain_not_in", "value": ["$orgDomains"]}]}, "action": "deny"}
    policy = await stage.create(**OPEN, rules={"request": [rule], "response": []})
    for address, decision in (("a@works.example", "allow"), ("a@else.example", "deny")):
        request = {"method": "POST", "url": f"{BASE}/mail", "body": {"to": address}}
        assert (await ask(stage, policy, request)).json()["decision"] == decision
