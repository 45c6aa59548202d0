"""The JSON routes of connections and of the catalog.

Source: contract/connections.md sections 3, 5, 7 to 10; http.md sections 15.5 and 15.6; catalog/SCHEMA.md section 12.
"""

import time
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import Depends, Query, Request

from agenthifive.catalog.describe import describe
from agenthifive.connections import answers
from agenthifive.connections.bodies import (
    CredentialChange,
    LabelChange,
    LookupBody,
    NewApiKey,
    NewBotToken,
    NewHttp,
)
from agenthifive.connections.entry import read_api_key, read_bot_token, read_http
from agenthifive.connections.model import Filter
from agenthifive.connections.service import ConnectionService, read_cursor, write_cursor
from agenthifive.db.unit import Unit
from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import Caller, RoleRule
from agenthifive.edge.routing import Edge, Routes, UnitOfRequest, context_of, may
from agenthifive.errors import AppError, not_found
from agenthifive.ids import wire_time_of
from agenthifive.words import AuditAction, ConnectionStatus, Scope

CURSOR_MAX: Final = 200
_ENTRY_ERRORS: Final = (
    "unknown_field",
    "unknown_service",
    "credential_rejected",
    "egress_blocked",
    "singleton_exists",
    "conflict",
    "rate_limited",
    "credential_not_injectable",
    "upstream_unreachable",
    "upstream_timeout",
)
_CHANGE_ERRORS: Final = (*_ENTRY_ERRORS, "connection_revoked", "account_mismatch", "credential_unreadable")

# the one route where a person's token and an agent's token need different scopes

routes = Routes("connections")
Writer = Annotated[Caller, may(Scope.CONNECTIONS_WRITE, role=RoleRule.ADMIN)]


def _connections_of(request: Request) -> ConnectionService:
    connections: ConnectionService = request.app.state.connections
    return connections


ConnectionsOf = Annotated[ConnectionService, Depends(_connections_of)]


async def _count_try(request: Request, connections: ConnectionsOf) -> Mapping[str, str]:
    """Every try counts, a malformed one too: dependencies run before the body is judged."""
    return await connections.count_try(request.state.caller)


TryOf = Annotated[Mapping[str, str], Depends(_count_try)]


@routes.get("/v1/catalog")
async def list_catalog(
    caller: Annotated[Caller, may(Scope.CONNECTIONS_READ)], connections: ConnectionsOf
) -> JsonAnswer:
    """Every service that can be connected, and how."""
    return JsonAnswer({"services": connections.described_catalog})


@routes.get("/v1/catalog/{service_id}", errors=["not_found"])
async def show_service(
    caller: Annotated[Caller, may(Scope.CONNECTIONS_READ)], service_id: str, connections: ConnectionsOf
) -> JsonAnswer:
    """One service of the catalog."""
    service = connections.catalog.get(service_id)
    if service is None:
        raise not_found("service", "/v1/catalog")
    return JsonAnswer(describe(service))


@routes.get("/v1/connections", errors=["invalid_request", "invalid_cursor"])
async def list_connections(
    caller: Annotated[Caller, may(Scope.CONNECTIONS_READ, agents=True)],
    unit: UnitOfRequest,
    connections: ConnectionsOf,
    service: Annotated[str | None, Query(max_length=100)] = None,
    provider: Annotated[str | None, Query(max_length=100)] = None,
    status: ConnectionStatus | None = None,
    q: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 500,
    cursor: Annotated[str | None, Query(max_length=CURSOR_MAX)] = None,
) -> JsonAnswer:
    """Connections, oldest first; revoked ones only when asked for. Agents see those they hold a policy on."""
    after = None if cursor is None else read_cursor(cursor)
    wanted = Filter(service, provider, status, q or None, limit + 1, after)
    found, policies = await connections.list_all(unit, caller, wanted)
    page = found[:limit]
    described = [
        answers.describe_connection(connections.catalog, caller, connection, policies.get(connection.id, ()))
        for connection in page
    ]
    return JsonAnswer({"connections": described, "nextCursor": write_cursor(page[-1]) if len(found) > limit else None})


