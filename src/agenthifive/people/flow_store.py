"""Flows that are over, in PostgreSQL: a reply that is sent again finds its flow spent. Source: goals.md S6."""

from typing import Final

from agenthifive.db.database import Connection
from agenthifive.vault.hashing import sha256_hex

SPEND: Final = """
    INSERT INTO t_spent_flows (flow_hash, expires_at)
    VALUES (%(flow_hash)s, now() + make_interval(secs => %(ttl_s)s))
    ON CONFLICT (flow_hash) DO NOTHING
"""
SWEEP: Final = "DELETE FROM t_spent_flows WHERE expires_at < now()"


async def spend(connection: Connection, state: str, ttl_s: float) -> bool:
    """Use a flow up; false when that was done before. Units: ttl_s: remembered for so many seconds."""
    values = {"flow_hash": sha256_hex(state), "ttl_s": ttl_s}
    return (await connection.execute(SPEND, values)).rowcount == 1
