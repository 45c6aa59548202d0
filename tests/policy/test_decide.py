"""The decision: order of gates, floors, trust, report mode, budget."""

from itertools import count
from typing import Any

import pytest

from agenthifive.policy.compile import compile_policy
from agenthifive.policy.decide import Budget, decide
from agenthifive.policy.model import Allow, Decision, Deny, Hold, PolicyInvalid, Request
from agenthifive.policy.pii import search
from policy.calls import GENERIC, NOON, call, code, document, facts_of, label

STAFF = {"types": [{"type": "custom", "pattern": r"EMP-\d{5}"}], "fields": ["t"]}
REDACT = {"label": "Redact", "match": {"pii": STAFF}, "action": "redact"}
EMAILS = {"types": [{"type": "email"}], "fields": ["t"]}


def rule(action: str, label: str = "R", **match: Any) -> dict[str, Any]:
    return {"label": label, "match": match, "action": action}


def judge(request: Request, *rules: dict[str, Any], **facets: Any) -> Decision:
    return decide(request, compile_policy(document(*rules, **facets), request.facts), NOON)


def post(body: Any, **more: Any) -> Request:
    return call("POST", "/v1/x", body, **more)


def bound_elsewhere() -> Request:
    return call("GET", "https://api.example.com:8443/x")


# ---- order -------------------------------------------------------------------------------------------


def test_the_host_binding_outranks_rules_and_report_mode() -> None:
    entry = {"baseUrl": "https://api.example.com:8443", "methods": ["GET"], "pathPatterns": ["/**"]}
    for enforcement in ("enforce", "report"):
        decision = judge(bound_elsewhere(), rule("allow"), allowlists=[entry], enforcement=enforcement)
        assert isinstance(decision, Deny)
        assert (decision.code, decision.detail) == ("host_not_bound", "host_not_in_catalog")


def test_a_deny_says_which_rule_and_what_instead() -> None:
    nearby = rule("allow", "Reading items", methods=["GET"], urlPattern="^/v1/items/[^/]+$")
    decision = judge(call("GET", "/v1/items/7/notes"), nearby, rule("deny", "Everything else"))
    assert isinstance(decision, Deny)
    assert decision.rule is not None
    assert (decision.rule.index, decision.rule.label) == (1, "Everything else")
    assert decision.hint == 'Allowed nearby: "Reading items".'
    assert "GET /v1/items/7/notes" in decision.message


def test_an_unmatched_method_is_judged_by_rules_without_methods() -> None:
    assert code(judge(call("PATCH"), rule("deny", methods=["GET"]), rule("require_approval"))) == "rule_approval"


def test_read_only_names_the_class_of_the_call() -> None:
    decision = judge(call("DELETE"), defaultMode="read_only")
    assert isinstance(decision, Deny)
    assert "delete" in decision.message


def test_a_window_refusal_says_when_to_try_again() -> None:
    window = {"dayOfWeek": 2, "startHour": 9, "endHour": 17, "timezone": "Europe/Berlin"}
    decision = judge(call(), timeWindows=[window])
    assert isinstance(decision, Deny)
    assert decision.retry_after_s == 20 * 3600
    assert decision.hint == "next opening Tue 2026-11-24 09:00 Europe/Berlin"
    never = judge(call(), timeWindows=[{**window, "timezone": "Europe/Berlin", "startHour": 0, "endHour": 24,
                                        "dayOfWeek": 0}])  # fmt: skip
    assert isinstance(never, Deny)
    assert never.retry_after_s is not None


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        ("/v1/people/c12", "GET", "full_fields"),
        ("/v1/people/c12", "POST", "fields_not_available"),
        ("/v1/people/c12%2Fx", "GET", "fields_not_available"),
        ("/v1/people/cx", "GET", "fields_not_available"),
        ("/V1.0/me/contacts/abc", "GET", "full_fields"),
    ],
)
def test_full_fields_are_for_one_contact(path: str, method: str, expected: str) -> None:
    request = call(method, path, context={"requestFullFields": True})
    rules = {"request": [], "response": [], "fieldStepUpEnabled": True}
    decision = decide(request, compile_policy({**document(), "rules": rules}, GENERIC), NOON)
    assert code(decision) == expected


# ---- redaction and floors ----------------------------------------------------------------------------


