"""Verification as its callers see it: reports, orphans, gaps in time, speed."""

import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from agenthifive.audit.model import Event
from agenthifive.audit.verify import (
    ROWS,
    TEXT_FORMS,
    ChainChecker,
    Problem,
    ProblemCode,
    Report,
    _cursor,
    _wire_time,
    verify,
)
from agenthifive.ids import new_id, wire_time_of
from agenthifive.words import AuditAction
from audit.logs import Log

MakeEvent = Callable[..., Event]
CHAIN_ID = "c9bf9e57-1685-4c89-bafb-ff5af830be8a"


@pytest.fixture(scope="module")
def log(make_log: Callable[[], Log]) -> Log:
    """A log of this module's own."""
    return make_log()


def call(make_event: MakeEvent, age_s: float, action: AuditAction = AuditAction.EXECUTION_REQUESTED) -> list[Event]:
    """An intent and its outcome, that old."""
    at = wire_time_of(time.time() - age_s)
    intent = make_event(action, timestamp=at)
    return [intent, make_event(AuditAction.EXECUTION_COMPLETED, timestamp=at, intent_id=intent.audit_id)]


def test_an_empty_log_is_good_and_a_committed_edit_is_reported_with_code_and_place(
    make_log: Callable[[], Log], make_event: MakeEvent
) -> None:
    log = make_log()
    empty = log.verify()
    assert (empty.ok, empty.as_lines()) == (True, ["verified 0 rows in 0 chains"])
    head = log.fill([[make_event() for _ in range(9)], [make_event()]])[0]
    with log.superuser() as connection:
        connection.execute("SET session_replication_role = replica")
        row = connection.execute(
            "UPDATE l_audit_events SET ip = '::1' WHERE chain_id = %s AND chain_seq = 4 RETURNING audit_id::text",
            [head.chain_id],
        ).fetchone()
    assert row is not None
    report = log.verify()
    assert report.as_json() == {
        "ok": False, "chains": 2, "rows": 10, "checkpoints": 0, "tailRows": 10, "lastCheckpoint": None,
        "problems": [{"code": "row_altered", "chainId": head.chain_id, "seq": 4, "n": None, "auditId": row[0]}],
    }  # fmt: skip
    assert report.as_lines() == [
        f"row_altered: chain {head.chain_id} row 4 (audit id {row[0]})",
        "read 10 rows in 2 chains; problems: 1",
    ]


def test_intents_may_be_open_for_five_minutes_and_no_longer(log: Log, make_event: MakeEvent) -> None:
    fresh, _ = call(make_event, 240)
    old, _ = call(make_event, 360)
    vend, _ = call(make_event, 360, AuditAction.TOKEN_VEND_REQUESTED)
    denied = make_event(AuditAction.EXECUTION_DENIED, timestamp=old.timestamp)
    head = log.fill([[fresh, old, *call(make_event, 360), denied, vend]])[0]
    assert [problem for problem in log.verify().problems if problem.chain_id == head.chain_id] == [
        Problem(ProblemCode.ORPHAN_INTENT, head.chain_id, 2, old.audit_id),
        Problem(ProblemCode.ORPHAN_INTENT, head.chain_id, 6, vend.audit_id),
    ]


def test_halves_of_a_call_may_be_in_different_chains(log: Log, make_event: MakeEvent) -> None:
    intent, outcome = call(make_event, 360)
    first, second = log.fill([[intent], [outcome]])
    assert not {first.chain_id, second.chain_id} & {problem.chain_id for problem in log.verify().problems}


def test_an_outcome_of_nothing_and_one_of_a_row_that_is_no_intent_are_found(log: Log, make_event: MakeEvent) -> None:
    denied = make_event()
    stray = make_event(AuditAction.EXECUTION_COMPLETED, intent_id=new_id())
    wrong = make_event(AuditAction.EXECUTION_COMPLETED, intent_id=denied.audit_id)
    head = log.fill([[denied, stray, wrong]])[0]
    assert [problem for problem in log.verify().problems if problem.chain_id == head.chain_id] == [
        Problem(ProblemCode.ORPHAN_OUTCOME, head.chain_id, 2, stray.audit_id),
        Problem(ProblemCode.ORPHAN_OUTCOME, head.chain_id, 3, wrong.audit_id),
    ]


def test_what_a_client_wrote_is_verified_as_it_was_stored(log: Log, make_event: MakeEvent) -> None:
    """Nothing that passes through JSON and jsonb changes its bytes."""
    metadata: dict[str, Any] = {
        "text": "".join(map(chr, [*range(1, 0x100), 0x7FF, 0x2028, 0xFFFD, 0x1F600])),
        "numbers": [0, -1, 2**53 - 1, 1 - 2**53],
        "z": None, "a": True, "Z": {"b": [], "": {}}, "é": "NUL \0, half \ud83d",
    }  # fmt: skip
    head = log.fill([[make_event(metadata=metadata, user_agent='="x"\t\x7f\u2028', ip="\0")]])[0]
    assert head.chain_id not in {problem.chain_id for problem in log.verify().problems}


