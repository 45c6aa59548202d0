"""HTTP rate limits, counted in PostgreSQL: exact over all replicas, database time, failed tries count.

Source: contract/http.md section 16, operations.md section 7. No address and no header exempts; a database that
cannot count means 503, never a pass.
"""

from dataclasses import dataclass
from typing import Any, Final

from agenthifive.db.database import Connection, Database
from agenthifive.edge.context import limit_key
from agenthifive.errors import AppError
from agenthifive.words import RateLimit

TAKE: Final = "SELECT rate_take(%s, %s, %s, %s)"
SWEEP: Final = """
    DELETE FROM t_rate_limits WHERE ctid IN (
        SELECT ctid FROM t_rate_limits WHERE slot < now() - interval '25 hours' LIMIT 5000)
"""


@dataclass(frozen=True, slots=True)
class Window:
    """At most `hits` within any span of `seconds`."""

    hits: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a key stands after it was counted."""

    allowed: bool
    remaining: int
    reset_s: int


class RateLimiter:
    """Counts hits by name and key."""

    def __init__(self, database: Database, windows: dict[RateLimit, Window]) -> None:
        self._database = database
        self._windows = windows

    async def take(self, limit: RateLimit, key: str) -> dict[str, str]:
        """Count a hit; headers for the answer. Raises: AppError (429), psycopg.Error, PoolTimeout."""
        window = self._windows[limit]
        standing = await self.count(limit, key)
        if not standing.allowed:
            raise over_limit(limit, window, standing.reset_s)
        return _headers(window, standing)

    async def take_address(self, limit: RateLimit, ip: str) -> dict[str, str]:
        """The same for a client address, IPv6 per /64."""
        return await self.take(limit, limit_key(ip))

    async def count(self, limit: RateLimit, key: str, *, take: bool = True) -> Standing:
        """Where the key stands; with `take` the hit is counted."""
        window = self._windows[limit]
        async with self._database.statement() as connection:
            cursor = await connection.execute(TAKE, [f"{limit}|{key}", window.hits, window.seconds, take])
            row = await cursor.fetchone()
        answer: dict[str, Any] = row[0] if row else {}
        return Standing(answer["allowed"], answer["remaining"], answer["resetSeconds"])


async def sweep_limits(connection: Connection) -> int:
    """Remove hits that no window can count any more; how many rows."""
    return (await connection.execute(SWEEP)).rowcount


def over_limit(limit: RateLimit, window: Window, retry_after_s: int) -> AppError:
    """429 with what was exceeded and when to come back."""
    return AppError(
        "rate_limited",
        f"Too many requests: at most {window.hits} in {window.seconds} seconds. Try again in {retry_after_s} seconds.",
        retry_after_s=retry_after_s,
        extra={"limit": {"name": str(limit), "max": window.hits, "windowSeconds": window.seconds}},
        headers={
            "x-ratelimit-limit": str(window.hits),
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(retry_after_s),
        },
    )


def _headers(window: Window, standing: Standing) -> dict[str, str]:
    return {
        "x-ratelimit-limit": str(window.hits),
        "x-ratelimit-remaining": str(standing.remaining),
        "x-ratelimit-reset": str(standing.reset_s),
    }
