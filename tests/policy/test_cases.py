"""Every entry of the shared case file gets its answer.

The numbers below are exact, so that they can only change on purpose.
"""

from typing import Any

from agenthifive.policy import presets
from agenthifive.policy.compile import Policy, compile_policy
from agenthifive.policy.decide import decide
from agenthifive.policy.model import Deny, Request
from agenthifive.policy.pii import compile_types, find, replace
from agenthifive.policy.replies import NotFilterable, filter_json, filter_text
from agenthifive.policy.rules import METHODS
from agenthifive.policy.validate import validate
from policy.calls import (
    NOON,
    OPEN_DEFAULTS,
    Case,
    InvalidCall,
    build,
    case_file,
    code,
    expand,
    facts_of,
    instant,
    label,
    line_spec,
    read_case,
    service_of,
    verb,
)

DECISIONS, REPLIES, SAVES, GUARDS, PROMISES, TEXTS = 380, 31, 40, 422, 1053, 93
OWN = {"orgDomains": ["own.example"]}


def test_decisions() -> None:
    wrong = []
    for entry in case_file()["decisions"]:
        case, got = answer(entry)
        expected = {name: expand(value) for name, value in entry["expect"].items()}
        if {name: got.get(name) for name in expected} != expected:
            wrong.append((case.id, expected, got))
    assert wrong == []
    assert len(case_file()["decisions"]) == DECISIONS


def answer(entry: dict[str, Any]) -> tuple[Case, dict[str, Any]]:
    """What the engine says about a case."""
    case = read_case(entry)
    policy = compile_policy(case.policy, case.facts)
    try:
        request = build(entry["request"], case.facts, case.context)
    except InvalidCall as refusal:
        return case, {"decision": "invalid", "code": str(refusal), "rule": None}
    decision = decide(request, policy, instant(case.context))
    body = None if isinstance(decision, Deny) else decision.body
    return case, {
        "decision": verb(decision),
        "code": code(decision),
        "rule": label(decision),
        "detail": decision.detail if isinstance(decision, Deny) else None,
        "redactions": [{"type": r.type, "field": r.field, "count": r.count} for r in decision.redactions],
        "wouldDeny": [{"code": refused, "ruleLabel": name} for refused, name in decision.would_deny],
        "body": (body or request.body).value,
    }


def reply_of(entry: dict[str, Any]) -> Any:
    """The filtered reply of a case, or "not_filterable"."""
    case = read_case(entry)
    policy = compile_policy(case.policy, case.facts)
    spec = entry.get("request", {"method": "GET", "url": f"https://{case.facts.hosts[0].name}/v1/x"})
    request = build(spec, case.facts)
    seen = policy.reply_patterns.look_at(request)
    relaxed = set(entry.get("relax", ()))
    rules = [r for r in policy.replies if r.concerns(request, seen) and not r.relax_when & relaxed]
    if "replyBase64" in entry:
        return "not_filterable" if rules else entry["replyBase64"]
    try:
        if "json" in entry.get("contentType", "application/json"):
            return filter_json(expand(entry["reply"]), rules)
        return filter_text(entry["reply"], rules)
    except NotFilterable:
        return "not_filterable"


def test_replies() -> None:
    got = {entry["id"]: reply_of(entry) for entry in case_file()["replies"]}
    expected = {entry["id"]: expand(entry["expect"]) for entry in case_file()["replies"]}
    assert got == expected
    assert len(got) == REPLIES


def test_personal_data() -> None:
    got, expected = {}, {}
    for entry in case_file()["personalData"]:
        types = compile_types([{"type": name} for name in entry["types"]])
        found = find(entry["text"], types, entry.get("member", ""))
        key = (entry["text"], entry.get("member"), *entry["types"])
        got[key], expected[key] = found and replace(entry["text"], found, "[{type}]"), entry["redacted"]
    assert {key: text or key[0] for key, text in got.items()} == expected
    assert len(got) == TEXTS


def test_saves() -> None:
    got, expected = {}, {}
    for entry in case_file()["saves"]:
        facts = facts_of(entry.get("service", "generic-http"), entry.get("facts"))
        problems = validate(entry["policy"], facts, partial=True).problems
        got[entry["id"]] = [[problem.path, problem.code] for problem in problems]
        expected[entry["id"]] = entry["errors"]
        assert all(problem.message for problem in problems)
    assert got == expected
    assert len(got) == SAVES


