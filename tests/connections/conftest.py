"""The stage of the connections tests."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from agenthifive.audit.chains import AdminChain
from agenthifive.catalog.catalog import Catalog, load_catalog
from agenthifive.db.database import Database
from connections.stage import Stage, World, open_stage, open_world


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The built-in catalog."""
    return load_catalog()


@pytest_asyncio.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The providers."""
    async with open_world(tmp_path_factory.mktemp("world")) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session")
async def admin(admin_dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """The superuser's own connection."""
    async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as opened:
        yield opened


@pytest_asyncio.fixture
async def stage(
    database: Database,
    admin_chain: AdminChain,
    admin: psycopg.AsyncConnection[Any],
    world: World,
    catalog: Catalog,
) -> AsyncIterator[Stage]:
    """Two fresh workspaces and silent providers."""
    async with open_stage(database, admin_chain, admin, world, catalog) as opened:
        yield opened
