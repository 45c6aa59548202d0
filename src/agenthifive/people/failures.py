"""Sign-ins that failed, recorded at instance level under the flood rule. Source: contract/audit.md section 3.5."""

import time

from agenthifive.audit.flood import FloodGate
from agenthifive.db.unit import Unit
from agenthifive.edge.context import limit_key
from agenthifive.words import AuditAction, AuditDecision


class Failures:
    """Records failed sign-ins; one source cannot fill the log."""

    def __init__(self, flood: FloodGate) -> None:
        self._flood = flood

    async def note(self, unit: Unit, reason: str, email_hash: str | None, user_id: str | None) -> None:
        """Record a failed sign-in and commit it.

        Shapes: email_hash: SHA-256 of the address that was given or is the account's; None when nothing led to one.
        """
        source = limit_key(unit.signature.ip or "")
        count = self._flood.admit(source, AuditAction.USER_SIGN_IN_FAILED, time.time())
        if not count:
            return
        metadata: dict[str, str | int] = {"reason": reason}
        if email_hash is not None:
            metadata["emailSha256"] = email_hash
        if user_id is not None:
            metadata["userId"] = user_id
        if count > 1:
            metadata["count"] = count
        unit.record(AuditAction.USER_SIGN_IN_FAILED, metadata, decision=AuditDecision.DENIED)
        await unit.finish()
