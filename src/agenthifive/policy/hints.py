"""Refusals in words: what happened, and what the agent may do instead, from its own policy only.

Source: contract/policy.md section 14.
"""

import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from agenthifive.policy.allowlist import Entry, host_matches
from agenthifive.policy.model import Deny, Redaction, Request, RuleRef
from agenthifive.policy.paths import glob_subject
from agenthifive.policy.windows import describe_opening, describe_windows, next_opening

if TYPE_CHECKING:
    from agenthifive.policy.compile import Policy
    from agenthifive.policy.constraints.verdict import Verdict
    from agenthifive.policy.rules import RequestRule

_MOST: Final = 5
_METHOD_ORDER: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_STEM: Final = re.compile(r"^(?:\(\?i\))?\^?((?:\\[./\-]|[A-Za-z0-9/_@:%~-])*)")
_ACCEPTED_BODIES: Final = "Send the body as JSON, a form or text, so that it can be read."
_TOO_MUCH: Final = "Send less at once: it holds more than can be looked through."

_CONSTRAINT_ADVICE: Final = {
    "chat": "the chat is not listed in the policy",
    "channel": "the channel or person is not listed in the policy",
    "tenant": "the tenant of the connection is not listed or unknown",
    "recipient": "a recipient is not listed, or there are too many or none",
    "method": "the method cannot be kept inside the listed targets",
    "missing": "it does not name the chat or channel it acts on",
    "ambiguous": "it names one target with two different values",
    "unreadable": "its arguments cannot be read",
}


def window_closed(request: Request, policy: "Policy", now: datetime) -> Deny:
    """Outside the allowed hours."""
    opening = next_opening(policy.windows, now)
    hours = describe_windows(policy.windows)
    if opening is None:
        return Deny(
            "time_window_closed",
            None,
            f"{_refuses(request)}: outside the allowed hours ({hours}). Ask the owner of the policy.",
            f"{policy.windows[0].timezone}: no opening within 8 days",
        )
    at = describe_opening(opening)
    return Deny(
        "time_window_closed",
        None,
        f"{_refuses(request)}: outside the allowed hours ({hours}). Try again from {at}.",
        f"next opening {at}",
        retry_after_s=max(1, math.ceil((opening.at - now).total_seconds())),
    )


def not_listed(request: Request, policy: "Policy", detail: str) -> Deny:
    """No allowlist entry lets the call through."""
    on_host = [entry for entry in policy.allowlists if host_matches(entry.base.host, request.host)]
    if detail == "empty":
        reason, hint = "the policy has no allowlist", "An owner or admin of the workspace can add one."
    elif detail in ("host", "port"):
        listed = _list(f"{entry.base.host}:{entry.base.port}" for entry in policy.allowlists)
        reason, hint = f"{request.host}:{request.port} is not listed", f"Listed hosts and ports: {listed}."
    elif detail == "method":
        subject = glob_subject(request.path)
        allowed = {m for entry in on_host if entry.has_path(request.path, subject) for m in entry.methods}
        listed = ", ".join(method for method in _METHOD_ORDER if method in allowed)
        reason, hint = "the method is not listed for this path", f"Methods listed for it: {listed}."
    else:
        reason, hint = "the path is not listed", _path_hint(request, on_host)
    return Deny("allowlist_denied", detail, f"{_refuses(request)}: {reason}. {hint}", hint)


def not_bound(request: Request) -> Deny:
    """Outside the catalog's hosts and paths, whatever the policy says."""
    message = f"{request.host} with this path does not belong to {request.facts.service} on this connection."
    return Deny("host_not_bound", request.binding, f"{message} Use a host and path of the service.")


def constrained(request: Request, verdict: "Verdict") -> Deny:
    """A provider constraint refuses."""
    detail = verdict.detail or ""
    named = ", ".join(verdict.ids.values())
    reason = _CONSTRAINT_ADVICE.get(detail, detail) + (f": {named}" if named else "")
    return Deny(
        "constraint_denied",
        detail,
        f"{_refuses(request)}: {reason}. Use a target the policy lists.",
        f"{detail}: {named}" if named else detail,
        ids=verdict.ids,
    )


def fields_not_available(is_offered: bool) -> Deny:
    """Full fields are not offered, or not for this call."""
    if is_offered:
        hint = "Ask for one contact: GET /v1/people/c<digits> or GET /v1.0/me/contacts/<id>."
    else:
        hint = "Leave requestFullFields out; this policy does not offer full fields."
    return Deny("fields_not_available", None, f"Full fields are not available here. {hint}", hint)


def not_inspectable(request: Request, rule: "RequestRule", is_too_much: bool) -> Deny:
    """A rule must see the body and cannot, or there is more in it than it can look through."""
    advice = _TOO_MUCH if is_too_much else _ACCEPTED_BODIES
    return Deny(
        "body_not_inspectable",
        None,
        f"{_refuses(request)}: rule {_name(rule.ref)} must look into the body and cannot. {advice}",
        f"{_name(rule.ref)}: {advice}",
        rule=rule.ref,
    )


def out_of_budget(request: Request) -> Deny:
    """Judging the call would take too long."""
    hint = "Send a smaller body."
    message = f"{_refuses(request)}: its body is too much work for the rules. {hint}"
    return Deny("body_not_inspectable", "budget", message, hint)


