"""Policies said once more in Cedar, another language with another evaluator: a second opinion about `decide`.

    policy document -> one permit per possible end, each denying all that come before it    call -> context
                       "allowlist", "rule:2", "read_only", "step_up", "no_rule"

Only what both languages can say: globs of whole segments, patterns that are literal but for anchors, JSON objects of
scalars and lists of texts, plain queries. Written from the contract's tables, not from the code.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import cedarpy

CLASS_OF_METHOD = {"GET": "read", "DELETE": "delete"}
_LITERAL = re.compile(r"(\^?)([A-Za-z0-9/_=-]*)(\$?)")
_ORIGIN = "https://api.example.com"


class NotMappable(ValueError):
    """Cedar cannot say this."""


def ends_of(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every end of a policy with its condition, flattened: one of them holds for each call."""
    ends = [("allowlist", f"!({_any(map(_entry, document['allowlists']))})")]
    rules = document["rules"]["request"]
    ends += [(f"rule:{number}", _rule(rule)) for number, rule in enumerate(rules)]
    if document["defaultMode"] == "read_only":
        ends.append(("read_only", 'context.class != "read"'))
    if document["stepUpApproval"] != "never":
        ends.append(("step_up", "true" if document["stepUpApproval"] == "always" else 'context.class != "read"'))
    return [*ends, ("no_rule", "true")]


def judge(document: Mapping[str, Any], context: Mapping[str, Any]) -> list[str]:
    """The ends that hold for a call, as Cedar sees it."""
    ends = ends_of(document)
    permits = []
    for number, (_, condition) in enumerate(ends):
        earlier = "".join(f" && !({before})" for _, before in ends[:number])
        permits.append(f"permit(principal, action, resource) when {{ ({condition}){earlier} }};")
    request = {
        "principal": 'Agent::"bot"', "action": 'Action::"call"', "resource": 'Service::"api"', "context": context,
    }  # fmt: skip
    result = cedarpy.is_authorized(request, "\n".join(permits), [])
    assert result.diagnostics.errors == []
    return [ends[int(reason.removeprefix("policy"))][0] for reason in result.diagnostics.reasons]