@routes.get("/v1/connections/{connection_id}", errors=["not_found"])
async def show_connection(
    caller: Annotated[Caller, may(Scope.CONNECTIONS_READ)],
    connection_id: str,
    unit: UnitOfRequest,
    connections: ConnectionsOf,
) -> JsonAnswer:
    """One connection, a revoked one too."""
    connection, policies = await connections.find(unit, caller, connection_id)
    return JsonAnswer({"connection": answers.describe_connection(connections.catalog, caller, connection, policies)})


@routes.post(
    "/v1/connections/api-key",
    audit=[AuditAction.CONNECTION_CREATED],
    errors=[*_ENTRY_ERRORS, "provider_mismatch"],
)
async def connect_api_key(
    caller: Writer, body: NewApiKey, unit: UnitOfRequest, connections: ConnectionsOf, counted: TryOf
) -> JsonAnswer:
    """Connect a service with a key."""
    entry = read_api_key(connections.catalog, body, connections.limits)
    stored = await connections.enter(unit, caller, entry)
    return JsonAnswer(answers.describe_stored(stored), headers=counted)


@routes.post("/v1/connections/bot-token", audit=[AuditAction.CONNECTION_CREATED], errors=_ENTRY_ERRORS)
async def connect_bot(
    caller: Writer, body: NewBotToken, unit: UnitOfRequest, connections: ConnectionsOf, counted: TryOf
) -> JsonAnswer:
    """Connect a chat service with the token of a bot."""
    entry = read_bot_token(connections.catalog, body, connections.limits)
    stored = await connections.enter(unit, caller, entry)
    return JsonAnswer(answers.describe_bot(stored), headers=counted)


@routes.post("/v1/connections/http", audit=[AuditAction.CONNECTION_CREATED], errors=_ENTRY_ERRORS)
async def connect_http(
    caller: Writer, body: NewHttp, unit: UnitOfRequest, connections: ConnectionsOf, counted: TryOf
) -> JsonAnswer:
    """Connect any HTTP API."""
    entry = read_http(connections.catalog, body, connections.limits)
    stored = await connections.enter(unit, caller, entry)
    return JsonAnswer(answers.describe_stored(stored), headers=counted)


@routes.put(
    "/v1/connections/{connection_id}/credentials",
    audit=[AuditAction.CONNECTION_CREDENTIALS_UPDATED],
    errors=_CHANGE_ERRORS,
)
async def change_credentials(
    caller: Writer,
    connection_id: str,
    body: CredentialChange,
    unit: UnitOfRequest,
    connections: ConnectionsOf,
    counted: TryOf,
) -> JsonAnswer:
    """Give a connection another credential of the same account."""
    return await _replace(connections, unit, caller, connection_id, body, counted)


@routes.post(
    "/v1/connections/{connection_id}/reauth",
    audit=[AuditAction.CONNECTION_CREDENTIALS_UPDATED],
    errors=_CHANGE_ERRORS,
)
async def reconnect(
    caller: Writer,
    connection_id: str,
    body: CredentialChange,
    unit: UnitOfRequest,
    connections: ConnectionsOf,
    counted: TryOf,
) -> JsonAnswer:
    """Make a connection work again: for an entered credential, the same as replacing it."""
    return await _replace(connections, unit, caller, connection_id, body, counted)


@routes.put(
    "/v1/connections/{connection_id}/label",
    audit=[AuditAction.CONNECTION_UPDATED],
    errors=["unknown_field", "version_conflict"],
)
async def change_label(
    caller: Writer, connection_id: str, body: LabelChange, unit: UnitOfRequest, connections: ConnectionsOf
) -> JsonAnswer:
    """Rename a connection."""
    await connections.relabel(unit, caller, connection_id, body.label, body.version)
    return JsonAnswer({"connection": {"id": connection_id, "label": body.label}})


