"""The broker's two routes as raw ASGI: bytes -> Call, Reply -> bytes.

    POST /v1/vault/execute              authenticate -> body -> strict JSON -> Call -> Broker -> envelope or raw bytes
    ALL  /v1/vault/llm/{slug}/{path}       authenticate -> body -> Call -> Broker -> the vendor's own shapes (llm.py)

Source: contract/broker.md sections 1, 2 and 14, http.md section 5.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec
import psycopg
import structlog
from psycopg_pool import PoolTimeout

from agenthifive import strict_json
from agenthifive.broker.broker import Broker
from agenthifive.broker.llm import LLM_ACCESS, LlmRoute, read_llm_call, refusal_for, route_of
from agenthifive.broker.model import Call, Principal, Reply
from agenthifive.broker.sending import PIECE_BYTES, send_chunks, send_in_pieces
from agenthifive.db.database import as_unavailable
from agenthifive.edge.answers import refusal, refusal_headers
from agenthifive.edge.body import ClientGone, read_body
from agenthifive.edge.callers import Access, Caller, RoleRule, authorise
from agenthifive.edge.context import CONTEXT_KEY, Context, header
from agenthifive.edge.credentials import CredentialKind, presented
from agenthifive.edge.departures import Departures
from agenthifive.edge.gate import EXECUTE_PATH
from agenthifive.errors import AppError
from agenthifive.ids import is_id
from agenthifive.words import PrincipalType, Scope

EXECUTE_ACCESS: Final = Access(Scope.VAULT_EXECUTE, RoleRule.ADMIN, agents=True)
BODY_TOTAL_S: Final = 300.0
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_READ_HEADERS: Final = frozenset({b"content-type", b"content-encoding", b"idempotency-key", b"x-ah5-session-key"})
_KEY_MAX: Final = 128
_OF_AGENTS: Final = frozenset({CredentialKind.AGENT_TOKEN, CredentialKind.AGENT_JWT})
_READ_IN_PLACE_BYTES: Final = 64 * 1024

AsgiScope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
log = structlog.get_logger(__name__)


class ExecuteBody(msgspec.Struct, rename="camel"):
    """The body of `execute`; unknown members are ignored, null means absent."""

    model: str
    connection_id: str | None = None
    service: str | None = None
    agent_id: str | None = None
    method: str | None = None
    url: str | None = None
    query: dict[str, Any] | None = None
    headers: dict[str, str] | None = None
    body: Any = None
    stream: bool | None = None
    download: bool | None = None
    approval_id: str | None = None
    bypass_pii_redaction: bool | None = None
    request_full_fields: bool | None = None
    idempotency_key: str | None = None


class People(Protocol):
    """How persons and their tokens are recognised (edge/gatekeeper.py)."""

    async def authenticate(self, request: Any, context: Context) -> Caller:
        """The caller of a request. Raises: AppError."""

    async def note_failure(self, kind: CredentialKind, context: Context) -> AppError:
        """Count and record a failed credential."""

    async def is_agent_jwt(self, text: str) -> bool:
        """Whether an agent's JWT is signed, meant for us and in time."""

    def count_principal(self, principal_id: str) -> None:
        """Count a request of a known principal. Raises: AppError (429)."""

    async def note_denied(self, caller: Caller, context: Context, method: str, route: str, code: str) -> None:
        """Record that a caller was refused."""