def context_of(method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None) -> dict[str, Any]:
    """A call as Cedar sees it: values by type, as texts, as numbers, and which are there."""
    members: dict[str, Any] = {**(body or {}), **{f"$query.{name}": value for name, value in query.items()}}
    segments = path.split("/")[1:]
    scalars = {name: value for name, value in members.items() if not isinstance(value, list)}
    texts = {name: value if isinstance(value, list) else [_text(value)] for name, value in members.items()}
    numbers = {name: int(text) for name, text in ((n, _text(v)) for n, v in scalars.items()) if text.isdigit()}
    return {
        "method": method,
        "class": CLASS_OF_METHOD.get(method, "write"),
        "path": path,
        "strict": "/" + "/".join(segment for segment in segments if segment),
        "query": "?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "",
        "segments": {f"s{number}": segment for number, segment in enumerate(segments)},
        "length": len(segments),
        "present": sorted(members),
        "typed": scalars,
        "strings": {name: value for name, value in scalars.items() if isinstance(value, str)},
        "scalar": {name: _text(value) for name, value in scalars.items()},
        "texts": texts,
        "joined": {name: "\n".join(listed).lower() for name, listed in texts.items()},
        "numbers": numbers,
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ---- section 3: allowlists ------------------------------------------------------------------------------


def _entry(entry: Mapping[str, Any]) -> str:
    base = entry["baseUrl"]
    if not base.startswith(_ORIGIN):
        return "false"
    prefix = base.removeprefix(_ORIGIN)
    inside = f'(context.path == {_quote(prefix)} || context.path like {_quote(prefix + "/")[:-1]}*")'
    methods = f"{_list(entry['methods'])}.contains(context.method)"
    return _all([methods, *([inside] if prefix else []), _any(map(_glob, entry["pathPatterns"]))])


def _glob(glob: str) -> str:
    *leading, last = glob.split("/")[1:]
    segments = leading if last == "**" else [*leading, last]
    if any("**" in segment for segment in segments):
        raise NotMappable(glob)
    length = f"context.length {'>=' if last == '**' else '=='} {len(segments)}"
    return _all([length, *(f"context.segments.s{n} like {_quote(each)}" for n, each in enumerate(segments))])


# ---- sections 5 and 6: rules ----------------------------------------------------------------------------


def _rule(rule: Mapping[str, Any]) -> str:
    if rule["action"] not in ("allow", "deny", "require_approval"):
        raise NotMappable(rule["action"])
    match, is_certain = rule["match"], rule["action"] == "allow"
    parts = ["true"]
    if "methods" in match:
        parts.append(f"{_list(match['methods'])}.contains(context.method)")
    if "urlPattern" in match:
        views = [_search(match["urlPattern"], view) for view in ("context.path", "context.strict")]
        parts.append(_all(views) if is_certain else _any(views))
    if "queryPattern" in match:
        parts.append(_search(match["queryPattern"], "context.query"))
    parts += [_condition(each, is_certain) for each in match.get("body", ())]
    return _all(parts)


def _search(pattern: str, view: str) -> str:
    found = _LITERAL.fullmatch(pattern)
    if found is None:
        raise NotMappable(pattern)
    start, text, end = found.groups()
    return f'{view} like "{"" if start else "*"}{text}{"" if end else "*"}"'


def _condition(condition: Mapping[str, Any], is_certain: bool) -> str:
    path, operator, value = condition["path"], condition["op"], condition.get("value")
    name = _quote(path)
    present = f"context.present.contains({name})"

    def holds(record: str, test: str) -> str:
        return f"(context.{record} has {name} && {test.format(f'context.{record}[{name}]')})"

    def certainly(values: Sequence[str]) -> str:
        return holds("scalar", f"{_list(values)}.contains({{}})")

    def possibly(values: Sequence[str]) -> str:
        return holds("texts", f"{_list(values)}.containsAny({{}})")

    if operator in ("exists", "not_exists"):
        return present if operator == "exists" else f"!{present}"
    if operator in ("eq", "neq"):
        same = holds("typed", f"{{}} == {_literal(value)}") if not path.startswith("$") else certainly([_text(value)])
        # of a list each element is compared, where the rule restricts
        others = holds("texts", f"!{_list([value])}.containsAll({{}})") if isinstance(value, str) else "true"
        different = (
            f"(!{present} || (context.typed has {name} && !{same}) || (!(context.typed has {name}) && {others}))"
        )
        if operator == "eq":
            return same if is_certain else possibly([_text(value)])
        return f"!{possibly([_text(value)])}" if is_certain else different
    if operator in ("in", "not_in"):
        if operator == "in":
            return certainly(value) if is_certain else possibly(value)
        return f"!{possibly(value)}" if is_certain else f"!{holds('texts', f'{_list(value)}.containsAll({{}})')}"
    if operator == "contains":
        record = "strings" if is_certain else "joined"
        return holds(record, f'{{}} like "*{value.lower()}*"')
    signs = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
    if operator in signs:
        compared = holds("numbers", f"{{}} {signs[operator]} {value}")
        return compared if is_certain else f"({compared} || ({present} && !(context.numbers has {name})))"
    raise NotMappable(operator)


def _any(parts: Any) -> str:
    return "(" + (" || ".join(parts) or "false") + ")"


def _all(parts: Sequence[str]) -> str:
    return "(" + " && ".join(parts) + ")"


def _literal(value: Any) -> str:
    return _quote(value) if isinstance(value, str) else json.dumps(value)


def _quote(text: str) -> str:
    return json.dumps(text)


def _list(texts: Sequence[str]) -> str:
    return json.dumps(list(texts))