def test_every_reason_to_hold_is_a_cause() -> None:
    request = post({"t": "EMP-12345"}, bypassPiiRedaction=True)
    decision = judge(request, REDACT, rule("require_approval", "Writes"))
    assert isinstance(decision, Hold)
    assert decision.code == "pii_bypass"
    assert decision.causes == ("pii_bypass", "rule")
    assert (label(decision), decision.approval_rule and decision.approval_rule.label) == ("Redact", "Writes")
    assert [(f.type, f.field, f.count) for f in decision.findings] == [("custom", "t", 1)]
    assert decision.body is None


def test_a_floor_stands_when_an_allow_rule_follows() -> None:
    decision = judge(post({"EMP-12345": {"t": 1}, "t": "x"}), {
        "label": "Redact", "match": {}, "action": "redact", "redactConfig": {**STAFF, "fields": ["$body"]},
    }, rule("allow"))  # fmt: skip
    assert isinstance(decision, Hold)
    assert (decision.code, decision.causes) == ("redaction_impossible", ("redaction_impossible",))
    assert "EMP-12345" not in f"{decision}"
    assert [finding.field for finding in decision.findings] == ["*"]


def test_asking_to_bypass_a_redaction_that_could_not_be_made_is_no_bypass() -> None:
    """The flag matters only where the rule would change the body."""
    telegram = facts_of("telegram")
    request = call("GET", "/bot/sendMessage?chat_id=1&t=EMP-12345", facts=telegram, bypassPiiRedaction=True)
    entry = {"baseUrl": "https://api.telegram.org", "methods": ["GET"], "pathPatterns": ["/**"]}
    assert code(judge(request, REDACT, rule("allow"), allowlists=[entry])) == "redaction_impossible"


def test_rules_after_a_redaction_see_what_will_be_sent() -> None:
    later = rule("deny", "Seen", body=[{"path": "t", "op": "contains", "value": "EMP-"}])
    decision = judge(post({"t": "EMP-12345"}), REDACT, later, rule("allow", "Rest"))
    assert isinstance(decision, Allow)
    assert decision.body is not None
    assert decision.body.value == {"t": "[PII_REDACTED:custom]"}
    assert decision.body.size_bytes == len('{"t":"[PII_REDACTED:custom]"}')
    assert [(r.type, r.field, r.count) for r in decision.redactions] == [("custom", "t", 1)]


def test_a_refusal_reports_what_was_redacted_before_it() -> None:
    decision = judge(post({"t": "EMP-12345"}), REDACT, rule("deny"))
    assert isinstance(decision, Deny)
    assert len(decision.redactions) == 1


# ---- personal data -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "expected"), [("deny", "rule_denied"), ("require_approval", "rule_approval")])
def test_a_restricting_rule_about_named_types_holds_where_one_is_found(action: str, expected: str) -> None:
    rules = (rule(action, pii=EMAILS), rule("allow"))
    assert code(judge(post({"t": "mail olga@example.org"}), *rules)) == expected
    assert code(judge(post({"t": "hello", "u": "olga@example.org"}), *rules)) == "rule_allowed"


def test_an_allow_rule_about_named_types_holds_where_one_is_found() -> None:
    rules = (rule("allow", "Mail", pii=EMAILS), rule("deny", "Rest"))
    assert label(judge(post({"t": "olga@example.org"}), *rules)) == "Mail"
    assert label(judge(post({"t": "hello"}), *rules)) == "Rest"


def test_where_there_is_no_text_there_is_no_personal_data() -> None:
    for request in (call(), post({"other": "x"}), post({"t": ""}), post({"t": [True, None]})):
        assert label(judge(request, rule("deny", pii=EMAILS), rule("allow", "Rest"))) == "Rest"


def test_named_types_are_redacted_and_reported() -> None:
    decision = judge(post({"t": ["olga@example.org", "x"]}), rule("redact", pii=EMAILS), rule("allow"))
    assert isinstance(decision, Allow)
    assert decision.body is not None
    assert decision.body.value == {"t": ["[PII_REDACTED:email]", "x"]}
    assert [(r.type, r.field, r.count) for r in decision.redactions] == [("email", "t[0]", 1)]


def test_a_number_that_cannot_be_redacted_is_held() -> None:
    cards = {"types": [{"type": "credit_card"}], "fields": ["t"]}
    decision = judge(post({"t": 5421987612341006}), rule("redact", pii=cards), rule("allow"))
    assert code(decision) == "redaction_impossible"
    assert code(judge(post({"t": 5421987612341007}), rule("redact", pii=cards), rule("allow"))) == "rule_allowed"


