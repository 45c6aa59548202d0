"""Rows of the log are added and read, never changed or removed, by nobody."""

import psycopg
import pytest
from psycopg import sql

from audit.logs import Log

ATTEMPTS = ["UPDATE {} SET chain_id = gen_random_uuid()", "DELETE FROM {}", "TRUNCATE {}"]
ROLES = ["agenthifive_app", "agenthifive_owner", "agenthifive_admin"]


@pytest.fixture(autouse=True)
def row(log: Log, make_event) -> None:  # type: ignore[no-untyped-def]
    log.fill([[make_event()]])


@pytest.mark.parametrize("table", ["l_audit_events", "l_audit_chains"])
@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("role", ROLES)
def test_nobody_changes_removes_or_empties(log: Log, role: str, attempt: str, table: str) -> None:
    count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    with log.superuser() as connection:
        before = connection.execute(count).fetchone()
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        with pytest.raises(psycopg.Error) as refused:
            connection.execute(sql.SQL(attempt).format(sql.Identifier(table)))
        assert refused.value.sqlstate == "42501"
        connection.execute("RESET ROLE")
        assert connection.execute(count).fetchone() == before
    assert before != (0,)


@pytest.mark.parametrize("table", ["l_audit_events", "l_audit_chains"])
def test_the_owner_is_refused_even_when_it_gives_itself_the_right(log: Log, table: str) -> None:
    with log.superuser() as connection:
        connection.execute("SET ROLE agenthifive_owner")
        connection.execute(f"GRANT UPDATE, DELETE, TRUNCATE ON {table} TO agenthifive_owner")
        for attempt in ATTEMPTS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                connection.execute(attempt.format(table))
        connection.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM agenthifive_owner")


def test_the_application_cannot_take_the_guard_away(log: Log) -> None:
    with psycopg.connect(log.app_dsn, autocommit=True) as connection:
        for attempt in (
            "ALTER TABLE l_audit_events DISABLE TRIGGER ALL",
            "DROP TRIGGER l_audit_events_rows ON l_audit_events",
            "SET session_replication_role = replica",
            "DROP TABLE l_audit_chains",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(attempt)
        connection.execute("GRANT DELETE ON l_audit_events TO agenthifive_app")  # answered with a warning
        held = connection.execute("SELECT has_table_privilege('l_audit_events', 'UPDATE, DELETE, TRUNCATE')").fetchone()
    assert held == (False,)
