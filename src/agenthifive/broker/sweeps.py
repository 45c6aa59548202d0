"""What the brokered call leaves behind and nobody needs any more. Late sweeping changes no decision."""

from typing import Final

from agenthifive.db.database import Connection

OLD_KEYS: Final = """
    DELETE FROM t_idempotency_keys WHERE ctid IN (
        SELECT ctid FROM t_idempotency_keys WHERE expires_at < now() LIMIT 5000)
"""
OLD_MINUTES: Final = """
    DELETE FROM t_call_minutes WHERE ctid IN (
        SELECT ctid FROM t_call_minutes WHERE minute < now() - interval '2 hours' LIMIT 5000)
"""


async def sweep_keys(connection: Connection) -> int:
    """Remove idempotency keys whose time is over; how many."""
    return (await connection.execute(OLD_KEYS)).rowcount


async def sweep_minutes(connection: Connection) -> int:
    """Remove minutes that no hourly limit counts any more; how many."""
    return (await connection.execute(OLD_MINUTES)).rowcount
