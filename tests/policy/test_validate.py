"""Saving: everything wrong at once, in document order, and what GET returns PUT accepts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.policy import presets
from agenthifive.policy.compile import compile_policy
from agenthifive.policy.defaults import DEFAULTS, assign_rule_ids, fill_defaults
from agenthifive.policy.model import HostFacts, PolicyInvalid, ServiceFacts
from agenthifive.policy.validate import READ_ONLY, Validation, refusal_code, validate
from agenthifive.strict_json import dumps, loads
from policy.calls import GENERIC, call, case_file, document, facts_of, service_of

SELF_HOSTED = ServiceFacts(
    "gitlab", "gitlab", (), origins=(("https", "git.example", 8443, "/api"), ("http", "10.0.0.5", 8080, ""))
)


def problems(document: dict[str, Any], facts: ServiceFacts = GENERIC) -> list[tuple[str, str]]:
    return [(problem.path, problem.code) for problem in validate(document, facts, partial=True).problems]


def request_rule(**members: Any) -> dict[str, Any]:
    return {"rules": {"request": [{"match": {}, "action": "deny", **members}], "response": []}}


def warnings(*rules: dict[str, Any], **facets: Any) -> list[tuple[str, str]]:
    found = validate(document(*rules, **facets), facets.pop("facts", GENERIC), partial=False).warnings
    return [(warning.code, warning.path) for warning in found]


# ---- problems ----------------------------------------------------------------------------------------


def test_everything_wrong_is_reported_in_document_order() -> None:
    sent = {
        "stepUpApproval": "sometimes",
        "unknown": 1,
        "allowlists": [{"pathPatterns": ["x"], "colour": 1, "baseUrl": "http://h"}],
        "rules": {"response": [{"match": {}, "filter": {}}], "request": [{"action": "block"}]},
    }
    assert problems(sent) == [
        ("stepUpApproval", "enum"),
        ("unknown", "unknown_field"),
        ("allowlists[0].pathPatterns[0]", "glob"),
        ("allowlists[0].colour", "unknown_field"),
        ("allowlists[0].baseUrl", "scheme"),
        ("allowlists[0].methods", "required"),
        ("rules.response[0].filter", "required"),
        ("rules.request[0].action", "enum"),
        ("rules.request[0].match", "required"),
    ]


@pytest.mark.parametrize(
    ("sent", "path", "code"),
    [
        ({"allowlists": None}, "allowlists", "type"),
        ({"allowlists": [1]}, "allowlists[0]", "type"),
        ({"timeWindows": {}}, "timeWindows", "type"),
        ({"rules": {"request": []}}, "rules.response", "required"),
        ({"rateLimits": {"maxRequestsPerHour": True}}, "rateLimits.maxRequestsPerHour", "range"),
        ({"allowedModels": ["B", "B"]}, "allowedModels", "enum"),
        ({"vendStaticCredentials": 1}, "vendStaticCredentials", "type"),
        ({"version": 0}, "version", "range"),
        (request_rule(id="a b"), "rules.request[0].id", "type"),
        (request_rule(label="x" * 81), "rules.request[0].label", "too_long"),
        (request_rule(match={"methods": []}), "rules.request[0].match.methods", "required"),
        (request_rule(match={"urlPattern": "x" * 8193}), "rules.request[0].match.urlPattern", "too_long"),
        (request_rule(match={"body": [{}] * 21}), "rules.request[0].match.body", "too_many"),
        (request_rule(match={"body": [{"path": "a", "op": "eq"}]}), "rules.request[0].match.body[0].value", "required"),
        (request_rule(match={"body": [{"path": "a", "op": {}}]}), "rules.request[0].match.body[0].op", "enum"),
        (request_rule(match={"body": [{"path": "", "op": "exists"}]}),
         "rules.request[0].match.body[0].path", "required"),
        (request_rule(match={"body": [{"path": "a", "op": "within_last_days", "value": 1e9}]}),
         "rules.request[0].match.body[0].value", "range"),
        (request_rule(match={"pii": {"types": [{"type": "email", "pattern": "x"}], "fields": ["a"]}}),
         "rules.request[0].match.pii.types[0].pattern", "conflict"),
        (request_rule(match={"pii": {"types": [{"type": "custom", "pattern": "("}], "fields": ["a"]}}),
         "rules.request[0].match.pii.types[0].pattern", "regex"),
        (request_rule(match={"pii": {"types": [{"type": "email"}], "fields": []}}),
         "rules.request[0].match.pii.fields", "required"),
        (request_rule(action="redact", match={"pii": {"types": [{"type": "email"}], "fields": ["$query.q"]}}),
         "rules.request[0].redactConfig.fields", "conflict"),
    ],
)  # fmt: skip
def test_what_is_refused(sent: dict[str, Any], path: str, code: str) -> None:
    assert problems(sent) == [(path, code)]


numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FACET_NAMES = [*DEFAULTS, "version", "priority"]
RULE_PARTS = [
    "match",
    "action",
    "redactConfig",
    "id",
    "filter",
    "methods",
    "body",
    "pii",
    "path",
    "op",
    "value",
    "types",
    "fields",
    "type",
]


@given(st.dictionaries(st.sampled_from(FACET_NAMES), json_values, max_size=5))
def test_whatever_is_sent_is_answered_and_never_compiled_by_accident(sent: dict[str, Any]) -> None:
    result = validate(sent, GENERIC, partial=True)
    assert (result.policy is None) is bool(result.problems)
    try:
        compile_policy(sent, GENERIC)
    except PolicyInvalid:
        assert result.problems


@given(
    st.recursive(
        json_values,
        lambda inner: st.dictionaries(st.sampled_from(RULE_PARTS), inner, max_size=5) | st.lists(inner, max_size=2),
        max_leaves=12,
    )
)
def test_whatever_stands_in_a_rule_is_answered(rule: Any) -> None:
    validate({"rules": {"request": [rule], "response": [rule]}}, GENERIC, partial=True)


def test_a_document_of_half_a_megabyte_is_too_long() -> None:
    sent = request_rule(match={"body": [{"path": "a", "op": "contains", "value": "x" * 8000}] * 20})
    sent["rules"]["request"] *= 4
    assert problems(sent) == [("policy", "too_long")]


def test_hosts_of_the_service_and_origins_of_the_connection_can_be_listed() -> None:
    def listed(base: str, facts: ServiceFacts) -> list[str]:
        entry = {"baseUrl": base, "methods": ["GET"], "pathPatterns": ["/**"]}
        return [code for _, code in problems({"allowlists": [entry]}, facts)]

    wildcard = ServiceFacts("jira", "jira", (HostFacts("*.atlassian.net"),))
    assert listed("https://*.atlassian.net", wildcard) == []
    assert listed("https://acme.atlassian.net", wildcard) == []
    assert listed("https://a.b.atlassian.net", wildcard) == ["host"]
    assert listed("https://*.net", wildcard) == ["host"]
    assert listed("https://api.example.com:8443", GENERIC) == ["host"]
    assert listed("https://git.example:8443/api/v4", SELF_HOSTED) == []
    assert listed("https://git.example:8443/apix", SELF_HOSTED) == ["host"]
    assert listed("https://git.example:8443", SELF_HOSTED) == ["host"]
    assert listed("http://10.0.0.5:8080", SELF_HOSTED) == []
    assert listed("http://git.example:8443/api", SELF_HOSTED) == ["scheme"]


@pytest.mark.parametrize(
    ("sent", "facts", "code"),
    [
        ({"providerConstraints": {"provider": "slack"}}, facts_of("telegram"), "provider_mismatch"),
        ({"providerConstraints": {"provider": "microsoft"}}, facts_of("microsoft-outlook-mail"), "provider_mismatch"),
        ({"allowedModels": ["A"]}, GENERIC, "model_not_supported"),
        ({"a": 1, "b": 2}, GENERIC, "unknown_field"),
        ({"a": 1, "enforcement": "x"}, GENERIC, "invalid_policy"),
    ],
)  # fmt: skip
def test_the_code_of_the_answer(sent: dict[str, Any], facts: ServiceFacts, code: str) -> None:
    assert refusal_code(validate(sent, facts, partial=True).problems) == code


def test_model_a_is_accepted_where_it_is_offered_or_opted_into() -> None:
    offering = ServiceFacts("s", "p", (), models=frozenset({"A", "B"}))
    assert problems({"allowedModels": ["A", "B"]}, offering) == []
    assert problems({"allowedModels": ["A"], "vendStaticCredentials": True}) == []


# ---- what is stored ----------------------------------------------------------------------------------


def accepted(sent: dict[str, Any], facts: ServiceFacts, *, partial: bool = False) -> Validation:
    result = validate(sent, facts, partial=partial)
    assert result.problems == ()
    return result


@given(st.sampled_from(sorted(case_file()["promises"])), st.sampled_from(presets.TIERS))
def test_what_get_returns_put_accepts_unchanged(template: str, tier: str) -> None:
    facts = facts_of(service_of(template))
    stored = accepted(presets.template_config(template, tier, "Europe/Berlin"), facts).policy
    assert stored is not None
    stored["rules"] = assign_rule_ids(stored["rules"], iter(f"r{n}" for n in range(400)).__next__)
    answer = loads(dumps({**dict.fromkeys(READ_ONLY, "x"), "version": 3, **stored}))
    again = accepted(answer, facts).policy
    assert again is not None
    assert dumps(again["rules"]) == dumps(stored["rules"])
    assert {name: again[name] for name in stored} == stored


def test_every_facet_left_out_takes_its_default() -> None:
    stored = accepted({}, GENERIC).policy
    assert stored == dict(DEFAULTS)
    assert accepted({"enforcement": "report"}, GENERIC, partial=True).policy == {"enforcement": "report"}


def test_defaults_of_windows_and_entries_are_written_out() -> None:
    entry = {"baseUrl": "https://api.example.com", "methods": ["GET"], "pathPatterns": ["/"]}
    window = {"dayOfWeek": 1, "startHour": 9, "endHour": 17, "timezone": "UTC"}
    stored = accepted({"allowlists": [entry], "timeWindows": [window]}, GENERIC).policy
    assert stored is not None
    assert stored["allowlists"] == [{**entry, "encodedSlash": False}]
    assert stored["timeWindows"] == [{**window, "startMinute": 0, "endMinute": 0}]


def test_an_empty_constraint_list_is_stored_as_absent_and_warned_about() -> None:
    sent = {"providerConstraints": {"provider": "slack", "allowedChannelIds": [], "allowedUserIds": ["U1"]}}
    result = accepted(sent, facts_of("slack"), partial=True)
    assert result.policy == {"providerConstraints": {"provider": "slack", "allowedUserIds": ["U1"]}}
    assert [w.code for w in result.warnings] == ["constraint_without_effect"]


@pytest.mark.parametrize(
    ("label", "relaxed"),
    [
        ("Strip contact PII fields", ["full_fields"]),
        ("Redact PII from all responses", ["full_fields"]),
        ("Redact PII outside trusted recipient scope", ["trusted_recipient"]),
        ("Something else", None),
    ],
)
def test_labels_of_the_original_keep_their_meaning(label: str, relaxed: list[str] | None) -> None:
    rule: dict[str, Any] = {"label": label, "match": {}, "filter": {"denyFields": ["x"]}}
    rules = {"request": [], "response": [rule, {**rule, "relaxWhen": []}, {**rule, "guard": "g"}]}
    stored = accepted({"rules": rules}, GENERIC).policy
    assert stored is not None
    assert [r.get("relaxWhen") for r in stored["rules"]["response"]] == [relaxed, [], None]


def test_the_sent_document_is_not_changed() -> None:
    sent = {"rules": {"request": [], "response": []}, "allowlists": [], "timeWindows": []}
    fill_defaults(sent)["rules"]["request"].append(1)
    assert "fieldStepUpEnabled" not in sent["rules"]
    assert DEFAULTS["allowlists"] == []


# ---- warnings ----------------------------------------------------------------------------------------

ALLOW = {"match": {"methods": ["GET"]}, "action": "allow"}
REST = {"match": {}, "action": "deny"}
STAFF = {"types": [{"type": "custom", "pattern": "EMP"}], "fields": ["t"]}


def test_a_policy_without_doubtful_places_is_not_warned_about() -> None:
    assert warnings(ALLOW, REST) == []
    assert warnings() == []


def test_warnings_about_order() -> None:
    redact = {"match": {"methods": ["GET"], "pii": STAFF}, "action": "redact"}
    assert warnings(ALLOW) == [("no_catch_all", "rules.request")]
    assert warnings(REST, ALLOW, REST) == [
        ("unreachable_rule", "rules.request[1]"),
        ("unreachable_rule", "rules.request[2]"),
    ]
    assert warnings(ALLOW, redact, REST) == [("redact_after_terminal", "rules.request[1]")]
    assert warnings({"match": {"methods": ["POST"]}, "action": "allow"}, redact, REST) == []


def test_a_restricting_rule_behind_an_equal_allow_rule_is_reached_by_doubtful_calls() -> None:
    match = {"urlPattern": "^/v1/[^/]+$"}
    allow, deny = {"match": match, "action": "allow"}, {"match": match, "action": "deny"}
    assert warnings(allow, deny, REST) == []
    assert warnings(deny, allow, REST) == [("unreachable_rule", "rules.request[1]")]


def test_warnings_about_rules() -> None:
    entry = {"baseUrl": "https://api.example.com", "methods": ["GET"], "pathPatterns": ["/**"]}
    negative = {"match": {"body": [{"path": "a", "op": "neq", "value": 1}]}, "action": "allow"}
    encoded = {"match": {"queryPattern": "q=a%20b"}, "action": "allow"}
    post = {"match": {"methods": ["POST"]}, "action": "deny"}
    assert warnings(negative, encoded, post, REST, allowlists=[entry]) == [
        ("allow_on_negation", "rules.request[0].match.body"),
        ("percent_in_pattern", "rules.request[1].match.queryPattern"),
        ("method_never_listed", "rules.request[2].match.methods"),
    ]


def test_warnings_about_facets() -> None:
    offering = ServiceFacts("s", "p", (HostFacts("api.example.com"),), models=frozenset({"A", "B"}))
    found = validate({"enforcement": "report", "allowedModels": ["A"]}, offering, partial=False).warnings
    assert [w.code for w in found] == ["report_mode", "model_a_unbound"]
    empty = validate({"providerConstraints": {"provider": "telegram"}}, facts_of("telegram"), partial=False)
    assert [w.path for w in empty.warnings] == ["providerConstraints"]


def test_a_policy_accepted_once_survives_a_host_that_left_the_catalog() -> None:
    """Its calls are refused one by one; the policy itself still compiles."""
    entry = {"baseUrl": "https://gone.example", "methods": ["GET"], "pathPatterns": ["/**"]}
    compile_policy({"allowlists": [entry]}, GENERIC)
    assert problems({"allowlists": [entry]}) == [("allowlists[0].baseUrl", "host")]
    assert call().facts is GENERIC
