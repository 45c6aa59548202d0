"""The SQL of policies.

Who changes a policy holds its agent, then its connection, then the policy itself: whoever disables, revokes or deletes
one of the first two takes them in the same order, so nobody waits in a circle.
Source: contract/policy.md sections 2.2 and 15.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from psycopg.rows import class_row, kwargs_row
from psycopg.types.json import Jsonb

from agenthifive.db.database import Connection
from agenthifive.policies.model import ConnectionRecord, Labels, StoredPolicy
from agenthifive.policies.recorded import POLICY_REFUSALS, RECORDED, RecordedCall, read_recorded
from agenthifive.strict_json import dumps
from agenthifive.words import ConnectionStatus

_POLICY: Final = """
    SELECT p.id::text, p.agent_id::text, p.connection_id::text, c.label AS connection_label,
           c.provider AS connection_provider, c.service AS connection_service, p.version, p.action_template_id,
           p.security_preset, p.customised, p.document, p.created_at, p.updated_at
      FROM t_policies p JOIN t_connections c ON c.id = p.connection_id
     WHERE p.workspace_id = %(workspace_id)s AND p.status = 'active'
"""
LIST: Final = f"""
    {_POLICY} AND p.agent_id = coalesce(%(agent_id)s, p.agent_id)
       AND p.connection_id = coalesce(%(connection_id)s, p.connection_id)
     ORDER BY p.created_at, p.id
"""
FIND: Final = f"{_POLICY} AND p.id = %(policy_id)s"
HOLD: Final = f"{FIND} FOR NO KEY UPDATE OF p"
FIND_OF_PAIR: Final = f"{_POLICY} AND p.agent_id = %(agent_id)s AND p.connection_id = %(connection_id)s"
HOLD_AGENT: Final = "SELECT FROM t_agents WHERE id = %(agent_id)s AND workspace_id = %(workspace_id)s FOR SHARE"
FIND_CONNECTION: Final = """
    SELECT label, status, service, variant, metadata, granted_scopes, account_tenant AS tenant FROM t_connections
     WHERE id = %(connection_id)s AND workspace_id = %(workspace_id)s AND deleted_at IS NULL
"""
HOLD_CONNECTION: Final = f"{FIND_CONNECTION} FOR SHARE"
INSERT: Final = """
    INSERT INTO t_policies (id, workspace_id, agent_id, connection_id, action_template_id, security_preset, customised,
           document, created_by)
    VALUES (%(policy_id)s, %(workspace_id)s, %(agent_id)s, %(connection_id)s, %(action_template_id)s,
           %(security_preset)s, %(customised)s, %(document)s, %(created_by)s)
        ON CONFLICT (agent_id, connection_id) WHERE status = 'active' DO NOTHING
"""
UPDATE: Final = """
    UPDATE t_policies SET document = %(document)s, action_template_id = %(action_template_id)s,
           security_preset = %(security_preset)s, customised = %(customised)s, version = version + 1, updated_at = now()
     WHERE id = %(policy_id)s RETURNING version, document, updated_at
"""
DELETE: Final = "DELETE FROM t_policies WHERE id = %(policy_id)s"
FIND_AGENT: Final = """
    SELECT a.name, w.org_domains FROM t_agents a JOIN t_workspaces w ON w.id = a.workspace_id
     WHERE a.id = %(agent_id)s AND a.workspace_id = %(workspace_id)s
"""
# the same sixty-one minute buckets that the commit of a call counts
COUNT_CALLS: Final = """
    SELECT coalesce(sum(calls), 0)::int FROM t_call_minutes
     WHERE agent_id = %(agent_id)s AND connection_id = %(connection_id)s
       AND minute > %(at)s::timestamptz - interval '61 minutes' AND minute <= %(at)s::timestamptz
"""
# calls as they were decided; those a person had let pass stand there as the hold they were before
LIST_RECORDED: Final = """
    SELECT audit_id::text, "timestamp" AS at, action, rule_id, metadata FROM l_audit_events
     WHERE workspace_id = %(workspace_id)s AND agent_id = %(agent_id)s AND connection_id = %(connection_id)s
       AND action = ANY(%(actions)s) AND metadata->>'path' IS NOT NULL
       AND intent_id IS NULL AND approval_id IS NULL AND metadata->>'via' IS DISTINCT FROM 'approval_context'
       AND (metadata->>'reason' IS NULL OR metadata->>'reason' = ANY(%(reasons)s))
       AND "timestamp" >= coalesce(%(since)s, '-infinity'::timestamptz)
       AND "timestamp" <= coalesce(%(until)s, 'infinity'::timestamptz)
     ORDER BY "timestamp" DESC, id DESC LIMIT %(last)s
