"""Pages of a log of twelve thousand rows: nothing lost, nothing twice, nobody else's, and one index scan a page."""

import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.audit import store
from agenthifive.audit.filters import Filters, Window
from agenthifive.audit.record import Record
from agenthifive.db.database import Connection, Database
from agenthifive.ids import new_id
from agenthifive.words import AuditAction, AuditDecision, PrincipalType
from audit.logs import Log

OURS, THEIRS = new_id(), new_id()
AGENTS, CONNECTIONS, APPROVAL = [new_id() for _ in range(20)], [new_id() for _ in range(20)], new_id()
ROWS = 10_000
NEWEST = datetime(2026, 11, 23, 15, tzinfo=UTC)
EVER = Window(None, None)
# two rows a millisecond, so that the tie-break matters; every sixth row belongs to others; hashes are not looked at
FILL = """
    INSERT INTO l_audit_events (audit_id, "timestamp", actor, agent_id, connection_id, action, decision, metadata,
        workspace_id, principal_type, approval_id, request_id, chain_id, chain_seq, prev_hash, hash)
    SELECT gen_random_uuid(), %(newest)s::timestamptz - make_interval(secs => (n / 2) * 0.001), 'system',
           (%(agents)s::uuid[])[n %% 20 + 1], (%(connections)s::uuid[])[n / 20 %% 20 + 1],
           CASE WHEN n %% 50 = 0 THEN 'agent_created' WHEN n %% 2 = 0 THEN 'execution_requested'
                ELSE 'policy_created' END,
           CASE WHEN n %% 3 = 0 THEN 'denied' ELSE 'allowed' END,
           CASE WHEN n %% 1000 = 2 THEN '{"wouldDeny": []}' ELSE '{}' END::jsonb,
           CASE WHEN n %% 6 = 5 THEN %(theirs)s ELSE %(ours)s END::uuid,
           CASE WHEN n %% 10 = 0 THEN 'user' ELSE 'system' END,
           CASE WHEN n %% 3000 = 1 THEN %(approval)s::uuid END, 'req-' || n, %(chain)s, n, sha256(''), sha256('')
      FROM generate_series(1, 12000) n
"""


@pytest.fixture(scope="module")
def log(make_log: Callable[[], Log]) -> Log:
    """A log of this module's own."""
    return make_log()


@pytest.fixture(scope="module", autouse=True)
def rows(log: Log) -> None:
    with log.superuser() as connection:
        connection.execute(
            FILL,
            {"newest": NEWEST, "agents": AGENTS, "connections": CONNECTIONS, "ours": OURS, "theirs": THEIRS,
             "approval": APPROVAL, "chain": new_id()},
        )  # fmt: skip
        connection.execute("ANALYZE l_audit_events")


@pytest_asyncio.fixture
async def connection(log_database: Database) -> AsyncIterator[Connection]:
    async with log_database.transaction() as opened:
        yield opened


async def walk(connection: Connection, filters: Filters, limit: int, window: Window = EVER) -> list[Record]:
    """All pages, one after the other."""
    found: list[Record] = []
    after = None
    while True:
        page = await store.list_page(connection, OURS, filters, window, limit, after)
        found += page
        if len(page) < limit:
            return found
        after = datetime.fromisoformat(page[-1].timestamp), int(page[-1].id)


async def test_walking_all_pages_returns_each_row_once_newest_first(connection: Connection) -> None:
    found = await walk(connection, Filters(), 200)
    assert len({record.audit_id for record in found}) == len(found) == ROWS
    keys = [(record.timestamp, int(record.id)) for record in found]
    assert keys == sorted(keys, reverse=True)
    assert {record.workspace_id for record in found} == {OURS}


async def test_rows_that_arrive_while_paging_neither_shift_nor_repeat_the_old_ones(
    log: Log, log_database: Database
) -> None:
    workspace = new_id()
    arrive = """
        INSERT INTO l_audit_events (audit_id, "timestamp", actor, action, decision, workspace_id, principal_type,
                                    chain_id, chain_seq, prev_hash, hash)
        SELECT gen_random_uuid(), now() - n * interval '1 ms', 'system', 'agent_created', 'allowed', %s, 'system', %s,
               n, sha256(''), sha256('') FROM generate_series(1, 40) n
    """
    log.do(arrive, workspace, new_id())
    old = {row[0] for row in log.ask("SELECT audit_id::text FROM l_audit_events WHERE workspace_id = %s", workspace)}
    seen: list[str] = []
    after = None
    for _ in range(20):
        async with log_database.transaction() as connection:
            page = await store.list_page(connection, workspace, Filters(), EVER, 7, after)
        seen += [record.audit_id for record in page]
        if len(page) < 7:
            break
        after = datetime.fromisoformat(page[-1].timestamp), int(page[-1].id)
        log.do(arrive, workspace, new_id())
    assert len(seen) == len(set(seen))
    assert old <= set(seen)


