"""Databases of the test cluster: each a copy of the migrated template, for one worker and one purpose."""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from agenthifive.db.database import Database, DatabaseOptions

CLUSTER = "AGENTHIFIVE_TEST_CLUSTER"
TEMPLATE = "agenthifive"
PASSWORDS = {"owner": "test-owner-password", "app": "test-app-password", "admin": "test-admin-password"}


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """How to reach a database, as each role of it."""

    __test__ = False

    app_dsn: str
    admin_dsn: str


def dsn(role: str, database: str) -> str:
    """The DSN of a role (`admin`, `owner`, `app`) for a database of the test cluster."""
    host = conninfo_to_dict(os.environ[CLUSTER])["host"]
    return make_conninfo(host=host, dbname=database, user=f"agenthifive_{role}", password=PASSWORDS[role])


def create_database(name: str) -> TestDatabase:
    """A fresh migrated database; one left under this name goes."""
    with psycopg.connect(dsn("admin", "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute("SELECT pg_advisory_lock(1)")  # a template may be copied by one at a time
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return TestDatabase(dsn("app", name), dsn("admin", name))


@contextlib.contextmanager
def fresh_database(name: str) -> Iterator[TestDatabase]:
    """A fresh migrated database for the length of a block."""
    yield create_database(name)
    with psycopg.connect(dsn("admin", "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextlib.contextmanager
def empty_database(name: str) -> Iterator[str]:
    """The superuser's DSN of a database with nothing in it, for the length of a block."""
    with psycopg.connect(dsn("admin", "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield dsn("admin", name)
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextlib.asynccontextmanager
async def open_pool(app_dsn: str) -> AsyncIterator[Database]:
    """A pool as the application role, for the length of a block."""
    opened = Database(DatabaseOptions(app_dsn, pool_max=10, pool_timeout_ms=5000))
    await opened.open()
    yield opened
    await opened.close()
