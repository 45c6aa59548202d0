"""A unit of work: what waits for its commit happens after it, once, or not at all."""

import pytest
from psycopg import Error

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.db.unit import SYSTEM, Unit
from databases import fresh_database, open_pool


async def test_what_waits_for_the_commit_happens_after_it_and_only_then() -> None:
    with fresh_database("unit") as made:
        async with open_pool(made.app_dsn) as database:
            chain = AdminChain(database, Instance("instance", 1))
            seen: list[str] = []
            async with Unit(database, chain, SYSTEM) as unit:
                await (await unit.begin()).execute("INSERT INTO t_changes VALUES (gen_random_uuid(), 1)")
                unit.after_commit(lambda: seen.append("once"))
                assert seen == []
            assert seen == ["once"]
            with pytest.raises(Error):
                async with Unit(database, chain, SYSTEM) as unit:
                    unit.after_commit(lambda: seen.append("never"))
                    await (await unit.begin()).execute("SELECT nonsense")
            assert seen == ["once"]


async def test_another_unit_has_the_same_name_and_a_transaction_of_its_own() -> None:
    with fresh_database("unit_another") as made:
        async with open_pool(made.app_dsn) as database:
            first = Unit(database, AdminChain(database, Instance("instance", 1)), SYSTEM)
            async with first, first.another() as second:
                assert second.signature is first.signature
                assert await first.begin() is not await second.begin()