def test_guards() -> None:
    """Each guard alone before an open policy: its effect on a call that concerns it and on one that does not."""
    wrong = []
    for entry in case_file()["guards"]:
        service, facts = entry["service"], facts_of(entry["service"])
        rules = presets.guard_rules(entry["guard"], service, "request")
        base_url = "https://" + facts.hosts[0].name
        document = {
            **OPEN_DEFAULTS,
            "allowlists": [{"baseUrl": base_url, "methods": list(METHODS), "pathPatterns": ["/**"]}],
            "rateLimits": {"maxRequestsPerHour": 1, "maxPayloadSizeBytes": 26_214_400},
            "rules": {"request": [*rules, {"label": "Rest", "match": {}, "action": "allow"}], "response": []},
        }
        policy = compile_policy(document, facts)
        decision = decide(build(line_spec(service, entry["call"], entry.get("body")), facts, OWN), policy, NOON)
        if entry["expect"] in ("pass", "redact"):
            is_right = verb(decision) == "allow" and bool(decision.redactions) == (entry["expect"] == "redact")
        else:
            is_right = verb(decision) == entry["expect"] and label(decision) != "Rest"
        if not is_right:
            wrong.append((entry["guard"], service, entry["call"], verb(decision), code(decision)))
    assert wrong == []
    assert len(case_file()["guards"]) == GUARDS


def promises() -> list[tuple[str, str, str, Any, str]]:
    """(template, tier, call, body, promised letter) of every promise of every tier."""
    return [
        (template, tier, row["call"], row.get("body"), letter)
        for template, rows in case_file()["promises"].items()
        for row in rows
        for tier, letter in zip(presets.TIERS, row["expect"], strict=True)
    ]


def decide_line(template: str, tier: str, line: str, body: Any, policies: dict[Any, Policy]) -> str:
    """The letter of a decision."""
    service = service_of(template)
    facts = facts_of(service)
    if (template, tier) not in policies:
        policies[template, tier] = compile_policy(presets.template_config(template, tier), facts)
    policy = policies[template, tier]
    try:
        request: Request = build(line_spec(service, line, body), facts, OWN)
    except InvalidCall:
        return "i"
    decision = decide(request, policy, NOON)
    if verb(decision) == "deny":
        letter = {"allowlist_denied": "x", "body_not_inspectable": "n"}.get(code(decision), "d")
    else:
        letter = "a" if verb(decision) == "allow" else "r"
    assert code(decision) not in ("no_rule", "step_up", "read_only"), "a tier ends in a catch-all"
    return letter


def test_promises() -> None:
    policies: dict[Any, Policy] = {}
    wrong = []
    for template, tier, line, body, promised in promises():
        letter = decide_line(template, tier, line, body, policies)
        if letter != promised:
            wrong.append((template, tier, line, letter, promised))
    assert wrong == []
    assert len(promises()) == PROMISES


def disguises(line: str, ignores_case: bool) -> list[str]:
    """The same call in other clothes; every seventh character is enough to find a careless reader."""
    method, target = line.split(" ", 1)
    if target.startswith("https:"):
        return []
    path, mark, query = target.partition("?")
    paths = [path + tail for tail in ("/", ";x=1", "%2F", "%20")]
    for at in range(1, len(path)):
        if path[at] == "/":
            paths += [path[:at] + other + path[at + 1 :] for other in ("%2F", "//", "%252F", ";x=1/", "/%20")]
        elif at % 7 == 0:
            paths.append(f"{path[:at]}%{ord(path[at]):02x}{path[at + 1 :]}")
    if ignores_case:
        paths += [path.upper(), path.swapcase()]
    lines = [f"{method} {other}{mark}{query}" for other in paths]
    if query:
        encoded = "".join(f"%{ord(char):02X}" if char.isalnum() else char for char in query)
        others = ("x=1&" + query, query + "&" + query, encoded, query.replace("=", "=%20", 1))
        lines += [f"{method} {path}?{other}" for other in others]
    return lines


def test_no_disguise_turns_a_refusal_or_hold_into_an_allow() -> None:
    policies: dict[Any, Policy] = {}
    slips, tried = [], 0
    for template, tier, line, body, promised in promises():
        if promised != "a":
            ignores_case = facts_of(service_of(template)).hosts[0].path_insensitive
            for other in disguises(line, ignores_case):
                tried += 1
                if decide_line(template, tier, other, body, policies) == "a":
                    slips.append((template, tier, other))
    assert slips == []
    assert tried > 9_000


def test_prompts() -> None:
    """Every attack is recognised, no harmless prompt is flagged."""
    facts = facts_of("openai")
    rules = presets.guard_rules("llm-prompt-injection", "openai", "request")
    document = {
        **OPEN_DEFAULTS,
        "allowlists": [{"baseUrl": "https://api.openai.com", "methods": ["POST"], "pathPatterns": ["/**"]}],
        "rules": {"request": rules, "response": []},
    }
    policy = compile_policy(document, facts)

    def is_flagged(text: str) -> bool:
        spec = {"method": "POST", "url": "https://api.openai.com/v1/responses", "body": {"input": text}}
        return code(decide(build(spec, facts), policy, NOON)) != "no_rule"

    prompts = case_file()["prompts"]
    assert [text for text in prompts["attacks"] if not is_flagged(text)] == []
    assert [text for text in prompts["benign"] if is_flagged(text)] == []


def test_every_tier_can_be_saved() -> None:
    for template in case_file()["promises"]:
        for tier in presets.TIERS:
            document = presets.template_config(template, tier, "Europe/Berlin")
            result = validate(document, facts_of(service_of(template)), partial=False)
            assert (template, tier, result.problems, result.warnings) == (template, tier, (), ())
