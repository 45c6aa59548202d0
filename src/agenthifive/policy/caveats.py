"""What is legal in a policy and probably not meant.

Source: contract/policy.md section 15.1 (`warnings`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agenthifive.policy.conditions import NEGATIVE_OPERATORS
from agenthifive.policy.constraints import LISTS
from agenthifive.policy.model import Problem

_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")


def find_caveats(sent: Mapping[str, Any], complete: Mapping[str, Any]) -> Iterator[Problem]:
    """Warnings for a valid document; `complete` is the same with its defaults."""
    request = complete["rules"]["request"]
    yield from _about_order(request)
    for number, rule in enumerate(request):
        yield from _about_rule(rule, f"rules.request[{number}]", complete["allowlists"])
    yield from _about_constraint(sent.get("providerConstraints"))
    if complete["enforcement"] == "report":
        yield Problem("enforcement", "report_mode", "Refusals are only recorded: calls pass.")
    if "A" in complete["allowedModels"]:
        message = "Allowlists and rules cannot bind a token the agent holds itself."
        yield Problem("allowedModels", "model_a_unbound", message)


def _about_order(rules: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    if rules and (rules[-1]["match"] or rules[-1]["action"] == "redact"):
        message = "The last rule does not match every call: other calls fall to default mode and step-up."
        yield Problem("rules.request", "no_catch_all", message)
    for number, rule in enumerate(rules):
        path = f"rules.request[{number}]"
        earlier = [other for other in rules[:number] if other["action"] != "redact"]
        if rule["action"] == "redact":
            if any(_ends_before(other, rule) for other in earlier):
                message = "A rule before it ends the evaluation of the same calls: nothing is redacted."
                yield Problem(path, "redact_after_terminal", message)
        elif any(_hides(other, rule) for other in earlier):
            message = "A rule before it decides all its calls: it is never reached."
            yield Problem(path, "unreachable_rule", message)


def _hides(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> bool:
    """Whether a terminal rule leaves a later one nothing. An allow leaves doubtful calls to restricting rules."""
    if not earlier["match"]:
        return True
    if earlier["match"] != later["match"]:
        return False
    is_sure = set(earlier["match"]) <= {"methods"}
    return earlier["action"] != "allow" or later["action"] == "allow" or is_sure


def _ends_before(earlier: Mapping[str, Any], redact: Mapping[str, Any]) -> bool:
    """Whether a terminal rule without further conditions covers the methods and path of a redact rule."""
    first, second = earlier["match"], redact["match"]
    if not set(first) <= {"methods", "urlPattern"}:
        return False
    if "methods" in first and not set(second.get("methods") or _ALL) <= set(first["methods"]):
        return False
    return "urlPattern" not in first or first["urlPattern"] == second.get("urlPattern")


_ALL: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


def _about_rule(rule: Mapping[str, Any], path: str, allowlists: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    match = rule["match"]
    listed = {method for entry in allowlists for method in entry["methods"]}
    if "methods" in match and not listed & set(match["methods"]):
        message = "No allowlist entry lets a call with these methods through."
        yield Problem(f"{path}.match.methods", "method_never_listed", message)
    if rule["action"] != "allow":
        return
    operators = [condition["op"] for condition in match.get("body") or ()]
    if operators and all(operator in NEGATIVE_OPERATORS for operator in operators):
        message = "It allows whatever is not named: prefer naming what is allowed."
        yield Problem(f"{path}.match.body", "allow_on_negation", message)
    if _ESCAPE.search(match.get("queryPattern", "")):
        message = "An allow rule sees the decoded query: write the character itself."
        yield Problem(f"{path}.match.queryPattern", "percent_in_pattern", message)


def _about_constraint(constraint: Mapping[str, Any] | None) -> Iterator[Problem]:
    if constraint is None:
        return
    lists = LISTS[constraint["provider"]]
    empty = [name for name in lists if name in constraint and not constraint[name]]
    for name in empty:
        message = "An empty list restricts nothing; it is stored as absent."
        yield Problem(f"providerConstraints.{name}", "constraint_without_effect", message)
    restricts = any(constraint.get(name) for name in lists) or "maxRecipients" in constraint
    if not empty and not restricts:
        message = "It lists nothing and restricts nothing."
        yield Problem("providerConstraints", "constraint_without_effect", message)
