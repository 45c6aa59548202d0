"""Model A: hand a token to the agent. Allowlist and rules cannot bind a token once it is out.

Only the time windows and a step-up of `always` are asked. The token leaves after its row is durable; a refresh token
never leaves. Source: contract/broker.md section 12, connections.md section 15.
"""

import base64
import time
from datetime import datetime
from typing import Any, Final

from agenthifive import strict_json
from agenthifive.audit.lane import BudgetExceeded, Kind, RateUnit
from agenthifive.audit.model import Event
from agenthifive.audit.writer import AuditUnavailable, Writer
from agenthifive.broker import records
from agenthifive.broker.model import Call, Grant, Reply
from agenthifive.broker.outbound import unseal
from agenthifive.errors import AppError
from agenthifive.policy.compile import Policy
from agenthifive.policy.windows import is_open, next_opening
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AuditAction, AuditDecision, Outcome

NOMINAL_TTL_S: Final = 3600
_NEVER: Final = frozenset(
    {"email", "http", "token_pair", "oauth"}
)  # oauth tokens are vended once they can be refreshed


async def vend(call: Call, grant: Grant, keyring: Keyring, writer: Writer, *, now: datetime) -> Reply:
    """The token of a static credential, where the policy says so twice. Raises: AppError."""
    policy = grant.policy
    assert policy is not None
    _check(grant, policy, now)
    event = records.vend_intent(call, grant, now.timestamp())
    entry = writer.entry(Kind.INTENT, event)
    if policy.max_requests_per_hour is not None:
        entry.unit = RateUnit(grant.agent_id, grant.connection_id, policy.max_requests_per_hour)
    try:
        await writer.append(entry)
    except BudgetExceeded as spent:
        raise AppError("budget_exceeded", f"The policy allows {policy.max_requests_per_hour} requests an hour and they "
                       f"are used up. Try again in {spent.retry_after_s} seconds.", retry_after_s=spent.retry_after_s,
                       extra={"limit": {"name": "policy", "max": policy.max_requests_per_hour, "windowSeconds": 3600},
                              "used": spent.used}) from None  # fmt: skip
    except AuditUnavailable:
        raise AppError("audit_unavailable", "The call could not be recorded, so no token was handed out. Try again.",
                       retry_after_s=2) from None  # fmt: skip
    try:
        token = _token(grant, unseal(grant, keyring))
    except AppError as error:
        await _conclude_failed(writer, event, error)
        raise
    body: dict[str, Any] = {"model": "A", **token, "auditId": event.audit_id}
    metadata = {"model": "A", "provider": grant.service.provider, "ttl": NOMINAL_TTL_S, "refreshed": False}
    outcome = records.conclusion(
        event, AuditAction.TOKEN_VENDED, AuditDecision.ALLOWED, metadata, datetime.now(now.tzinfo).timestamp()
    )
    if not await writer.conclude(writer.entry(Kind.OUTCOME, outcome)):
        raise AppError("audit_unavailable", "The hand-out could not be recorded, so no token was handed out.",
                       retry_after_s=2, extra={"auditId": event.audit_id, "outcome": "unknown"})  # fmt: skip
    headers = [("content-type", "application/json"), ("cache-control", "no-store"),
               ("x-agenthifive-audit-id", event.audit_id)]  # fmt: skip
    return Reply(200, headers, strict_json.dumps(body))


async def _conclude_failed(writer: Writer, event: Event, error: AppError) -> None:
    """The outcome of a hand-out that did not happen."""
    metadata = {"model": "A", "provider": event.metadata["provider"], "errorCode": error.code}
    row = records.conclusion(event, AuditAction.TOKEN_VENDED, AuditDecision.ERROR, metadata, time.time())
    await writer.conclude(writer.entry(Kind.OUTCOME, row))
    error.extra = {"auditId": event.audit_id, "outcome": str(Outcome.NOT_SENT)}


def _check(grant: Grant, policy: Policy, now: datetime) -> None:
    if not is_open(policy.windows, now):
        opening = next_opening(policy.windows, now)
        seconds = None if opening is None else max(1, int((opening.at - now).total_seconds()))
        raise AppError("time_window_closed", "The policy's time windows are closed now.", retry_after_s=seconds)
    if grant.variant.spec.kind in _NEVER or not policy.vend_static_credentials:
        raise AppError(
            "model_denied",
            f"{grant.service.file.name} credentials do not expire by themselves and are not handed out. Use model B.",
            hint="B",
        )
    if policy.step_up == "always":
        raise AppError("approval_required", "The policy wants a person to approve this, and this version cannot "
                       "ask one yet. Ask an owner to change the policy.", detail="step_up")  # fmt: skip


def _token(grant: Grant, payload: dict[str, Any]) -> dict[str, Any]:
    """What is handed out, by the shape of the credential. Raises: AppError for one that holds none."""
    pair = next((injection for injection in grant.variant.injections if injection.place == "basic"), None)
    try:
        if pair is not None:
            text = f"{pair.username.render(payload)}:{pair.password.render(payload)}"
            kind, token = "Basic", base64.b64encode(text.encode()).decode("ascii")
        else:
            kind, token = "x-api-key" if "apiKey" in payload else "Bearer", payload.get("apiKey") or payload["botToken"]
    except KeyError:
        raise AppError(
            "credential_unreadable",
            "The stored credential is not complete. A person must enter it again on this connection.",
        ) from None
    return {"accessToken": token, "tokenType": kind, "expiresIn": NOMINAL_TTL_S, "scopes": []}
