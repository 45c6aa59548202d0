"""A log as calls leave it, two rows a call, chained as the server chains them: quickly, straight into the table."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from agenthifive.audit.model import NO_CHECKPOINT, Content, canonical, genesis, link_hash
from agenthifive.ids import new_id, wire_time_of

CHAIN: Final = """
    INSERT INTO l_audit_chains (chain_id, kind, instance, epoch, opened_at, prev_checkpoint, writer)
    VALUES (%s, 'broker', %s, 1, %s, %s, 'bench')
"""
WRITER: Final = "INSERT INTO t_audit_writers (chain_id, heartbeat_at) VALUES (%s, to_timestamp(%s))"
COPY: Final = """
    COPY l_audit_events (action, actor, agent_id, audit_id, chain_id, chain_seq, connection_id, decision, intent_id,
        metadata, principal_id, principal_type, request_id, "timestamp", workspace_id, prev_hash, hash) FROM STDIN
"""
ROWS_A_CHAIN: Final = 100_000
_SECONDS_A_ROW: Final = 0.002
_METADATA: Final = {
    "model": "B", "provider": "http", "service": "generic-http", "method": "GET", "scheme": "https",
    "host": "api.example.com", "path": "/v1/document.json", "queryNames": [], "bodyBytes": 0, "via": "execute",
}  # fmt: skip


def write_log(dsn: str, rows: int, hours_ago: float = 24.0) -> None:
    """Add that many rows, in chains of a hundred thousand. With an odd number the last call has no outcome."""
    instance, begins_s = new_id(), time.time() - hours_ago * 3600
    with psycopg.connect(dsn) as connection:
        for first in range(0, rows, ROWS_A_CHAIN):
            chain_id, opened_s = new_id(), begins_s + first * _SECONDS_A_ROW
            opened_at = wire_time_of(opened_s)
            connection.execute(CHAIN, [chain_id, instance, opened_at, NO_CHECKPOINT])
            connection.execute(WRITER, [chain_id, opened_s])
            head = genesis(chain_id, "broker", instance, 1, opened_at, NO_CHECKPOINT)
            with connection.cursor().copy(COPY) as copy:
                for row in _rows(chain_id, head, min(ROWS_A_CHAIN, rows - first), opened_s):
                    copy.write_row(row)


def _rows(chain_id: str, head: bytes, count: int, opened_s: float) -> Iterator[tuple[Any, ...]]:
    agent_id, connection_id, workspace_id = new_id(), new_id(), new_id()
    metadata = json.dumps(_METADATA)
    intent_id = None
    for seq in range(1, count + 1):
        audit_id, is_outcome = new_id(), intent_id is not None
        content = Content(
            action="execution_completed" if is_outcome else "execution_requested",
            actor=f"agent:{agent_id}",
            agent_id=agent_id,
            approval_id=None,
            audit_id=audit_id,
            chain_id=chain_id,
            chain_seq=seq,
            connection_id=connection_id,
            decision="allowed",
            intent_id=intent_id,
            ip=None,
            metadata=_METADATA,
            policy_id=None,
            principal_id=agent_id,
            principal_type="agent",
            request_id=f"req-{seq}",
            rule_id=None,
            timestamp=wire_time_of(opened_s + seq * _SECONDS_A_ROW),
            user_agent=None,
            v=1,
            workspace_id=workspace_id,
        )
        previous, head = head, link_hash(head, canonical(content))
        yield (
            content.action, content.actor, agent_id, audit_id, chain_id, seq, connection_id, "allowed", intent_id,
            metadata, agent_id, "agent", content.request_id, content.timestamp, workspace_id, previous, head,
        )  # fmt: skip
        intent_id = None if is_outcome else audit_id
