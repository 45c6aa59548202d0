"""A command line with a home of its own, and one on a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from agenthifive.operations import logs
from agenthifive.people import passwords
from cli.stage import Cli, Ground, settings_for


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """The command line with a home of its own and no database; the logs of this process stay as they are."""
    monkeypatch.setattr(logs, "configure_logs", lambda *_: None)
    return Cli(capsys, monkeypatch, tmp_path, {"HOME": str(tmp_path), "AGENTHIFIVE_HOME": str(tmp_path / "home")})


@pytest.fixture(scope="session")
def own_database(admin_dsn: str, worker_id: str) -> Iterator[str]:
    """A migrated database in which only these tests put anything."""
    name = f"cli_{worker_id}"
    with psycopg.connect(make_conninfo(admin_dsn, dbname="postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute("SELECT pg_advisory_lock(1)")  # a template may be copied by one at a time
        connection.execute(f"CREATE DATABASE {name} TEMPLATE agenthifive")
        connection.execute("SELECT pg_advisory_unlock(1)")
        yield name
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def ground(admin_dsn: str, app_dsn: str, own_database: str) -> Ground:
    """That database, empty."""
    ground = Ground(make_conninfo(app_dsn, dbname=own_database), make_conninfo(admin_dsn, dbname=own_database))
    ground.clear()
    return ground


@pytest.fixture
def desk(cli: Cli, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line on that database; passwords are hashed at the smallest cost."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "TIME_COST", 1)
    cli.environ |= settings_for(ground.app_dsn)
    return cli
