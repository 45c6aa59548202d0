"""What the audit log keeps of a call, and what it does not: values of the query and the body are never written down.

    execution_requested                  everything but values: names of the query, size of the body
    execution_denied, rate_limit_...     method, host and path

Source: contract/policy.md section 15.4, audit.md section 3.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from agenthifive.words import AuditAction

POLICY_REFUSALS: Final = (
    "time_window_closed",
    "allowlist_denied",
    "host_not_bound",
    "constraint_denied",
    "fields_not_available",
    "body_not_inspectable",
    "rule_denied",
    "read_only",
    "payload_too_large",
    "budget_exceeded",
    "approval_required",
)
"""The refusals a policy decided; what failed for another reason tells nothing about a policy."""

RECORDED: Final = (AuditAction.EXECUTION_REQUESTED, AuditAction.EXECUTION_DENIED, AuditAction.RATE_LIMIT_EXCEEDED)
_HELD: Final = "approval_required"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call was or would be decided.

    Shapes:
        decision: "allow", "deny", "require_approval" or "undetermined". code: None where nobody can tell.
        rule: label of the rule, its id where it has none. depends_on: what an undetermined call depends on.
    """

    decision: str
    code: str | None
    rule: str | None = None
    depends_on: str | None = None

    def wire(self) -> dict[str, Any]:
        """As the simulate route tells it."""
        told = {"decision": self.decision, "code": self.code, "rule": self.rule}
        return told if self.depends_on is None else {**told, "dependsOn": self.depends_on}


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call as its audit row shows it.

    Shapes:
        scheme, query_names, body_bytes: None where the row does not say.
        calls_last_hour: None unless the call was refused for it.
        wants_full_fields, wants_bypass: known only of calls that were refused or held for it.
    """

    audit_id: str
    at: datetime
    method: str
    scheme: str | None
    host: str
    path: str
    query_names: tuple[str, ...] | None
    body_bytes: int | None
    calls_last_hour: int | None
    wants_full_fields: bool
    wants_bypass: bool
    before: Outcome


def read_recorded(
    audit_id: str, at: datetime, action: str, rule_id: str | None, metadata: Mapping[str, Any]
) -> RecordedCall:
    """A call from its audit row, one of those `store.LIST_RECORDED` selects."""
    reason = metadata.get("reason")
    causes: Sequence[str] = metadata.get("causes", ())
    names, size = metadata.get("queryNames"), metadata.get("bodyBytes")
    return RecordedCall(
        audit_id=audit_id,
        at=at,
        method=metadata["method"],
        scheme=metadata.get("scheme"),
        host=metadata["host"],
        path=metadata["path"],
        query_names=None if names is None else tuple(names),
        body_bytes=size,
        calls_last_hour=metadata.get("currentCount") if reason == "budget_exceeded" else None,
        wants_full_fields=reason == "fields_not_available" or "full_fields" in causes,
        wants_bypass="pii_bypass" in causes,
        before=_outcome(action, reason, rule_id, metadata),
    )


def _outcome(action: str, reason: str | None, rule_id: str | None, metadata: Mapping[str, Any]) -> Outcome:
    rule = metadata.get("ruleLabel") or rule_id
    if action != AuditAction.EXECUTION_REQUESTED:
        if reason == _HELD:
            return Outcome("require_approval", metadata.get("detail"), rule)
        return Outcome("deny", reason, rule)
    if metadata.get("wouldDeny"):
        return Outcome("allow", "report", rule)
    return Outcome("allow", "no_rule" if rule is None else "rule_allowed", rule)
