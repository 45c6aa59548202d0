"""Limits counted in PostgreSQL: exact, whoever asks at the same moment and wherever."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agenthifive.db.database import Database
from agenthifive.errors import AppError
from agenthifive.ids import new_id
from agenthifive.operations.ratelimit import RateLimiter, Window
from agenthifive.words import RateLimit
from databases import open_pool

WINDOWS = {RateLimit.TOKEN: Window(7, 60), RateLimit.SIGN_IN: Window(500, 60)}


@pytest_asyncio.fixture(scope="module")
async def other_pool(app_dsn: str) -> AsyncIterator[Database]:
    """The database as another replica has it."""
    async with open_pool(app_dsn) as opened:
        yield opened


async def outcome(limiter: RateLimiter, limit: RateLimit, key: str) -> str:
    try:
        await limiter.take(limit, key)
    except AppError as error:
        return error.code
    return "taken"


@pytest.mark.parametrize(("limit", "hits"), [(RateLimit.TOKEN, 7), (RateLimit.SIGN_IN, 500)])
async def test_exactly_the_limit_passes_over_two_replicas(
    database: Database, other_pool: Database, limit: RateLimit, hits: int
) -> None:
    replicas, key = (RateLimiter(database, WINDOWS), RateLimiter(other_pool, WINDOWS)), new_id()
    outcomes = await asyncio.gather(*(outcome(replicas[n % 2], limit, key) for n in range(hits + 60)))
    assert outcomes.count("taken") == hits
    assert outcomes.count("rate_limited") == 60


async def test_keys_do_not_share_a_limit(database: Database) -> None:
    limiter, keys = RateLimiter(database, WINDOWS), [new_id() for _ in range(30)]
    outcomes = await asyncio.gather(*(outcome(limiter, RateLimit.TOKEN, key) for key in keys * 8))
    assert (outcomes.count("taken"), outcomes.count("rate_limited")) == (7 * 30, 30)


async def test_the_answer_counts_down(database: Database) -> None:
    limiter, key = RateLimiter(database, WINDOWS), new_id()
    left = [(await limiter.take(RateLimit.TOKEN, key))["x-ratelimit-remaining"] for _ in range(7)]
    assert left == ["6", "5", "4", "3", "2", "1", "0"]
    with pytest.raises(AppError) as refused:
        await limiter.take(RateLimit.TOKEN, key)
    assert 1 <= (refused.value.retry_after_s or 0) <= 60


async def test_a_look_takes_nothing(database: Database) -> None:
    limiter, key = RateLimiter(database, WINDOWS), new_id()
    looks = await asyncio.gather(*(limiter.count(RateLimit.TOKEN, key, take=False) for _ in range(20)))
    assert {(look.allowed, look.remaining) for look in looks} == {(True, 7)}
    await asyncio.gather(*(limiter.take(RateLimit.TOKEN, key) for _ in range(7)))
    assert not (await limiter.count(RateLimit.TOKEN, key, take=False)).allowed
