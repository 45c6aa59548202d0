"""The SQL of connections. Every statement names the workspace; reading never touches the sealed credential.

A transaction that changes a connection locks its row first; a policy on it cannot be created meanwhile, because its
foreign key waits for that lock. Source: contract/connections.md sections 1, 7, 8, 10 and 12.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, LiteralString

from psycopg.rows import class_row, kwargs_row
from psycopg.types.json import Jsonb

from agenthifive.connections.model import Connection, Filter, Held, PolicyLine, Sealed
from agenthifive.db.database import Connection as Link
from agenthifive.words import ConnectionStatus

_CONNECTION: Final = """
    c.id::text, c.provider, c.service, c.variant, c.label, c.status, c.status_reason, c.preview, c.granted_scopes,
    c.missing_scopes, c.account_id, c.account_name, c.account_tenant, c.metadata, c.access_expires_at,
    c.refresh_expires_at, c.credential_expires_at, c.verified, c.last_verified_at, c.last_used_at, c.version,
    c.created_by::text, c.singleton_key IS NOT NULL AS is_singleton, c.created_at, c.updated_at, now() AS read_at
"""
LIST: Final = f"""
    SELECT {_CONNECTION} FROM t_connections c
     WHERE c.workspace_id = %(workspace_id)s AND c.deleted_at IS NULL
       AND CASE WHEN %(status)s::text IS NULL THEN c.status <> 'revoked' ELSE c.status = %(status)s END
       AND (%(service)s::text IS NULL OR c.service = %(service)s)
       AND (%(provider)s::text IS NULL OR c.provider = %(provider)s)
       AND (%(text)s::text IS NULL OR c.label ILIKE %(text)s OR c.service ILIKE %(text)s)
       AND (%(agent_id)s::uuid IS NULL OR EXISTS (
           SELECT FROM t_policies p
            WHERE p.connection_id = c.id AND p.agent_id = %(agent_id)s AND p.status = 'active'))
       AND (%(after_at)s::timestamptz IS NULL
           OR (c.created_at, c.id) > (%(after_at)s::timestamptz, %(after_id)s::uuid))
     ORDER BY c.created_at, c.id LIMIT %(limit)s
"""
FIND: Final = f"""
    SELECT {_CONNECTION} FROM t_connections c
     WHERE c.id = %(connection_id)s AND c.workspace_id = %(workspace_id)s AND c.deleted_at IS NULL
"""
POLICIES: Final = """
    SELECT p.id::text, p.connection_id::text, p.agent_id::text, a.name AS agent_name, p.action_template_id,
           p.security_preset, p.version, p.document
      FROM t_policies p JOIN t_agents a ON a.id = p.agent_id
     WHERE p.workspace_id = %(workspace_id)s AND p.connection_id = ANY(%(connection_ids)s::uuid[])
       AND p.status = 'active' AND (%(agent_id)s::uuid IS NULL OR p.agent_id = %(agent_id)s)
     ORDER BY p.created_at, p.id
"""
_HELD: Final = """
    c.id::text, c.workspace_id::text, c.provider, c.service, c.variant, c.label, c.status, c.metadata, c.account_id,
    c.encrypted_tokens AS sealed, c.generation,
    EXISTS (SELECT FROM t_policies p WHERE p.connection_id = c.id AND p.status = 'active') AS has_policies
"""
GET: Final = f"""
    SELECT {_HELD} FROM t_connections c
     WHERE c.id = %(connection_id)s AND c.workspace_id = %(workspace_id)s AND c.deleted_at IS NULL
"""
LOCK: Final = """
    SELECT FROM t_connections c
     WHERE c.id = %(connection_id)s AND c.workspace_id = %(workspace_id)s AND c.deleted_at IS NULL
       FOR UPDATE
"""
HOLD_WORKSPACE: Final = "SELECT FROM t_workspaces WHERE id = %(workspace_id)s FOR NO KEY UPDATE"
COUNT: Final = """
    SELECT count(*)::int FROM t_connections
     WHERE workspace_id = %(workspace_id)s AND deleted_at IS NULL AND status <> 'revoked'
"""
FIND_SINGLETON: Final = """
    SELECT id::text FROM t_connections
     WHERE workspace_id = %(workspace_id)s AND singleton_key = %(service)s AND status <> 'revoked'
       AND deleted_at IS NULL
