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

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from psycopg.conninfo import make_conninfo

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.db import embedded, migrate
from agenthifive.db.database import Database
from agenthifive.ids import new_id
from databases import CLUSTER, PASSWORDS, TEMPLATE, TestDatabase, fresh_database, open_pool

_DRAWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-|[0-9a-f]{32}")

settings.register_profile(
    "suite", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("suite")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Values drawn at random are named by their argument, so that every worker collects the same names."""
    return argname if isinstance(val, str) and _DRAWN.search(val) else None


def pytest_configure(config: pytest.Config) -> None:
    """Start the cluster once, in the process that hands out the work."""
    if hasattr(config, "workerinput") or os.environ.get(CLUSTER):
        return
    home = Path(tempfile.mkdtemp(prefix="ah5-test-"))
    cluster = embedded.start(home, PASSWORDS, lambda _: None)
    embedded.apply_roles(cluster)
    migrate.upgrade(cluster.dsn("owner"), lambda _: None)
    embedded.apply_roles(cluster)
    os.environ[CLUSTER] = make_conninfo(host=str(cluster.socket), dbname=TEMPLATE)
    config.add_cleanup(lambda: _remove(home, cluster))


def _remove(home: Path, cluster: embedded.Cluster) -> None:
    os.environ.pop(CLUSTER, None)
    embedded.stop(cluster)
    shutil.rmtree(cluster.data.parent, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The xdist worker, `main` without xdist."""
    workerinput = getattr(request.config, "workerinput", None)
    return "main" if workerinput is None else str(workerinput["workerid"])


@pytest.fixture(scope="session")
def worker_database(worker_id: str) -> Iterator[TestDatabase]:
    """A migrated database that only this worker uses."""
    with fresh_database(f"test_{worker_id}") as made:
        yield made


@pytest.fixture(scope="session")
def app_dsn(worker_database: TestDatabase) -> str:
    """The DSN of the application role."""
    return worker_database.app_dsn


@pytest.fixture(scope="session")
def admin_dsn(worker_database: TestDatabase) -> str:
    """The DSN of the superuser, for tests that look past the application's rights."""
    return worker_database.admin_dsn


@pytest_asyncio.fixture(scope="session")
async def database(app_dsn: str) -> AsyncIterator[Database]:
    """An open pool as the application role."""
    async with open_pool(app_dsn) as opened:
        yield opened


@pytest.fixture(scope="session")
def instance() -> Instance:
    """An instance whose log the tests write."""
    return Instance(new_id(), 1)


@pytest_asyncio.fixture(scope="session")
async def admin_chain(database: Database, instance: Instance) -> AdminChain:
    """The chain for management rows."""
    return AdminChain(database, instance)
