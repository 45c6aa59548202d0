"""What a policy means where it says nothing, and how policies of earlier versions are read.

    document as sent  ->  normalise (older spellings, empty lists)  ->  fill_defaults  ->  every member present

Source: contract/policy.md sections 2.1, 9 (empty lists) and 18.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final

from agenthifive.policy.constraints import LISTS

DEFAULTS: Final[Mapping[str, Any]] = {
    "actionTemplateId": None,
    "securityPreset": None,
    "enforcement": "enforce",
    "allowedModels": ["B"],
    "vendStaticCredentials": False,
    "defaultMode": "read_only",
    "stepUpApproval": "risk_based",
    "allowlists": [],
    "rateLimits": None,
    "timeWindows": [],
    "rules": {"request": [], "response": [], "fieldStepUpEnabled": False},
    "providerConstraints": None,
}
_RELAXED_LABELS: Final[Mapping[str, str]] = {
    "Strip contact PII fields": "full_fields",
    "Redact PII from all responses": "full_fields",
    "Redact PII outside trusted recipient scope": "trusted_recipient",
}


def fill_defaults(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with every member it leaves out. Whatever it says stays as it is."""
    missing = {name: deepcopy(value) for name, value in DEFAULTS.items() if name not in document}
    filled = {**missing, **document}
    if isinstance(filled["rules"], dict):
        filled["rules"] = {**filled["rules"]}
        filled["rules"].setdefault("fieldStepUpEnabled", False)
    filled["allowlists"] = _with_each(filled["allowlists"], encodedSlash=False)
    filled["timeWindows"] = _with_each(filled["timeWindows"], startMinute=0, endMinute=0)
    return filled


def normalise(document: Mapping[str, Any]) -> dict[str, Any]:
    """A valid document as it is stored: empty constraint lists absent, older labels with their meaning."""
    normal = dict(document)
    constraint = normal.get("providerConstraints")
    if constraint is not None:
        lists = LISTS[constraint["provider"]]
        normal["providerConstraints"] = {n: v for n, v in constraint.items() if not (n in lists and not v)}
    if "rules" in normal:
        rules = normal["rules"]
        normal["rules"] = {**rules, "response": [_with_relaxation(rule) for rule in rules["response"]]}
    return normal


def assign_rule_ids(rules: Mapping[str, Any], new_id: Callable[[], str]) -> dict[str, Any]:
    """The rules with an id each; ids that were sent are kept."""
    assigned = dict(rules)
    for side in ("request", "response"):
        assigned[side] = [rule if "id" in rule else {"id": new_id(), **rule} for rule in rules[side]]
    return assigned


def _with_relaxation(rule: dict[str, Any]) -> dict[str, Any]:
    relax_when = _RELAXED_LABELS.get(rule.get("label", ""))
    if relax_when is None or "relaxWhen" in rule or "guard" in rule:
        return rule
    return {**rule, "relaxWhen": [relax_when]}


def _with_each(items: Any, **members: Any) -> Any:
    if not isinstance(items, list):
        return items
    return [
        {**item, **{n: v for n, v in members.items() if n not in item}} if isinstance(item, dict) else item
        for item in items
    ]
