"""Explanations: the same decision, and why; never what the call holds."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agenthifive.policy.compile import compile_policy
from agenthifive.policy.decide import decide
from agenthifive.policy.explain import explain
from policy.calls import GENERIC, NOON, call, code, document, facts_of, label, promises_of, verb

STAFF = {"types": [{"type": "custom", "pattern": r"EMP-\d{5}"}], "fields": ["t"]}
WORDS = [{"path": "t", "op": "exists"}, {"path": "t", "op": "eq", "value": "no"}]
RULES: list[dict[str, Any]] = [
    {"id": "r0", "label": "Deletion", "match": {"methods": ["DELETE"]}, "action": "deny"},
    {"id": "r1", "label": "Elsewhere", "match": {"urlPattern": "^/v2/"}, "action": "deny"},
    {"id": "r2", "label": "Query", "match": {"queryPattern": "alt=media"}, "action": "deny"},
    {"id": "r3", "label": "Body", "match": {"body": WORDS}, "action": "deny"},
    {"id": "r4", "label": "Staff", "match": {"pii": STAFF}, "action": "redact"},
    {"id": "r5", "label": "Sending", "guard": "g", "match": {"methods": ["POST"]}, "action": "require_approval"},
    {"id": "r6", "label": "Rest", "match": {}, "action": "allow"},
]
REPLIES = [{"id": "p1", "label": "No names", "match": {"methods": ["POST"]}, "filter": {"denyFields": ["name"]}}]


def explained(method: str, path: str, body: Any = None, **facets: Any) -> dict[str, Any]:
    policy = compile_policy(document(*RULES, response=REPLIES, **facets), GENERIC)
    return explain(call(method, path, body), policy, NOON).document()


def test_a_held_call_is_explained_gate_by_gate() -> None:
    answer = explained("POST", "/v1/x", {"t": "from EMP-12345"})
    assert (answer["decision"], answer["code"]) == ("require_approval", "rule_approval")
    assert answer["rule"] == {"id": "r5", "index": 5, "label": "Sending", "guard": "g"}
    assert answer["redactions"] == [{"type": "custom", "field": "t", "count": 1}]
    assert answer["responseRules"] == [{"id": "p1", "label": "No names", "applies": True}]
    assert answer["canonical"]["url"] == "https://api.example.com/v1/x"
    gates = answer["trace"]
    assert gates[:4] == [
        {"gate": "time_window", "result": "open"},
        {"gate": "allowlist", "result": "match", "entry": 0, "pattern": "/**"},
        {"gate": "host_binding", "result": "ok"},
        {"gate": "constraints", "result": "none"},
    ]
    assert [(g["id"], g["result"], g.get("failed")) for g in gates[4:]] == [
        ("r0", "no", "methods"),
        ("r1", "no", "urlPattern"),
        ("r2", "no", "queryPattern"),
        ("r3", "no", "body[1]"),
        ("r4", "redacted", None),
        ("r5", "terminal", None),
    ]


def test_nothing_of_the_content_is_in_an_explanation() -> None:
    for facets in ({}, {"enforcement": "report"}):
        for body in ({"t": "EMP-12345"}, {"t": "no"}, "EMP-12345", {"EMP-12345": "EMP-12345"}):
            assert "EMP-12345" not in json.dumps(explained("POST", "/v1/x", body, **facets))


def test_every_refused_gate_says_so() -> None:
    window = {"dayOfWeek": 2, "startHour": 9, "endHour": 10, "timezone": "UTC"}
    closed = explained("GET", "/v1/x", timeWindows=[window])
    assert closed["trace"] == [{"gate": "time_window", "result": "closed"}]
    assert closed["code"] == "time_window_closed"
    missed = explained("GET", "/v1/x", allowlists=[])
    assert missed["trace"][-1] == {"gate": "allowlist", "result": "miss", "detail": "empty"}
    assert missed["detail"] == "empty"
    text = explained("POST", "/v1/x", "free text")
    assert (text["code"], text["trace"][-1]["result"]) == ("body_not_inspectable", "undecidable")


def test_what_report_mode_lets_pass_is_told() -> None:
    answer = explained("DELETE", "/v1/x", enforcement="report")
    assert (answer["decision"], answer["code"], answer["wouldReport"]) == ("allow", "report", True)
    assert answer["wouldDeny"] == [{"code": "rule_denied", "ruleLabel": "Deletion"}]


def test_rules_of_other_methods_are_told_to_the_end_of_the_list() -> None:
    others = [{"id": "r0", "match": {"methods": ["PUT"]}, "action": "deny"},
              {"id": "r1", "match": {"methods": ["GET"], "urlPattern": "^/v2"}, "action": "deny"},
              {"id": "r2", "match": {"methods": ["POST"]}, "action": "deny"}]  # fmt: skip
    answer = explain(call("GET", "/v1/x"), compile_policy(document(*others), GENERIC), NOON).document()
    assert [(gate["id"], gate["result"], gate["failed"]) for gate in answer["trace"][4:]] == [
        ("r0", "no", "methods"), ("r1", "no", "urlPattern"), ("r2", "no", "methods"),
    ]  # fmt: skip
    unlisted = compile_policy(document(*others, allowlists=[]), GENERIC)
    assert len(explain(call("GET", "/v1/x"), unlisted, NOON).document()["trace"]) == 2


def test_rules_nobody_looked_at_behind_a_recorded_refusal_are_not_told() -> None:
    """Report mode goes on for what redacts; the others would have nothing to say."""
    answer = explained("DELETE", "/v1/x", {"t": "EMP-12345"}, enforcement="report")
    assert [(gate["id"], gate["result"]) for gate in answer["trace"][4:]] == [("r0", "terminal"), ("r4", "redacted")]


def test_a_refusing_constraint_is_traced() -> None:
    facts = facts_of("telegram")
    entry = {"baseUrl": "https://api.telegram.org", "methods": ["GET"], "pathPatterns": ["/**"]}
    constraint = {"provider": "telegram", "allowedChatIds": ["5"]}
    policy = compile_policy(document(allowlists=[entry], providerConstraints=constraint), facts)
    refused = explain(call("GET", "/bot/getChat?chat_id=6", facts=facts), policy, NOON)
    assert refused.trace[-1] == {"gate": "constraints", "result": "refused", "detail": "chat"}
    passed = explain(call("GET", "/bot/getChat?chat_id=5", facts=facts), policy, NOON)
    assert passed.trace[-1] == {"gate": "constraints", "result": "ok"}
    assert passed.document()["trusted"]


@given(st.sampled_from(promises_of("telegram") + promises_of("drive-manage") + promises_of("gmail-read")))
def test_an_explanation_names_the_decision_the_call_gets(promise: Any) -> None:
    request, policy = promise
    decision = decide(request, policy, NOON)
    answer = explain(request, policy, NOON).document()
    assert (answer["decision"], answer["code"]) == (verb(decision), code(decision))
    assert (answer["rule"] or {}).get("label") == label(decision)
    indexes = [gate["index"] for gate in answer["trace"] if gate["gate"] == "rule"]
    assert indexes == list(range(len(indexes)))