"""
INSERT: Final = """
    INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status, encrypted_tokens,
        encrypted_tokens_kid, preview, granted_scopes, account_id, account_name, metadata, credential_expires_at,
        verified, last_verified_at, created_by, singleton_key)
    VALUES (%(connection_id)s, %(workspace_id)s, %(provider)s, %(service)s, %(variant)s, %(label)s, 'healthy',
        %(sealed)s, %(kid)s, %(preview)s, %(scopes)s, %(account_id)s, %(account_name)s, %(metadata)s,
        %(expires_at)s, %(verified)s, CASE WHEN %(verified)s THEN now() END, %(created_by)s, %(singleton_key)s)
    ON CONFLICT (workspace_id, singleton_key) WHERE status <> 'revoked' AND deleted_at IS NULL DO NOTHING
    RETURNING true
"""
# what a person or a job set beside the credential (canary) stays in metadata
REPLACE: Final = """
    UPDATE t_connections
       SET encrypted_tokens = %(sealed)s, encrypted_tokens_kid = %(kid)s, preview = %(preview)s,
           granted_scopes = %(scopes)s, account_id = coalesce(%(account_id)s, account_id),
           account_name = coalesce(%(account_name)s, account_name),
           metadata = metadata || %(metadata)s, credential_expires_at = %(expires_at)s, verified = %(verified)s,
           last_verified_at = CASE WHEN %(verified)s THEN now() ELSE last_verified_at END,
           status = 'healthy', status_reason = NULL, last_error = NULL,
           generation = generation + 1, version = version + 1, updated_at = now()
     WHERE id = %(connection_id)s AND workspace_id = %(workspace_id)s AND generation = %(generation)s
    RETURNING label
"""
RELABEL: Final = """
    UPDATE t_connections SET label = %(label)s, version = version + 1, updated_at = now()
     WHERE id = %(connection_id)s AND workspace_id = %(workspace_id)s AND deleted_at IS NULL
       AND (%(version)s::int IS NULL OR version = %(version)s)
    RETURNING true
"""
MARK_GOOD: Final = """
    UPDATE t_connections
       SET status = 'healthy', status_reason = NULL, verified = true, last_verified_at = now(), last_error = NULL,
           updated_at = now()
     WHERE id = %(connection_id)s AND workspace_id = %(workspace_id)s AND generation = %(generation)s
       AND status <> 'revoked' AND deleted_at IS NULL
"""
MARK_BAD: Final = """
    UPDATE t_connections
       SET status = 'needs_reauth', status_reason = %(reason)s, verified = false, last_error = %(error)s,
           updated_at = now()
     WHERE id = %(connection_id)s AND workspace_id = %(workspace_id)s AND generation = %(generation)s
       AND status = 'healthy' AND deleted_at IS NULL
    RETURNING true
"""
CLAIM_PROBE: Final = f"""
    UPDATE t_connections AS c SET last_probe_at = now()
     WHERE c.id = %(connection_id)s AND c.workspace_id = %(workspace_id)s AND c.generation = %(generation)s
       AND c.status = 'healthy' AND c.deleted_at IS NULL
       AND (c.last_probe_at IS NULL OR c.last_probe_at <= now() - interval '1 minute')
    RETURNING {_HELD}
