"""Connections to PostgreSQL: every form of DSN that libpq reads, the safety of each session, and dead connections."""

import asyncio
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import PoolTimeout

from agenthifive.db.database import Database, DatabaseOptions, as_unavailable
from agenthifive.db.direct import Direct
from databases import TestDatabase, fresh_database, open_pool

SETTINGS = ", ".join(
    f"current_setting('{name}')"
    for name in (
        "synchronous_commit", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone",
    )
)  # fmt: skip


def forms(dsn: str) -> Sequence[str]:
    """The same database in every spelling an operator may use."""
    parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items()}
    host = parts["host"].replace("/", "%2F")
    login = f"{parts['user']}:{parts['password']}"
    return [
        dsn,
        f"postgresql://{login}@{host}/{parts['dbname']}",
        f"postgres://{login}@/{parts['dbname']}?host={parts['host']}",
        f"postgresql://{login}@{host}/{parts['dbname']}?application_name=mine&connect_timeout=2",
        f"postgresql://{login}@%2Fnowhere,{host}/{parts['dbname']}?target_session_attrs=read-write",
        make_conninfo(**{**parts, "host": f"/nowhere,{parts['host']}", "sslmode": "prefer"}),
    ]


@pytest.mark.parametrize("number", range(6))
async def test_each_form_of_a_dsn_leads_to_the_database(app_dsn: str, number: int) -> None:
    async with open_pool(forms(app_dsn)[number]) as opened, opened.transaction() as connection:
        row = await (await connection.execute("SELECT current_user, current_database()")).fetchone()
        assert row == ("agenthifive_app", conninfo_to_dict(app_dsn)["dbname"])
        name = await (await connection.execute("SHOW application_name")).fetchone()
        assert name == ("mine" if number == 3 else "agenthifive",), "the operator's own parameters win"


@pytest.mark.parametrize("kind", ["transaction", "connection", "dedicated", "batch"])
async def test_every_session_is_durable_bounded_and_in_utc(app_dsn: str, kind: str) -> None:
    database = Database(DatabaseOptions(app_dsn, statement_timeout_ms=4321, lock_timeout_ms=1234))
    await database.open()
    try:
        if kind == "dedicated":
            async with await database.dedicated() as connection:
                settings = await settings_of(connection)
        elif kind == "batch":
            settings = await database.batch(settings_of_wire).ask(None)
        else:
            async with getattr(database, kind)() as connection:
                settings = await settings_of(connection)
    finally:
        await database.close()
    assert settings == ("on", "4321ms", "1234ms", "15s", "UTC")


async def settings_of_wire(wire: Direct, questions: Sequence[None]) -> Sequence[tuple[str, ...]]:
    """What the session of a shared question is set to."""
    answer = await wire.call(b"settings", f"SELECT concat_ws(',', {SETTINGS})".encode(), [])
    return [tuple((answer or b"").decode().split(",")) for _ in questions]


async def settings_of(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> tuple[object, ...] | None:
    cursor = await connection.execute(f"SELECT {SETTINGS}")
    return await cursor.fetchone()


async def test_a_block_that_raises_leaves_nothing_and_one_that_ends_stays(database: Database) -> None:
    with pytest.raises(LookupError):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO t_rate_limits (key, slot, hits) VALUES ('t', now(), 1)")
            raise LookupError
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO t_rate_limits (key, slot, hits) VALUES ('u', now(), 1)")
    async with database.transaction(read_only=True) as connection:
        rows = await (await connection.execute("SELECT key FROM t_rate_limits WHERE key IN ('t', 'u')")).fetchall()
    assert rows == [("u",)]


async def test_what_only_reads_cannot_write(database: Database) -> None:
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        async with database.transaction(read_only=True) as connection:
            await connection.execute("DELETE FROM t_rate_limits")


@pytest.fixture
def own(worker_id: str) -> Iterator[TestDatabase]:
    """A database whose sessions are nobody else's."""
    with fresh_database(f"cut_{worker_id}") as made:
        yield made


async def test_after_every_session_was_cut_the_pool_works_again_without_a_restart(own: TestDatabase) -> None:
    async with open_pool(own.app_dsn) as opened:
        async with opened.transaction() as connection:
            await connection.execute("SELECT 1")
        with psycopg.connect(own.admin_dsn, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'agenthifive_app' AND application_name = 'agenthifive'"
            )
        async with asyncio.timeout(5):
            while True:
                try:
                    async with opened.transaction() as connection:
                        await connection.execute("SELECT 1")
                        break
                except psycopg.OperationalError as error:
                    refused = as_unavailable(error)
                    assert refused is not None
                    assert (refused.code, refused.retry_after_s) == ("unavailable", 2)


def test_outages_are_503_and_defects_are_not_hidden() -> None:
    outages = (psycopg.OperationalError(), PoolTimeout(), psycopg.errors.QueryCanceled(), psycopg.errors.DiskFull(),
               psycopg.errors.ReadOnlySqlTransaction(), psycopg.errors.InsufficientPrivilege(),
               psycopg.errors.UndefinedTable(), psycopg.errors.LockNotAvailable(), psycopg.errors.AdminShutdown(),
               psycopg.errors.TooManyConnections())  # fmt: skip
    for outage in outages:
        assert as_unavailable(outage) is not None, outage
    for defect in (psycopg.errors.UniqueViolation(), psycopg.errors.SyntaxError(), ValueError(), OSError()):
        assert as_unavailable(defect) is None, defect
