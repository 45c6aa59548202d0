"""Idempotency keys: the same call, sent twice, acts once and is answered alike.

A key is claimed in the commit of its intent and settled with the outcome. Source: contract/broker.md section 15.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from agenthifive.broker.model import Call, Grant, Reply
from agenthifive.db.database import Database
from agenthifive.errors import AppError
from agenthifive.vault.envelope import EnvelopeError
from agenthifive.vault.keyring import Keyring

# A key still `running` although its call has an outcome could not be settled then; the outcome row settles it.
FIND: Final = """
    SELECT k.fingerprint,
           CASE WHEN k.state <> 'running' OR o.audit_id IS NULL THEN k.state
                WHEN o.metadata->>'outcome' = 'not_sent' THEN 'free' ELSE 'unknown' END,
           k.audit_id::text, k.reply, k.workspace_id::text
      FROM t_idempotency_keys k
      LEFT JOIN l_audit_events o ON o.intent_id = k.audit_id
                                AND o."timestamp" < now() - make_interval(secs => %(settling_s)s)
     WHERE k.principal = %(principal)s AND k.key = %(key)s AND k.expires_at > now()
"""
STORE: Final = """
    UPDATE t_idempotency_keys SET state = %(state)s, reply = %(reply)s, reply_kid = %(kid)s
     WHERE audit_id = %(audit_id)s
"""
FREE: Final = "DELETE FROM t_idempotency_keys WHERE audit_id = %(audit_id)s"
REPLY_BYTES_MAX: Final = 1024 * 1024
_SETTLE_S: Final = 1.0
_SETTLING_S: Final = 5.0
_PLACE: Final = ("t_idempotency_keys", "reply")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """A reply that was given before, and the row of the call that earned it."""

    audit_id: str
    reply: Reply


def request_of(grant: Grant, fingerprint: str) -> str:
    """What a key is bound to: the act, and whose credential carries it out under whose policy."""
    return f"{fingerprint} {grant.agent_id} {grant.connection_id}"


class Idempotency:
    """Looks keys up and settles them."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def find(self, call: Call, request: str) -> Stored | None:
        """The stored reply of the same call, None when the key is free.

        Raises: AppError (idempotency_*), psycopg.Error.
        """
        async with self._database.transaction(read_only=True) as connection:
            cursor = await connection.execute(
                FIND, {"principal": call.principal.id, "key": call.idempotency_key, "settling_s": _SETTLING_S}
            )
            row = await cursor.fetchone()
        if row is None:
            return None
        known, state, audit_id, reply, workspace_id = row
        if state == "free":
            async with self._database.transaction() as connection:
                await connection.execute(FREE, {"audit_id": audit_id})
            return None
        if known != request:
            raise AppError(
                "idempotency_key_reused", "This Idempotency-Key was used for another request. Use a new key."
            )
        if state == "running":
            raise self.in_progress()
        if state == "unknown":
            raise AppError("idempotency_outcome_unknown", "The first call may have acted and its answer is not known. "
                           "Look at the provider before you try again with a new key.",
                           extra={"auditId": audit_id})  # fmt: skip
        if state == "not_stored" or reply is None:
            raise AppError("idempotency_reply_not_stored", "The first call succeeded but its reply was not kept.",
                           extra={"auditId": audit_id})  # fmt: skip
        return Stored(audit_id, self._open(reply, audit_id, workspace_id))

    async def settle(self, grant: Grant, audit_id: str, body: bytes | None, *, outcome: str | None) -> None:
        """Write down how a claimed call ended. What cannot be written never takes the place of the call's answer.

        Shapes:
            body: the reply's body when it may be kept. outcome: None, or `not_sent` / `unknown` of a failure.
        """
        values: dict[str, Any] = {"audit_id": audit_id, "state": "not_stored", "reply": None, "kid": None}
        if outcome is not None:
            values["state"] = "unknown"
        elif body is not None and len(body) <= REPLY_BYTES_MAX:
            sealed = self._keyring.seal(body, *_PLACE, audit_id, grant.workspace_id)
            values |= {"state": "stored", "reply": sealed.text, "kid": sealed.kid}
        try:
            async with asyncio.timeout(_SETTLE_S), self._database.transaction() as connection:
                await connection.execute(FREE if outcome == "not_sent" else STORE, values)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            log.warning("idempotency_key_not_settled", auditId=audit_id, error=type(error).__name__)

    def in_progress(self) -> AppError:
        """The refusal while the first call runs."""
        return AppError(
            "idempotency_in_progress", "A call with this Idempotency-Key is still running. Try again.", retry_after_s=1
        )

    def _open(self, reply: str, audit_id: str, workspace_id: str) -> Reply:
        try:
            body = self._keyring.open(reply, *_PLACE, audit_id, workspace_id).reveal()
            msgspec.json.decode(body)
        except (EnvelopeError, msgspec.DecodeError):
            raise AppError("idempotency_reply_not_stored", "The first call succeeded but its reply cannot be read.",
                           extra={"auditId": audit_id}) from None  # fmt: skip
        headers = [
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("x-agenthifive-audit-id", audit_id),
            ("x-agenthifive-idempotent-replay", "true"),
        ]
        return Reply(200, headers, body)
