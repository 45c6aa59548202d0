"""What a row can tell of a decision, and that where it cannot nothing is claimed."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.catalog.binding import bind
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.facts import service_facts
from agenthifive.policies.forecast import Ground, forecast
from agenthifive.policies.recorded import Outcome, RecordedCall, read_recorded
from agenthifive.policy.compile import compile_policy
from agenthifive.policy.decide import decide
from agenthifive.policy.model import NO_BODY, Allow, Body, Deny, Request
from agenthifive.policy.paths import strict_path
from agenthifive.words import ActionClass
from policies.stage import BASE, OPEN

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALLOWED = Outcome("allow", "no_rule")
HOST = BASE.removeprefix("https://")
BARE = RecordedCall("row", NOON, "GET", "https", HOST, "/v1/x", (), 0, None, False, False, ALLOWED)
POST = replace(BARE, method="POST", body_bytes=20)
ARCHIVING = {"label": "Archiving", "match": {"body": [{"path": "archived", "op": "eq", "value": True}]}}
FORCED = {"label": "Forced", "match": {"queryPattern": "force=1"}, "action": "deny"}


def ground_of(catalog: Catalog, service_id: str = "generic-http", **params: Any) -> Ground:
    service = catalog.get(service_id)
    assert service is not None
    variant = service.default_variant
    binding = bind(service, variant, {"baseUrl": BASE} if service_id == "generic-http" else params)
    return Ground(binding, service_facts(service, variant, binding), None, ("works.example",))


@pytest.fixture(scope="module")
def ground(catalog: Catalog) -> Ground:
    return ground_of(catalog)


def foresee(call: RecordedCall, ground: Ground, *rules: dict[str, Any], **facets: Any) -> Outcome:
    document = {**OPEN, "rules": {"request": [{"id": f"r{n}", **rule} for n, rule in enumerate(rules)],
                                  "response": []}, **facets}  # fmt: skip
    return forecast(call, compile_policy(document, ground.facts), ground)


def test_a_call_without_query_and_body_is_decided_with_certainty(ground: Ground) -> None:
    denying = {**ARCHIVING, "action": "deny"}
    assert foresee(BARE, ground, denying, FORCED) == ALLOWED
    rule = {"label": "No x", "match": {"urlPattern": "^/v1/x"}, "action": "deny"}
    assert foresee(BARE, ground, denying, FORCED, rule) == Outcome("deny", "rule_denied", "No x")


@pytest.mark.parametrize("action", ["deny", "require_approval"])
def test_a_rule_about_the_body_leaves_open_what_it_decides(ground: Ground, action: str) -> None:
    after = foresee(POST, ground, {"label": "First", "match": {"methods": ["GET"]}, "action": "deny"},
                    {**ARCHIVING, "action": action})  # fmt: skip
    assert after == Outcome("undetermined", None, "Archiving", "rules.request[1]")


def test_a_rule_about_the_query_leaves_open_what_it_decides(ground: Ground) -> None:
    call = replace(BARE, query_names=("force",))
    assert foresee(call, ground, FORCED).depends_on == "rules.request[0]"
    assert foresee(replace(BARE, query_names=None, body_bytes=None), ground, FORCED).decision == "undetermined"


def test_a_rule_in_doubt_that_changes_nothing_leaves_nothing_open(ground: Ground) -> None:
    """Both ways end the same; which rule it is nobody can tell."""
    everything = {"label": "Everything", "match": {}, "action": "deny"}
    assert foresee(POST, ground, {**ARCHIVING, "action": "deny"}, everything) == Outcome("deny", "rule_denied", None)
    assert foresee(POST, ground, {**ARCHIVING, "action": "allow"}) == Outcome("allow", None, None)
    elsewhere = {**ARCHIVING, "match": {**ARCHIVING["match"], "urlPattern": "^/v2/"}, "action": "deny"}
    assert foresee(POST, ground, elsewhere) == ALLOWED
    assert foresee(POST, ground, {**ARCHIVING, "action": "deny"}, allowlists=[]).code == "allowlist_denied"


def test_a_redacting_rule_ends_no_call(ground: Ground) -> None:
    codes = {"types": [{"type": "custom", "pattern": "X-[0-9]+"}], "fields": ["$body"]}
    assert foresee(POST, ground, {"match": {}, "action": "redact", "redactConfig": codes}) == ALLOWED


def test_the_names_of_a_query_are_known(ground: Ground) -> None:
    def about(op: str, path: str = "$query.force", **value: Any) -> dict[str, Any]:
        return {"match": {"body": [{"path": path, "op": op, **value}]}, "action": "deny"}

    call = replace(BARE, query_names=("force", "a b"))
    assert foresee(call, ground, about("exists")).decision == "deny"
    assert foresee(call, ground, about("exists", "$query.a b")).decision == "deny"
    assert foresee(call, ground, about("exists", "$query.other")).decision == "allow"
    assert foresee(call, ground, about("eq", "$query.other", value="1")).decision == "allow"
    assert foresee(call, ground, about("eq", value="1")).decision == "undetermined"


def test_the_size_is_known_where_it_was_recorded(ground: Ground) -> None:
    large = {"match": {"body": [{"path": "$size", "op": "gt", "value": 10}]}, "action": "deny"}
    assert foresee(POST, ground, large).decision == "deny"
    assert foresee(replace(POST, body_bytes=None), ground, large).decision == "undetermined"
    limits = {"maxRequestsPerHour": 5, "maxPayloadSizeBytes": 10}
    assert foresee(POST, ground, rateLimits=limits).code == "payload_too_large"
    refused = replace(POST, body_bytes=None, before=Outcome("deny", "payload_too_large"))
    assert foresee(refused, ground, rateLimits=limits).depends_on == "rateLimits.maxPayloadSizeBytes"


def test_constraints_need_the_arguments_of_a_call(catalog: Catalog) -> None:
    ground = ground_of(catalog, "telegram")
    facets: dict[str, Any] = {
        "allowlists": [{"baseUrl": "https://api.telegram.org", "methods": ["GET", "POST"], "pathPatterns": ["/**"]}],
        "providerConstraints": {"provider": "telegram", "allowedChatIds": ["1"]},
    }
    call = replace(BARE, method="POST", host="api.telegram.org", path="/bot/sendMessage", body_bytes=30)
    assert foresee(call, ground, **facets).depends_on == "providerConstraints"
    # without arguments it names no chat
    assert foresee(replace(call, body_bytes=0), ground, **facets).code == "constraint_denied"


def test_the_class_of_a_call_may_hang_on_its_body(catalog: Catalog) -> None:
    service = next(s for s in catalog.services if any(entry.how == "graphql" for entry in s.file.classes)
                   and not s.file.self_hosted)  # fmt: skip
    ground = ground_of(catalog, service.id)
    entry = next(entry for entry in service.file.classes if entry.how == "graphql")
    host = entry.host or service.file.hosts[0].name
    everywhere = [{"baseUrl": f"https://{host}", "methods": ["POST"], "pathPatterns": ["/**"]}]
    call = replace(POST, host=host, path=entry.globs[0])
    after = foresee(call, ground, allowlists=everywhere, defaultMode="read_only")
    assert (after.decision, after.depends_on) == ("undetermined", "class")
    assert foresee(call, ground, allowlists=everywhere).decision == "allow"


def test_what_a_row_says_was_asked_for_is_asked_for_again(ground: Ground) -> None:
    full = replace(BARE, wants_full_fields=True)
    assert foresee(full, ground).code == "fields_not_available"
    over = replace(BARE, calls_last_hour=7, before=Outcome("deny", "budget_exceeded"))
    assert foresee(over, ground, rateLimits={"maxRequestsPerHour": 7}).code == "budget_exceeded"
    assert foresee(over, ground, rateLimits={"maxRequestsPerHour": 8}) == ALLOWED


def test_how_much_a_held_prompt_was_over_its_budget_is_not_known(catalog: Catalog) -> None:
    ground = ground_of(catalog, "openai")
    listed = [{"baseUrl": "https://api.openai.com", "methods": ["POST"], "pathPatterns": ["/**"]}]
    held = Outcome("require_approval", "budget_override")
    call = replace(POST, host="api.openai.com", path="/v1/responses", before=held)
    after = foresee(call, ground, allowlists=listed, rateLimits={"maxRequestsPerHour": 8})
    assert after.depends_on == "rateLimits.maxRequestsPerHour"
    assert foresee(call, ground, allowlists=listed) == ALLOWED


def test_a_call_is_judged_at_its_own_instant(ground: Ground) -> None:
    windows = [{"dayOfWeek": 1, "startHour": 11, "endHour": 13, "timezone": "UTC"}]
    assert foresee(BARE, ground, timeWindows=windows) == ALLOWED
    night = replace(BARE, at=NOON.replace(hour=3))
    assert foresee(night, ground, timeWindows=windows).code == "time_window_closed"


def test_many_rules_in_doubt_are_not_many_decisions(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    decided = []

    def counting(*arguments: Any) -> Any:
        decided.append(arguments)
        return decide(*arguments)

    monkeypatch.setattr("agenthifive.policies.forecast.decide", counting)
    after = foresee(POST, ground, *({**ARCHIVING, "label": f"L{n}", "action": "allow"} for n in range(200)))
    assert after == Outcome("allow", None, None)
    assert len(decided) == 2


def test_a_row_of_no_call_of_ours_is_undetermined(ground: Ground) -> None:
    assert foresee(replace(BARE, path="/a/../b"), ground).decision == "undetermined"
    assert foresee(replace(BARE, method="TRACE"), ground).decision == "undetermined"


@pytest.mark.parametrize(
    ("action", "rule_id", "metadata", "before"),
    [
        ("execution_requested", None, {}, Outcome("allow", "no_rule")),
        ("execution_requested", "r1", {"ruleLabel": "Writes"}, Outcome("allow", "rule_allowed", "Writes")),
        ("execution_requested", "r1", {}, Outcome("allow", "rule_allowed", "r1")),
        ("execution_requested", None, {"wouldDeny": [{"code": "read_only", "ruleLabel": None}]},
         Outcome("allow", "report")),
        ("execution_denied", "r1", {"reason": "rule_denied", "ruleLabel": "No"}, Outcome("deny", "rule_denied", "No")),
        ("execution_denied", None, {"reason": "approval_required", "detail": "step_up", "causes": ["step_up"]},
         Outcome("require_approval", "step_up")),
        ("rate_limit_exceeded", None, {"reason": "budget_exceeded", "currentCount": 9},
         Outcome("deny", "budget_exceeded")),
    ],
)  # fmt: skip
def test_what_a_row_says_happened(action: str, rule_id: str | None, metadata: dict[str, Any], before: Outcome) -> None:
    row = {"method": "GET", "host": HOST, "path": "/v1/x", **metadata}
    call = read_recorded("row", NOON, action, rule_id, row)
    assert call.before == before
    assert (call.query_names, call.body_bytes) == (None, None)
    assert call.calls_last_hour == metadata.get("currentCount")


VALUES = st.sampled_from([True, False, "1", "x", 3])
CONDITIONS = st.sampled_from(
    [
        {"path": "archived", "op": "eq", "value": True},
        {"path": "kind", "op": "not_in", "value": ["x"]},
        {"path": "$query.force", "op": "exists"},
        {"path": "$query.force", "op": "eq", "value": "1"},
        {"path": "$size", "op": "gt", "value": 12},
        {"path": "$body", "op": "contains", "value": "x"},
    ]
)
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "methods": st.sampled_from([["GET"], ["POST"]]),
        "urlPattern": st.sampled_from(["^/v1", "^/v2"]),
        "queryPattern": st.sampled_from(["force=1", "x"]),
        "body": st.lists(CONDITIONS, min_size=1, max_size=2),
    },
)
RULES = st.lists(
    st.fixed_dictionaries({"match": MATCHES, "action": st.sampled_from(["allow", "deny", "require_approval"])}),
    max_size=4,
)


@given(
    rules=RULES,
    method=st.sampled_from(["GET", "POST"]),
    query=st.sampled_from(["", "?force=1", "?force=2", "?y=x"]),
    body=st.none() | st.dictionaries(st.sampled_from(["archived", "kind"]), VALUES, max_size=2),
    step_up=st.sampled_from(["always", "risk_based", "never"]),
    mode=st.sampled_from(["read_only", "read_write"]),
)
def test_a_forecast_is_what_is_decided_or_undetermined(
    ground: Ground, rules: list[dict[str, Any]], method: str, query: str, body: Any, step_up: str, mode: str
) -> None:
    """Whatever the unknown values were: what is claimed of decision, code and rule is true."""
    listed = [{"id": f"r{number}", **rule} for number, rule in enumerate(rules)]
    document = {**OPEN, "stepUpApproval": step_up, "defaultMode": mode, "rules": {"request": listed, "response": []}}
    policy = compile_policy(document, ground.facts)
    size = 0 if body is None else 20
    action_class = ActionClass.READ if method == "GET" else ActionClass.WRITE
    request = Request(
        method, "https", HOST, 443, "/v1/x", strict_path("/v1/x"), query,
        NO_BODY if body is None else Body("json", body, size), action_class, ground.facts,
    )  # fmt: skip
    decision = decide(request, policy, NOON)
    names = tuple(pair.partition("=")[0] for pair in query.removeprefix("?").split("&") if pair)
    after = forecast(replace(BARE, method=method, query_names=names, body_bytes=size), policy, ground)
    if after.decision == "undetermined":
        assert names or size, "with nothing unknown there is nothing to leave open"
        return
    verb = "allow" if isinstance(decision, Allow) else "deny" if isinstance(decision, Deny) else "require_approval"
    code = decision.reason if isinstance(decision, Allow) else decision.code
    assert after.decision == verb
    assert after.code in (None, code)
    assert after.rule in (None, decision.rule and decision.rule.id)
