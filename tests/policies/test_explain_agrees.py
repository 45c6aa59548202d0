"""Explain and the broker can never disagree: the same policy, the same call, the same words."""

import secrets
from datetime import UTC, datetime
from typing import Any

import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive import strict_json
from agenthifive.broker.grants import Grants
from agenthifive.broker.http import read_execute_call
from agenthifive.broker.judge import check_grant, judge, read_target
from agenthifive.broker.model import Principal
from agenthifive.edge.context import Context
from agenthifive.errors import AppError
from agenthifive.policies.explain import Question
from agenthifive.policy.model import Allow
from agenthifive.words import PrincipalType
from policies.stage import BASE, Stage

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RULES = {
    "request": [
        {"label": "Admin", "match": {"urlPattern": "^/admin"}, "action": "deny"},
        {"label": "Flag", "match": {"queryPattern": "force=1"}, "action": "deny"},
        {
            "label": "Codes",
            "match": {"methods": ["POST", "PUT"]},
            "action": "redact",
            "redactConfig": {"types": [{"type": "custom", "pattern": "X-[0-9]+"}], "fields": ["$body"]},
        },
        {"label": "Archive", "match": {"body": [{"path": "archived", "op": "eq", "value": True}]}, "action": "deny"},
        {"label": "Mail", "match": {"pii": {"types": [{"type": "email"}], "fields": ["note"]}}, "action": "deny"},
        {"label": "Notes", "match": {"urlPattern": "^/notes/"}, "action": "require_approval"},
        {"label": "Open", "match": {"urlPattern": "^/open/", "methods": ["GET", "POST"]}, "action": "allow"},
    ],
    "response": [],
}
ALLOWLISTS = [
    {"baseUrl": BASE, "methods": ["GET", "POST", "PATCH"], "pathPatterns": ["/**"]},
    {"baseUrl": BASE, "methods": ["DELETE", "PUT"], "pathPatterns": ["/open/*"]},
]
PATHS = st.sampled_from(["/open/1", "/open/a%2Fb", "/notes/1", "/admin", "/%61dmin/x", "/x//admin", "/open/;x", "/"])
ODD_PATHS = st.sampled_from(["/a/../admin", "//open", "/open/%zz", "/ open", "", "/open\\x"])
HOSTS = st.sampled_from([BASE] * 8 + [f"{BASE}:443", f"{BASE}:8443", "https://evil.test", "http://api.example.com"])
QUERIES = st.sampled_from(["", "", "", "?", "?force=1", "?force=%31", "?a=b&force=1", "?%66orce=1#x"])
URLS = st.builds("".join, st.tuples(HOSTS, st.integers(0, 7).flatmap(lambda n: PATHS if n else ODD_PATHS), QUERIES))
VALUES = st.sampled_from([True, False, None, "true", "X-12", "no", 5, ["X-1"], {"note": "a@b.example"}])
BODIES = (
    st.none()
    | st.dictionaries(st.sampled_from(["archived", "note", "text"]), VALUES, max_size=3)
    | st.sampled_from(["plain X-7", '{"archived":true}', "archived=true", [1], {"_binary": True, "data": "AAEC"}])
)
REQUESTS = st.fixed_dictionaries(
    {"method": st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]), "url": URLS},
    optional={
        "body": BODIES,
        "query": st.dictionaries(st.sampled_from(["force", "q"]), st.sampled_from(["1", 1, "x"]), max_size=2),
        "headers": st.sampled_from([{}, {}, {}, {"content-type": "application/x-www-form-urlencoded"}, {"a b": "x"}]),
        "bypassPiiRedaction": st.booleans(),
    },
)


@pytest_asyncio.fixture(scope="module")
async def policies(stage: Stage) -> list[dict[str, Any]]:
    """The same rules enforced, only reported, and with everything else closed."""
    windows = [{"dayOfWeek": 0, "startHour": 9, "endHour": 17, "timezone": "UTC"}]
    return [
        await stage.create(allowlists=ALLOWLISTS, rules=RULES, **facets)
        for facets in (
            {"defaultMode": "read_write", "stepUpApproval": "risk_based"},
            {"defaultMode": "read_only", "stepUpApproval": "never", "enforcement": "report"},
            {"timeWindows": windows, "stepUpApproval": "always", "rateLimits": {"maxRequestsPerHour": 1}},
        )
    ]


async def broker_says(stage: Stage, policy: dict[str, Any], request: dict[str, Any]) -> tuple[Any, ...]:
    """Decision, code and rule as the broker's gates reach them from the bytes of the call."""
    body = {"model": "B", "connectionId": policy["connectionId"], **request}
    principal = Principal(
        PrincipalType.AGENT, policy["agentId"], "agent", stage.here.id, frozenset(), policy["agentId"],
        org_domains=("works.example",),
    )  # fmt: skip
    call = read_execute_call({"headers": []}, strict_json.dumps(body), principal, Context("r", "ip", None, "https"))
    grant = await Grants(stage.database, stage.catalog, creator_stops=True).resolve(
        stage.here.id, policy["agentId"], policy["connectionId"], None
    )
    assert grant is not None
    parsed = read_target(call, grant, frozenset())
    check_grant(grant, "B")
    judged = judge(call, grant, parsed, now=NOW, boundary=secrets.token_hex(16), calls_last_hour=0)
    decision = judged.decision
    code = decision.reason if isinstance(decision, Allow) else decision.code
    rule = None if decision.rule is None else (decision.rule.id, decision.rule.index)
    return type(decision).__name__, code, rule, judged.target.url


async def explain_says(stage: Stage, policy: dict[str, Any], request: dict[str, Any]) -> tuple[Any, ...]:
    told = await stage.explainer.explain(
        Question(stage.here.id, policy["agentId"], request, NOW, connection_id=policy["connectionId"])
    )
    names = {"allow": "Allow", "deny": "Deny", "require_approval": "Hold"}
    rule = None if told["rule"] is None else (told["rule"]["id"], told["rule"]["index"])
    return names[told["decision"]], told["code"], rule, told["canonical"]["url"]


async def outcome(answer: Any) -> tuple[Any, ...]:
    try:
        result: tuple[Any, ...] = await answer
    except AppError as error:
        return "refused", error.code, error.detail, error.message
    return result


@settings(max_examples=80)
@given(request=REQUESTS, number=st.integers(0, 2))
async def test_explain_names_decision_code_and_rule_of_the_call(
    stage: Stage, policies: list[dict[str, Any]], request: dict[str, Any], number: int
) -> None:
    policy = policies[number]
    expected = await outcome(broker_says(stage, policy, request))
    assert await outcome(explain_says(stage, policy, request)) == expected


@settings(max_examples=20)
@given(request=REQUESTS)
async def test_a_draft_of_what_is_saved_changes_nothing(
    stage: Stage, policies: list[dict[str, Any]], request: dict[str, Any]
) -> None:
    saved = await stage.read(policies[0])
    question = Question(stage.here.id, saved["agentId"], request, NOW, connection_id=saved["connectionId"])
    drafted = Question(stage.here.id, saved["agentId"], request, NOW, connection_id=saved["connectionId"], draft=saved)
    assert await outcome(stage.explainer.explain(drafted)) == await outcome(stage.explainer.explain(question))
