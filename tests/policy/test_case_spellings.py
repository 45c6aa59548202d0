"""Every decision of the shared case file, however its body is spelled and whatever meaningless is added to it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from agenthifive.policy.compile import compile_policy
from agenthifive.policy.decide import decide
from policy.calls import InvalidCall, build, case_file, code, expand, instant, label, read_case, verb
from policy.test_invariances import reordered, with_escapes

# names of the forms that are no JSON
FORMS = ("_binary", "_multipart")
# rules about the whole query: to them a further parameter means something
WHOLE_QUERY = {"qy-09", "qy-17"}


def end(entry: Mapping[str, Any], request: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Decision, code and rule."""
    case = read_case(entry)
    try:
        built = build(request, case.facts, case.context)
    except InvalidCall as refused:
        return "invalid", str(refused), None
    decision = decide(built, compile_policy(case.policy, case.facts), instant(case.context))
    return verb(decision), code(decision), label(decision)


def with_json() -> list[dict[str, Any]]:
    """The cases whose body is a JSON object, and not so large that its spelling matters."""
    found = []
    for entry in case_file()["decisions"]:
        body = expand(entry["request"].get("body"))
        is_json = isinstance(body, dict) and not any(name in body for name in FORMS)
        is_read = entry["expect"]["decision"] != "invalid"
        if is_json and is_read and not entry["request"].get("headers") and len(json.dumps(body)) < 100_000:
            found.append({**entry, "request": {**entry["request"], "body": body}})
    return found


def in_text(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("spell", [in_text, reordered, with_escapes])
def test_the_spelling_of_a_body_changes_no_decision(spell: Any) -> None:
    entries = with_json()
    assert len(entries) > 100
    differing = [
        entry["id"]
        for entry in entries
        if end(entry, {**entry["request"], "body": spell(entry["request"]["body"])}) != end(entry, entry["request"])
    ]
    assert differing == []


def test_what_means_nothing_changes_no_allow() -> None:
    """An unknown parameter, header and member of the call."""
    tried, differing = 0, []
    for entry in case_file()["decisions"]:
        case = read_case(entry)
        request = entry["request"]
        before = end(entry, request)
        if before[0] != "allow" or case.id in WHOLE_QUERY:
            continue
        tried += 1
        mark = "&" if "?" in request["url"] else "?"
        more = {**request, "url": f"{request['url']}{mark}x=%2F..%2F", "unknown": True,
                "headers": {**request.get("headers", {}), "x-unknown": "1"}}  # fmt: skip
        if end(entry, more) != before:
            differing.append((case.id, before, end(entry, more)))
    assert tried > 50
    assert differing == []