FILTERS: list[tuple[Filters, str]] = [
    (Filters(), "true"),
    (Filters(agent_id=AGENTS[4]), f"agent_id = '{AGENTS[4]}'"),
    (Filters(connection_id=CONNECTIONS[4]), f"connection_id = '{CONNECTIONS[4]}'"),
    (Filters(agent_id=AGENTS[4], connection_id=CONNECTIONS[4]),
     f"agent_id = '{AGENTS[4]}' AND connection_id = '{CONNECTIONS[4]}'"),
    (Filters(actions=(AuditAction.AGENT_CREATED,)), "action = 'agent_created'"),
    (Filters(actions=(AuditAction.AGENT_CREATED, AuditAction.EXECUTION_REQUESTED)),
     "action IN ('agent_created', 'execution_requested')"),
    (Filters(decision=AuditDecision.DENIED), "decision = 'denied'"),
    (Filters(actor="system"), "actor = 'system'"),
    (Filters(principal_type=PrincipalType.USER), "principal_type = 'user'"),
    (Filters(request_id="req-4"), "request_id = 'req-4'"),
    (Filters(would_deny=True), "metadata ? 'wouldDeny'"),
    (Filters(approval_id=APPROVAL), f"approval_id = '{APPROVAL}'"),
    (Filters(policy_id=OURS), "policy_id IS NOT NULL"),
    (Filters(agent_id=AGENTS[4], decision=AuditDecision.DENIED, principal_type=PrincipalType.SYSTEM),
     f"agent_id = '{AGENTS[4]}' AND decision = 'denied' AND principal_type = 'system'"),
]  # fmt: skip


@pytest.mark.parametrize(("filters", "condition"), FILTERS)
async def test_a_filter_admits_what_its_condition_says(
    log: Log, connection: Connection, filters: Filters, condition: str
) -> None:
    expected = log.ask(f"SELECT audit_id::text FROM l_audit_events WHERE workspace_id = %s AND {condition}", OURS)
    found = await walk(connection, filters, 500)
    assert sorted(record.audit_id for record in found) == sorted(row[0] for row in expected)


async def test_times_are_inclusive_at_the_start_and_exclusive_at_the_end(connection: Connection) -> None:
    start, end = NEWEST - timedelta(milliseconds=40), NEWEST - timedelta(milliseconds=10)
    found = await walk(connection, Filters(), 500, Window(start, end))
    assert min(record.timestamp for record in found) == "2026-11-23T14:59:59.960Z"
    assert max(record.timestamp for record in found) == "2026-11-23T14:59:59.989Z"


async def test_an_upper_bound_leaves_out_what_was_inserted_later(connection: Connection) -> None:
    everything = await store.list_page(connection, OURS, Filters(), EVER, 500)
    bound = sorted(int(record.id) for record in everything)[250]
    found = await store.list_page(connection, OURS, Filters(), EVER, 500, None, bound)
    assert max(int(record.id) for record in found) == bound
    assert await store.read_last_id(connection) >= int(everything[0].id)


