"""Declared routes: who may call, what is audited, how large a body may be - checked before anything is parsed.

    rate limit -> credential -> kind, scope, role -> CSRF -> body (strict JSON) -> endpoint -> commit -> answer

A route whose signature does not say who may call stops the start-up. Source: contract/http.md section 1 (order of
refusals, declaration).
"""

import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, get_type_hints

from fastapi import APIRouter, Depends, Request, Response, params
from fastapi.routing import APIRoute

from agenthifive import strict_json
from agenthifive.audit.chains import AdminChain
from agenthifive.db.database import Database
from agenthifive.db.unit import Signature, Unit
from agenthifive.edge.body import read_body
from agenthifive.edge.callers import PUBLIC, Access, Caller, RoleRule, authorise
from agenthifive.edge.context import CONTEXT_KEY, Context
from agenthifive.edge.frozen import Frozen
from agenthifive.errors import AppError
from agenthifive.vault.hashing import constant_time_equal
from agenthifive.words import AuditAction, PrincipalType, RateLimit, Scope

MANAGEMENT_BODY_MAX: Final = 1024 * 1024
PUBLIC_BODY_MAX: Final = 64 * 1024
_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_FORM: Final = "application/x-www-form-urlencoded"


class Gatekeeper(Protocol):
    """What a route needs of the rooms that know people, agents and limits."""

    async def authenticate(self, request: Request, context: Context) -> Caller:
        """The caller of a request. Raises: AppError (401, 429, 503)."""

    async def take(self, limit: RateLimit, context: Context) -> dict[str, str]:
        """Count a request against a limit of its address; headers to answer with. Raises: AppError (429, 503)."""

    def count_stranger(self, context: Context) -> None:
        """Count a request to a public route against its address. Raises: AppError (429)."""

    async def note_denied(self, caller: Caller, context: Context, method: str, route: str, code: str) -> None:
        """Record that an authenticated caller was refused a route."""


class Edge:
    """What routes find at `app.state.edge`."""

    def __init__(
        self, database: Database, chain: AdminChain, gatekeeper: Gatekeeper, frozen: Frozen | None = None
    ) -> None:
        self.database = database
        self.chain = chain
        self.gatekeeper = gatekeeper
        self.frozen = Frozen() if frozen is None else frozen

    def unit(self, context: Context, caller: Caller | None, *, read_only: bool) -> Unit:
        """A unit of work signed with the caller's name."""
        if caller is None:
            signature = Signature(
                "anonymous", PrincipalType.PUBLIC, None, None, context.ip, context.user_agent, context.request_id
            )
        else:
            signature = Signature(
                caller.actor,
                caller.kind,
                caller.id,
                caller.workspace_id or None,
                context.ip,
                context.user_agent,
                context.request_id,
            )
        return Unit(self.database, self.chain, signature, read_only=read_only)


def context_of(request: Request) -> Context:
    """The context the listener attached to a request."""
    context: Context = request.scope[CONTEXT_KEY]
    return context


def _unit_of(request: Request) -> Unit:
    unit: Unit = request.state.unit
    return unit


def _caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


@dataclass(frozen=True)
class May(params.Depends):
    """The mark in a signature that says who may call; FastAPI sees a dependency that yields the caller."""

    access: Access = PUBLIC


def may(
    scope: Scope | None = None,
    *,
    role: RoleRule = RoleRule.ANY,
    persons: bool = True,
    pats: bool = True,
    agents: bool = False,
    recent_s: int | None = None,
    agent_scope: Scope | None = None,
    sessions_only: bool = False,
    superadmin: bool = False,
    needs_workspace: bool = True,
    needs_factor: bool = True,
) -> May:
    """Declare who may call: `caller: Annotated[Caller, may(Scope.AGENTS_WRITE, role=RoleRule.ADMIN)]`."""
    access = Access(
        scope,
        role,
        persons=persons,
        pats=pats and not sessions_only and not superadmin,
        agents=agents,
        recent_s=recent_s,
        agent_scope=agent_scope,
        sessions_only=sessions_only,
        superadmin=superadmin,
        needs_workspace=needs_workspace and not superadmin,
        needs_factor=needs_factor,
    )
    return May(_caller_of, access=access)


UnitOfRequest = Annotated[Unit, Depends(_unit_of)]
ContextOfRequest = Annotated[Context, Depends(context_of)]


