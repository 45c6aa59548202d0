"""The SQL of reading the log: pages by keyset, one event with its relatives, batches of an export.

Every statement names the workspace. A page is one range scan of the index that fits its filters, whatever the size
of the table. Source: contract/audit.md sections 2 and 7.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from psycopg.rows import args_row

from agenthifive.audit.filters import Filters, Window
from agenthifive.audit.record import Record
from agenthifive.db.database import Connection

RELATED_MAX: Final = 100

_RECORD: Final = """
    e.id::text, e.audit_id::text,
    to_char(e."timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    e.actor, e.agent_id::text, e.connection_id::text, e.action, e.decision, e.metadata, e.workspace_id::text,
    e.principal_type, e.principal_id, e.ip, e.user_agent, e.request_id, e.policy_id::text, e.rule_id,
    e.approval_id::text, e.intent_id::text, e.chain_id::text, e.chain_seq,
    encode(e.prev_hash, 'hex'), encode(e.hash, 'hex')
"""
_PAGE: Final = f"SELECT {_RECORD} FROM l_audit_events e WHERE e.workspace_id = %(workspace_id)s"
_PAGE_OF_INSTANCE: Final = f"SELECT {_RECORD} FROM l_audit_events e WHERE e.workspace_id IS NULL"
_NEWEST_FIRST: Final = 'ORDER BY e."timestamp" DESC, e.id DESC LIMIT %(limit)s::int'
_CONDITIONS: Final[Mapping[str, str]] = {
    "agent_id": "e.agent_id = %(agent_id)s",
    "connection_id": "e.connection_id = %(connection_id)s",
    "policy_id": "e.policy_id = %(policy_id)s",
    "approval_id": "e.approval_id = %(approval_id)s",
    "action": "e.action = %(action)s",
    "actions": "e.action = ANY(%(actions)s::text[])",
    "decision": "e.decision = %(decision)s",
    "actor": "e.actor = %(actor)s",
    "principal_type": "e.principal_type = %(principal_type)s",
    "request_id": "e.request_id = %(request_id)s",
    "would_deny": "e.action = 'execution_requested' AND e.metadata ? 'wouldDeny'",
    "start": 'e."timestamp" >= %(start)s',
    "end": 'e."timestamp" < %(end)s',
    "after_id": '(e."timestamp", e.id) < (%(after_at)s, %(after_id)s::bigint)',
    "last_id": "e.id <= %(last_id)s::bigint",
}
FIND: Final = f"""
    SELECT {_RECORD} FROM l_audit_events e
     WHERE e.audit_id = %(audit_id)s AND e.workspace_id = %(workspace_id)s
"""
RELATED: Final = f"""
    SELECT {_RECORD} FROM l_audit_events e
     WHERE e.workspace_id = %(workspace_id)s AND e.audit_id <> %(audit_id)s
       AND (e.audit_id = %(intent_id)s OR e.intent_id = %(audit_id)s OR e.approval_id = %(approval_id)s)
     ORDER BY e."timestamp", e.id LIMIT {RELATED_MAX}
"""
CHAIN_ENDS: Final = """
    SELECT chain_id::text, min(chain_seq), max(chain_seq) FROM l_audit_events GROUP BY chain_id ORDER BY chain_id
"""
# every row that could be read now has an id up to this one
LAST_ID: Final = "SELECT last_value FROM l_audit_events_id_seq"
# a batch whose filter has no index may have to look at many rows; nobody waits for an export in a request's time
ALLOW_LONG: Final = "SELECT set_config('statement_timeout', '60000', false)"
HOLD_TURN: Final = "SELECT pg_try_advisory_lock(hashtextextended(%s, 8))"
LEAVE_TURN: Final = "SELECT pg_advisory_unlock(hashtextextended(%s, 8))"

_record_row = args_row(Record)


async def list_page(
    connection: Connection,
    workspace_id: str | None,
    filters: Filters,
    window: Window,
    limit: int,
    after: tuple[datetime, int] | None = None,
    last_id: int | None = None,
) -> list[Record]:
    """The newest rows that fit, older than `after`, inserted no later than `last_id`.

    Shapes: workspace_id: None for the rows that belong to no workspace.
    """
    statement, values = page_statement(workspace_id, filters, window, limit, after, last_id)
    async with connection.cursor(row_factory=_record_row) as cursor:
        # planned for these values each time: a plan for any value would read far more than a page
        await cursor.execute(statement, values, prepare=False)
        return await cursor.fetchall()


def page_statement(
    workspace_id: str | None,
    filters: Filters,
    window: Window,
    limit: int,
    after: tuple[datetime, int] | None = None,
    last_id: int | None = None,
) -> tuple[str, dict[str, Any]]:
    """The statement of a page, with only the conditions it needs, and its values."""
    actions = [str(action) for action in filters.actions]
    given = {
        "agent_id": filters.agent_id,
        "connection_id": filters.connection_id,
        "policy_id": filters.policy_id,
        "approval_id": filters.approval_id,
        "action": actions[0] if len(actions) == 1 else None,
        "actions": actions if len(actions) > 1 else None,
        "decision": filters.decision and str(filters.decision),
        "actor": filters.actor,
        "principal_type": filters.principal_type and str(filters.principal_type),
        "request_id": filters.request_id,
        "would_deny": filters.would_deny or None,
        "start": window.start,
        "end": window.end,
        "after_id": after and after[1],
        "last_id": last_id,
    }
    wanted = [name for name, value in given.items() if value is not None]
    page = _PAGE_OF_INSTANCE if workspace_id is None else _PAGE
    statement = " AND ".join([page, *(_CONDITIONS[name] for name in wanted)])
    values = {"workspace_id": workspace_id, "limit": limit, "after_at": after and after[0]}
    return f"{statement} {_NEWEST_FIRST}", values | {name: given[name] for name in wanted}


async def list_chains(connection: Connection) -> list[tuple[str, int, int]]:
    """The chains of the log with their first and last number."""
    cursor = await connection.execute(CHAIN_ENDS)
    return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]


async def find_event(connection: Connection, workspace_id: str, audit_id: str) -> Record | None:
    """An event of the workspace."""
    async with connection.cursor(row_factory=_record_row) as cursor:
        await cursor.execute(FIND, {"workspace_id": workspace_id, "audit_id": audit_id})
        return await cursor.fetchone()


async def list_related(connection: Connection, workspace_id: str, event: Record) -> list[Record]:
    """The other half of an intent and its outcome, and the rows of the same approval, oldest first."""
    values = {
        "workspace_id": workspace_id,
        "audit_id": event.audit_id,
        "intent_id": event.intent_id,
        "approval_id": event.approval_id,
    }
    async with connection.cursor(row_factory=_record_row) as cursor:
        await cursor.execute(RELATED, values)
        return await cursor.fetchall()


async def read_last_id(connection: Connection) -> int:
    """The id no later row can have: the upper bound of an export."""
    cursor = await connection.execute(LAST_ID)
    row = await cursor.fetchone()
    assert row is not None
    last_id: int = row[0]
    return last_id


async def allow_long_statements(connection: Connection) -> None:
    """A minute for each statement of this connection."""
    await connection.execute(ALLOW_LONG)


async def hold_turn(connection: Connection, key: str) -> bool:
    """Take a turn until it is left or the connection ends; False when another session has it."""
    cursor = await connection.execute(HOLD_TURN, [key])
    return await cursor.fetchone() == (True,)


async def leave_turn(connection: Connection, key: str) -> None:
    """Let the next one have the turn."""
    await connection.execute(LEAVE_TURN, [key])
