"""The stage of these tests, and Argon2id at a cost that keeps them quick."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.db.database import Database, DatabaseOptions
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.people import passwords
from agenthifive.people.model import Account
from agenthifive.words import AuditAction
from people.stage import OLGA, Stage


@pytest.fixture(scope="session")
def own_database(admin_dsn: str, worker_id: str) -> Iterator[str]:
    """A migrated database in which no other room's tests put people."""
    name = f"people_{worker_id}"
    with psycopg.connect(make_conninfo(admin_dsn, dbname="postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute("SELECT pg_advisory_lock(1)")  # a template may be copied by one at a time
        connection.execute(f"CREATE DATABASE {name} TEMPLATE agenthifive")
        connection.execute("SELECT pg_advisory_unlock(1)")
        yield name
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest_asyncio.fixture(scope="session")
async def own_pool(app_dsn: str, own_database: str) -> AsyncIterator[Database]:
    dsn = make_conninfo(app_dsn, dbname=own_database)
    opened = Database(DatabaseOptions(dsn, pool_max=10, pool_timeout_ms=5000))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def _fast_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id with the smallest cost; its real cost has a test of its own."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "TIME_COST", 1)


@pytest_asyncio.fixture(scope="session")
async def admin(admin_dsn: str, own_database: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """The superuser's connection to the same database."""
    dsn = make_conninfo(admin_dsn, dbname=own_database)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest_asyncio.fixture(scope="session")
async def own_chain(own_pool: Database, instance: Instance) -> AdminChain:
    """A chain with its first row written, as in an application that has started."""
    chain = AdminChain(own_pool, instance)
    async with Unit(own_pool, chain, SYSTEM) as unit:
        unit.record(AuditAction.INSTANCE_STARTED)
    return chain


@pytest_asyncio.fixture
async def stage(own_pool: Database, own_chain: AdminChain, admin: psycopg.AsyncConnection[Any]) -> AsyncIterator[Stage]:
    """An empty instance."""
    made = Stage(own_pool, own_chain, admin)
    await made.start()
    yield made
    made.people.close()


@pytest_asyncio.fixture
async def olga(stage: Stage) -> Account:
    """The owner of the first workspace."""
    return await stage.add(OLGA)
