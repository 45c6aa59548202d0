"""Who is calling, for management routes: credential -> principal, failures counted and recorded.

The rooms that own agents and people hand in their look-ups; nothing here knows a table.
Source: contract/http.md sections 10 and 16 (auth_failures), audit.md section 3.6.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from agenthifive.audit.chains import AdminChain
from agenthifive.audit.flood import FloodGate
from agenthifive.db.database import Database
from agenthifive.db.unit import Signature, Unit
from agenthifive.edge.callers import Caller
from agenthifive.edge.context import Context, limit_key
from agenthifive.edge.credentials import Credential, CredentialKind, invalid_token, read_credential
from agenthifive.errors import AppError
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.operations.tally import Tally
from agenthifive.words import AuditAction, AuditDecision, PrincipalType, RateLimit

_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
LookUp = Callable[[str], Awaitable[Caller | None]]


async def _find_nobody(_: str) -> Caller | None:
    return None


async def _deny(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class LookUps:
    """How each kind of credential becomes a caller; None when it is unknown, expired or revoked.

    Shapes: is_agent_jwt: whether an agent's JWT is signed, meant for us and in time; its row is then found as that of
        any other agent token. Where no JWTs are issued, none is good.
    """

    agent_token: LookUp
    pat: LookUp
    session: LookUp
    user_jwt: LookUp = _find_nobody
    is_agent_jwt: Callable[[str], Awaitable[bool]] = _deny


class Gatekeeper:
    """Implements `edge.routing.Gatekeeper`."""

    def __init__(
        self,
        database: Database,
        chain: AdminChain,
        limiter: RateLimiter,
        look_ups: LookUps,
        flood: FloodGate,
        *,
        cookie_name: str,
        web_origin: str,
        tally: Tally | None = None,
    ) -> None:
        self._database = database
        self._chain = chain
        self._limiter = limiter
        self._look_ups = look_ups
        self._flood = flood
        self._tally = Tally({}) if tally is None else tally
        self._cookie_name = cookie_name
        self._web_origin = web_origin

    async def authenticate(self, request: Request, context: Context) -> Caller:
        """The caller of a request. Raises: AppError (401, 403 origin_not_allowed, 429)."""
        try:
            credential = read_credential(request.scope["headers"], request.scope["query_string"], self._cookie_name)
        except AppError as error:
            raise await self._counted(error, context) from None
        if credential.kind is CredentialKind.SESSION and request.method in _UNSAFE:
            self.check_origin(request)
        caller = await self.find(credential)
        if caller is None:
            raise await self.note_failure(credential.kind, context)
        self.count_principal(caller.id)
        return caller

    def count_principal(self, principal_id: str) -> None:
        """Count a request of a known principal. Raises: AppError (429)."""
        self._tally.take(RateLimit.PRINCIPAL, principal_id, time.monotonic())

    def count_stranger(self, context: Context) -> None:
        """Count a request without a valid credential against its address. Raises: AppError (429)."""
        self._tally.take(RateLimit.GLOBAL, limit_key(context.ip), time.monotonic())

    async def find(self, credential: Credential) -> Caller | None:
        """The principal behind a credential."""
        if credential.kind is CredentialKind.AGENT_TOKEN:
            return await self._look_ups.agent_token(credential.text)
        if credential.kind is CredentialKind.PAT:
            return await self._look_ups.pat(credential.text)
        if credential.kind is CredentialKind.USER_JWT:
            return await self._look_ups.user_jwt(credential.text)
        if credential.kind is CredentialKind.AGENT_JWT:
            is_good = await self.is_agent_jwt(credential.text)
            return await self._look_ups.agent_token(credential.text) if is_good else None
        return await self._look_ups.session(credential.text)

    async def is_agent_jwt(self, text: str) -> bool:
        """Whether an agent's JWT may be looked up. Raises: AppError (503), psycopg.Error, PoolTimeout."""
        return await self._look_ups.is_agent_jwt(text)

    async def note_failure(self, kind: CredentialKind, context: Context) -> AppError:
        """Count and record a failed credential; the refusal to raise. Raises: AppError (429)."""
        refusal = await self._counted(invalid_token(kind), context)
        count = self._flood.admit(limit_key(context.ip), AuditAction.AUTHENTICATION_FAILED, time.time())
        if count:
            async with Unit(self._database, self._chain, _stranger(context)) as unit:
                unit.record(
                    AuditAction.AUTHENTICATION_FAILED,
                    {"kind": str(kind), "reason": "invalid_token", "count": count},
                    decision=AuditDecision.DENIED,
                )
        return refusal

    async def _counted(self, refusal: AppError, context: Context) -> AppError:
        """A 401 is counted against its address; past the limit it becomes a 429. Raises: AppError (429)."""
        self.count_stranger(context)
        standing = await self._limiter.count(RateLimit.AUTH_FAILURES, limit_key(context.ip))
        if standing.allowed:
            return refusal
        return AppError(
            "rate_limited",
            f"Too many failed credentials from this address. Try again in {standing.reset_s} seconds.",
            retry_after_s=standing.reset_s,
        )

    async def take(self, limit: RateLimit, context: Context) -> dict[str, str]:
        """Count a request of this address. Raises: AppError (429)."""
        try:
            return await self._limiter.take_address(limit, context.ip)
        except AppError:
            await self._note_limited(limit, context)
            raise

    async def _note_limited(self, limit: RateLimit, context: Context) -> None:
        count = self._flood.admit(limit_key(context.ip), AuditAction.RATE_LIMITED, time.time())
        if count:
            async with Unit(self._database, self._chain, _stranger(context)) as unit:
                unit.record(
                    AuditAction.RATE_LIMITED, {"limit": str(limit), "count": count}, decision=AuditDecision.DENIED
                )

    async def note_denied(self, caller: Caller, context: Context, method: str, route: str, code: str) -> None:
        """Record that an authenticated principal was refused a route."""
        count = self._flood.admit(caller.id, AuditAction.ACCESS_DENIED, time.time())
        if not count:
            return
        signature = Signature(
            caller.actor,
            caller.kind,
            caller.id,
            caller.workspace_id or None,
            context.ip,
            context.user_agent,
            context.request_id,
        )
        metadata = {"method": method, "route": route, "code": code} | ({"count": count} if count > 1 else {})
        async with Unit(self._database, self._chain, signature) as unit:
            unit.record(AuditAction.ACCESS_DENIED, metadata, decision=AuditDecision.DENIED, agent_id=caller.agent_id)

    def check_origin(self, request: Request) -> None:
        """The rule for cookie requests with an unsafe method. Source: contract/http.md section 8."""
        origin = request.headers.get("origin")
        if (origin is not None and not same_origin(origin, self._web_origin)) or (
            request.headers.get("sec-fetch-site") == "cross-site"
        ):
            raise AppError("origin_not_allowed", "This request came from another site and was not carried out.")


def _stranger(context: Context) -> Signature:
    return Signature("anonymous", PrincipalType.PUBLIC, None, None, context.ip, context.user_agent, context.request_id)


def same_origin(origin: str, web_origin: str) -> bool:
    """Whether an Origin header names our own pages."""
    return origin == web_origin  # both are serialised origins: lower case, no default port (RFC 6454 section 6.2)
