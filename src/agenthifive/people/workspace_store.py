"""Workspaces and their members in PostgreSQL.

Whoever changes the members or the owner of a workspace locks its row first (`hold`), so two such changes never see
each other half way. Source: contract/http.md sections 12 and 15.2.
"""

from collections.abc import Sequence
from typing import Final

from psycopg.rows import class_row

from agenthifive.db.database import Connection
from agenthifive.people.workspace_model import Member, Standing
from agenthifive.words import Role

HOLD: Final = "SELECT name FROM t_workspaces WHERE id = %(workspace_id)s FOR NO KEY UPDATE"
FIND_MEMBER: Final = """
    SELECT m.role, u.disabled_at IS NOT NULL, u.email_verified_at IS NOT NULL
      FROM t_members m JOIN t_users u ON u.id = m.user_id
     WHERE m.workspace_id = %(workspace_id)s AND m.user_id = %(user_id)s
"""
LIST_MEMBERS: Final = """
    SELECT u.id::text AS user_id, u.name, u.email, m.role, u.disabled_at IS NOT NULL AS is_disabled, m.joined_at,
           has_second_factor(u.id) AS has_factor,
           greatest(u.last_seen_at, (SELECT max(s.last_seen_at) FROM t_sessions s WHERE s.user_id = u.id))
               AS last_seen_at
      FROM t_members m JOIN t_users u ON u.id = m.user_id
     WHERE m.workspace_id = %(workspace_id)s AND (%(user_id)s::uuid IS NULL OR u.id = %(user_id)s)
     ORDER BY m.joined_at, u.id
"""
INSERT_MEMBER: Final = """
    INSERT INTO t_members (workspace_id, user_id, role) VALUES (%(workspace_id)s, %(user_id)s, %(role)s)
    ON CONFLICT (workspace_id, user_id) DO NOTHING
"""
SET_ROLE: Final = "UPDATE t_members SET role = %(role)s WHERE workspace_id = %(workspace_id)s AND user_id = %(user_id)s"
DELETE_MEMBER: Final = "DELETE FROM t_members WHERE workspace_id = %(workspace_id)s AND user_id = %(user_id)s"
END_TOKENS: Final = """
    UPDATE t_personal_tokens SET revoked_at = now()
     WHERE workspace_id = %(workspace_id)s AND user_id = %(user_id)s AND revoked_at IS NULL AND expires_at > now()
"""
LEAVE_SESSIONS: Final = """
    UPDATE t_sessions SET workspace_id = NULL WHERE workspace_id = %(workspace_id)s AND user_id = %(user_id)s
"""
SET_OWNER: Final = "UPDATE t_workspaces SET owner_id = %(user_id)s, updated_at = now() WHERE id = %(workspace_id)s"
FIND_DOMAINS: Final = "SELECT org_domains FROM t_workspaces WHERE id = %(workspace_id)s"
UPDATE: Final = """
    UPDATE t_workspaces SET name = coalesce(%(name)s, name), org_domains = coalesce(%(domains)s::text[], org_domains),
           updated_at = now()
     WHERE id = %(workspace_id)s
"""
SELECT_FOR_SESSION: Final = """
    UPDATE t_sessions s SET workspace_id = m.workspace_id
      FROM t_members m
     WHERE s.id = %(session_id)s AND s.user_id = %(user_id)s
       AND m.workspace_id = %(workspace_id)s AND m.user_id = s.user_id
"""
# replies kept for repeated calls belong to no agent's row: they go with the workspace too, as does what is frozen
ERASE: Final = """
    WITH replies AS (DELETE FROM t_idempotency_keys WHERE workspace_id = %(workspace_id)s),
         freezes AS (DELETE FROM t_freezes WHERE target_id = %(workspace_id)s OR target_id IN (
                            SELECT id FROM t_agents WHERE workspace_id = %(workspace_id)s))
    DELETE FROM t_workspaces WHERE id = %(workspace_id)s
"""


async def hold(connection: Connection, workspace_id: str) -> str | None:
    """Lock a workspace until the transaction ends; its name, None when it is gone."""
    row = await (await connection.execute(HOLD, {"workspace_id": workspace_id})).fetchone()
    return None if row is None else str(row[0])


async def find_standing(connection: Connection, workspace_id: str, user_id: str) -> Standing | None:
    """What somebody is in a workspace; None when they are no member."""
    cursor = await connection.execute(FIND_MEMBER, _of(workspace_id, user_id))
    row = await cursor.fetchone()
    return None if row is None else Standing(Role(row[0]), row[1], row[2])


async def list_members(connection: Connection, workspace_id: str, user_id: str | None = None) -> list[Member]:
    """The members of a workspace, or the one named, in the order they joined."""
    async with connection.cursor(row_factory=class_row(Member)) as cursor:
        await cursor.execute(LIST_MEMBERS, {"workspace_id": workspace_id, "user_id": user_id})
        return await cursor.fetchall()


async def insert_member(connection: Connection, workspace_id: str, user_id: str, role: Role) -> bool:
    """Add somebody; false when they are a member already."""
    cursor = await connection.execute(INSERT_MEMBER, {**_of(workspace_id, user_id), "role": role.value})
    return cursor.rowcount == 1


async def set_role(connection: Connection, workspace_id: str, user_id: str, role: Role) -> None:
    """Give a member another role."""
    await connection.execute(SET_ROLE, {**_of(workspace_id, user_id), "role": role.value})


async def remove_member(connection: Connection, workspace_id: str, user_id: str) -> int:
    """Take somebody out, their tokens for the workspace with them; how many tokens that ended."""
    values = _of(workspace_id, user_id)
    await connection.execute(DELETE_MEMBER, values)
    await connection.execute(LEAVE_SESSIONS, values)
    return (await connection.execute(END_TOKENS, values)).rowcount


async def set_owner(connection: Connection, workspace_id: str, old_id: str, new_id: str) -> None:
    """Make another member the owner; the old one becomes admin."""
    await set_role(connection, workspace_id, old_id, Role.ADMIN)
    await set_role(connection, workspace_id, new_id, Role.OWNER)
    await connection.execute(SET_OWNER, _of(workspace_id, new_id))


async def find_domains(connection: Connection, workspace_id: str) -> list[str]:
    """The mail domains a workspace calls its own."""
    row = await (await connection.execute(FIND_DOMAINS, {"workspace_id": workspace_id})).fetchone()
    return [] if row is None else list(row[0])


async def update(connection: Connection, workspace_id: str, name: str | None, domains: Sequence[str] | None) -> None:
    """Change what is given."""
    values = {"workspace_id": workspace_id, "name": name, "domains": None if domains is None else list(domains)}
    await connection.execute(UPDATE, values)


async def select(connection: Connection, session_id: str, user_id: str, workspace_id: str) -> bool:
    """Let a session act in another workspace of its user; false when they do not belong to it."""
    cursor = await connection.execute(SELECT_FOR_SESSION, {**_of(workspace_id, user_id), "session_id": session_id})
    return cursor.rowcount == 1


async def erase(connection: Connection, workspace_id: str) -> None:
    """Remove a workspace with everything in it but its audit rows."""
    await connection.execute(ERASE, {"workspace_id": workspace_id})


def _of(workspace_id: str, user_id: str) -> dict[str, str]:
    return {"workspace_id": workspace_id, "user_id": user_id}
