"""What a reader asks the log for, and the bookmark with which reading goes on. Pure.

    query -> Filters -> resolve(now) -> Window -> first page -> Cursor -> next page, same window

Source: contract/audit.md section 7, http.md section 2 (cursors).
"""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Self

import msgspec

from agenthifive.errors import AppError
from agenthifive.ids import wire_time
from agenthifive.vault import base64url
from agenthifive.words import AuditAction, AuditDecision, PrincipalType

CURSOR_MAX: Final = 200
SPAN_MAX: Final = timedelta(days=31)
SPAN_DEFAULT: Final = timedelta(hours=24)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_UNBOUNDED: Final = -(2**63)
_CURSOR: Final = struct.Struct(">qqq16s")

_encode = msgspec.json.Encoder(order="deterministic").encode


class Filters(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Which rows of a workspace are wanted; None admits all.

    Shapes:
        actions: sorted, without repeats. date_from: inclusive. date_to: exclusive. Both aware, UTC, not before 1970.
    """

    agent_id: str | None = None
    connection_id: str | None = None
    policy_id: str | None = None
    approval_id: str | None = None
    actions: tuple[AuditAction, ...] = ()
    decision: AuditDecision | None = None
    actor: str | None = None
    principal_type: PrincipalType | None = None
    request_id: str | None = None
    would_deny: bool = False
    date_from: datetime | None = None
    date_to: datetime | None = None

    def as_metadata(self) -> dict[str, Any]:
        """The members that were given, by their names in the query, for the row of an export."""
        given: dict[str, Any] = msgspec.to_builtins(self)
        if "actions" in given:
            given["action"] = list(given.pop("actions"))
        for name, at in (("dateFrom", self.date_from), ("dateTo", self.date_to)):
            if at is not None:
                given[name] = wire_time(at)
        return given

    def digest(self, workspace_id: str) -> bytes:
        """What a cursor is bound to: these filters, in this workspace."""
        return sha256(_encode([workspace_id, self])).digest()[:16]


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of time that is looked at; None is unbounded."""

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended. The start of the window travels along, so that "the last 24 hours" do not move on."""

    at: datetime
    row_id: int
    start: datetime | None

    def encode(self, digest: bytes) -> str:
        """The opaque text of `nextCursor`."""
        start = _UNBOUNDED if self.start is None else _as_milliseconds(self.start)
        return base64url.encode(_CURSOR.pack(_as_milliseconds(self.at), self.row_id, start, digest))

    @classmethod
    def decode(cls, text: str, digest: bytes) -> Self:
        """Read a cursor back. Raises: AppError (invalid_cursor) when it is not ours or made for other filters."""
        try:
            at, row_id, start, bound_to = _CURSOR.unpack(base64url.decode(text[: CURSOR_MAX + 1]))
            cursor = cls(_as_instant(at), row_id, None if start == _UNBOUNDED else _as_instant(start))
        except (base64url.NotBase64url, struct.error, OverflowError):
            raise _invalid_cursor() from None
        if bound_to != digest:
            raise _invalid_cursor()
        return cursor


def resolve(filters: Filters, now: datetime) -> Window:
    """The time range of a first page: the last 24 hours where no index serves the filter and none was given.

    Raises: AppError (invalid_request) for more than 31 days with such a filter.
    """
    if filters.request_id is None and not filters.would_deny:
        return Window(filters.date_from, filters.date_to)
    end = filters.date_to or now
    start = filters.date_from or end - SPAN_DEFAULT
    if end - start > SPAN_MAX:
        advice = "requestId and wouldDeny look at 31 days at most: give a dateFrom and dateTo that are closer together."
        raise AppError("invalid_request", advice, fields=[{"path": "dateFrom", "message": advice}])
    return Window(start, filters.date_to)


def resume(filters: Filters, cursor: Cursor) -> Window:
    """The time range of every later page: what the first one looked at."""
    return Window(filters.date_from or cursor.start, filters.date_to)


def _invalid_cursor() -> AppError:
    return AppError(
        "invalid_cursor", "This cursor is not known, or it was made for other filters. Start again without cursor."
    )


def _as_milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MILLISECOND


def _as_instant(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
