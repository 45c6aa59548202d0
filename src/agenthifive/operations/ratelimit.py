"""HTTP rate limits, counted in PostgreSQL: exact over all replicas, database time, failed tries count.

Source: contract/http.md section 16, operations.md section 7. No address and no header exempts; a database that
cannot count means 503, never a pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from agenthifive.db.database import Connection, Database
from agenthifive.db.direct import Direct
from agenthifive.edge.context import limit_key
from agenthifive.errors import AppError
from agenthifive.words import RateLimit

TAKE: Final = b"SELECT rate_take_all($1::text::json)"
SWEEP: Final = """
    DELETE FROM t_rate_limits WHERE ctid IN (
        SELECT ctid FROM t_rate_limits WHERE slot < now() - interval '25 hours' LIMIT 5000)
"""


_encode: Final = msgspec.json.Encoder().encode


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


class _Question(msgspec.Struct, frozen=True):
    """A hit to be counted, or only a look at where the key stands."""

    key: str
    window: Window
    is_hit: bool


class _Taken(msgspec.Struct, rename="camel"):
    """What `rate_take` answers for all questions of a key."""

    used: int
    granted: int
    reset_seconds: int


_decode: Final = msgspec.json.Decoder(list[_Taken]).decode


class RateLimiter:
    """Counts hits by name and key."""

    def __init__(self, database: Database, windows: dict[RateLimit, Window]) -> None:
        self._batch = database.batch(_take)
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

    async def count(self, limit: RateLimit, key: str, *, take: bool = True, window: Window | None = None) -> Standing:
        """Where the key stands; with `take` the hit is counted.

        Shapes: window: of a key that is counted otherwise than the limit's addresses.
        """
        return await self._batch.ask(_Question(f"{limit}|{key}", window or self._windows[limit], take))


async def _take(wire: Direct, questions: Sequence[_Question]) -> Sequence[Standing]:
    """Count what waits, one row a key; the hits of a key are granted in the order they came in."""
    wanted: dict[str, int] = {}
    for question in questions:
        wanted[question.key] = wanted.get(question.key, 0) + question.is_hit
    windows = {question.key: question.window for question in questions}
    keys = sorted(wanted)
    takes = [
        {"key": key, "hits": windows[key].hits, "seconds": windows[key].seconds, "wanted": wanted[key]} for key in keys
    ]
    answer = await wire.call(b"take", TAKE, [_encode(takes)])
    taken = dict(zip(keys, _decode(answer or b"[]"), strict=True))
    served: dict[str, int] = {}
    return [_standing(question, taken[question.key], served) for question in questions]


def _standing(question: _Question, taken: _Taken, served: dict[str, int]) -> Standing:
    before = served.get(question.key, 0)
    allowed = before < taken.granted if question.is_hit else taken.used < question.window.hits
    if question.is_hit and allowed:
        served[question.key] = before + 1
    left = question.window.hits - taken.used - served.get(question.key, 0)
    return Standing(allowed, max(0, left), taken.reset_seconds)


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