@routes.post(
    "/v1/connections/{connection_id}/test",
    audit=[AuditAction.CONNECTION_TESTED, AuditAction.CONNECTION_NEEDS_REAUTH],
    errors=["credential_rejected", "egress_blocked", "connection_revoked", "rate_limited", "credential_unreadable",
            "credential_not_injectable", "upstream_unreachable", "upstream_timeout"],
)  # fmt: skip
async def test_connection(
    caller: Writer,
    connection_id: str,
    unit: UnitOfRequest,
    connections: ConnectionsOf,
    counted: TryOf,
) -> JsonAnswer:
    """Ask the provider whether the stored credential works."""
    tested = await connections.checkup.test(unit, caller, connection_id)
    return JsonAnswer(answers.describe_tested(tested, wire_time_of(time.time())), headers=counted)


@routes.post(
    "/v1/connections/{connection_id}/lookup",
    errors=["unknown_field", "connection_revoked", "connection_needs_reauth", "egress_blocked", "rate_limited",
            "credential_unreadable", "upstream_unreachable", "upstream_invalid", "upstream_timeout"],
)  # fmt: skip
async def look_up(
    caller: Writer,
    connection_id: str,
    body: LookupBody,
    unit: UnitOfRequest,
    connections: ConnectionsOf,
    counted: TryOf,
) -> JsonAnswer:
    """What a credential can see: channels, users, servers."""
    items, cursor = await connections.checkup.look_up(unit, caller, connection_id, body.type, body.cursor, body.q)
    return JsonAnswer({"items": items, "nextCursor": cursor}, headers=counted)


@routes.post(
    "/v1/connections/{connection_id}/revoke",
    audit=[AuditAction.CONNECTION_REVOKED, AuditAction.PROVIDER_REVOCATION],
    errors=["agent_not_allowed", "connection_revoked"],
)
async def revoke_connection(
    request: Request,
    caller: Annotated[
        Caller,
        may(Scope.CONNECTIONS_WRITE, role=RoleRule.ADMIN, agents=True, agent_scope=Scope.CONNECTIONS_REVOKE),
    ],
    connection_id: str,
    unit: UnitOfRequest,
    connections: ConnectionsOf,
) -> JsonAnswer:
    """End a connection for good, here at once and at its provider where that is possible."""
    try:
        revoked = await connections.revocations.revoke(unit, caller, connection_id)
    except AppError as error:
        if error.code == "agent_not_allowed":
            edge: Edge = request.app.state.edge
            route = "/v1/connections/{connection_id}/revoke"
            await edge.gatekeeper.note_denied(caller, context_of(request), "POST", route, error.code)
        raise
    return JsonAnswer(answers.describe_revoked(revoked))


@routes.delete(
    "/v1/connections/{connection_id}",
    audit=[AuditAction.CONNECTION_DELETED, AuditAction.PROVIDER_REVOCATION],
    errors=["not_found"],
)
async def delete_connection(
    caller: Writer, connection_id: str, unit: UnitOfRequest, connections: ConnectionsOf
) -> JsonAnswer:
    """Revoke a connection if it is live, then hide it."""
    audit_id, at_provider = await connections.revocations.delete(unit, caller, connection_id)
    return JsonAnswer(
        {
            "deleted": True,
            "auditId": audit_id,
            "providerRevocation": answers.describe_provider_revocation(at_provider),
        }
    )


async def _replace(
    connections: ConnectionService,
    unit: Unit,
    caller: Caller,
    connection_id: str,
    body: CredentialChange,
    counted: Mapping[str, str],
) -> JsonAnswer:
    stored = await connections.replace(
        unit, caller, connection_id, body.members, allows_account_change=bool(body.allow_account_change)
    )
    return JsonAnswer(answers.describe_stored(stored), headers=counted)