class BrokerHttp:
    """The ASGI application of the two routes."""

    def __init__(
        self,
        broker: Broker,
        people: People,
        make_request: Callable[[AsgiScope], Any],
        *,
        max_body_bytes: int,
        process_max_in_flight: int,
    ) -> None:
        self._broker = broker
        self._people = people
        self._make_request = make_request
        self._max_body_bytes = max_body_bytes
        self._process_max = process_max_in_flight
        self._departures = Departures()
        self._calls: dict[str, int] = {}
        self.in_flight = 0

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        route = None if scope["path"] == EXECUTE_PATH else route_of(scope["path"])
        scope["route_name"] = EXECUTE_PATH if route is None else "/v1/vault/llm/{provider}/{path}"
        try:
            reply = await self._answer(scope, receive, send, route)
        except AppError as error:
            reply = refusal_for(route, error, self._broker.grants.catalog) if route is not None else _refusal(error)
        if reply is not None:
            await _send(reply, receive, send, self._departures)

    async def _answer(self, scope: AsgiScope, receive: Receive, send: Send, route: LlmRoute | None) -> Reply | None:
        try:
            return await self._serve(scope, receive, send, route)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            unavailable = as_unavailable(error)
            if unavailable is None:
                raise
            raise unavailable from None

    async def _serve(self, scope: AsgiScope, receive: Receive, send: Send, route: LlmRoute | None) -> Reply | None:
        """The reply to send; None when it was so large that it was sent while its call was still counted."""
        allowed = frozenset({"POST"}) if route is None else _METHODS
        if scope["method"] not in allowed:
            allow = ", ".join(sorted(allowed))
            raise AppError("method_not_allowed", f"Use {allow} here.", headers={"allow": allow})
        context: Context = scope[CONTEXT_KEY]
        principal = await self._authenticate(scope, context, EXECUTE_ACCESS if route is None else LLM_ACCESS)
        if self._broker.grants.frozen.is_any:
            await self._broker.refuse_frozen(principal, context, "execute" if route is None else "llm_proxy")
        self._enter(principal.id)
        try:
            reply = await self._carry_out(scope, receive, route, principal, context)
            if reply.body is None or len(reply.body) <= PIECE_BYTES:
                return reply
            await _send(reply, receive, send, self._departures)
        finally:
            self._leave(principal.id)
        return None

    async def _carry_out(
        self, scope: AsgiScope, receive: Receive, route: LlmRoute | None, principal: Principal, context: Context
    ) -> Reply:
        body = await read_body(scope, receive, self._max_body_bytes, BODY_TOTAL_S)
        if route is None and len(body) > _READ_IN_PLACE_BYTES:  # reading it must not hold up everybody's calls
            call = await asyncio.to_thread(read_execute_call, scope, body, principal, context)
        elif route is None:
            call = read_execute_call(scope, body, principal, context)
        else:
            call = await read_llm_call(scope, body, principal, context, route, self._broker.grants)
        if call.method != "GET":
            return await self._broker.handle(call)  # other methods run to their end, whoever waits
        watched = self._departures.add(receive)
        try:
            return await self._broker.handle(call)
        except asyncio.CancelledError:
            if watched.has_left:
                watched.task.uncancel()
                raise ClientGone from None
            raise
        finally:
            self._departures.remove(watched)

    def _enter(self, principal_id: str) -> None:
        """Count a call under way. As many of one principal may come and go as may run; more are turned away
        unread, so that nobody fills the places of the process. Raises: AppError (429, 503)."""
        calls = self._calls.get(principal_id, 0)
        if calls >= 2 * self._broker.agent_max_in_flight:
            raise AppError("rate_limited", f"{calls} calls of yours are under way. Wait for one to end.",
                           detail="in_flight", retry_after_s=1)  # fmt: skip
        if self.in_flight >= self._process_max:
            raise AppError("unavailable", "This server is at its limit of running calls. Try again.", retry_after_s=1)
        self._calls[principal_id] = calls + 1
        self.in_flight += 1

    def _leave(self, principal_id: str) -> None:
        self.in_flight -= 1
        left = self._calls.pop(principal_id) - 1
        if left:
            self._calls[principal_id] = left

    async def _authenticate(self, scope: AsgiScope, context: Context, access: Access) -> Principal:
        """Agents by the grants in memory; persons and PATs by the gatekeeper. Raises: AppError."""
        credential = presented(scope["headers"])
        if credential is not None and credential.kind in _OF_AGENTS:
            self._broker.require_freshness()
            principal = None
            if credential.kind is CredentialKind.AGENT_TOKEN or await self._people.is_agent_jwt(credential.text):
                principal = await self._broker.grants.principal(credential.text, time.time())
            if principal is None:
                raise await self._people.note_failure(credential.kind, context)
            self._people.count_principal(principal.id)
            if access.scope not in principal.scopes:
                agent = Caller(principal.kind, principal.id, principal.workspace_id, agent_id=principal.agent_id)
                await self._people.note_denied(
                    agent, context, scope["method"], scope["route_name"], "insufficient_scope"
                )
                raise AppError("insufficient_scope", f"This token lacks the scope {access.scope}. Exchange an "
                               "assertion for a token with it.", hint=str(access.scope))  # fmt: skip
            return principal
        caller = await self._people.authenticate(self._make_request(scope), context)
        try:
            authorise(caller, access, time.time())
            if caller.csrf is not None and header(scope["headers"], b"x-ah5-csrf") != caller.csrf:
                raise AppError("csrf_failed", "The X-AH5-CSRF token is missing or old. Reload the page and try again.")
        except AppError as error:
            await self._people.note_denied(caller, context, scope["method"], scope["route_name"], error.code)
            raise
        return Principal(
            caller.kind, caller.id, caller.actor, caller.workspace_id, caller.scopes, session_id=caller.session_id
        )


