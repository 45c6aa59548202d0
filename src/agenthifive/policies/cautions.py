"""Warnings beside a saved policy: the engine's own, and what only the connection and this version can tell.

Source: contract/policy.md sections 3, 15.1 and 16.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agenthifive.catalog.allowlists import outside_binding
from agenthifive.policies.model import Place
from agenthifive.policy.allowlist import read_base_url
from agenthifive.policy.model import Problem
from agenthifive.policy.pii import compile_types
from agenthifive.policy.validate import Validation


def find_cautions(validation: Validation, place: Place) -> Sequence[Problem]:
    """What is legal in a valid policy and probably not meant."""
    assert validation.policy is not None  # it has no problems
    return [
        *validation.warnings,
        *_about_allowlists(validation.policy["allowlists"], place),
        *_about_personal_data(validation.policy["rules"]),
    ]


def _about_allowlists(entries: Sequence[Mapping[str, Any]], place: Place) -> Iterator[Problem]:
    for number, entry in enumerate(entries):
        base = read_base_url(entry["baseUrl"])
        assert base is not None  # a valid entry
        globs = tuple(entry["pathPatterns"])
        if outside_binding(place.binding, (base.scheme, base.host, base.port), globs) is not None:
            message = (
                f"Part of it lies outside the hosts and paths that are bound to this {place.service.id} connection; "
                "calls there are refused (host_not_bound)."
            )
            yield Problem(f"allowlists[{number}]", "outside_binding", message)


def _about_personal_data(rules: Mapping[str, Any]) -> Iterator[Problem]:
    """Rules that need recognisers of personal data, which this version does not have."""
    for number, rule in enumerate(rules["request"]):
        targets = (rule["match"].get("pii"), rule.get("redactConfig"))
        if any(_needs_recognisers(target["types"]) for target in targets if target is not None):
            effect = "it never matches" if rule["action"] == "allow" else "calls that reach it are refused"
            yield _needs(f"rules.request[{number}]", effect)
    for number, rule in enumerate(rules["response"]):
        if _needs_recognisers(rule["filter"].get("redact") or ()):
            yield _needs(f"rules.response[{number}]", "replies it applies to are refused")


def _needs_recognisers(types: Sequence[Mapping[str, Any]]) -> bool:
    return bool(compile_types(types).named)


def _needs(path: str, effect: str) -> Problem:
    message = f"This version cannot look for personal data: {effect} until a version that can is installed."
    return Problem(path, "needs_personal_data", message)