def scans(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes of a plan that read a table."""
    inner = [scan for child in plan.get("Plans", []) for scan in scans(child)]
    return [*inner, plan] if "Scan" in plan["Node Type"] else inner


def node_types(plan: dict[str, Any]) -> set[str]:
    return {plan["Node Type"]}.union(*(node_types(child) for child in plan.get("Plans", [])))


NEWER = """
    SELECT "timestamp", id FROM l_audit_events WHERE workspace_id = %s ORDER BY "timestamp" DESC, id DESC
    OFFSET %s LIMIT 1
"""


async def explain(connection: Connection, filters: Filters, window: Window, after: Any) -> dict[str, Any]:
    statement, values = store.page_statement(OURS, filters, window, 51, after)
    cursor = await connection.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values, prepare=False)
    row = await cursor.fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (Filters(), "l_audit_events_workspace"),
        (Filters(agent_id=AGENTS[4]), "l_audit_events_agent"),
        (Filters(connection_id=CONNECTIONS[4]), "l_audit_events_connection"),
        (Filters(actions=(AuditAction.AGENT_CREATED,)), "l_audit_events_action"),
    ],
)
@pytest.mark.parametrize("skipped", [None, 1000, 5000, 9000])
async def test_a_page_is_one_range_scan_of_the_index_that_fits_at_any_depth(
    log: Log, connection: Connection, filters: Filters, index: str, skipped: int | None
) -> None:
    """Nothing is sorted, skipped or counted: the scan reads the rows of the page and stops."""
    after = None if skipped is None else log.ask(NEWER, OURS, skipped)[0]
    plan = await explain(connection, filters, EVER, after)
    assert node_types(plan) <= {"Limit", "Index Scan", "Result"}
    (scan,) = scans(plan)
    assert scan["Index Name"] == index
    assert scan["Actual Rows"] <= 51
    assert scan.get("Rows Removed by Filter", 0) == 0


@pytest.mark.parametrize(
    "filters",
    [
        Filters(decision=AuditDecision.DENIED),
        Filters(principal_type=PrincipalType.USER),
        Filters(actor="system"),
        Filters(actions=(AuditAction.EXECUTION_REQUESTED, AuditAction.POLICY_CREATED)),
    ],
)
async def test_other_filters_read_along_the_same_order_and_stop_when_the_page_is_full(
    connection: Connection, filters: Filters
) -> None:
    plan = await explain(connection, filters, Window(NEWEST - timedelta(seconds=5), None), (NEWEST, 2**62))
    assert node_types(plan) <= {"Limit", "Index Scan", "Result"}
    assert len(scans(plan)) == 1


@pytest.mark.parametrize(
    ("filters", "window"),
    [
        (Filters(agent_id=AGENTS[4], connection_id=CONNECTIONS[4]), EVER),
        (Filters(request_id="req-4"), Window(NEWEST - timedelta(milliseconds=200), None)),
        (Filters(would_deny=True), Window(NEWEST - timedelta(milliseconds=200), None)),
    ],
)
async def test_what_is_rare_is_not_searched_for_in_the_whole_table(
    connection: Connection, filters: Filters, window: Window
) -> None:
    (scan,) = scans(await explain(connection, filters, window, None))[:1]
    assert scan["Node Type"] != "Seq Scan"
    assert scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) <= ROWS / 10


async def test_the_rows_of_an_approval_are_found_by_their_own_index(connection: Connection) -> None:
    plan = await explain(connection, Filters(approval_id=APPROVAL), EVER, None)
    assert {scan.get("Index Name") for scan in scans(plan)} == {"l_audit_events_approval"}


async def test_one_event_and_its_relatives_are_found_by_indexes(connection: Connection) -> None:
    values = {"workspace_id": OURS, "audit_id": new_id(), "intent_id": new_id(), "approval_id": APPROVAL}
    for statement in (store.FIND, store.RELATED):
        cursor = await connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", values, prepare=False)
        row = await cursor.fetchone()
        assert row is not None
        assert "Seq Scan" not in node_types(row[0][0]["Plan"])


async def test_events_of_another_workspace_do_not_exist(log: Log, connection: Connection) -> None:
    ((foreign,),) = log.ask("SELECT audit_id::text FROM l_audit_events WHERE workspace_id = %s LIMIT 1", THEIRS)
    assert await store.find_event(connection, THEIRS, foreign) is not None
    assert await store.find_event(connection, OURS, foreign) is None


async def test_relatives_are_the_rows_of_the_same_approval_oldest_first(connection: Connection) -> None:
    found = await walk(connection, Filters(approval_id=APPROVAL), 500)
    event = random.Random(7).choice(found)
    related = await store.list_related(connection, OURS, event)
    assert [record.audit_id for record in related] == [
        record.audit_id for record in reversed(found) if record.audit_id != event.audit_id
    ]
    assert await store.list_related(connection, THEIRS, event) == []


async def test_a_turn_is_held_by_one_session_until_it_is_left_or_gone(log_database: Database) -> None:
    first, second = await log_database.dedicated(), await log_database.dedicated()
    try:
        assert await store.hold_turn(first, "key")
        assert not await store.hold_turn(second, "key")
        assert await store.hold_turn(second, "another key")
        await store.leave_turn(first, "key")
        assert await store.hold_turn(second, "key")
    finally:
        await first.close()
        await second.close()
