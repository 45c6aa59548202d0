"""What administrators of an instance see and change, in PostgreSQL. Source: contract/http.md section 15.11."""

from dataclasses import dataclass
from typing import Any, Final

from psycopg.rows import class_row, dict_row

from agenthifive.db.database import Connection
from agenthifive.people.admin_model import KnownUser, KnownWorkspace, Slice
from agenthifive.people.model import Email

# Held by whoever could take the last superadmin away, until the transaction ends.
LOCK_SUPERADMINS: Final = "SELECT pg_advisory_xact_lock(hashtextextended('people: superadmins', 7))"
IS_SUPERADMIN: Final = """
    SELECT EXISTS (SELECT FROM t_users
                    WHERE id = %(user_id)s AND platform_role = 'superadmin' AND disabled_at IS NULL)
"""
HAS_OTHER_SUPERADMIN: Final = """
    SELECT EXISTS (SELECT FROM t_users
                    WHERE id <> %(user_id)s AND platform_role = 'superadmin' AND disabled_at IS NULL)
"""
HOLD_USER: Final = """
    SELECT id::text, email, platform_role, disabled_at IS NOT NULL AS is_disabled
      FROM t_users WHERE id = %(user_id)s FOR NO KEY UPDATE
"""
FIND_ID: Final = "SELECT id::text FROM t_users WHERE email_key = %(email_key)s"
# rows of the log are counted along the index of each workspace
STATS: Final = """
    SELECT (SELECT count(*) FROM t_users) AS "totalUsers",
           (SELECT count(*) FROM t_workspaces) AS "totalWorkspaces",
           (SELECT count(*) FROM t_agents) AS "totalAgents",
           (SELECT count(*) FROM t_connections WHERE status <> 'revoked' AND deleted_at IS NULL) AS "totalConnections",
           (SELECT coalesce(sum(one.rows), 0)::bigint
              FROM (SELECT id FROM t_workspaces UNION ALL SELECT NULL) w
              CROSS JOIN LATERAL (SELECT count(*) AS rows FROM l_audit_events e
                                   WHERE e.workspace_id IS NOT DISTINCT FROM w.id
                                     AND e."timestamp" > now() - interval '7 days') one) AS "recentAuditCount"
"""
_MATCHES: Final = """
    (%(search)s::text IS NULL OR strpos(u.email_key, %(search)s) > 0 OR strpos(lower(u.name), %(search)s) > 0)
"""
_USERS: Final = """
    SELECT u.id::text, u.email, u.name, u.platform_role, u.email_verified_at IS NOT NULL AS is_verified, u.disabled_at,
           u.created_at, has_second_factor(u.id) AS has_factor,
           greatest(u.last_seen_at, (SELECT max(s.last_seen_at) FROM t_sessions s WHERE s.user_id = u.id))
               AS last_seen_at,
           coalesce((SELECT json_agg(json_build_object('id', w.id, 'name', w.name, 'role', m.role)
                                     ORDER BY m.joined_at, w.id)
                       FROM t_members m JOIN t_workspaces w ON w.id = m.workspace_id WHERE m.user_id = u.id), '[]')
               AS workspaces
      FROM t_users u
"""
LIST_USERS: Final = f"{_USERS} WHERE {_MATCHES} ORDER BY u.created_at, u.id LIMIT %(limit)s OFFSET %(offset)s"
COUNT_USERS: Final = f"SELECT count(*) FROM t_users u WHERE {_MATCHES}"
FIND_USER: Final = f"{_USERS} WHERE u.id = %(user_id)s"
_WORKSPACES: Final = """
    SELECT w.id::text, w.name, w.owner_id::text,
           (SELECT count(*) FROM t_members m WHERE m.workspace_id = w.id) AS members,
           (SELECT count(*) FROM t_agents a WHERE a.workspace_id = w.id) AS agents,
           (SELECT count(*) FROM t_connections c
             WHERE c.workspace_id = w.id AND c.status <> 'revoked' AND c.deleted_at IS NULL) AS connections,
           w.created_at
      FROM t_workspaces w
"""
_NAMED: Final = "(%(search)s::text IS NULL OR strpos(lower(w.name), %(search)s) > 0)"
LIST_WORKSPACES: Final = f"{_WORKSPACES} WHERE {_NAMED} ORDER BY w.created_at, w.id LIMIT %(limit)s OFFSET %(offset)s"
COUNT_WORKSPACES: Final = f"SELECT count(*) FROM t_workspaces w WHERE {_NAMED}"
FIND_WORKSPACE: Final = f"{_WORKSPACES} WHERE w.id = %(workspace_id)s"
SET_PLATFORM_ROLE: Final = """
    UPDATE t_users SET platform_role = %(platform_role)s, updated_at = now() WHERE id = %(user_id)s
"""
DISABLE: Final = "UPDATE t_users SET disabled_at = now(), updated_at = now() WHERE id = %(user_id)s"
ENABLE: Final = "UPDATE t_users SET disabled_at = NULL, updated_at = now() WHERE id = %(user_id)s"
END_SESSIONS: Final = "DELETE FROM t_sessions WHERE user_id = %(user_id)s"
COUNT_TOKENS: Final = """
    SELECT count(*) FROM t_personal_tokens
     WHERE user_id = %(user_id)s AND revoked_at IS NULL AND expires_at > now()
"""
HOLD_OWNED: Final = """
    SELECT w.id::text, w.name, (SELECT count(*) FROM t_members m WHERE m.workspace_id = w.id) > 1
      FROM t_workspaces w WHERE w.owner_id = %(user_id)s ORDER BY w.id FOR NO KEY UPDATE OF w
"""
DELETE_USER: Final = "DELETE FROM t_users WHERE id = %(user_id)s"


