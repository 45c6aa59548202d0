"""The routes of the log behind the gate, and a doorman who lets in whoever the test sends."""

from typing import Any

import httpx
from fastapi import Request

from agenthifive.audit.api import routes
from agenthifive.audit.chains import AdminChain
from agenthifive.audit.service import AuditReader
from agenthifive.db.database import Database
from agenthifive.edge.answers import StandardHeaders
from agenthifive.edge.callers import Caller
from agenthifive.edge.context import Context, TrustedProxies
from agenthifive.edge.gate import Gate
from agenthifive.edge.management import make_management
from agenthifive.edge.routing import Edge
from agenthifive.ids import new_id
from agenthifive.operations.journal import Journal
from agenthifive.operations.ratelimit import RateLimiter, Window
from agenthifive.words import PrincipalType, RateLimit, Role, Scope

ORIGIN = "http://127.0.0.1:4000"
WORKSPACE, FOREIGN = new_id(), new_id()
AUDIT_SCOPES = frozenset({Scope.AUDIT_READ, Scope.AUDIT_EXPORT})


def person(role: Role, workspace_id: str = WORKSPACE) -> Caller:
    user_id = new_id()
    return Caller(PrincipalType.USER, user_id, workspace_id, user_id=user_id, role=role)


def token(role: Role, *scopes: Scope) -> Caller:
    return Caller(PrincipalType.PAT, new_id(), WORKSPACE, user_id=new_id(), role=role, scopes=frozenset(scopes))


def agent() -> Caller:
    return Caller(PrincipalType.AGENT, new_id(), WORKSPACE, agent_id=new_id(), scopes=AUDIT_SCOPES)


class Doorman:
    """A gatekeeper that lets in whoever the test sends."""

    def __init__(self) -> None:
        self.caller = person(Role.OWNER)
        self.denied: list[str] = []

    async def authenticate(self, request: Request, context: Context) -> Caller:
        return self.caller

    async def take(self, limit: RateLimit, context: Context) -> dict[str, str]:
        return {}

    async def note_denied(self, caller: Caller, context: Context, method: str, route: str, code: str) -> None:
        self.denied.append(code)


class Nobody:
    """What the gate needs and these routes do not."""

    async def __call__(self, *_: Any) -> None:
        raise AssertionError

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        return


class House:
    """The routes behind the gate, and who stands before it."""

    def __init__(self, database: Database, chain: AdminChain) -> None:
        self.doorman = Doorman()
        management = make_management([routes.router])
        management.state.edge = Edge(database, chain, self.doorman)
        limiter = RateLimiter(database, {RateLimit.EXPORT: Window(6, 3600)})
        self.reader = management.state.audit = AuditReader(database, chain, limiter)
        self.gate = Gate(
            broker=Nobody(), management=management, lifespan=Nobody(), proxies=TrustedProxies(()),
            headers=StandardHeaders(ORIGIN), web_origin=ORIGIN, cors_origins=frozenset(), meter=Nobody(),
            journal=Journal(is_on=False, is_readable=False),
        )  # fmt: skip
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.gate), base_url=ORIGIN)

    async def get(self, path: str, caller: Caller | None = None, **query: Any) -> httpx.Response:
        self.doorman.caller = caller or person(Role.VIEWER)
        return await self.client.get(path, params=query)

    async def events(self, **query: Any) -> list[dict[str, Any]]:
        answer = await self.get("/v1/audit", **query)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["events"]
        return found
