"""A database with sealed records."""

from collections.abc import AsyncIterator

import pytest_asyncio

from agenthifive.audit.chains import Instance
from databases import fresh_database, open_pool
from operations.key_ground import KeyGround


@pytest_asyncio.fixture(scope="session")
async def _keys_database(worker_id: str, instance: Instance) -> AsyncIterator[KeyGround]:
    with fresh_database(f"keys_{worker_id}") as made:
        async with open_pool(made.app_dsn) as database:
            yield KeyGround(database, instance, made.admin_dsn)


@pytest_asyncio.fixture
async def keys(_keys_database: KeyGround) -> KeyGround:
    """That database without records and without keys."""
    ground = KeyGround(_keys_database.database, _keys_database.instance, _keys_database.admin_dsn)
    await ground.clear()
    return ground
