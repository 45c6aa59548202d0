"""Sessions in PostgreSQL. Source: contract/http.md section 8."""

from datetime import datetime
from typing import Final

from psycopg.rows import dict_row

from agenthifive.db.database import Connection
from agenthifive.people.model import LiveSession, User
from agenthifive.words import Role

# One statement: who this is, whether the session is in force, and at most once a minute that it was used.
FIND_LIVE: Final = """
    WITH live AS (
        SELECT s.id, s.workspace_id, s.auth_time, s.created_at, s.last_seen_at, s.ip, s.user_agent,
               least(s.expires_at, s.last_seen_at + make_interval(secs => %(idle_s)s)) AS ends_at,
               m.role, u.id AS user_id, u.email, u.name, u.platform_role, u.email_verified_at,
               u.created_at AS user_created_at, u.updated_at AS user_updated_at,
               %(factor_rule)s <> 'off' AND lacks_second_factor(u.id, %(factor_rule)s) AS lacks_factor
          FROM t_sessions s
          JOIN t_users u ON u.id = s.user_id AND u.disabled_at IS NULL
          LEFT JOIN t_members m ON m.workspace_id = s.workspace_id AND m.user_id = s.user_id
         WHERE s.token_hash = %(token_hash)s AND s.expires_at > now()
           AND s.last_seen_at > now() - make_interval(secs => %(idle_s)s)),
    touched AS (
        UPDATE t_sessions s SET last_seen_at = now() FROM live
         WHERE s.id = live.id AND s.last_seen_at < now() - interval '1 minute')
    SELECT * FROM live
"""
# The conditions are those under which the password was compared: an account that changed meanwhile gets no session.
INSERT: Final = """
    INSERT INTO t_sessions (id, user_id, workspace_id, token_hash, methods, ip, user_agent, expires_at)
    SELECT %(id)s, u.id,
           (SELECT workspace_id FROM t_members WHERE user_id = u.id ORDER BY joined_at, workspace_id LIMIT 1),
           %(token_hash)s, %(methods)s, %(ip)s, %(user_agent)s, now() + make_interval(secs => %(max_s)s)
      FROM t_users u
     WHERE u.id = %(user_id)s AND u.disabled_at IS NULL
       AND (%(password_hash)s::text IS NULL OR u.password_hash = %(password_hash)s)
    RETURNING workspace_id::text
"""
DELETE: Final = "DELETE FROM t_sessions WHERE token_hash = %(token_hash)s RETURNING user_id::text, workspace_id::text"
CONFIRM: Final = """
    UPDATE t_sessions SET auth_time = now()
     WHERE token_hash = %(token_hash)s AND user_id = %(user_id)s
    RETURNING auth_time
"""
SWEEP: Final = """
    DELETE FROM t_sessions
     WHERE expires_at < now() OR last_seen_at < now() - make_interval(secs => %(idle_s)s)
"""


async def find_live(connection: Connection, token_hash: str, idle_s: float, factor_rule: str) -> LiveSession | None:
    """The session in force behind a token. Shapes: factor_rule: off, admins or all."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(FIND_LIVE, {"token_hash": token_hash, "idle_s": idle_s, "factor_rule": factor_rule})
        row = await cursor.fetchone()
    if row is None:
        return None
    user = User(
        str(row["user_id"]),
        row["email"],
        row["name"],
        row["platform_role"],
        row["email_verified_at"],
        row["user_created_at"],
        row["user_updated_at"],
    )
    return LiveSession(
        id=str(row["id"]),
        user=user,
        workspace_id=None if row["workspace_id"] is None else str(row["workspace_id"]),
        role=None if row["role"] is None else Role(row["role"]),
        auth_time=row["auth_time"],
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
        ends_at=row["ends_at"],
        ip=row["ip"],
        user_agent=row["user_agent"],
        lacks_factor=row["lacks_factor"],
    )


async def insert(
    connection: Connection,
    *,
    session_id: str,
    user_id: str,
    password_hash: str | None,
    token_hash: str,
    methods: list[str],
    ip: str | None,
    user_agent: str | None,
    max_s: float,
) -> tuple[str | None] | None:
    """Open a session in the workspace joined first, and answer that workspace.

    Answers None when the account is disabled or its password is no longer the one that was compared.
    """
    cursor = await connection.execute(
        INSERT,
        {
            "id": session_id,
            "user_id": user_id,
            "password_hash": password_hash,
            "token_hash": token_hash,
            "methods": methods,
            "ip": ip,
            "user_agent": user_agent,
            "max_s": max_s,
        },
    )
    row = await cursor.fetchone()
    return None if row is None else (row[0],)


async def delete(connection: Connection, token_hash: str) -> tuple[str, str | None] | None:
    """End a session; its user and workspace, None when there was none."""
    cursor = await connection.execute(DELETE, {"token_hash": token_hash})
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


async def confirm(connection: Connection, token_hash: str, user_id: str) -> datetime | None:
    """Note that the session's user just proved to be there; None when the session is not theirs any more."""
    cursor = await connection.execute(CONFIRM, {"token_hash": token_hash, "user_id": user_id})
    row = await cursor.fetchone()
    return None if row is None else row[0]
