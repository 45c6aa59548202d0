"""`decide` and another evaluator of another language come to the same end, for whatever both can say."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.policy.compile import compile_policy
from agenthifive.policy.decide import decide
from policy import calls, cedar

METHODS = ("GET", "POST", "PATCH", "DELETE")
SEGMENTS = st.sampled_from(["v1", "notes", "notes-old", "x"])
PATHS = st.builds(
    lambda segments, slash: "/" + "/".join(segments) + slash,
    st.lists(SEGMENTS, min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)
NAMES = ("kind", "size", "tags", "$query.force")
TEXTS = st.sampled_from(["order", "7", "true", "12", "a-b"])
QUERIES = st.dictionaries(st.sampled_from(["force", "q"]), TEXTS, max_size=2)
NUMBERS = st.sampled_from([0, 1, 7, 12])
LISTS = st.lists(st.sampled_from(["order", "a-b", "z"]), min_size=1, max_size=2)
BODIES = st.none() | st.dictionaries(
    st.sampled_from(["kind", "size", "tags"]),
    TEXTS | st.booleans() | NUMBERS | LISTS,
    min_size=1,
    max_size=3,
)
GLOBS = st.builds(
    lambda segments, tail: "/" + "/".join([*segments, *tail]),
    st.lists(SEGMENTS | st.sampled_from(["*", "v*", "*s"]), max_size=2),
    st.sampled_from([["**"], ["*"], ["x"]]),
)
ENTRIES = st.fixed_dictionaries(
    {
        "baseUrl": st.sampled_from(["https://api.example.com"] * 3 + ["https://api.example.com/v1"]),
        "methods": st.lists(st.sampled_from(METHODS), min_size=1, max_size=4, unique=True),
        "pathPatterns": st.lists(GLOBS, min_size=1, max_size=2),
    }
)
PATTERNS = st.sampled_from(["^/v1", "^/v1/notes", "notes", "/x$", "^/v1/x$", "/$", "^/notes/", "s$", ""])
CONDITIONS = st.one_of(
    st.fixed_dictionaries({"path": st.sampled_from(NAMES), "op": st.sampled_from(["exists", "not_exists"])}),
    st.fixed_dictionaries(
        {
            "path": st.sampled_from(NAMES),
            "op": st.sampled_from(["eq", "neq"]),
            "value": TEXTS | st.booleans() | NUMBERS,
        }
    ),
    st.fixed_dictionaries(
        {
            "path": st.sampled_from(NAMES),
            "op": st.sampled_from(["in", "not_in"]),
            "value": st.lists(TEXTS, min_size=1, max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {"path": st.sampled_from(NAMES), "op": st.just("contains"), "value": st.sampled_from(["o", "A-", "1", "tr"])}
    ),
    st.fixed_dictionaries(
        {
            "path": st.sampled_from(NAMES),
            "op": st.sampled_from(["gt", "gte", "lt", "lte"]),
            "value": st.sampled_from([7, 10, 12]),
        }
    ),
)
MATCHERS = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"methods": st.lists(st.sampled_from(METHODS), min_size=1, max_size=3, unique=True)}),
    st.fixed_dictionaries({"urlPattern": PATTERNS}),
    st.fixed_dictionaries({"queryPattern": st.sampled_from(["force=7", "q=", "=order", "^$"])}),
    st.fixed_dictionaries({"body": st.lists(CONDITIONS, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"body": st.lists(CONDITIONS, min_size=1, max_size=1)}),
)
RULES = st.builds(
    lambda action, first, second: {"match": {**first, **second}, "action": action},
    st.sampled_from(["allow", "deny", "require_approval"]),
    MATCHERS,
    st.just({}) | MATCHERS,
)
# mostly everything is listed: what is refused there never reaches a rule
ALLOWNUMBERS = st.sampled_from([0, 1, 7, 12])
LISTS = st.integers(0, 3).flatmap(lambda n: st.just(calls.EVERYWHERE) if n else st.lists(ENTRIES, max_size=2))
DOCUMENTS = st.fixed_dictionaries(
    {
        "allowlists": st.integers(0, 3).flatmap(
            lambda n: st.just(calls.EVERYWHERE) if n else st.lists(ENTRIES, max_size=2)
        ),
        "defaultMode": st.sampled_from(["read_only", "read_write"]),
        "stepUpApproval": st.sampled_from(["always", "risk_based", "never"]),
        "rules": st.fixed_dictionaries({"request": st.lists(RULES, min_size=1, max_size=3), "response": st.just([])}),
    }
)
CALLS = st.tuples(st.sampled_from(METHODS), PATHS, QUERIES, BODIES)
CODES = {
    "allowlist": ("deny", "allowlist_denied"),
    "read_only": ("deny", "read_only"),
    "step_up": ("require_approval", "step_up"),
    "no_rule": ("allow", "no_rule"),
    "allow": ("allow", "rule_allowed"),
    "deny": ("deny", "rule_denied"),
    "require_approval": ("require_approval", "rule_approval"),
}


@settings(max_examples=600)
@given(document=DOCUMENTS, called=st.lists(CALLS, min_size=2, max_size=4))
def test_both_come_to_the_same_end(document: dict[str, Any], called: list[tuple[str, str, Any, Any]]) -> None:
    policy = compile_policy(document, calls.GENERIC)
    for method, path, query, body in called:
        request = calls.call(method, path, body, query=query)
        decision = decide(request, policy, calls.NOON)
        ends = cedar.judge(document, cedar.context_of(method, path, query, body))
        assert len(ends) == 1, "a call has one end"
        kind, _, number = ends[0].partition(":")
        expected = CODES[document["rules"]["request"][int(number)]["action"] if number else kind]
        assert (calls.verb(decision), calls.code(decision)) == expected, (method, path, query, body)
        assert (decision.rule is None) is (number == "")
        if decision.rule is not None:
            assert decision.rule.index == int(number)


def test_the_second_opinion_is_an_opinion() -> None:
    """It tells ends apart by itself, and says so where it has none."""
    rule = {"match": {"urlPattern": "^/v1"}, "action": "deny"}
    document = {
        "allowlists": calls.EVERYWHERE, "defaultMode": "read_only", "stepUpApproval": "always",
        "rules": {"request": [rule], "response": []},
    }  # fmt: skip
    assert cedar.judge(document, cedar.context_of("GET", "/v1/x", {}, None)) == ["rule:0"]
    assert cedar.judge(document, cedar.context_of("POST", "/v2", {}, None)) == ["read_only"]
    assert cedar.judge(document, cedar.context_of("GET", "/v2", {}, None)) == ["step_up"]
    assert cedar.judge({**document, "allowlists": []}, cedar.context_of("GET", "/v2", {}, None)) == ["allowlist"]
    for pattern in ("a|b", "x+", "(?i)x"):
        unclear = {**document, "rules": {"request": [{**rule, "match": {"urlPattern": pattern}}], "response": []}}
        try:
            cedar.ends_of(unclear)
        except cedar.NotMappable:
            continue
        raise AssertionError(pattern)
