"""Calls that mean the same are decided the same. Source: contract/policy.md section 19, points 9 to 11."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agenthifive.policy.compile import Policy, compile_policy
from agenthifive.policy.decide import decide
from agenthifive.policy.model import Decision, HostFacts, Request, ServiceFacts
from policy.calls import (
    EVERYWHERE,
    NOON,
    OPEN_DEFAULTS,
    InvalidCall,
    build,
    call,
    code,
    document,
    facts_of,
    label,
)

members = st.dictionaries(
    st.sampled_from(["a", "b", "text", "n"]),
    st.recursive(
        st.one_of(
            st.booleans(),
            st.integers(-9, 99),
            st.sampled_from(["bad", "x", "пароль é", "tail <b>bad</b>", ""]),
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=4,
    ),
    max_size=4,
)
conditions = st.sampled_from(
    [
        {"path": "a", "op": "eq", "value": "bad"},
        {"path": "$text", "op": "matches", "value": "(?i)bad$"},
        {"path": "$text", "op": "contains", "value": "пароль"},
        {"path": "n", "op": "gt", "value": 5},
        {"path": "b[*].a", "op": "exists"},
        {"path": "text", "op": "not_in", "value": ["x"]},
        {"path": "a.$count", "op": "gte", "value": 2},
    ]
)
rules = st.lists(
    st.builds(
        lambda action, condition: {
            "label": condition["path"],
            "match": {"body": [condition]},
            "action": action,
        },
        st.sampled_from(["allow", "deny", "require_approval"]),
        conditions,
    ),
    max_size=4,
)


def decided(decision: Decision) -> tuple[Any, ...]:
    return type(decision).__name__, code(decision), label(decision)


def with_escapes(body: dict[str, Any]) -> str:
    """The same JSON with every letter of its strings written as an escape."""
    escape = {ord(char): f"\\u{ord(char):04x}" for char in "abdextnтпароль"}

    def strings(value: Any) -> str:
        if isinstance(value, str):
            return '"' + value.translate(escape) + '"'
        if isinstance(value, dict):
            return "{" + ",".join(f"{strings(name)}:{strings(inner)}" for name, inner in value.items()) + "}"
        if isinstance(value, list):
            return "[" + " , ".join(map(strings, value)) + "]"
        return json.dumps(value)

    return strings(body)


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reordered(inner) for name, inner in reversed(value.items())}
    return [reordered(inner) for inner in value] if isinstance(value, list) else value


@given(members, rules)
def test_the_spelling_of_a_json_body_changes_nothing(body: dict[str, Any], listed: list[dict[str, Any]]) -> None:
    policy = compile_policy(document(*listed, {"label": "Rest", "match": {}, "action": "allow"}), call().facts)
    variants: list[Any] = [body, json.dumps(body), json.dumps(body, ensure_ascii=False), with_escapes(body)]
    decisions = {decided(decide(call("POST", "/v1/x", variant), policy, NOON)) for variant in variants}
    assert len(decisions) == 1


@given(members, rules)
def test_the_order_of_members_changes_nothing(body: dict[str, Any], listed: list[dict[str, Any]]) -> None:
    """Conditions that read the members one by one; whole texts keep the order they are sent in."""
    listed = [rule for rule in listed if not rule["label"].startswith("$")]
    policy = compile_policy(document(*listed, {"label": "Rest", "match": {}, "action": "allow"}), call().facts)
    one = decide(call("POST", "/v1/x", body), policy, NOON)
    other = decide(call("POST", "/v1/x", reordered(body)), policy, NOON)
    assert decided(one) == decided(other)


# ---- additions that mean nothing ---------------------------------------------------------------------

ONE = {"urlPattern": "^/v1/items/[^/]+$", "body": [{"path": "a", "op": "eq", "value": 1}]}
OPEN = compile_policy(
    document(
        {"label": "Named", "match": ONE, "action": "allow"},
        {"label": "Reads", "match": {"methods": ["GET"]}, "action": "allow"},
    ),
    call().facts,
)


@given(st.sampled_from(["/v1/items/7", "/v1/x", "/v1/items/7?q=1"]), st.sampled_from(["GET", "POST"]))
def test_an_unknown_parameter_or_header_changes_no_allow(path: str, method: str) -> None:
    body = {"a": 1} if method == "POST" else None
    plain = decide(call(method, path, body), OPEN, NOON)
    mark = "&" if "?" in path else "?"
    more = call(method, f"{path}{mark}x=%2F..%2F", body, headers={"x-unknown": "1"}, unknown=True)
    assert decided(decide(more, OPEN, NOON)) == decided(plain)


# ---- disguises ---------------------------------------------------------------------------------------

INSENSITIVE = ServiceFacts("s", "p", (HostFacts("api.example.com", True),))
PATHS = ("/v1/users/me/send", "/v1/files/7/content", "/v1/me/drive/items/i1/createLink")
FORBIDDEN = "?alt=media&name=x"
NAMED_X = [{"path": "$query.name", "op": "eq", "value": "x"}]
RESTRICTIONS = [
    {"match": {"urlPattern": "^/v1/users/[^/]+/send$"}, "action": "deny"},
    {"match": {"urlPattern": "/content$", "queryPattern": "[?&]alt=media"}, "action": "require_approval"},
    {"match": {"urlPattern": "/createLink$", "body": NAMED_X}, "action": "deny"},
]


def restricting(facts: ServiceFacts) -> Policy:
    rules = {"request": [*RESTRICTIONS, {"match": {}, "action": "allow"}], "response": []}
    return compile_policy({**OPEN_DEFAULTS, "allowlists": EVERYWHERE, "rules": rules}, facts)


STRICT = {False: restricting(call().facts), True: restricting(INSENSITIVE)}


@st.composite
def disguised(draw: st.DrawFn) -> tuple[str, str, bool]:
    """A path and query that mean a forbidden call, written otherwise; and whether the host ignores case."""
    path, query = draw(st.sampled_from(PATHS)), FORBIDDEN
    ignores_case = draw(st.booleans())
    if ignores_case and draw(st.booleans()):
        path = draw(st.sampled_from([path.upper(), path.swapcase()]))
    at = draw(st.integers(1, len(path) - 1))
    if path[at] == "/":
        path = path[:at] + draw(st.sampled_from(["//", "%2F", "%5C", ";x=1/", "/%20", "/;/"])) + path[at + 1 :]
    else:
        path = f"{path[:at]}%{ord(path[at]):02x}{path[at + 1 :]}"
    path += draw(st.sampled_from(["", "/", ";x=1", "%20", "%2F"]))
    return (
        path,
        draw(
            st.sampled_from(
                [
                    query,
                    "?name=%20x&alt=+media",
                    "?%61lt=medi%61&n%61me=x",
                    "?alt=json&alt=media&name=y&name=x",
                    "?alt%20=media&name%20=x",
                    "?x=1&name=x&alt=media",
                ]
            )
        ),
        ignores_case,
    )


@given(disguised(), st.booleans())
def test_no_disguise_opens_what_a_rule_restricts(call_in_disguise: tuple[str, str, bool], moves_query: bool) -> None:
    path, query, ignores_case = call_in_disguise
    facts = INSENSITIVE if ignores_case else call().facts
    spec: dict[str, Any] = {"method": "GET", "url": f"https://api.example.com{path}{query}"}
    if moves_query and query == FORBIDDEN:
        spec = {
            "method": "GET",
            "url": f"https://api.example.com{path}",
            "query": {"alt": "media", "name": "x"},
        }
    try:
        request: Request = build(spec, facts)
    except InvalidCall:
        return
    assert type(decide(request, STRICT[ignores_case], NOON)).__name__ != "Allow"


def test_arguments_are_the_same_wherever_they_travel() -> None:
    telegram = facts_of("telegram")
    entry = {"baseUrl": "https://api.telegram.org", "methods": ["GET", "POST"], "pathPatterns": ["/**"]}
    word = {"match": {"body": [{"path": "text", "op": "contains", "value": "bad"}]}, "action": "deny"}
    policy = compile_policy(document(word, {"match": {}, "action": "allow"}, allowlists=[entry]), telegram)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    part = {"_multipart": True, "subtype": "form-data", "parts": [{"name": "text", "value": "a bad word"}]}
    for request in (
        call("GET", "/bot/sendMessage?text=a+bad+word", facts=telegram),
        call("POST", "/bot/sendMessage", {"text": "a bad word"}, facts=telegram),
        call("POST", "/bot/sendMessage", "text=a+b%61d+word", facts=telegram, headers=form),
        call("POST", "/bot/sendMessage", part, facts=telegram),
        call("POST", "/bot/sendMessage?text=a+bad+word", {"text": "fine"}, facts=telegram),
        call("POST", "/bot/sendMessage", {"text": ["a bad word"]}, facts=telegram),
    ):
        assert code(decide(request, policy, NOON)) == "rule_denied"
