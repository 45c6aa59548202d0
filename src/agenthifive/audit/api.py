"""The JSON routes of the log: a page, one event, the export. Source: contract/audit.md sections 7 and 8."""

import asyncio
import re
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from agenthifive.audit.export import FORMS, ExportFormat, Form
from agenthifive.audit.filters import Filters
from agenthifive.audit.service import AuditReader, Export
from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.body import ClientGone
from agenthifive.edge.callers import RECENT_S, Caller, RoleRule
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.ids import is_id
from agenthifive.words import AuditAction, AuditDecision, PrincipalType, Scope

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_STALL_S: Final = 60.0
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)

routes = Routes("audit")


def _id(text: str) -> str:
    if not is_id(text):
        raise ValueError("must be a UUID in lower case")
    return text


def _instant(value: object) -> datetime:
    try:
        if isinstance(value, str) and _RFC_3339.fullmatch(value):
            at = datetime.fromisoformat(value.upper()).astimezone(UTC)
            if at >= _EARLIEST:
                return at
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be an RFC 3339 time such as 2026-11-23T15:00:01.250Z")


Id = Annotated[str, AfterValidator(_id)]
Word = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")]
Instant = Annotated[datetime, BeforeValidator(_instant)]


class AuditFilters(BaseModel):
    """The filters that pages and exports share."""

    model_config = ConfigDict(alias_generator=to_camel)

    agent_id: Id | None = None
    connection_id: Id | None = None
    policy_id: Id | None = None
    approval_id: Id | None = None
    action: list[AuditAction] = []
    decision: AuditDecision | None = None
    actor: Word | None = None
    principal_type: PrincipalType | None = None
    request_id: Word | None = None
    would_deny: Literal["true", "false"] = "false"
    date_from: Instant | None = None
    date_to: Instant | None = None

    def filters(self) -> Filters:
        """The same as the store understands it."""
        return Filters(
            agent_id=self.agent_id,
            connection_id=self.connection_id,
            policy_id=self.policy_id,
            approval_id=self.approval_id,
            actions=tuple(sorted(set(self.action))),
            decision=self.decision,
            actor=self.actor,
            principal_type=self.principal_type,
            request_id=self.request_id,
            would_deny=self.would_deny == "true",
            date_from=self.date_from,
            date_to=self.date_to,
        )


class AuditQuery(AuditFilters):
    """Query of GET /v1/audit."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: str | None = None


class ExportQuery(AuditFilters):
    """Query of GET /v1/audit/export."""

    format: ExportFormat


class NoMembers(BaseModel):
    """An empty body. GAP: `from` and `to` are refused until checkpoints say where a part of the log begins."""

    model_config = ConfigDict(extra="forbid")


def _reader_of(request: Request) -> AuditReader:
    reader: AuditReader = request.app.state.audit
    return reader


ReaderOf = Annotated[AuditReader, Depends(_reader_of)]


class ExportAnswer(StreamingResponse):
    """The file of an export; its connection is given back however the transfer ends."""

    def __init__(self, export: Export) -> None:
        super().__init__(
            export.chunks(),
            headers=_file_headers(export.form) | export.limit_headers,
            media_type=export.form.media_type,
        )
        self._export = export

    async def stream_response(self, send: Send) -> None:
        """Send the file as fast as it is taken. Raises: ClientGone."""

        async def send_or_leave(message: MutableMapping[str, Any]) -> None:
            try:
                async with asyncio.timeout(_STALL_S):
                    await send(message)
            except OSError:  # gone, or so slow that the connection behind the export is better given back
                raise ClientGone from None

        try:
            await super().stream_response(send_or_leave)
        finally:
            await self._export.close()


@routes.get("/v1/audit", errors=["invalid_request", "invalid_cursor"])
async def list_audit(
    caller: Annotated[Caller, may(Scope.AUDIT_READ)],
    query: Annotated[AuditQuery, Query()],
    unit: UnitOfRequest,
    reader: ReaderOf,
) -> JsonAnswer:
    """Rows of the workspace, newest first, those of deleted objects included."""
    page = await reader.list_events(
        await unit.begin(),
        caller.workspace_id,
        query.filters(),
        limit=query.limit,
        cursor=query.cursor,
        now=datetime.now(UTC),
    )
    return JsonAnswer({"events": page.events, "nextCursor": page.next_cursor})


@routes.get("/v1/audit/export", audit=[AuditAction.AUDIT_EXPORTED], errors=["invalid_request", "rate_limited"])
async def export_audit(
    request: Request,
    caller: Annotated[Caller, may(Scope.AUDIT_EXPORT, role=RoleRule.AUDITOR)],
    query: Annotated[ExportQuery, Query()],
    unit: UnitOfRequest,
    reader: ReaderOf,
) -> Response:
    """The rows that fit the filters as a file, newest first, as they are when the export begins."""
    if request.method == "HEAD":  # says what a GET would answer, and records nothing because nothing leaves
        form = FORMS[query.format]
        head = Response(headers=_file_headers(form), media_type=form.media_type)
        del head.headers["content-length"]
        return head
    export = await reader.begin_export(
        unit, str(caller.user_id), caller.workspace_id, query.filters(), query.format, datetime.now(UTC)
    )
    return ExportAnswer(export)


@routes.get("/v1/audit/{audit_id}")
async def read_audit(
    audit_id: str, caller: Annotated[Caller, may(Scope.AUDIT_READ)], unit: UnitOfRequest, reader: ReaderOf
) -> JsonAnswer:
    """One row, the other half of its call, and the rows of the same approval."""
    event, related = await reader.find_event(await unit.begin(), caller.workspace_id, audit_id)
    return JsonAnswer({"event": event, "related": related})


@routes.get("/v1/admin/audit", errors=["invalid_request", "invalid_cursor"])
async def list_instance_audit(
    caller: Annotated[Caller, may(superadmin=True)],
    query: Annotated[AuditQuery, Query()],
    unit: UnitOfRequest,
    reader: ReaderOf,
) -> JsonAnswer:
    """Rows that belong to no workspace, newest first: failed sign-ins, accounts, keys, starts and stops."""
    page = await reader.list_events(
        await unit.begin(), None, query.filters(), limit=query.limit, cursor=query.cursor, now=datetime.now(UTC)
    )
    return JsonAnswer({"events": page.events, "nextCursor": page.next_cursor})


@routes.post("/v1/admin/audit/verify", audit=[AuditAction.AUDIT_VERIFIED], errors=["conflict", "unknown_field"])
async def verify_audit(
    caller: Annotated[Caller, may(superadmin=True, recent_s=RECENT_S)],
    body: NoMembers,
    unit: UnitOfRequest,
    reader: ReaderOf,
) -> JsonAnswer:
    """Recompute every hash of the log. It takes a while: some 50 000 rows a second."""
    return JsonAnswer(await reader.verify(unit))


def _file_headers(form: Form) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{form.file_name}"', "cache-control": "no-store"}