def rule_denied(request: Request, policy: "Policy", rule: "RequestRule") -> Deny:
    """A deny rule matched."""
    hint = _rule_hint(request, policy, rule)
    message = f"{_refuses(request)}: rule {_name(rule.ref)} denies it."
    if hint != rule.ref.label:
        message = f"{message} {hint}"
    return Deny("rule_denied", None, message, hint, rule=rule.ref)


def read_only(request: Request) -> Deny:
    """The policy only reads and no rule says otherwise."""
    hint = f"The policy only reads; this call is classified as {request.action_class.value}."
    return Deny("read_only", None, f"{_refuses(request)}: {hint[0].lower()}{hint[1:]}", hint)


def too_large(request: Request, policy: "Policy") -> Deny:
    """More bytes than the policy lets out."""
    size, limit = request.body.size_bytes, policy.max_payload_bytes
    hint = f"The body has {size} bytes, the policy allows {limit}."
    return Deny("payload_too_large", None, f"{_refuses(request)}: {hint[0].lower()}{hint[1:]}", hint)


def out_of_calls(request: Request, policy: "Policy") -> Deny:
    """The hourly limit is used up."""
    hint = f"The policy allows {policy.max_requests_per_hour} requests per hour."
    message = f"{_refuses(request)}: the hourly limit is used up. {hint} Try again later."
    return Deny("budget_exceeded", None, message, hint)


def held(
    request: Request, policy: "Policy", code: str, rule: RuleRef | None, findings: Sequence[Redaction]
) -> tuple[str, str]:
    """Message and hint of a call a person has to approve."""
    found = "; ".join(f"{f.count} {f.type} in {f.field}" for f in findings[:_MOST])
    if code == "rule_approval" and rule is not None:
        hint = _rule_hint(request, policy, policy.rules[rule.index])
        reason = f"rule {_name(rule)} asks for it"
    elif code == "redaction_impossible":
        reason = hint = f"personal data cannot be replaced: {found}"
    elif code == "pii_bypass":
        reason = hint = f"the original text was asked to be sent: {found}"
    elif code == "full_fields":
        reason = hint = "full fields were asked for"
    elif code == "budget_override":
        reason = hint = f"the hourly limit of {policy.max_requests_per_hour} requests is used up"
    else:
        hint = f"Step-up is {policy.step_up}; this call is classified as {request.action_class.value}."
        reason = "no rule allows it by itself"
    return f"{request.method} {_clip(request.path)} needs a person's approval: {reason}.", hint


def _refuses(request: Request) -> str:
    return f"Policy refuses {request.method} {_clip(request.path)}"


def _clip(path: str) -> str:
    return path if len(path) <= 200 else path[:200] + "..."


def _name(rule: RuleRef) -> str:
    return f'"{rule.label}"' if rule.label else f"{rule.index} (no label)"


def _list(texts: Iterable[str]) -> str:
    return ", ".join(list(dict.fromkeys(texts))[:_MOST])


def _path_hint(request: Request, on_host: Sequence[Entry]) -> str:
    """Near patterns, and what alone would make one of them match."""
    path = request.path
    advice = [
        text
        for text, variant in (
            ("drop the trailing slash", path.rstrip("/")),
            ("write the slash unencoded", glob_subject(path).replace("%2F", "/")),
        )
        if variant and variant != path and any(e.has_path(variant, glob_subject(variant)) for e in on_host)
    ]
    if any(e.has_path_in_other_letters(path) for e in on_host):
        advice.append("letter case differs")
    globs = list(dict.fromkeys(glob for entry in on_host for glob in entry.globs))
    globs.sort(key=lambda glob: -_common_run(glob.split("/")[1:], path.split("/")[1:]))
    listed = f"Paths listed on this host: {', '.join(globs[:_MOST])}."
    return f"{listed} To match: {'; '.join(advice)}." if advice else listed


def _common_run(glob: Sequence[str], path: Sequence[str]) -> int:
    """The longest run of segments a glob and a path have in common, a star standing for any."""
    best, previous = 0, [0] * (len(path) + 1)
    for left in glob:
        current = [0]
        for number, right in enumerate(path):
            current.append(previous[number] + 1 if left in (right, "*") else 0)
        best, previous = max(best, *current), current
    return best


def _rule_hint(request: Request, policy: "Policy", rule: "RequestRule") -> str:
    """The rule's label; behind a catch-all stands what the policy does allow nearby."""
    if rule.is_catch_all:
        nearby = _nearby(request, policy)
        if nearby:
            return "Allowed nearby: " + ", ".join(f'"{label}"' for label in nearby) + "."
    return rule.ref.label or ""


def _nearby(request: Request, policy: "Policy") -> list[str]:
    segments = request.strict_path.split("/")[1:]
    ranked = []
    for rule in policy.rules:
        if rule.action == "allow" and rule.ref.label and not rule.is_catch_all:
            common = _common_stem(rule.path_pattern, segments)
            if common:
                ranked.append((-common, rule.ref.index, rule.ref.label))
    return list(dict.fromkeys(label for _, _, label in sorted(ranked)))[:_MOST]


def _common_stem(pattern: str | None, segments: Sequence[str]) -> int:
    """How many first segments the literal beginning of a pattern shares with a path; 1 without a pattern."""
    if pattern is None:
        return 1
    found = _STEM.match(pattern)
    stem = found.group(1).replace("\\", "").split("/")[1:] if found else []
    common = 0
    for left, right in zip(stem, segments, strict=False):
        if left.lower() != right.lower():
            break
        common += 1
    return common