"""


async def list_connections(link: Link, workspace_id: str, wanted: Filter, agent_id: str | None) -> Sequence[Connection]:
    """Connections in the order of their creation; an agent sees those it holds a policy on."""
    after_at, after_id = wanted.after or (None, None)
    values = {
        "workspace_id": workspace_id,
        "status": wanted.status,
        "service": wanted.service,
        "provider": wanted.provider,
        "text": None if wanted.text is None else f"%{_literal(wanted.text)}%",
        "agent_id": agent_id,
        "after_at": after_at,
        "after_id": after_id,
        "limit": wanted.limit,
    }
    async with link.cursor(row_factory=kwargs_row(_connection)) as cursor:
        await cursor.execute(LIST, values)
        return await cursor.fetchall()


async def find_connection(link: Link, workspace_id: str, connection_id: str) -> Connection | None:
    """One connection, revoked ones included."""
    async with link.cursor(row_factory=kwargs_row(_connection)) as cursor:
        await cursor.execute(FIND, {"connection_id": connection_id, "workspace_id": workspace_id})
        return await cursor.fetchone()


async def list_policies(
    link: Link, workspace_id: str, connection_ids: Sequence[str], agent_id: str | None
) -> Mapping[str, Sequence[PolicyLine]]:
    """The active policies on connections, by connection; an agent sees its own."""
    found: dict[str, list[PolicyLine]] = {}
    values = {"workspace_id": workspace_id, "connection_ids": list(connection_ids), "agent_id": agent_id}
    async with link.cursor(row_factory=class_row(PolicyLine)) as cursor:
        await cursor.execute(POLICIES, values)
        async for line in cursor:
            found.setdefault(line.connection_id, []).append(line)
    return found


async def get_held(link: Link, workspace_id: str, connection_id: str) -> Held | None:
    """A connection with its sealed credential."""
    return await _one_held(link, GET, {"connection_id": connection_id, "workspace_id": workspace_id})


async def lock_held(link: Link, workspace_id: str, connection_id: str) -> Held | None:
    """The same, locked until the end of the transaction and read after the lock was given."""
    values = {"connection_id": connection_id, "workspace_id": workspace_id}
    await link.execute(LOCK, values)
    return await _one_held(link, GET, values)


async def count_live(link: Link, workspace_id: str) -> int:
    """Connections that are not revoked; holds the workspace, so that no other is created meanwhile."""
    await link.execute(HOLD_WORKSPACE, {"workspace_id": workspace_id})
    row = await (await link.execute(COUNT, {"workspace_id": workspace_id})).fetchone()
    return 0 if row is None else int(row[0])


async def find_singleton(link: Link, workspace_id: str, service: str) -> str | None:
    """The live connection of a singleton service."""
    row = await (await link.execute(FIND_SINGLETON, {"workspace_id": workspace_id, "service": service})).fetchone()
    return None if row is None else str(row[0])


async def insert(link: Link, connection_id: str, workspace_id: str, sealed: Sealed, **columns: str | None) -> bool:
    """Write a connection; False when the singleton service already has a live one.

    Shapes: columns: provider, service, variant, label, created_by, singleton_key.
    """
    values = {**columns, **_written(sealed), "connection_id": connection_id, "workspace_id": workspace_id}
    return await _is_done(link, INSERT, values)


async def replace(link: Link, held: Held, sealed: Sealed) -> str | None:
    """Give a connection another credential, if it still has the one that was read; its label."""
    row = await (await link.execute(REPLACE, {**_written(sealed), **_of(held)})).fetchone()
    return None if row is None else str(row[0])


async def relabel(link: Link, workspace_id: str, connection_id: str, label: str, version: int | None) -> bool:
    """Write another label; False when the version is not the current one."""
    values = {"workspace_id": workspace_id, "connection_id": connection_id, "label": label, "version": version}
    return await _is_done(link, RELABEL, values)


async def mark_good(link: Link, held: Held) -> None:
    """The provider accepted the credential that was read."""
    await link.execute(MARK_GOOD, _of(held))


async def mark_bad(link: Link, held: Held, reason: str, error: str) -> bool:
    """The provider refused the credential that was read; True when that is news."""
    return await _is_done(link, MARK_BAD, {**_of(held), "reason": reason, "error": error})


async def claim_probe(link: Link, workspace_id: str, connection_id: str, generation: int) -> Held | None:
    """The connection, for the one caller in a minute that may probe it; None for all others."""
    values = {"connection_id": connection_id, "workspace_id": workspace_id, "generation": generation}
    return await _one_held(link, CLAIM_PROBE, values)


def _connection(**columns: Any) -> Connection:
    return Connection(**{**columns, "status": ConnectionStatus(columns["status"])})


def _held(**columns: Any) -> Held:
    return Held(**{**columns, "status": ConnectionStatus(columns["status"])})


async def _one_held(link: Link, statement: LiteralString, values: Mapping[str, Any]) -> Held | None:
    async with link.cursor(row_factory=kwargs_row(_held)) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchone()


async def _is_done(link: Link, statement: LiteralString, values: Mapping[str, Any]) -> bool:
    return await (await link.execute(statement, values)).fetchone() is not None


def _of(held: Held) -> dict[str, Any]:
    return {"connection_id": held.id, "workspace_id": held.workspace_id, "generation": held.generation}


def _written(sealed: Sealed) -> dict[str, Any]:
    """The columns of a credential."""
    finding = sealed.finding
    return {
        "sealed": sealed.text,
        "kid": sealed.kid,
        "preview": None if sealed.preview is None else Jsonb(dict(sealed.preview)),
        "metadata": Jsonb(dict(sealed.metadata)),
        "expires_at": sealed.expires_at,
        "verified": finding is not None,
        "account_id": finding.account_id if finding else None,
        "account_name": finding.account_name if finding else None,
        "scopes": list(finding.scopes or ()) if finding else [],
    }


def _literal(text: str) -> str:
    """A text as ILIKE reads it literally."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
