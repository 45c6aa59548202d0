"""Limits counted in PostgreSQL: exact over replicas and any span of the window, never a pass when nobody counts."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from agenthifive.db.database import Database
from agenthifive.errors import AppError
from agenthifive.ids import new_id
from agenthifive.operations.ratelimit import RateLimiter, Window, sweep_limits
from agenthifive.words import RateLimit
from databases import open_pool

WINDOWS = {RateLimit.TOKEN: Window(30, 60), RateLimit.BOOTSTRAP: Window(5, 60), RateLimit.SIGN_IN: Window(500, 60)}


@pytest_asyncio.fixture(scope="module")
async def replicas(app_dsn: str) -> AsyncIterator[list[RateLimiter]]:
    """Two processes' worth of limiters on one database."""
    async with open_pool(app_dsn) as one, open_pool(app_dsn) as two:
        yield [RateLimiter(one, WINDOWS), RateLimiter(two, WINDOWS)]


async def is_passed(limiter: RateLimiter, limit: RateLimit, ip: str) -> bool:
    """Whether a hit is within the limit; a refusal says how long to wait."""
    answer = (await asyncio.gather(limiter.take_address(limit, ip), return_exceptions=True))[0]
    if not isinstance(answer, AppError):
        return True
    assert (answer.code, answer.status) == ("rate_limited", 429)
    assert 1 <= (answer.retry_after_s or 0) <= 61  # a minute, and a slot of wide limits
    return False


async def test_of_forty_at_once_over_two_replicas_exactly_thirty_pass(replicas: list[RateLimiter]) -> None:
    ip = new_id()
    passed = await asyncio.gather(*(is_passed(replicas[n % 2], RateLimit.TOKEN, ip) for n in range(40)))
    assert sum(passed) == 30


async def test_the_sixth_within_the_window_waits_and_another_address_does_not(replicas: list[RateLimiter]) -> None:
    ip = new_id()
    passed = [await is_passed(replicas[n % 2], RateLimit.BOOTSTRAP, ip) for n in range(7)]
    assert passed == [True] * 5 + [False] * 2
    assert await is_passed(replicas[0], RateLimit.BOOTSTRAP, new_id())
    assert await is_passed(replicas[0], RateLimit.TOKEN, ip), "limits are counted apart"


async def test_an_ipv6_client_cannot_walk_through_its_network(replicas: list[RateLimiter]) -> None:
    passed = [await is_passed(replicas[0], RateLimit.BOOTSTRAP, f"2001:db8:7::{n:x}") for n in range(1, 7)]
    assert passed == [True] * 5 + [False]


async def test_the_answer_names_limit_rest_and_wait(replicas: list[RateLimiter]) -> None:
    ip = new_id()
    headers = [await replicas[0].take_address(RateLimit.BOOTSTRAP, ip) for _ in range(5)]
    assert [found["x-ratelimit-remaining"] for found in headers] == ["4", "3", "2", "1", "0"]
    with pytest.raises(AppError) as refused:
        await replicas[0].take_address(RateLimit.BOOTSTRAP, ip)
    assert refused.value.extra == {"limit": {"name": "bootstrap", "max": 5, "windowSeconds": 60}}
    assert (refused.value.headers or {})["x-ratelimit-remaining"] == "0"


async def test_who_cannot_be_counted_is_not_let_pass(database: Database, admin_dsn: str) -> None:
    limiter = RateLimiter(database, WINDOWS)
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("REVOKE INSERT, UPDATE ON t_rate_limits FROM agenthifive_app")
        try:
            with pytest.raises(psycopg.Error):
                await limiter.take_address(RateLimit.TOKEN, new_id())
        finally:
            admin.execute("GRANT INSERT, UPDATE ON t_rate_limits TO agenthifive_app")


async def test_what_no_window_counts_is_swept(database: Database, admin_dsn: str) -> None:
    limiter = RateLimiter(database, WINDOWS)
    ip = new_id()
    await limiter.take_address(RateLimit.TOKEN, ip)
    async with database.transaction() as connection:
        await connection.execute(
            "UPDATE t_rate_limits SET slot = slot - interval '26 hours' WHERE key LIKE %s", [f"%{ip}"]
        )
        assert await sweep_limits(connection) >= 1
        assert await sweep_limits(connection) == 0


async def test_wide_limits_are_exact_over_replicas_too(replicas: list[RateLimiter]) -> None:
    """Those over 120 are counted in slots."""
    ip = new_id()
    passed = await asyncio.gather(*(is_passed(replicas[n % 2], RateLimit.SIGN_IN, ip) for n in range(560)))
    assert sum(passed) == 500


async def test_keys_counted_together_do_not_share_a_limit(replicas: list[RateLimiter]) -> None:
    addresses = [new_id() for _ in range(30)]
    passed = await asyncio.gather(*(is_passed(replicas[0], RateLimit.BOOTSTRAP, ip) for ip in addresses * 6))
    assert sum(passed) == 5 * 30


async def test_a_look_takes_nothing(replicas: list[RateLimiter]) -> None:
    key = new_id()
    looks = await asyncio.gather(*(replicas[0].count(RateLimit.BOOTSTRAP, key, take=False) for _ in range(20)))
    assert {(look.allowed, look.remaining) for look in looks} == {(True, 5)}
    await asyncio.gather(*(replicas[0].take(RateLimit.BOOTSTRAP, key) for _ in range(5)))
    assert not (await replicas[1].count(RateLimit.BOOTSTRAP, key, take=False)).allowed


async def test_a_key_may_have_a_window_of_its_own(replicas: list[RateLimiter]) -> None:
    key, own = new_id(), Window(2, 3600)
    counted = [await replicas[n % 2].count(RateLimit.BOOTSTRAP, key, window=own) for n in range(3)]
    assert [standing.allowed for standing in counted] == [True, True, False]
    assert 3500 <= counted[-1].reset_s <= 3660
