"""Invitations in PostgreSQL: the hash of a link, for whom, and who stands behind it. Source: contract/http.md 15.2."""

from typing import Final

from psycopg.rows import class_row

from agenthifive.db.database import Connection
from agenthifive.people.model import Email
from agenthifive.people.workspace_model import Invitation, OpenInvitation

TTL_S: Final = 7 * 24 * 3600
_COLUMNS: Final = "i.id::text, i.email, i.role, i.invited_by::text, i.expires_at, i.created_at"
# an invitation is worth what whoever invited may still do
_IN_FORCE: Final = """
    i.used_at IS NULL AND i.expires_at > now() AND EXISTS (
        SELECT FROM t_members m JOIN t_users u ON u.id = m.user_id AND u.disabled_at IS NULL
         WHERE m.workspace_id = i.workspace_id AND m.user_id = i.invited_by
           AND (m.role = 'owner' OR (m.role = 'admin' AND i.role IN ('approver', 'viewer'))))
"""
HAS_MEMBER: Final = """
    SELECT EXISTS (SELECT FROM t_members m JOIN t_users u ON u.id = m.user_id
                    WHERE m.workspace_id = %(workspace_id)s AND u.email_key = %(email_key)s)
"""
# one open invitation an address; one that has expired makes room
INSERT: Final = f"""
    INSERT INTO t_invitations AS i (id, workspace_id, email, email_key, role, token_hash, invited_by, expires_at)
    VALUES (%(id)s, %(workspace_id)s, %(email)s, %(email_key)s, %(role)s, %(token_hash)s, %(invited_by)s,
            now() + make_interval(secs => %(ttl_s)s))
    ON CONFLICT (workspace_id, email_key) WHERE used_at IS NULL
    DO UPDATE SET id = excluded.id, email = excluded.email, role = excluded.role, token_hash = excluded.token_hash,
                  invited_by = excluded.invited_by, expires_at = excluded.expires_at, created_at = now()
     WHERE i.expires_at <= now()
    RETURNING {_COLUMNS}
"""
LIST: Final = f"""
    SELECT {_COLUMNS} FROM t_invitations i
     WHERE i.workspace_id = %(workspace_id)s AND i.used_at IS NULL ORDER BY i.created_at, i.id
"""
FIND_ROLE: Final = """
    SELECT role, used_at IS NOT NULL FROM t_invitations WHERE id = %(id)s AND workspace_id = %(workspace_id)s
"""
RENEW: Final = f"""
    UPDATE t_invitations i SET token_hash = %(token_hash)s, invited_by = %(invited_by)s,
           expires_at = now() + make_interval(secs => %(ttl_s)s)
     WHERE i.id = %(id)s AND i.workspace_id = %(workspace_id)s AND i.used_at IS NULL
    RETURNING {_COLUMNS}
"""
DELETE: Final = """
    DELETE FROM t_invitations i WHERE i.id = %(id)s AND i.workspace_id = %(workspace_id)s AND i.used_at IS NULL
    RETURNING i.email, i.role
"""
_OPEN_COLUMNS: Final = "i.id::text, i.workspace_id::text, i.email, i.email_key, i.role, i.expires_at"
FIND_OPEN: Final = f"""
    SELECT {_OPEN_COLUMNS}, w.name AS workspace_name,
           EXISTS (SELECT FROM t_users u WHERE u.email_key = i.email_key) AS has_account
      FROM t_invitations i JOIN t_workspaces w ON w.id = i.workspace_id
     WHERE i.token_hash = %(token_hash)s AND {_IN_FORCE}
"""
IS_AWAITED: Final = f"SELECT EXISTS (SELECT FROM t_invitations i WHERE i.email_key = %(email_key)s AND {_IN_FORCE})"
SPEND: Final = f"UPDATE t_invitations i SET used_at = now() WHERE i.token_hash = %(token_hash)s AND {_IN_FORCE}"
SWEEP: Final = """
    DELETE FROM t_invitations WHERE used_at < now() - interval '30 days' OR expires_at < now() - interval '30 days'
"""


async def has_member(connection: Connection, workspace_id: str, email: Email) -> bool:
    """Whether somebody with this address belongs to the workspace."""
    cursor = await connection.execute(HAS_MEMBER, {"workspace_id": workspace_id, "email_key": email.key})
    return await cursor.fetchone() == (True,)


async def is_awaited(connection: Connection, email: Email) -> bool:
    """Whether an invitation to this address can be used."""
    return await (await connection.execute(IS_AWAITED, {"email_key": email.key})).fetchone() == (True,)


async def insert(
    connection: Connection,
    *,
    invitation_id: str,
    workspace_id: str,
    email: Email,
    role: str,
    token_hash: str,
    invited_by: str,
) -> Invitation | None:
    """Keep an invitation; None when the address has an open one."""
    values = {
        "id": invitation_id,
        "workspace_id": workspace_id,
        "email": email.text,
        "email_key": email.key,
        "role": role,
        "token_hash": token_hash,
        "invited_by": invited_by,
        "ttl_s": TTL_S,
    }
    async with connection.cursor(row_factory=class_row(Invitation)) as cursor:
        await cursor.execute(INSERT, values)
        return await cursor.fetchone()


async def list_open(connection: Connection, workspace_id: str) -> list[Invitation]:
    """The invitations nobody has used, those that have expired included, oldest first."""
    async with connection.cursor(row_factory=class_row(Invitation)) as cursor:
        await cursor.execute(LIST, {"workspace_id": workspace_id})
        return await cursor.fetchall()


async def find_role(connection: Connection, workspace_id: str, invitation_id: str) -> tuple[str, bool] | None:
    """The role an invitation is for, and whether it was used."""
    cursor = await connection.execute(FIND_ROLE, {"id": invitation_id, "workspace_id": workspace_id})
    row = await cursor.fetchone()
    return None if row is None else (str(row[0]), bool(row[1]))


async def renew(
    connection: Connection, workspace_id: str, invitation_id: str, token_hash: str, invited_by: str
) -> Invitation | None:
    """Give an invitation another link and another week; the old link is dead. None when it was used meanwhile."""
    values = {"id": invitation_id, "workspace_id": workspace_id, "token_hash": token_hash}
    async with connection.cursor(row_factory=class_row(Invitation)) as cursor:
        await cursor.execute(RENEW, {**values, "invited_by": invited_by, "ttl_s": TTL_S})
        return await cursor.fetchone()


async def delete(connection: Connection, workspace_id: str, invitation_id: str) -> tuple[str, str] | None:
    """Take an invitation back; its address and role, None when it was used meanwhile."""
    cursor = await connection.execute(DELETE, {"id": invitation_id, "workspace_id": workspace_id})
    row = await cursor.fetchone()
    return None if row is None else (str(row[0]), str(row[1]))


async def find_open(connection: Connection, token_hash: str) -> OpenInvitation | None:
    """What a link invites to, while it can be used. Changes nothing."""
    async with connection.cursor(row_factory=class_row(OpenInvitation)) as cursor:
        await cursor.execute(FIND_OPEN, {"token_hash": token_hash})
        return await cursor.fetchone()


async def spend(connection: Connection, token_hash: str) -> bool:
    """Use a link; false when it was used, is over, or whoever invited may not any more."""
    return (await connection.execute(SPEND, {"token_hash": token_hash})).rowcount == 1
