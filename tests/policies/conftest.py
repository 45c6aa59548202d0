"""One stage for all tests of the room; every test makes the connections and policies it talks about."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agenthifive.audit.chains import AdminChain
from agenthifive.catalog.catalog import Catalog, load_catalog
from agenthifive.db.database import Database
from policies.stage import Stage, open_stage


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest_asyncio.fixture(scope="session")
async def stage(database: Database, admin_chain: AdminChain, catalog: Catalog, admin_dsn: str) -> AsyncIterator[Stage]:
    async with open_stage(database, admin_chain, catalog, admin_dsn) as opened:
        yield opened
