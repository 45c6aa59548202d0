"""The audit rows of a call: who asked, what for, what came of it. No secret, query value or body is ever in one.

Source: contract/broker.md section 16, audit.md section 3.1.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agenthifive.audit.model import Event
from agenthifive.broker.judge import Judged
from agenthifive.broker.model import Call, Grant
from agenthifive.broker.target import query_names
from agenthifive.errors import AppError
from agenthifive.ids import new_id, wire_time_of
from agenthifive.policy.model import Allow, Deny, Hold
from agenthifive.words import AuditAction, AuditDecision

_LIMITS: Final = frozenset({"rate_limited", "budget_exceeded"})


def identity(call: Call, grant: Grant | None) -> dict[str, Any]:
    """The members that every row of a call shares."""
    principal = call.principal
    return {
        "actor": principal.actor,
        "principal_type": principal.kind,
        "principal_id": principal.id,
        "workspace_id": principal.workspace_id,
        "agent_id": grant.agent_id if grant is not None else principal.agent_id,
        "connection_id": None if grant is None else grant.connection_id,
        "policy_id": None if grant is None else grant.policy_id,
        "ip": call.context.ip,
        "user_agent": call.context.user_agent,
        "request_id": call.context.request_id,
    }


def intent(call: Call, grant: Grant, judged: Judged, now_s: float) -> Event:
    """The row that must be durable before any byte leaves."""
    target, decision = judged.target, judged.decision
    metadata: dict[str, Any] = {
        "model": "B",
        "provider": grant.service.provider,
        "service": grant.service.id,
        "method": call.method,
        "scheme": target.scheme,
        "host": target.host,
        "path": target.path,
        "queryNames": query_names(target.query) if target.query else [],
        "bodyBytes": len(judged.body.data or b""),
        "bodySha256": judged.body_sha256,
        "fingerprint": judged.fingerprint,
        "via": call.via,
    }
    if judged.stripped:
        metadata["strippedParams"] = list(judged.stripped)
    if isinstance(decision, Allow):
        if decision.rule is not None and decision.rule.label:
            metadata["ruleLabel"] = decision.rule.label
        if decision.would_deny:
            metadata["wouldDeny"] = [{"code": code, "ruleLabel": label} for code, label in decision.would_deny]
    if call.stream:
        metadata["stream"] = True
    if call.download:
        metadata["download"] = True
    rule = decision.rule
    return Event(
        audit_id=new_id(),
        timestamp=wire_time_of(now_s),
        action=AuditAction.EXECUTION_REQUESTED,
        decision=AuditDecision.ALLOWED,
        rule_id=None if rule is None else rule.id,
        metadata=metadata,
        **identity(call, grant),
    )


def vend_intent(call: Call, grant: Grant, now_s: float) -> Event:
    """The row before a token is handed out."""
    return Event(
        audit_id=new_id(),
        timestamp=wire_time_of(now_s),
        action=AuditAction.TOKEN_VEND_REQUESTED,
        decision=AuditDecision.ALLOWED,
        metadata={"model": "A", "provider": grant.service.provider, "service": grant.service.id},
        **identity(call, grant),
    )


def conclusion(
    of: Event, action: AuditAction, decision: AuditDecision, metadata: Mapping[str, Any], now_s: float
) -> Event:
    """The outcome of an intent: the same identity, linked by intent_id."""
    return msgspec.structs.replace(
        of,
        audit_id=new_id(),
        timestamp=wire_time_of(now_s),
        action=action,
        decision=decision,
        intent_id=of.audit_id,
        rule_id=None,
        metadata=metadata,
    )


def given_up(of: Event) -> Event:
    """The outcome of an intent that became durable after its caller had been refused: nothing was sent."""
    action = AuditAction.TOKEN_VENDED if of.metadata.get("model") == "A" else AuditAction.EXECUTION_COMPLETED
    return conclusion(
        of, action, AuditDecision.ERROR, {"errorCode": "audit_unavailable", "outcome": "not_sent"}, time.time()
    )


def refusal(call: Call, grant: Grant | None, judged: Judged | None, error: AppError, now_s: float) -> Event:
    """The single row of a call that was refused before the commit point."""
    metadata: dict[str, Any] = {"model": call.model, "reason": error.code}
    if error.detail is not None:
        metadata["detail"] = error.detail
    rule = None
    if judged is not None:
        metadata |= {"method": call.method, "host": judged.target.host, "path": judged.target.path}
        decision = judged.decision
        rule = decision.rule
        if rule is not None and rule.label:
            metadata["ruleLabel"] = rule.label
        if isinstance(decision, Deny):
            metadata |= decision.ids
        if isinstance(decision, Hold):
            metadata["causes"] = list(decision.causes)
    if error.code in _LIMITS:
        action = AuditAction.RATE_LIMIT_EXCEEDED
        extra = error.extra or {}
        metadata["limit"] = extra.get("limit", {}).get("max", 0)
        metadata["currentCount"] = extra.get("used", 0)
        metadata["retryAfter"] = error.retry_after_s
    else:
        action = AuditAction.TOKEN_VEND_DENIED if call.model == "A" else AuditAction.EXECUTION_DENIED
    return Event(
        audit_id=new_id(),
        timestamp=wire_time_of(now_s),
        action=action,
        decision=AuditDecision.DENIED,
        rule_id=None if rule is None else rule.id,
        metadata=metadata,
        **identity(call, grant),
    )


def idempotent_replay(call: Call, grant: Grant, first_audit_id: str, now_s: float) -> Event:
    """The row of a repeated call that got the stored reply."""
    return Event(
        audit_id=new_id(),
        timestamp=wire_time_of(now_s),
        action=AuditAction.IDEMPOTENT_REPLAY,
        decision=AuditDecision.ALLOWED,
        metadata={"firstAuditId": first_audit_id},
        **identity(call, grant),
    )
