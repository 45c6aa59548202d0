"""Taking a restored database into use: proofs that it is whole, and what about it may be out of date.

    dead calls closed -> every sealed record opens -> the log verifies -> the anchors are in it -> report

The new epoch, with everything one-time spent, comes before all of this (`instance.py`): it is in force whatever the
proofs say. Source: contract/operations.md section 3.4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Identifier

from agenthifive.audit.jobs import close_orphans
from agenthifive.db.unit import Unit
from agenthifive.operations.manifest import Head, Manifest
from agenthifive.vault.envelope import EnvelopeError
from agenthifive.vault.keyring import Keyring
from agenthifive.vault.sealed_columns import SEALED_COLUMNS
from agenthifive.words import AuditAction

DEAD: Final = """
    SELECT count(*) FROM t_audit_writers WHERE closed_at IS NULL AND heartbeat_at < now() - interval '30 seconds'
"""
CHAINS_A_PASS: Final = 500
HASH_AT: Final = "SELECT encode(hash, 'hex') FROM l_audit_events WHERE chain_id = %s AND chain_seq = %s"
LAST_SEQ: Final = "SELECT coalesce(max(chain_seq), 0) FROM l_audit_events WHERE chain_id = %s"
INSTANCE_ID: Final = "SELECT id::text FROM t_instance"
AS_OF: Final = """
    SELECT to_char(max(e."timestamp") AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') FROM l_audit_events e
      JOIN l_audit_chains c USING (chain_id) WHERE c.epoch < (SELECT epoch FROM t_instance)
"""
# whoever may act now; if that ended after the dump was taken, the dump does not know
AGENTS: Final = "SELECT id::text, name FROM t_agents WHERE status <> 'disabled' ORDER BY name, id"
PEOPLE: Final = "SELECT id::text, email FROM t_users WHERE disabled_at IS NULL ORDER BY email_key"
REVOKE_TOKENS: Final = """
    UPDATE t_personal_tokens SET revoked_at = now() WHERE revoked_at IS NULL
    RETURNING id::text, name, workspace_id::text
"""
RECORDS: Final = SQL("SELECT {row}::text, {workspace}::text, {column} FROM {table} WHERE {column} IS NOT NULL")
_LISTED_MAX: Final = 100
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Opened:
    """What the keys open. Shapes: unreadable: `table.column id`, at most a hundred of `failed`."""

    records: int
    failed: int
    unreadable: Sequence[str]


@dataclass(frozen=True, slots=True)
class Active:
    """Who may act, as the dump knows it. Shapes: as_of: when it last heard of anything; pairs of id and name."""

    as_of: str | None
    agents: Sequence[tuple[str, str]]
    people: Sequence[tuple[str, str]]


async def close_dead_calls(unit: Callable[[], Unit], connection: psycopg.Connection[Any]) -> int:
    """Write an outcome for every call that the dump caught half-way; how many there were.

    Without it the log would look as if outcomes had been removed.
    """
    row = connection.execute(DEAD).fetchone()
    closed = 0
    for _ in range((row[0] if row else 0) // CHAINS_A_PASS + 1):
        async with unit() as each:
            closed += await close_orphans(each)
    return closed


async def revoke_tokens(unit: Unit) -> int:
    """Revoke every personal access token, each with its row in the log. Raises: psycopg.Error."""
    cursor = await (await unit.begin()).execute(REVOKE_TOKENS)
    revoked = await cursor.fetchall()
    for token_id, name, workspace_id in revoked:
        unit.record(AuditAction.PAT_REVOKED, {"tokenId": token_id, "name": name}, workspace_id=workspace_id)
    return len(revoked)


def open_everything(connection: psycopg.Connection[Any], keyring: Keyring) -> Opened:
    """Open every sealed record; the plaintexts are dropped at once. Raises: psycopg.Error."""
    records, failed, unreadable = 0, 0, []
    for place in SEALED_COLUMNS:
        statement = RECORDS.format(
            row=Identifier(place.id),
            workspace=SQL("NULL") if place.workspace is None else Identifier(place.workspace),
            column=Identifier(place.column),
            table=Identifier(place.table),
        )
        with connection.cursor() as cursor:
            for row_id, workspace_id, sealed in cursor.stream(statement, size=min(_BATCH, place.rows_at_once)):
                records += 1
                try:
                    keyring.open(sealed, place.table, place.column, row_id, workspace_id)
                except EnvelopeError:
                    failed += 1
                    if failed <= _LISTED_MAX:
                        unreadable.append(f"{place.name} {row_id}")
    return Opened(records, failed, unreadable)


def compare_with_anchor(connection: psycopg.Connection[Any], anchor: Manifest) -> Sequence[str]:
    """What the manifest of a later backup knows and this database does not; empty when it is as new.

    A chain's last row stands for all before it: the next hash was made from it.

    Raises: psycopg.Error.
    """
    if connection.execute(INSTANCE_ID).fetchone() != (anchor.instance,):
        return [f"the anchor belongs to another installation, {anchor.instance}"]
    problems = [found for head in anchor.heads if (found := _compare(connection, head)) is not None]
    return problems[:_LISTED_MAX]


def _compare(connection: psycopg.Connection[Any], head: Head) -> str | None:
    found = connection.execute(HASH_AT, [head.chain_id, head.seq]).fetchone()
    if found == (head.hash,):
        return None
    if found is not None:
        return f"forked: row {head.seq} of chain {head.chain_id} is another than the anchor knows"
    last = connection.execute(LAST_SEQ, [head.chain_id]).fetchone()
    return f"rollback: chain {head.chain_id} ends at row {last[0] if last else 0}, the anchor knows {head.seq}"


def list_active(connection: psycopg.Connection[Any]) -> Active:
    """Who can act although the dump may have missed that they were stopped. Raises: psycopg.Error."""
    row = connection.execute(AS_OF).fetchone()
    return Active(
        row[0] if row else None,
        [(row[0], row[1]) for row in connection.execute(AGENTS)],
        [(row[0], row[1]) for row in connection.execute(PEOPLE)],
    )