@pytest.mark.parametrize("action", ["deny", "require_approval", "redact"])
def test_what_is_too_much_to_look_through_is_refused(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_TRIES", 1)
    decision = judge(post({"t": "olga@example.org, adam@example.org"}), rule(action, pii=EMAILS), rule("allow"))
    assert code(decision) == "body_not_inspectable"
    assert isinstance(decision, Deny)
    assert "Send less at once" in decision.message


def test_report_mode_does_not_send_what_it_cannot_redact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_TRIES", 1)
    body = {"t": "olga@example.org, adam@example.org"}
    redact = judge(post(body), rule("redact", pii=EMAILS), rule("allow"), enforcement="report")
    assert code(redact) == "body_not_inspectable"
    deny = judge(post(body), rule("deny", pii=EMAILS), rule("allow"), enforcement="report")
    assert isinstance(deny, Allow)
    assert deny.would_deny == (("body_not_inspectable", "R"),)


# ---- report mode -------------------------------------------------------------------------------------


def test_report_mode_redacts_behind_a_recorded_refusal() -> None:
    decision = judge(post({"t": "EMP-12345"}), rule("deny", "No"), REDACT, rule("deny", "Never"), enforcement="report")
    assert isinstance(decision, Allow)
    assert decision.reason == "report"
    assert decision.would_deny == (("rule_denied", "No"),)
    assert decision.body is not None
    assert decision.body.value == {"t": "[PII_REDACTED:custom]"}


def test_report_mode_keeps_an_asked_for_bypass_behind_a_recorded_refusal() -> None:
    request = post({"t": "EMP-12345"}, bypassPiiRedaction=True)
    decision = judge(request, rule("deny", "No"), REDACT, enforcement="report")
    assert isinstance(decision, Hold)
    assert (decision.causes, decision.would_deny) == (("pii_bypass",), (("rule_denied", "No"),))


def test_report_mode_records_read_only_and_sends() -> None:
    decision = judge(post({}), defaultMode="read_only", stepUpApproval="always", enforcement="report")
    assert isinstance(decision, Allow)
    assert decision.would_deny == (("read_only", None),)


# ---- limits ------------------------------------------------------------------------------------------


def test_the_hourly_limit_of_a_model_service_can_be_overridden_by_a_person() -> None:
    request = call("POST", "/v1/responses", {"input": "x"}, facts=facts_of("openai"), context={"callsLastHour": 5})
    entry = {"baseUrl": "https://api.openai.com", "methods": ["POST"], "pathPatterns": ["/**"]}
    facets = {"allowlists": [entry], "rateLimits": {"maxRequestsPerHour": 5}}
    decision = judge(request, rule("require_approval"), **facets)
    assert isinstance(decision, Hold)
    assert (decision.code, decision.causes) == ("budget_override", ("budget", "rule"))


def test_a_count_nobody_made_refuses_nothing() -> None:
    assert code(judge(call(), rateLimits={"maxRequestsPerHour": 1})) == "no_rule"


def test_a_decision_that_takes_too_long_is_refused_and_never_made_on_part_of_the_body() -> None:
    ticks = count()
    budget = Budget(lambda: float(next(ticks)), 2.5)
    rules = [rule("redact", pii=STAFF) for _ in range(5)]
    policy = compile_policy(document(*rules, rule("allow")), GENERIC)
    decision = decide(post({"t": "x"}), policy, NOON, budget)
    assert isinstance(decision, Deny)
    assert (decision.code, decision.detail) == ("body_not_inspectable", "budget")
    assert code(decide(post({"t": "x"}), policy, NOON, Budget(lambda: 0.0, 2.0))) == "rule_allowed"


# ---- policies that do not compile --------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        {"rules": {"request": [{"match": {"urlPattern": "(?=x)"}, "action": "deny"}], "response": []}},
        {"rules": {"request": [{"match": None, "action": "allow"}], "response": []}},
        {"rules": None},
        {"allowlists": [{"baseUrl": "https://h.example", "methods": ["GET"], "pathPatterns": ["no"]}]},
        {"providerConstraints": {"provider": "telegram", "allowedChatIds": ["1"]}},
        {"enforcement": "off"},
    ],
)
def test_a_document_that_is_no_policy_never_becomes_one(broken: dict[str, Any]) -> None:
    with pytest.raises(PolicyInvalid) as refusal:
        compile_policy({**document(), **broken}, GENERIC)
    assert refusal.value.problems


def test_an_empty_document_lets_nothing_through() -> None:
    assert code(decide(call(), compile_policy({}, GENERIC), NOON)) == "allowlist_denied"
