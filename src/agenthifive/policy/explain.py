"""Why a call is decided as it is: the decision itself, made once more with a trace.

Source: contract/policy.md section 15.3.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agenthifive.policy.allowlist import DEFAULT_PORTS
from agenthifive.policy.compile import Policy
from agenthifive.policy.decide import decide
from agenthifive.policy.model import Allow, Decision, Deny, Hold, Request, RuleRef
from agenthifive.policy.replies import reply_rules
from agenthifive.policy.trace import Trace


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and what led to it."""

    request: Request
    decision: Decision
    trace: tuple[dict[str, Any], ...]
    response_rules: tuple[dict[str, Any], ...]
    is_trusted: bool

    def document(self) -> dict[str, Any]:
        """The answer of the explain route, without the id and version of the policy."""
        decision, request = self.decision, self.request
        rule = decision.rule
        hint = None if isinstance(decision, Allow) else decision.hint
        answer: dict[str, Any] = {
            "decision": _verb(decision),
            "code": decision.reason if isinstance(decision, Allow) else decision.code,
            "reason": _reason(decision),
            "rule": None if rule is None else _rule(rule),
            "class": request.action_class.value,
            "trusted": self.is_trusted,
            "canonical": {
                "method": request.method,
                "url": f"{_origin(request)}{request.path}{request.query}",
                "strictPath": request.strict_path,
                "bodyKind": request.body.kind,
                "bodyBytes": request.body.size_bytes,
            },
            "redactions": [{"type": r.type, "field": r.field, "count": r.count} for r in decision.redactions],
            "wouldReport": bool(decision.would_deny),
            "trace": list(self.trace),
            "responseRules": list(self.response_rules),
            "hint": hint or ("A person has to approve this call." if isinstance(decision, Hold) else None),
        }
        if isinstance(decision, Deny) and decision.detail is not None:
            answer["detail"] = decision.detail
        if decision.would_deny:
            answer["wouldDeny"] = [{"code": code, "ruleLabel": label} for code, label in decision.would_deny]
        return answer


def explain(request: Request, policy: Policy, now: datetime) -> Explanation:
    """Decide and say why. The same code decides calls, so that both always agree."""
    trace = Trace(policy, request.method)
    decision = decide(request, policy, now, trace=trace)
    applied = {rule.ref.index for rule in reply_rules(policy, request)}
    is_trusted = policy.constraint is not None and policy.constraint.judge(request).is_trusted
    return Explanation(
        request,
        decision,
        tuple(trace.entries),
        tuple(
            {"id": rule.ref.id, "label": rule.ref.label, "applies": rule.ref.index in applied}
            for rule in policy.replies
        ),
        is_trusted,
    )


def _verb(decision: Decision) -> str:
    if isinstance(decision, Allow):
        return "allow"
    return "deny" if isinstance(decision, Deny) else "require_approval"


def _reason(decision: Decision) -> str:
    if not isinstance(decision, Allow):
        return decision.message
    if decision.reason == "report":
        return "Recorded only: the policy is in report mode."
    named = "" if decision.rule is None else f' by rule {decision.rule.index} "{decision.rule.label or ""}"'
    if decision.reason == "trusted_recipient":
        return f"Needs no approval{named}: every destination is listed."
    return f"Allowed{named}." if named else "Allowed: no rule speaks against it."


def _rule(rule: RuleRef) -> dict[str, Any]:
    return {"id": rule.id, "index": rule.index, "label": rule.label, "guard": rule.guard}


def _origin(request: Request) -> str:
    host = f"[{request.host}]" if ":" in request.host else request.host
    is_default = DEFAULT_PORTS.get(request.scheme) == request.port
    return f"{request.scheme}://{host}" if is_default else f"{request.scheme}://{host}:{request.port}"
