"""Timers of the log: heartbeats of our chains, and outcomes for intents whose process died.

Source: contract/audit.md section 4 (orphan intents).
"""

from collections.abc import Sequence
from typing import Final

from agenthifive.audit.chains import BEAT
from agenthifive.db.unit import Unit
from agenthifive.words import AuditAction, AuditDecision

# A chain that still grows has a writer, even one whose heartbeat does not get through. The limit is far above what a
# crash leaves; a process that was restarted again and again leaves three chains each time.
DEAD_CHAINS: Final = """
    SELECT w.chain_id::text, extract(epoch FROM w.heartbeat_at)::float8 FROM t_audit_writers w
     WHERE w.closed_at IS NULL AND w.heartbeat_at < now() - interval '30 seconds'
       AND coalesce((SELECT e."timestamp" FROM l_audit_events e WHERE e.chain_id = w.chain_id
                      ORDER BY e.chain_seq DESC LIMIT 1), '-infinity') < now() - interval '15 seconds'
     ORDER BY w.chain_id LIMIT 500 FOR UPDATE SKIP LOCKED
"""
# Only what a call can have left open is looked at: the longest one, a stream, lasts an hour.
ORPHANS: Final = """
    SELECT i.audit_id::text, i.action, i.actor, i.principal_type, i.principal_id, i.workspace_id::text,
           i.agent_id::text, i.connection_id::text, i.policy_id::text, i.ip, i.user_agent, i.request_id
      FROM l_audit_events i
     WHERE i.chain_id = %(chain_id)s AND i.intent_id IS NULL
       AND i.action IN ('execution_requested', 'token_vend_requested')
       AND i."timestamp" > to_timestamp(%(heartbeat_s)s) - interval '2 hours'
       AND NOT EXISTS (SELECT FROM l_audit_events o WHERE o.intent_id = i.audit_id)
     ORDER BY i.chain_seq
"""
RELEASE_KEYS: Final = """
    UPDATE t_idempotency_keys SET state = 'unknown' WHERE audit_id = ANY(%s::uuid[]) AND state = 'running'
"""
MARK_CLOSED: Final = "UPDATE t_audit_writers SET closed_at = now() WHERE chain_id = %s"
_FIELDS: Final = (
    "intent_id", "action", "actor", "principal_type", "principal_id", "workspace_id",
    "agent_id", "connection_id", "policy_id", "ip", "user_agent", "request_id",
)  # fmt: skip


async def beat(unit: Unit, chain_ids: Sequence[str]) -> None:
    """Say that these chains are being written."""
    connection = await unit.begin()
    await connection.execute(BEAT, [list(chain_ids)])


async def close_orphans(unit: Unit) -> int:
    """Write `unknown` outcomes for the intents of dead processes; how many there were."""
    connection = await unit.begin()
    cursor = await connection.execute(DEAD_CHAINS)
    closed: list[str] = []
    for chain_id, heartbeat_s in await cursor.fetchall():
        orphans = await connection.execute(ORPHANS, {"chain_id": chain_id, "heartbeat_s": heartbeat_s})
        for row in await orphans.fetchall():
            members = dict(zip(_FIELDS, row, strict=True))
            is_vend = members.pop("action") == AuditAction.TOKEN_VEND_REQUESTED
            unit.record(
                AuditAction.TOKEN_VENDED if is_vend else AuditAction.EXECUTION_COMPLETED,
                {"errorCode": "crash", "outcome": "unknown"},
                decision=AuditDecision.ERROR,
                **members,
            )
            closed.append(members["intent_id"])
        await connection.execute(MARK_CLOSED, [chain_id])
    if closed:
        await connection.execute(RELEASE_KEYS, [closed])
    return len(closed)
