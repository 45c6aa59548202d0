"""Bring a database to this version's schema, once, whoever asks at the same time.

Alembic and SQLAlchemy are imported only when there is something to do: a start on a migrated database stays fast.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg

HEAD: Final = "0002"
_LOCK: Final = 0x61683501


class SchemaError(RuntimeError):
    """The schema does not fit this version; the message names both revisions."""


def revision(dsn: str) -> str | None:
    """The revision a database is at; None before the first migration. Raises: psycopg.Error."""
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        return _revision(connection)


def check(dsn: str) -> None:
    """Raises SchemaError unless the database is at this version's revision."""
    found = revision(dsn)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise SchemaError(
            f"The database is at revision {found}, newer than this version's {HEAD}. Upgrade AgentHiFive."
        )
    raise SchemaError(
        f"The database is at revision {found or 'none'}; this version needs {HEAD}. Run: agenthifive migrate"
    )


def upgrade(owner_dsn: str, say: Callable[[str], None]) -> bool:
    """Run the missing revisions as the owner of the schema; False when there were none.

    Raises: SchemaError when the database is newer, psycopg.Error.
    """
    found = revision(owner_dsn)
    if found == HEAD:
        return False
    if found is not None and found > HEAD:
        check(owner_dsn)
    say(f"Migrating the database from {found or 'nothing'} to {HEAD}")
    with psycopg.connect(owner_dsn, autocommit=True) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", [_LOCK])  # a second replica waits here, then finds nothing to do
        if _revision(guard) != HEAD:
            _run_alembic(owner_dsn)
    return True


def _revision(connection: psycopg.Connection) -> str | None:
    if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def _run_alembic(dsn: str) -> None:
    from alembic import command  # noqa: PLC0415 - half a second of imports, only when needed
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("alembic")))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, HEAD)
    engine.dispose()