"""


async def list_policies(
    connection: Connection, workspace_id: str, agent_id: str | None, connection_id: str | None
) -> Sequence[StoredPolicy]:
    """The active policies of a workspace, oldest first; of one agent or connection when they are named."""
    async with connection.cursor(row_factory=class_row(StoredPolicy)) as cursor:
        await cursor.execute(LIST, {"workspace_id": workspace_id, "agent_id": agent_id, "connection_id": connection_id})
        return await cursor.fetchall()


async def find_policy(connection: Connection, workspace_id: str, policy_id: str) -> StoredPolicy | None:
    """An active policy."""
    return await _policy(connection, FIND, {"workspace_id": workspace_id, "policy_id": policy_id})


async def hold_policy(connection: Connection, workspace_id: str, policy_id: str) -> StoredPolicy | None:
    """An active policy that nobody else changes before the transaction ends."""
    return await _policy(connection, HOLD, {"workspace_id": workspace_id, "policy_id": policy_id})


async def find_policy_of_pair(
    connection: Connection, workspace_id: str, agent_id: str, connection_id: str
) -> StoredPolicy | None:
    """The active policy of an agent on a connection."""
    pair = {"workspace_id": workspace_id, "agent_id": agent_id, "connection_id": connection_id}
    return await _policy(connection, FIND_OF_PAIR, pair)


async def hold_agent(connection: Connection, workspace_id: str, agent_id: str) -> bool:
    """Whether the workspace has the agent; it stays until the transaction ends."""
    cursor = await connection.execute(HOLD_AGENT, {"workspace_id": workspace_id, "agent_id": agent_id})
    return await cursor.fetchone() is not None


async def find_connection(connection: Connection, workspace_id: str, connection_id: str) -> ConnectionRecord | None:
    """A connection of the workspace."""
    return await _connection(connection, FIND_CONNECTION, workspace_id, connection_id)


async def hold_connection(connection: Connection, workspace_id: str, connection_id: str) -> ConnectionRecord | None:
    """A connection that stays as it is until the transaction ends."""
    return await _connection(connection, HOLD_CONNECTION, workspace_id, connection_id)


async def insert_policy(
    connection: Connection,
    policy_id: str,
    workspace_id: str,
    agent_id: str,
    connection_id: str,
    facets: Mapping[str, Any],
    labels: Labels,
    created_by: str | None,
) -> bool:
    """Store a new policy; False when the pair has an active one already."""
    cursor = await connection.execute(
        INSERT,
        {
            "policy_id": policy_id,
            "workspace_id": workspace_id,
            "agent_id": agent_id,
            "connection_id": connection_id,
            "created_by": created_by,
            **_columns(facets, labels),
        },
    )
    return cursor.rowcount == 1


async def update_policy(
    connection: Connection, policy: StoredPolicy, facets: Mapping[str, Any], labels: Labels
) -> StoredPolicy:
    """Store the next version of a policy that is held."""
    cursor = await connection.execute(UPDATE, {"policy_id": policy.id, **_columns(facets, labels)})
    row = await cursor.fetchone()
    assert row is not None  # the row is held
    version, document, updated_at = row
    return replace(
        policy,
        version=version,
        document=document,
        updated_at=updated_at,
        action_template_id=labels.action_template_id,
        security_preset=labels.security_preset,
        customised=labels.customised,
    )


async def delete_policy(connection: Connection, policy_id: str) -> None:
    """Remove a policy that is held."""
    await connection.execute(DELETE, {"policy_id": policy_id})


async def find_agent(connection: Connection, workspace_id: str, agent_id: str) -> tuple[str, tuple[str, ...]] | None:
    """Name of an agent and the mail domains of its workspace."""
    cursor = await connection.execute(FIND_AGENT, {"workspace_id": workspace_id, "agent_id": agent_id})
    row = await cursor.fetchone()
    return None if row is None else (row[0], tuple(row[1]))


async def count_calls(connection: Connection, agent_id: str, connection_id: str, at: Any) -> int:
    """Units of the hourly budget used in the hour before an instant."""
    cursor = await connection.execute(COUNT_CALLS, {"agent_id": agent_id, "connection_id": connection_id, "at": at})
    row = await cursor.fetchone()
    assert row is not None  # an aggregate answers one row
    return int(row[0])


async def list_recorded(
    connection: Connection,
    workspace_id: str,
    agent_id: str,
    connection_id: str,
    last: int,
    since: datetime | None,
    until: datetime | None,
) -> Sequence[RecordedCall]:
    """The newest recorded calls of an agent over a connection that a policy decided."""
    async with connection.cursor(row_factory=kwargs_row(read_recorded)) as cursor:
        await cursor.execute(
            LIST_RECORDED,
            {
                "workspace_id": workspace_id,
                "agent_id": agent_id,
                "connection_id": connection_id,
                "actions": list(RECORDED),
                "reasons": list(POLICY_REFUSALS),
                "last": last,
                "since": since,
                "until": until,
            },
        )
        return await cursor.fetchall()


async def _policy(connection: Connection, statement: str, values: Mapping[str, Any]) -> StoredPolicy | None:
    async with connection.cursor(row_factory=class_row(StoredPolicy)) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchone()


async def _connection(
    connection: Connection, statement: str, workspace_id: str, connection_id: str
) -> ConnectionRecord | None:
    async with connection.cursor(row_factory=kwargs_row(_record)) as cursor:
        await cursor.execute(statement, {"workspace_id": workspace_id, "connection_id": connection_id})
        return await cursor.fetchone()


def _record(status: str, **columns: Any) -> ConnectionRecord:
    return ConnectionRecord(status=ConnectionStatus(status), **columns)


def _columns(facets: Mapping[str, Any], labels: Labels) -> dict[str, Any]:
    return {
        "document": Jsonb(facets, dumps=dumps),
        "action_template_id": labels.action_template_id,
        "security_preset": labels.security_preset,
        "customised": labels.customised,
    }