def test_every_millisecond_is_read_back_as_it_was_written(log: Log, make_event: MakeEvent) -> None:
    """PostgreSQL leaves out trailing zeros; the hash does not."""
    times = [f"2026-11-23T15:00:01.{digits}Z" for digits in ("000", "001", "010", "100", "120", "123", "999")]
    head = log.fill([[make_event(timestamp=at) for at in times]])[0]
    assert head.chain_id not in {problem.chain_id for problem in log.verify().problems}
    assert _wire_time("2026-11-23 15:00:01+00") == "2026-11-23T15:00:01.000Z"


def test_the_application_needs_no_more_than_reading(log: Log, make_event: MakeEvent) -> None:
    log.fill([[make_event()]])
    with psycopg.connect(log.app_dsn) as connection:
        connection.execute("SET default_transaction_read_only = on")
        connection.commit()
        assert verify(connection).rows >= 1


def row(seq: int, previous: bytes, own: bytes) -> tuple[Any, ...]:
    """Columns as PostgreSQL writes them; what is not given is not looked at before the hash."""
    return (
        "execution_denied", "system", None, None, f"id-{seq}", CHAIN_ID, seq, None, "denied", None, None, "{}", None,
        None, "system", None, None, "2026-11-23 15:00:01.25+00", None, None, previous, own,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (20, None),
        (17, None),
        (11, None),
        (11, "{"),
        (11, "[" * 5000 + "]" * 5000),
        (11, "1e400"),
        (21, None),
        (0, None),
    ],
)
def test_columns_no_writer_can_have_written_are_altered_rows_not_crashes(position: int, value: Any) -> None:
    columns = list(row(1, b"\0" * 32, b"\1" * 32))
    columns[position] = value
    checker = ChainChecker({CHAIN_ID: b"\0" * 32})
    checker.feed(tuple(columns))
    assert ("row_altered", 1) in [(problem.code, problem.seq) for problem in checker.problems]


def test_one_number_twice_is_a_fault_of_its_own() -> None:
    """The unique index forbids it; a superuser can drop the index."""
    checker = ChainChecker({CHAIN_ID: b"\0" * 32})
    checker.feed(row(1, b"\0" * 32, b"\1" * 32))
    checker.feed(row(1, b"\1" * 32, b"\2" * 32))
    assert [str(problem.code) for problem in checker.problems] == ["row_altered", "row_link", "row_altered"]


def test_a_report_keeps_the_first_hundred_problems() -> None:
    checker = ChainChecker({})
    for seq in range(1, 300):
        checker.feed(row(seq, b"\0" * 32, b"\1" * 32))
    report = Report(checker.chains, checker.rows, checker.problems)
    assert (len(report.problems), report.rows, report.problems[0].code) == (100, 299, "chain_missing")
    assert report.as_lines()[-1] == "read 299 rows in 1 chains; the first 100 problems"


def test_one_core_checks_fifty_thousand_rows_a_second(log: Log, make_event: MakeEvent) -> None:
    """Processor time of the checker alone, the best of five runs: other programs may be at work beside it."""
    metadata = {
        "model": "B", "provider": "google", "service": "google-gmail", "method": "GET", "scheme": "https",
        "host": "gmail.googleapis.com", "path": "/gmail/v1/users/me/messages", "queryNames": ["maxResults"],
        "bodyBytes": 0, "bodySha256": "e3b0c442" * 8, "fingerprint": "abcdef01" * 8, "via": "execute",
    }  # fmt: skip
    ids = {name: new_id() for name in ("agent_id", "connection_id", "policy_id", "workspace_id", "principal_id")}
    events = [make_event(metadata=metadata, user_agent="curl/8.5.0", ip="::1", **ids) for _ in range(2000)]
    head = log.fill([events])[0]
    with psycopg.connect(log.app_dsn) as connection:
        connection.execute(TEXT_FORMS)
        statement = ROWS.replace("ORDER BY", "WHERE chain_id = %s ORDER BY")
        rows = _cursor(connection).execute(statement, [head.chain_id]).fetchall()
    assert max(rate(rows) for _ in range(5)) >= 50_000


def rate(rows: list[tuple[Any, ...]]) -> float:
    checker = ChainChecker({rows[0][5]: rows[0][20]})
    started = time.process_time()
    for columns in rows:
        checker.feed(columns)
    elapsed_s = time.process_time() - started
    assert not checker.problems
    return len(rows) / elapsed_s
