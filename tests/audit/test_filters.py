"""Filters, time ranges and bookmarks: what a cursor carries, and which ones are refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.audit.filters import CURSOR_MAX, Cursor, Filters, Window, resolve, resume
from agenthifive.errors import AppError
from agenthifive.ids import new_id
from agenthifive.vault import base64url
from agenthifive.words import AuditAction, AuditDecision, PrincipalType

NOW = datetime(2026, 11, 23, 15, tzinfo=UTC)
WORKSPACE = "7a1f0c52-3b6e-4c19-9d2a-0e5b8f4c6d11"
DIGEST = Filters().digest(WORKSPACE)
CURSOR = Cursor(NOW, 7, None)

instants = st.integers(0, 250_000_000_000_000).map(
    lambda ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
)


@given(instants, st.integers(0, 2**63 - 1), st.none() | instants)
def test_a_cursor_says_where_to_go_on_and_stays_short(at: datetime, row_id: int, start: datetime | None) -> None:
    text = Cursor(at, row_id, start).encode(DIGEST)
    assert Cursor.decode(text, DIGEST) == Cursor(at, row_id, start)
    assert len(text) <= CURSOR_MAX


@given(st.text(max_size=300))
def test_any_other_text_is_an_invalid_cursor(text: str) -> None:
    with pytest.raises(AppError) as refused:
        Cursor.decode(text, DIGEST)
    assert (refused.value.code, refused.value.status) == ("invalid_cursor", 400)


@given(st.binary(min_size=40, max_size=40))
def test_bytes_of_the_right_length_are_not_ours_either(data: bytes) -> None:
    with pytest.raises(AppError):
        Cursor.decode(base64url.encode(data), DIGEST)


@pytest.mark.parametrize("spoil", [lambda text: text + "=", lambda text: text[:-1], lambda text: " " + text])
def test_a_cursor_has_one_spelling(spoil) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AppError):
        Cursor.decode(spoil(CURSOR.encode(DIGEST)), DIGEST)


@pytest.mark.parametrize(
    "other",
    [
        Filters(agent_id=WORKSPACE),
        Filters(connection_id=WORKSPACE),
        Filters(policy_id=WORKSPACE),
        Filters(approval_id=WORKSPACE),
        Filters(actions=(AuditAction.AGENT_CREATED,)),
        Filters(decision=AuditDecision.DENIED),
        Filters(actor="system"),
        Filters(principal_type=PrincipalType.USER),
        Filters(request_id="req-1"),
        Filters(would_deny=True),
        Filters(date_from=NOW),
        Filters(date_to=NOW),
    ],
)
def test_a_cursor_belongs_to_its_filters(other: Filters) -> None:
    with pytest.raises(AppError):
        Cursor.decode(CURSOR.encode(DIGEST), other.digest(WORKSPACE))


def test_a_cursor_belongs_to_its_workspace() -> None:
    with pytest.raises(AppError):
        Cursor.decode(CURSOR.encode(DIGEST), Filters().digest(new_id()))


def test_most_filters_look_at_all_times() -> None:
    assert resolve(Filters(agent_id=WORKSPACE), NOW) == Window(None, None)
    assert resolve(Filters(date_from=NOW), NOW) == Window(NOW, None)


@pytest.mark.parametrize("narrow", [{"request_id": "req-1"}, {"would_deny": True}])
def test_filters_without_an_index_look_at_a_day_or_at_what_was_asked(narrow: dict[str, object]) -> None:
    day, month = timedelta(days=1), timedelta(days=31)
    assert resolve(Filters(**narrow), NOW) == Window(NOW - day, None)  # type: ignore[arg-type]
    ended = Filters(date_to=NOW - month, **narrow)  # type: ignore[arg-type]
    assert resolve(ended, NOW) == Window(NOW - month - day, NOW - month)
    whole = Filters(date_from=NOW - 2 * month, date_to=NOW - month, **narrow)  # type: ignore[arg-type]
    assert resolve(whole, NOW) == Window(NOW - 2 * month, NOW - month)
    since = Filters(date_from=NOW - month - timedelta(milliseconds=1), **narrow)  # type: ignore[arg-type]
    with pytest.raises(AppError) as refused:
        resolve(since, NOW)
    assert (refused.value.code, refused.value.fields) == (
        "invalid_request",
        [{"path": "dateFrom", "message": refused.value.message}],
    )


def test_the_last_day_does_not_move_on_while_it_is_read() -> None:
    filters = Filters(request_id="req-1")
    first = resolve(filters, NOW)
    cursor = Cursor.decode(Cursor(NOW, 7, first.start).encode(DIGEST), DIGEST)
    assert resume(filters, cursor) == first


def test_an_export_records_the_filters_by_their_names_in_the_query() -> None:
    filters = Filters(
        agent_id=WORKSPACE,
        actions=(AuditAction.AGENT_CREATED, AuditAction.AGENT_DELETED),
        would_deny=True,
        date_from=NOW.astimezone(timezone(timedelta(hours=2))),
    )
    assert filters.as_metadata() == {
        "agentId": WORKSPACE,
        "action": ["agent_created", "agent_deleted"],
        "wouldDeny": True,
        "dateFrom": "2026-11-23T15:00:00.000Z",
    }
    assert Filters().as_metadata() == {}
