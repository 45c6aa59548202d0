"""The whole log as an operator reads it: every workspace and the rows of the instance itself, newest first.

Reading as a person of one workspace is the audit room's part (`audit/store.py`); whoever runs these statements can
read the database anyway. Source: contract/audit.md sections 7 and 8.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from agenthifive.audit.record import Record
from agenthifive.db.database import Connection

READ_ONLY: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
NO_TIMEOUT: Final = "SET LOCAL statement_timeout = 0"  # one statement reads the whole log
ENTRIES: Final = """
    SELECT e.id::text, e.audit_id::text,
           to_char(e."timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
           e.actor, e.agent_id::text, e.connection_id::text, e.action, e.decision, e.metadata, e.workspace_id::text,
           e.principal_type, e.principal_id, e.ip, e.user_agent, e.request_id, e.policy_id::text, e.rule_id,
           e.approval_id::text, e.intent_id::text, e.chain_id::text, e.chain_seq,
           encode(e.prev_hash, 'hex'), encode(e.hash, 'hex'),
           coalesce(u.name, CASE WHEN e.principal_type = 'agent' THEN a.name END), a.name, c.label
      FROM l_audit_events e
      LEFT JOIN t_users u ON u.id::text = e.actor
      LEFT JOIN t_agents a ON a.id = e.agent_id
      LEFT JOIN t_connections c ON c.id = e.connection_id
     WHERE (%(workspace_id)s::uuid IS NULL OR e.workspace_id = %(workspace_id)s)
       AND (%(agent_id)s::uuid IS NULL OR e.agent_id = %(agent_id)s)
       AND (%(connection_id)s::uuid IS NULL OR e.connection_id = %(connection_id)s)
       AND (%(action)s::text IS NULL OR e.action = %(action)s)
       AND (%(decision)s::text IS NULL OR e.decision = %(decision)s)
     ORDER BY e."timestamp" DESC, e.id DESC LIMIT %(limit)s
"""
_BATCH_ROWS: Final = 1000
_MEMBERS: Final = len(Record.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows; None admits all."""

    workspace_id: str | None = None
    agent_id: str | None = None
    connection_id: str | None = None
    action: str | None = None
    decision: str | None = None
    limit: int | None = None

    def values(self) -> dict[str, Any]:
        """The values of ENTRIES."""
        return {name: getattr(self, name) for name in self.__slots__}

    def as_metadata(self) -> dict[str, str]:
        """What was asked for, for the row of an export."""
        names = {"workspace_id": "workspaceId", "agent_id": "agentId", "connection_id": "connectionId",
                 "action": "action", "decision": "decision"}  # fmt: skip
        return {wire: getattr(self, name) for name, wire in names.items() if getattr(self, name) is not None}


@dataclass(frozen=True, slots=True)
class Entry:
    """A row with the names of what it speaks of, as far as they still exist."""

    record: Record
    actor_name: str | None
    agent_name: str | None
    connection_label: str | None

    @property
    def at(self) -> str:
        """The time of the day."""
        return self.record.timestamp[11:19]

    @property
    def who(self) -> str:
        """Who acted, for people."""
        return self.actor_name or self.record.actor

    @property
    def what(self) -> str:
        """What it was about, for people: the call, else the object, else the reason."""
        metadata = self.record.metadata
        call = ("method", "path", "responseStatus") if "path" in metadata else ("responseStatus",)
        others = ("name", "label", "email", "reason", "errorCode")
        words = [
            self.agent_name if self.agent_name != self.actor_name else None,
            self.connection_label,
            " ".join(str(metadata[name]) for name in call if name in metadata),
            *(str(metadata[name]) for name in others if metadata.get(name) is not None),
        ]
        return " · ".join(dict.fromkeys(word for word in words if word))


async def stream_entries(connection: Connection, wanted: Wanted) -> AsyncIterator[Entry]:
    """The rows that fit, from one snapshot; memory does not grow with the log. The connection must be fresh.

    Raises: psycopg.Error.
    """
    async with connection.transaction():
        await connection.execute(READ_ONLY)
        await connection.execute(NO_TIMEOUT)
        async with connection.cursor() as cursor:
            async for row in cursor.stream(ENTRIES, wanted.values(), size=_BATCH_ROWS):
                yield Entry(Record(*row[:_MEMBERS]), *row[_MEMBERS:])


def wire(record: Record) -> Mapping[str, Any]:
    """A row as the API shows it."""
    members: Mapping[str, Any] = msgspec.to_builtins(record)
    return members