class DeclaredRoute(APIRoute):
    """A route that knows who may call it. Built by `Routes`."""

    access: Access
    limit: RateLimit | None
    accepts_form: bool
    checks_csrf: bool

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        declared = options.pop("declared")
        self.access = declared["access"]
        self.limit = declared["limit"]
        self.accepts_form = declared["accepts_form"]
        self.checks_csrf = declared["checks_csrf"] or not path.startswith("/api/auth/")
        self.audit: Sequence[AuditAction] = declared["audit"]
        self.errors: Sequence[str] = declared["errors"]
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Everything that happens around the endpoint."""
        handle = super().get_route_handler()

        async def declared(request: Request) -> Response:
            edge: Edge = request.app.state.edge
            context = context_of(request)
            if self.access.is_public and not self.path.startswith("/health"):
                edge.gatekeeper.count_stranger(context)
            limit_headers = await edge.gatekeeper.take(self.limit, context) if self.limit else {}
            caller = None if self.access.is_public else await self._admit(edge, request, context)
            request.state.caller = caller
            request = await self._read(request)
            is_read = request.method not in _UNSAFE and not self.audit
            async with edge.unit(context, caller, read_only=is_read) as unit:
                request.state.unit = unit
                response = await handle(request)
            response.headers.update(limit_headers)
            return response

        return declared

    async def _admit(self, edge: Edge, request: Request, context: Context) -> Caller:
        caller = await edge.gatekeeper.authenticate(request, context)
        try:
            authorise(caller, self.access, time.time())
            edge.frozen.check_caller(caller, request.method)
            if caller.csrf is not None and request.method in _UNSAFE and self.checks_csrf:
                check_csrf(request, caller.csrf)
        except AppError as error:
            await edge.gatekeeper.note_denied(caller, context, request.method, self.path, error.code)
            raise
        return caller

    async def _read(self, request: Request) -> Request:
        """The request with its body received, bounded and read strictly."""
        if request.method not in _UNSAFE:
            return request
        is_narrow = self.access.is_public or self.path.startswith("/api/auth/")
        limit = PUBLIC_BODY_MAX if is_narrow else MANAGEMENT_BODY_MAX
        body = await read_body(request.scope, request.receive, limit)
        content_type = request.headers.get("content-type")
        kind = (content_type or "").partition(";")[0].strip().lower()
        refuse_encoding(request.headers.get("content-encoding"))
        if kind == _FORM and self.accepts_form:
            request._body = body  # noqa: SLF001 - Starlette's own cache of a received body
            return request
        if kind != "application/json" and (body or content_type is not None):
            raise AppError(
                "unsupported_media_type",
                "This route takes application/json. Send the body as JSON with that Content-Type.",
                hint="application/json",
            )
        headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
        scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
        strict = Request(scope, request.receive)
        strict._body = body or b"{}"  # noqa: SLF001
        strict._json = read_json(strict._body)  # noqa: SLF001
        return strict


class Routes:
    """Collects declared routes of one room: `routes.post("/v1/agents", audit=[...], errors=[...])`."""

    def __init__(self, tag: str) -> None:
        self.router = APIRouter(route_class=DeclaredRoute, tags=[tag])

    def add(
        self,
        method: str,
        path: str,
        *,
        status: int = 200,
        audit: Sequence[AuditAction] = (),
        errors: Sequence[str] = (),
        limit: RateLimit | None = None,
        accepts_form: bool = False,
        checks_csrf: bool = False,
        access: Access | None = None,
    ) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
        """Declare an endpoint. `access` is given only by public routes; others say it in their signature.

        Shapes: checks_csrf: asks for the token of the page under `/api/auth/` too, where the origin rule is enough
            otherwise; everywhere else it is always asked for.
        """

        def declare(endpoint: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            granted = access or _access_in(endpoint, f"{method} {path}")
            declared = {
                "access": granted,
                "limit": limit,
                "accepts_form": accepts_form,
                "checks_csrf": checks_csrf,
                "audit": tuple(audit),
                "errors": tuple(errors),
            }
            route = DeclaredRoute(
                self.router.prefix + path,
                endpoint,
                methods=[method] if method != "GET" else ["GET", "HEAD"],
                status_code=status,
                response_model=None,
                tags=self.router.tags,
                name=endpoint.__name__,
                operation_id=f"{endpoint.__module__.split('.')[-2]}_{endpoint.__name__}",
                openapi_extra=_openapi(granted, audit, errors, limit),
                declared=declared,
            )
            self.router.routes.append(route)
            return endpoint

        return declare

    def get(self, path: str, **options: Any) -> Callable[..., Any]:
        """Declare a GET route; it answers HEAD too and changes nothing."""
        return self.add("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[..., Any]:
        """Declare a POST route."""
        return self.add("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[..., Any]:
        """Declare a PUT route."""
        return self.add("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[..., Any]:
        """Declare a PATCH route."""
        return self.add("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[..., Any]:
        """Declare a DELETE route."""
        return self.add("DELETE", path, **options)


def check_csrf(request: Request, expected: str) -> None:
    """The token that a cookie request must repeat. Source: contract/http.md section 8."""
    sent = request.headers.get("x-ah5-csrf") or ""
    if not constant_time_equal(sent, expected):
        raise AppError("csrf_failed", "The X-AH5-CSRF token is missing or old. Reload the page and try again.")


def refuse_encoding(coding: str | None) -> None:
    """Bodies arrive as they are meant; a compressed one is not unpacked."""
    if coding is not None and coding.strip().lower() != "identity":
        raise AppError("unsupported_media_type", "Send the body without Content-Encoding.", hint="identity")


def read_json(body: bytes) -> Any:
    """Strict JSON or the standard refusal."""
    try:
        return strict_json.loads(body)
    except strict_json.InvalidJson as error:
        raise AppError("invalid_json", f"The body is not strict JSON: {error}. Correct it and send it again.") from None


def _access_in(endpoint: Callable[..., Any], route: str) -> Access:
    for hint in get_type_hints(endpoint, include_extras=True).values():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, May):
                return mark.access
    raise RuntimeError(f"{route} does not say who may call it: annotate its caller with may(...)")


def _openapi(
    access: Access, audit: Sequence[AuditAction], errors: Sequence[str], limit: RateLimit | None
) -> dict[str, Any]:
    return {
        "x-ah5-callers": list(access.describe()),
        "x-ah5-scope": access.scope,
        "x-ah5-role": None if access.is_public else str(access.role),
        "x-ah5-audit": [str(action) for action in audit],
        "x-ah5-errors": list(errors),
        "x-ah5-limit": limit,
    }
