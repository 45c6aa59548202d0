"""Sign-ins of programs by a code, in PostgreSQL. Each step is one conditional statement in database time.

Source: contract/http.md section 14.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.rows import class_row

from agenthifive.db.database import Connection

INSERT: Final = """
    INSERT INTO t_device_logins (device_code_hash, user_code_hash, client_name, ip, user_agent, interval_s, expires_at)
    VALUES (%(device_code_hash)s, %(user_code_hash)s, %(client_name)s, %(ip)s, %(user_agent)s, %(interval_s)s,
            now() + make_interval(secs => %(ttl_s)s))
    ON CONFLICT (user_code_hash) DO NOTHING
"""
FIND: Final = """
    SELECT client_name, ip, user_agent, created_at, expires_at, extract(epoch FROM now() - created_at)::int AS age_s,
           is_approved, expires_at <= now() AS is_expired
      FROM t_device_logins WHERE user_code_hash = %(user_code_hash)s
"""
DECIDE: Final = """
    UPDATE t_device_logins SET decided_at = now(), is_approved = %(is_approved)s, user_id = %(user_id)s,
           workspace_id = %(workspace_id)s, scopes = %(scopes)s, days = %(days)s
     WHERE user_code_hash = %(user_code_hash)s AND decided_at IS NULL AND expires_at > now()
"""
# Whoever gets a row is the one who gets the token; the role is that of this moment.
DELIVER: Final = """
    UPDATE t_device_logins d SET delivered_at = now()
     WHERE device_code_hash = %(device_code_hash)s AND is_approved AND delivered_at IS NULL AND expires_at > now()
    RETURNING client_name, user_id::text, workspace_id::text, scopes, days,
              (SELECT m.role FROM t_members m JOIN t_users u ON u.id = m.user_id AND u.disabled_at IS NULL
                WHERE m.workspace_id = d.workspace_id AND m.user_id = d.user_id) AS role
"""
NOTE_POLL: Final = """
    UPDATE t_device_logins SET last_polled_at = now(),
           interval_s = CASE WHEN last_polled_at > now() - make_interval(secs => interval_s)
                             THEN least(interval_s + %(step_s)s, %(interval_max_s)s) ELSE interval_s END
     WHERE device_code_hash = %(device_code_hash)s AND delivered_at IS NULL AND expires_at > now()
    RETURNING is_approved, interval_s
"""
SWEEP: Final = "DELETE FROM t_device_logins WHERE expires_at < now() - interval '1 day'"


@dataclass(frozen=True, slots=True)
class FoundLogin:
    """A program that asks to sign in. `is_approved`: None before a person decided."""

    client_name: str
    ip: str | None
    user_agent: str | None
    created_at: datetime
    expires_at: datetime
    age_s: int
    is_approved: bool | None
    is_expired: bool


@dataclass(frozen=True, slots=True)
class ApprovedLogin:
    """What a person approved. `role`: theirs in the workspace now, None when they have lost it."""

    client_name: str
    user_id: str
    workspace_id: str
    scopes: Sequence[str]
    days: int
    role: str | None


async def insert(
    connection: Connection,
    *,
    device_code_hash: str,
    user_code_hash: str,
    client_name: str,
    ip: str | None,
    user_agent: str | None,
    interval_s: int,
    ttl_s: int,
) -> bool:
    """Store a request; false when its user code is taken."""
    values = {
        "device_code_hash": device_code_hash,
        "user_code_hash": user_code_hash,
        "client_name": client_name,
        "ip": ip,
        "user_agent": user_agent,
        "interval_s": interval_s,
        "ttl_s": ttl_s,
    }
    return (await connection.execute(INSERT, values)).rowcount == 1


async def find(connection: Connection, user_code_hash: str) -> FoundLogin | None:
    """The request of a user code."""
    async with connection.cursor(row_factory=class_row(FoundLogin)) as cursor:
        await cursor.execute(FIND, {"user_code_hash": user_code_hash})
        return await cursor.fetchone()


async def decide(
    connection: Connection,
    user_code_hash: str,
    *,
    is_approved: bool,
    user_id: str,
    workspace_id: str | None,
    scopes: Sequence[str] | None,
    days: int | None,
) -> bool:
    """Decide a request; false when it was decided, is over, or never was."""
    values = {
        "user_code_hash": user_code_hash,
        "is_approved": is_approved,
        "user_id": user_id,
        "workspace_id": workspace_id,
        "scopes": None if scopes is None else list(scopes),
        "days": days,
    }
    return (await connection.execute(DECIDE, values)).rowcount == 1


async def deliver(connection: Connection, device_code_hash: str) -> ApprovedLogin | None:
    """Take what was approved, once."""
    async with connection.cursor(row_factory=class_row(ApprovedLogin)) as cursor:
        await cursor.execute(DELIVER, {"device_code_hash": device_code_hash})
        return await cursor.fetchone()


async def note_poll(
    connection: Connection, device_code_hash: str, step_s: int, interval_max_s: int
) -> tuple[bool | None, int] | None:
    """Whether it was approved, and how long to wait; None when it is over, delivered, or never was."""
    values = {"device_code_hash": device_code_hash, "step_s": step_s, "interval_max_s": interval_max_s}
    row = await (await connection.execute(NOTE_POLL, values)).fetchone()
    return None if row is None else (row[0], row[1])


async def sweep(connection: Connection) -> int:
    """Remove the requests of yesterday; how many rows went."""
    return (await connection.execute(SWEEP)).rowcount
