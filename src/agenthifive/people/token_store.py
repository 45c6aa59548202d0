"""Personal access tokens in PostgreSQL. Every statement of a person names the person and the workspace.

Source: contract/http.md sections 10 and 15.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.rows import class_row

from agenthifive.db.database import Connection
from agenthifive.people.model import Owner, PersonalToken
from agenthifive.words import Role

# One statement: whose token, with which role now, and at most once a minute that it was used.
FIND_HELD: Final = """
    WITH held AS (
        SELECT t.id, t.user_id, t.workspace_id, m.role, u.platform_role, t.scopes,
               %(factor_rule)s <> 'off' AND lacks_second_factor(u.id, %(factor_rule)s) AS lacks_factor
          FROM t_personal_tokens t
          JOIN t_users u ON u.id = t.user_id AND u.disabled_at IS NULL
          JOIN t_members m ON m.workspace_id = t.workspace_id AND m.user_id = t.user_id
         WHERE t.token_hash = %(token_hash)s AND t.revoked_at IS NULL AND t.expires_at > now()),
    touched AS (
        UPDATE t_personal_tokens t SET last_used_at = now() FROM held
         WHERE t.id = held.id AND (t.last_used_at IS NULL OR t.last_used_at < now() - interval '1 minute'))
    SELECT id::text, user_id::text, workspace_id::text, role, platform_role, scopes, lacks_factor FROM held
"""
_COLUMNS: Final = """
    id::text, name, scopes, hint_suffix, expires_at, last_used_at, created_at, expires_at <= now() AS is_expired
"""
LOCK_OWNER: Final = "SELECT FROM t_users WHERE id = %(user_id)s AND disabled_at IS NULL FOR NO KEY UPDATE"
INSERT: Final = f"""
    INSERT INTO t_personal_tokens (id, user_id, workspace_id, name, token_hash, hint_suffix, scopes, expires_at)
    SELECT %(id)s, m.user_id, m.workspace_id, %(name)s, %(token_hash)s, %(hint_suffix)s, %(scopes)s,
           now() + make_interval(days => %(days)s)
      FROM t_members m
     WHERE m.user_id = %(user_id)s AND m.workspace_id = %(workspace_id)s
       AND (SELECT count(*) FROM t_personal_tokens
             WHERE user_id = %(user_id)s AND revoked_at IS NULL AND expires_at > now()) < %(live_max)s
    RETURNING {_COLUMNS}
"""
LIST: Final = f"""
    SELECT {_COLUMNS} FROM t_personal_tokens
     WHERE user_id = %(user_id)s AND workspace_id = %(workspace_id)s AND revoked_at IS NULL
     ORDER BY created_at, id
"""
RENAME: Final = """
    UPDATE t_personal_tokens SET name = %(name)s
     WHERE id = %(id)s AND user_id = %(user_id)s AND workspace_id = %(workspace_id)s AND revoked_at IS NULL
"""
REVOKE: Final = """
    UPDATE t_personal_tokens SET revoked_at = now()
     WHERE id = %(id)s AND user_id = %(user_id)s AND workspace_id = %(workspace_id)s AND revoked_at IS NULL
    RETURNING name
"""


@dataclass(frozen=True, slots=True)
class HeldToken:
    """A personal access token that is in force, with what its owner is now."""

    id: str
    user_id: str
    workspace_id: str
    role: Role
    platform_role: str
    scopes: tuple[str, ...]
    lacks_factor: bool


async def find_held(connection: Connection, token_hash: str, factor_rule: str) -> HeldToken | None:
    """The token in force behind a text. Shapes: factor_rule: off, admins or all."""
    cursor = await connection.execute(FIND_HELD, {"token_hash": token_hash, "factor_rule": factor_rule})
    row = await cursor.fetchone()
    if row is None:
        return None
    token_id, user_id, workspace_id, role, platform_role, scopes, lacks_factor = row
    return HeldToken(token_id, user_id, workspace_id, Role(role), platform_role, tuple(scopes), lacks_factor)


async def insert(
    connection: Connection,
    owner: Owner,
    *,
    token_id: str,
    name: str,
    token_hash: str,
    hint_suffix: str,
    scopes: Sequence[str],
    days: int,
    live_max: int,
) -> PersonalToken | None:
    """Store a token; None when its owner holds as many live ones as allowed, or is no member any more."""
    await connection.execute(LOCK_OWNER, {"user_id": owner.user_id})
    async with connection.cursor(row_factory=class_row(PersonalToken)) as cursor:
        await cursor.execute(
            INSERT,
            {
                "id": token_id,
                "user_id": owner.user_id,
                "workspace_id": owner.workspace_id,
                "name": name,
                "token_hash": token_hash,
                "hint_suffix": hint_suffix,
                "scopes": list(scopes),
                "days": days,
                "live_max": live_max,
            },
        )
        return await cursor.fetchone()


async def list_tokens(connection: Connection, owner: Owner) -> list[PersonalToken]:
    """The owner's tokens that were not revoked, oldest first."""
    async with connection.cursor(row_factory=class_row(PersonalToken)) as cursor:
        await cursor.execute(LIST, {"user_id": owner.user_id, "workspace_id": owner.workspace_id})
        return await cursor.fetchall()


async def rename(connection: Connection, owner: Owner, token_id: str, name: str) -> bool:
    """Give a token another name; false when the owner has no such token."""
    cursor = await connection.execute(
        RENAME, {"id": token_id, "name": name, "user_id": owner.user_id, "workspace_id": owner.workspace_id}
    )
    return cursor.rowcount == 1


async def revoke(connection: Connection, owner: Owner, token_id: str) -> str | None:
    """End a token; its name, None when the owner has no such token in force."""
    cursor = await connection.execute(
        REVOKE, {"id": token_id, "user_id": owner.user_id, "workspace_id": owner.workspace_id}
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]