def read_execute_call(scope: AsgiScope, body: bytes, principal: Principal, context: Context) -> Call:
    """The call in the body of `execute`. Raises: AppError (400, 415)."""
    sent = {name: value for name, value in scope["headers"] if name in _READ_HEADERS}
    content_type = sent.get(b"content-type", b"application/json")
    if content_type != b"application/json" and content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise AppError("unsupported_media_type", "Send the call as application/json.", hint="application/json")
    if sent.get(b"content-encoding", b"identity").lower() != b"identity":
        raise AppError("unsupported_media_type", "Send the call without Content-Encoding.", hint="identity")
    try:
        value = strict_json.loads(body or b"{}")
    except strict_json.InvalidJson as error:
        raise AppError("invalid_json", f"The body is not strict JSON: {error}. Correct it and send it again.") from None
    try:
        asked = msgspec.convert(value, ExecuteBody)
    except msgspec.ValidationError as error:
        raise _invalid(*_place(str(error))) from None
    _check(asked)
    key = sent[b"idempotency-key"].decode("latin-1") if b"idempotency-key" in sent else asked.idempotency_key
    if key is not None and not (1 <= len(key) <= _KEY_MAX and key.isascii() and key.isprintable() and " " not in key):
        raise _invalid("idempotencyKey", f"must be 1 to {_KEY_MAX} visible ASCII characters")
    return Call(
        principal=principal,
        context=context,
        model=asked.model,
        via="execute",
        method=asked.method or "GET",
        url=asked.url or "",
        connection_id=asked.connection_id,
        service=asked.service,
        agent_id=asked.agent_id,
        query=asked.query,
        headers=asked.headers or {},
        body=asked.body,
        stream=bool(asked.stream),
        download=bool(asked.download),
        approval_id=asked.approval_id,
        wants_bypass=bool(asked.bypass_pii_redaction),
        wants_full_fields=bool(asked.request_full_fields),
        received_bytes=len(body),
        idempotency_key=key if principal.kind is not PrincipalType.PUBLIC else None,
        session_key=sent[b"x-ah5-session-key"].decode("latin-1") if b"x-ah5-session-key" in sent else None,
    )


def _check(asked: ExecuteBody) -> None:
    if asked.model not in ("A", "B"):
        raise _invalid("model", 'must be "A" or "B"')
    if asked.connection_id is None and asked.service is None:
        raise AppError("missing_target", "Name a connectionId, or a service for singletons such as telegram or openai.")
    for name, value in (("connectionId", asked.connection_id), ("agentId", asked.agent_id)):
        if value is not None and not is_id(value):
            raise AppError(
                "not_found", f"No {name} like this exists in the workspace. List them with GET /v1/connections."
            )
    if asked.model == "B":
        if asked.method is None or asked.method not in _METHODS:
            raise _invalid("method", "must be GET, POST, PUT, PATCH or DELETE")
        if asked.url is None:
            raise _invalid("url", "is missing; model B needs an absolute URL")


def _invalid(path: str, message: str) -> AppError:
    return AppError("invalid_request", f"{path or 'The body'} {message}.", fields=[{"path": path, "message": message}])


def _place(text: str) -> tuple[str, str]:
    """msgspec says `Expected `str`, got `int` - at `$.url``; the path and the rest of it."""
    message, _, place = text.partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    if message.startswith("Object missing required field"):
        return message.split("`")[1], "is missing"
    return path, message[0].lower() + message[1:]


def _refusal(error: AppError) -> Reply:
    answer = refusal(error)
    headers = [("content-type", "application/json"), ("cache-control", "no-store"), *refusal_headers(error).items()]
    return Reply(error.status, headers, bytes(answer.body))


async def _send(reply: Reply, receive: Receive, send: Send, departures: Departures) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in reply.headers]
    if reply.chunks is None:
        body = reply.body or b""
        headers.append((b"content-length", str(len(body)).encode("ascii")))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if len(body) <= PIECE_BYTES:
            await send({"type": "http.response.body", "body": body})
        else:
            await send_in_pieces(body, send)
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send_chunks(reply.chunks, receive, send, departures)
