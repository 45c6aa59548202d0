"""What a process knows of the keys is a second old at most, and every signature is noted within a minute."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.db.database import Database
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.errors import AppError
from agenthifive.jwt import store
from agenthifive.jwt.keys import KeySet, overlap_s
from databases import TestDatabase, fresh_database, open_pool
from signing_keys import signing_key

WEB_URL = "https://ah5.example.com"


@pytest.fixture(scope="module")
def own(worker_id: str) -> Iterator[TestDatabase]:
    with fresh_database(f"jwt_set_{worker_id}") as made:
        yield made


@pytest_asyncio.fixture
async def pool(own: TestDatabase) -> AsyncIterator[Database]:
    async with open_pool(own.app_dsn) as opened:
        async with opened.transaction() as connection:
            await connection.execute("DELETE FROM t_jwt_keys")
        yield opened


class Process:
    """A process with a key of this name and a clock that the test moves."""

    def __init__(self, pool: Database, instance: Instance, name: str) -> None:
        self.pool = pool
        self.chain = AdminChain(pool, instance)
        self.now_s = 1000.0
        self.keys = KeySet(pool, signing_key(name), token_ttl_s=7200, clock=lambda: self.now_s)

    async def start(self) -> "Process":
        async with Unit(self.pool, self.chain, SYSTEM) as unit:
            await self.keys.register(unit, WEB_URL, "production")
        return self

    async def retire(self, kid: str, *, at_once: bool) -> None:
        async with Unit(self.pool, self.chain, SYSTEM) as unit:
            await self.keys.retire(unit, kid, at_once=at_once)

    async def signed_at(self, kid: str) -> Any:
        async with self.pool.transaction() as connection:
            listed = await store.list_keys(connection, None, overlap_s(7200))
        return next(key.last_signed_at for key in listed if key.kid == kid)


async def test_what_is_known_is_kept_for_a_second(pool: Database, instance: Instance) -> None:
    process = await Process(pool, instance, "a").start()
    assert await process.keys.find("a") is not None
    async with pool.transaction() as connection:
        await connection.execute("UPDATE t_jwt_keys SET retired_at = now(), removed_at = now()")
    process.now_s += 0.9
    assert await process.keys.find("a") is not None
    process.now_s += 0.2
    assert await process.keys.find("a") is None
    assert await process.keys.is_removed("a")
    assert (await process.keys.document())["keys"] == []


async def test_an_unknown_name_is_asked_for_at_once(pool: Database, instance: Instance) -> None:
    first = await Process(pool, instance, "a").start()
    assert await first.keys.find("b") is None
    await Process(pool, instance, "b").start()
    first.now_s += 0.01
    assert await first.keys.find("b") is not None


async def test_many_who_ask_at_once_cause_one_question(
    pool: Database, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await Process(pool, instance, "a").start()
    asked, load = [], store.load

    async def counted(*arguments: Any) -> Any:
        asked.append(arguments)
        return await load(*arguments)

    monkeypatch.setattr(store, "load", counted)
    found = await asyncio.gather(*(process.keys.find("a") for _ in range(50)))
    assert all(found)
    assert len(asked) == 1


async def test_signing_is_noted_at_most_once_a_minute(pool: Database, instance: Instance) -> None:
    process = await Process(pool, instance, "a").start()
    assert await process.signed_at("a") is None
    assert (await process.keys.signer()).kid == "a"
    first = await process.signed_at("a")
    assert first is not None
    process.now_s += 59
    await process.keys.signer()
    assert await process.signed_at("a") == first
    process.now_s += 1
    await process.keys.signer()
    assert await process.signed_at("a") > first


async def test_a_retired_key_signs_nothing_a_second_later(pool: Database, instance: Instance) -> None:
    old = await Process(pool, instance, "a").start()
    await old.keys.signer()
    new = await Process(pool, instance, "b").start()
    await new.retire("a", at_once=False)
    old.now_s += 1.1
    with pytest.raises(AppError) as refused:
        await old.keys.signer()
    assert (refused.value.code, refused.value.status) == ("unavailable", 503)
    assert (await new.keys.signer()).kid == "b"


async def test_a_signature_that_cannot_be_noted_is_not_made(pool: Database, instance: Instance) -> None:
    """The moment between the last look and the note."""
    old = await Process(pool, instance, "a").start()
    await old.keys.find("a")
    new = await Process(pool, instance, "b").start()
    await new.retire("a", at_once=True)
    with pytest.raises(AppError):
        await old.keys.signer()
    assert await old.signed_at("a") is None


async def test_of_two_starts_at_once_with_one_name_and_two_keys_one_is_refused(
    pool: Database, instance: Instance
) -> None:
    processes = [Process(pool, instance, name) for name in ("a", "b")]
    for process, name in zip(processes, ("a", "b"), strict=True):
        process.keys = KeySet(pool, signing_key(name, kid="same"), token_ttl_s=7200)
    ended = await asyncio.gather(*(process.start() for process in processes), return_exceptions=True)
    assert sorted(type(each).__name__ for each in ended) == ["KeyRegistrationRefused", "Process"]


async def test_at_most_twenty_keys_are_published_our_own_first(pool: Database, instance: Instance) -> None:
    process = await Process(pool, instance, "a").start()
    async with pool.transaction() as connection:
        await connection.execute(
            "INSERT INTO t_jwt_keys (kid, jwk, alg, first_web_url, environment)"
            " SELECT 'k' || n, jwk, alg, first_web_url, environment FROM t_jwt_keys, generate_series(1, 30) n"
        )
    keys = (await process.keys.document())["keys"]
    assert len(keys) == 20
    assert keys[0]["kid"] == "a"


def test_keys_outlive_the_longest_token_by_an_hour() -> None:
    assert (overlap_s(7200), overlap_s(86_400), overlap_s(60)) == (10_800, 90_000, 3900)