@dataclass(frozen=True, slots=True)
class HeldUser:
    """An account whose row is locked."""

    id: str
    email: str
    platform_role: str
    is_disabled: bool


async def lock_superadmins(connection: Connection) -> None:
    """Wait until nobody else changes who administers the instance; held until the transaction ends."""
    await connection.execute(LOCK_SUPERADMINS)


async def is_superadmin(connection: Connection, user_id: str) -> bool:
    """Whether somebody administers the instance right now."""
    return await (await connection.execute(IS_SUPERADMIN, {"user_id": user_id})).fetchone() == (True,)


async def has_other_superadmin(connection: Connection, user_id: str) -> bool:
    """Whether somebody else could administer the instance."""
    return await (await connection.execute(HAS_OTHER_SUPERADMIN, {"user_id": user_id})).fetchone() == (True,)


async def hold_user(connection: Connection, user_id: str) -> HeldUser | None:
    """Lock an account until the transaction ends."""
    async with connection.cursor(row_factory=class_row(HeldUser)) as cursor:
        await cursor.execute(HOLD_USER, {"user_id": user_id})
        return await cursor.fetchone()


async def find_id(connection: Connection, email: Email) -> str | None:
    """The account of an address."""
    row = await (await connection.execute(FIND_ID, {"email_key": email.key})).fetchone()
    return None if row is None else str(row[0])


async def read_stats(connection: Connection) -> dict[str, int]:
    """The figures of the instance."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(STATS)
        return dict(await cursor.fetchone() or {})


async def list_users(connection: Connection, wanted: Slice) -> tuple[list[KnownUser], int]:
    """Accounts, oldest first, and how many fit in all."""
    async with connection.cursor(row_factory=class_row(KnownUser)) as cursor:
        await cursor.execute(LIST_USERS, wanted.values())
        return await cursor.fetchall(), await _count(connection, COUNT_USERS, wanted.values())


async def find_user(connection: Connection, user_id: str) -> KnownUser | None:
    """One account."""
    async with connection.cursor(row_factory=class_row(KnownUser)) as cursor:
        await cursor.execute(FIND_USER, {"user_id": user_id})
        return await cursor.fetchone()


async def list_workspaces(connection: Connection, wanted: Slice) -> tuple[list[KnownWorkspace], int]:
    """Workspaces, oldest first, and how many fit in all."""
    async with connection.cursor(row_factory=class_row(KnownWorkspace)) as cursor:
        await cursor.execute(LIST_WORKSPACES, wanted.values())
        return await cursor.fetchall(), await _count(connection, COUNT_WORKSPACES, wanted.values())


async def find_workspace(connection: Connection, workspace_id: str) -> KnownWorkspace | None:
    """One workspace."""
    async with connection.cursor(row_factory=class_row(KnownWorkspace)) as cursor:
        await cursor.execute(FIND_WORKSPACE, {"workspace_id": workspace_id})
        return await cursor.fetchone()


async def set_platform_role(connection: Connection, user_id: str, platform_role: str) -> None:
    """Make an account administer the instance, or not."""
    await connection.execute(SET_PLATFORM_ROLE, {"user_id": user_id, "platform_role": platform_role})


async def disable(connection: Connection, user_id: str) -> tuple[int, int]:
    """Stop an account; how many sessions ended and how many tokens stopped."""
    await connection.execute(DISABLE, {"user_id": user_id})
    sessions = await end_sessions(connection, user_id)
    return sessions, await _count(connection, COUNT_TOKENS, {"user_id": user_id})


async def enable(connection: Connection, user_id: str) -> None:
    """Let an account work again, its tokens and agents with it."""
    await connection.execute(ENABLE, {"user_id": user_id})


async def end_sessions(connection: Connection, user_id: str) -> int:
    """Sign somebody out everywhere; how many sessions that were."""
    return (await connection.execute(END_SESSIONS, {"user_id": user_id})).rowcount


async def hold_owned(connection: Connection, user_id: str) -> list[tuple[str, str, bool]]:
    """Lock the workspaces somebody owns: id, name, and whether others belong to it."""
    cursor = await connection.execute(HOLD_OWNED, {"user_id": user_id})
    return [(row[0], row[1], row[2]) for row in await cursor.fetchall()]


async def delete_user(connection: Connection, user_id: str) -> None:
    """Remove an account with everything that is its own. Raises: psycopg.errors.ForeignKeyViolation."""
    await connection.execute(DELETE_USER, {"user_id": user_id})


async def _count(connection: Connection, statement: str, values: dict[str, Any]) -> int:
    row = await (await connection.execute(statement, values)).fetchone()
    return 0 if row is None else int(row[0])
