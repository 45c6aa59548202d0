"""What every test may ask for: a real PostgreSQL with the real schema, and the people of the cast.

One embedded cluster serves the whole run (its first process starts and stops it); every worker gets a database of its
own, copied from a migrated template.
"""

import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.db import embedded, migrate
from agenthifive.db.database import Database, DatabaseOptions
from agenthifive.ids import new_id

_CLUSTER = "AGENTHIFIVE_TEST_CLUSTER"
_TEMPLATE = "agenthifive"
_DRAWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-|[0-9a-f]{32}")
_PASSWORDS = {"owner": "test-owner-password", "app": "test-app-password", "admin": "test-admin-password"}

settings.register_profile(
    "suite", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("suite")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Values drawn at random are named by their argument, so that every worker collects the same names."""
    return argname if isinstance(val, str) and _DRAWN.search(val) else None


def pytest_configure(config: pytest.Config) -> None:
    """Start the cluster once, in the process that hands out the work."""
    if hasattr(config, "workerinput") or os.environ.get(_CLUSTER):
        return
    home = Path(tempfile.mkdtemp(prefix="ah5-test-"))
    cluster = embedded.start(home, _PASSWORDS, lambda _: None)
    embedded.apply_roles(cluster)
    migrate.upgrade(cluster.dsn("owner"), lambda _: None)
    embedded.apply_roles(cluster)
    os.environ[_CLUSTER] = make_conninfo(host=str(cluster.socket), dbname=_TEMPLATE)
    config.add_cleanup(lambda: _remove(home, cluster))


def _remove(home: Path, cluster: embedded.Cluster) -> None:
    os.environ.pop(_CLUSTER, None)
    embedded.stop(cluster)
    shutil.rmtree(cluster.data.parent, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The xdist worker, `main` without xdist."""
    workerinput = getattr(request.config, "workerinput", None)
    return "main" if workerinput is None else str(workerinput["workerid"])


def dsn(role: str, database: str) -> str:
    """The DSN of a role (`admin`, `owner`, `app`) for a database of the test cluster."""
    host = conninfo_to_dict(os.environ[_CLUSTER])["host"]
    return make_conninfo(host=host, dbname=database, user=f"agenthifive_{role}", password=_PASSWORDS[role])


@pytest.fixture(scope="session")
def database_name(worker_id: str) -> Iterator[str]:
    """A migrated database that only this worker uses."""
    name = f"test_{worker_id}"
    with psycopg.connect(dsn("admin", "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute("SELECT pg_advisory_lock(1)")  # a template may be copied by one at a time
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    yield name
    with psycopg.connect(dsn("admin", "postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def app_dsn(database_name: str) -> str:
    """The DSN of the application role."""
    return dsn("app", database_name)


@pytest.fixture(scope="session")
def admin_dsn(database_name: str) -> str:
    """The DSN of the superuser, for tests that look past the application's rights."""
    return dsn("admin", database_name)


@pytest_asyncio.fixture(scope="session")
async def database(app_dsn: str) -> AsyncIterator[Database]:
    """An open pool as the application role."""
    opened = Database(DatabaseOptions(app_dsn, pool_max=10, pool_timeout_ms=5000))
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def instance() -> Instance:
    """An instance whose log the tests write."""
    return Instance(new_id(), 1)


@pytest_asyncio.fixture(scope="session")
async def admin_chain(database: Database, instance: Instance) -> AdminChain:
    """The chain for management rows."""
    return AdminChain(database, instance)
