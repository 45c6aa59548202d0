"""A command line with a home of its own, and one on a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agenthifive.operations import logs
from agenthifive.people import passwords
from cli.stage import Cli, Ground, settings_for
from databases import TestDatabase, fresh_database


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """The command line with a home of its own and no database; the logs of this process stay as they are."""
    monkeypatch.setattr(logs, "configure_logs", lambda *_: None)
    return Cli(capsys, monkeypatch, tmp_path, {"HOME": str(tmp_path), "AGENTHIFIVE_HOME": str(tmp_path / "home")})


@pytest.fixture(scope="session")
def own_database(worker_id: str) -> Iterator[TestDatabase]:
    """A migrated database in which only these tests put anything."""
    with fresh_database(f"cli_{worker_id}") as made:
        yield made


@pytest.fixture
def ground(own_database: TestDatabase) -> Ground:
    """That database, empty."""
    ground = Ground(own_database.app_dsn, own_database.admin_dsn)
    ground.clear()
    return ground


@pytest.fixture
def desk(cli: Cli, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line on that database; passwords are hashed at the smallest cost."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "TIME_COST", 1)
    cli.environ |= settings_for(ground.app_dsn)
    return cli
