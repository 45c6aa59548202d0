"""The rows the backup is timed with verify like rows of the server."""

import psycopg
import pytest

from agenthifive.audit.verify import ProblemCode, verify
from bench import backup_log
from databases import fresh_database


@pytest.mark.parametrize(("rows", "chains"), [(10, 3), (8, 2)])
def test_the_rows_verify(monkeypatch: pytest.MonkeyPatch, worker_id: str, rows: int, chains: int) -> None:
    monkeypatch.setattr(backup_log, "ROWS_A_CHAIN", 4)
    with fresh_database(f"log_{worker_id}") as database:
        backup_log.write_log(database.app_dsn, rows)
        with psycopg.connect(database.app_dsn) as connection:
            report = verify(connection)
    assert (report.rows, report.chains, list(report.problems)) == (rows, chains, [])


def test_an_odd_number_leaves_a_call_open(worker_id: str) -> None:
    with fresh_database(f"log_{worker_id}") as database:
        backup_log.write_log(database.app_dsn, 3)
        with psycopg.connect(database.app_dsn) as connection:
            report = verify(connection)
    assert [problem.code for problem in report.problems] == [ProblemCode.ORPHAN_INTENT]
