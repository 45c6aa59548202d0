"""The stage of these tests: the policies room behind the real edge, two workspaces with people, agents, connections.

Olga owns the first workspace (`here`), Adam administers it, Ann approves, Vera views; Mallory owns the second one.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from agenthifive.audit.chains import AdminChain
from agenthifive.audit.flood import FloodGate
from agenthifive.catalog.catalog import Catalog
from agenthifive.db.database import Database
from agenthifive.edge.answers import StandardHeaders
from agenthifive.edge.callers import Caller
from agenthifive.edge.context import TrustedProxies
from agenthifive.edge.gate import Gate
from agenthifive.edge.gatekeeper import Gatekeeper, LookUps
from agenthifive.edge.management import make_management
from agenthifive.edge.routing import Edge
from agenthifive.ids import new_id
from agenthifive.operations.journal import Journal
from agenthifive.operations.ratelimit import RateLimiter, Window
from agenthifive.policies.api import make_room, routes
from agenthifive.policies.explain import Explainer
from agenthifive.words import AGENT_SCOPES, PAT_SCOPES, PrincipalType, RateLimit, Role, Scope

WEB_URL = "https://ah5.example.com"
BASE = "https://api.example.com"
EVERYTHING = [
    {"baseUrl": BASE, "methods": ["GET", "POST", "PUT", "PATCH", "DELETE"], "pathPatterns": ["/**"]},
]
OPEN = {"allowlists": EVERYTHING, "defaultMode": "read_write", "stepUpApproval": "never"}


class _NoMeter:
    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts nothing."""


@dataclass
class Workspace:
    """A workspace with a person of each role, an agent, and what stands for them in headers."""

    id: str
    owner_id: str
    agent_id: str
    people: dict[Role, dict[str, str]]
    agent: dict[str, str]

    @property
    def owner(self) -> dict[str, str]:
        return self.people[Role.OWNER]


class Stage:
    """Everything a test asks for."""

    def __init__(self, database: Database, chain: AdminChain, catalog: Catalog, admin: psycopg.AsyncConnection[Any]):
        self.database = database
        self.catalog = catalog
        self.explainer = Explainer(database, catalog, frozenset())
        self._admin = admin
        self._callers: dict[str, Caller] = {}
        self.here: Workspace
        self.elsewhere: Workspace
        self.client = self._make_client(chain)

    def _make_client(self, chain: AdminChain) -> httpx.AsyncClient:
        async def find(token: str) -> Caller | None:
            return self._callers.get(token)

        gatekeeper = Gatekeeper(
            self.database,
            chain,
            RateLimiter(self.database, {RateLimit.AUTH_FAILURES: Window(100_000, 60)}),
            LookUps(find, find, find),
            FloodGate(),
            cookie_name="ah5_session",
            web_origin=WEB_URL,
        )
        app = make_management([routes.router])
        app.state.edge = Edge(self.database, chain, gatekeeper)
        app.state.policies = make_room(self.database, self.catalog, frozenset())
        gate = Gate(
            broker=app,
            management=app,
            lifespan=app,
            proxies=TrustedProxies([]),
            headers=StandardHeaders(WEB_URL),
            web_origin=WEB_URL,
            cors_origins=frozenset(),
            meter=_NoMeter(),
            journal=Journal(is_on=False, is_readable=False),
        )
        transport = httpx.ASGITransport(app=gate, client=("203.0.113.7", 40000), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=WEB_URL)

    # ------------------------------------------------------------------ putting things in

    async def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run a statement past every right of the application."""
        cursor = self._admin.cursor(row_factory=dict_row)
        await cursor.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []

    async def make_workspace(self, *org_domains: str) -> Workspace:
        workspace_id, people, owner_id = new_id(), {}, ""
        for role in Role:
            user_id = new_id()
            await self.sql(
                "INSERT INTO t_users (id, email, email_key, name) VALUES (%s, %s, %s, %s)",
                user_id, user_id, user_id, str(role),
            )  # fmt: skip
            if role is Role.OWNER:
                owner_id = user_id
                await self.sql(
                    "INSERT INTO t_workspaces (id, name, owner_id, org_domains) VALUES (%s, 'Works', %s, %s)",
                    workspace_id, owner_id, list(org_domains),
                )  # fmt: skip
            people[role] = self._bearer(Caller(PrincipalType.USER, user_id, workspace_id, user_id=user_id, role=role))
        agent_id = await self.add_agent(workspace_id)
        agent = Caller(PrincipalType.AGENT, agent_id, workspace_id, agent_id=agent_id, scopes=frozenset(AGENT_SCOPES))
        return Workspace(workspace_id, owner_id, agent_id, people, self._bearer(agent, "ah5t_"))

    async def add_agent(self, workspace_id: str | None = None) -> str:
        agent_id = new_id()
        await self.sql(
            "INSERT INTO t_agents (id, workspace_id, name, status) VALUES (%s, %s, 'Bot', 'active')",
            agent_id, workspace_id or self.here.id,
        )  # fmt: skip
        return agent_id

    async def add_connection(
        self,
        service: str = "generic-http",
        *,
        workspace: Workspace | None = None,
        params: Mapping[str, Any] | None = None,
        scopes: tuple[str, ...] = (),
        status: str = "healthy",
        is_singleton: bool = False,
    ) -> str:
        """A connection; a generic one goes to api.example.com. Singletons can be addressed by their service."""
        found = self.catalog.get(service)
        assert found is not None
        if service == "generic-http":
            params = params or {"baseUrl": BASE}
        connection_id = new_id()
        await self.sql(
            "INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status, metadata,"
            " granted_scopes, singleton_key) VALUES (%s, %s, %s, %s, %s, 'Ops', %s, %s, %s, %s)",
            connection_id,
            (workspace or self.here).id,
            found.provider,
            service,
            found.default_variant.id,
            status,
            Jsonb({"params": dict(params or {})}),
            list(scopes),
            service if is_singleton else None,
        )
        return connection_id

    def pat(self, *scopes: Scope, role: Role = Role.OWNER) -> dict[str, str]:
        """Headers of a PAT of the first workspace."""
        held = frozenset(scopes or PAT_SCOPES)
        return self._bearer(
            Caller(PrincipalType.PAT, new_id(), self.here.id, user_id=self.here.owner_id, role=role, scopes=held)
        )

    def _bearer(self, caller: Caller, prefix: str = "ah5p_") -> dict[str, str]:
        token = (prefix + new_id().replace("-", "") + "A" * 32)[:48]
        self._callers[token] = caller
        return {"authorization": f"Bearer {token}"}

    # ------------------------------------------------------------------ asking

    async def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.client.post(path, json=body, headers=headers or self.here.owner)

    async def put(self, path: str, body: Any, headers: dict[str, str] | None = None, **more: str) -> httpx.Response:
        return await self.client.put(path, json=body, headers={**(headers or self.here.owner), **more})

    async def get(self, path: str, headers: dict[str, str] | None = None, **query: str) -> httpx.Response:
        return await self.client.get(path, params=query, headers=headers or self.here.owner)

    async def delete(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.client.request("DELETE", path, json=body, headers=headers or self.here.owner)

    async def create(self, connection_id: str | None = None, **body: Any) -> dict[str, Any]:
        """A policy of the first agent; on a fresh generic connection unless one is named."""
        connection_id = connection_id or await self.add_connection()
        answer = await self.post("/v1/policies", {"agentId": self.here.agent_id, "connectionId": connection_id, **body})
        assert answer.status_code == 201, answer.text
        policy: dict[str, Any] = answer.json()["policy"]
        return policy

    async def read(self, policy: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self.get(f"/v1/policies/{policy['id']}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["policy"]
        return found

    async def audit(self, policy_id: str, action: str | None = None) -> list[dict[str, Any]]:
        """The audit rows of a policy, oldest first."""
        rows = await self.sql(
            "SELECT action, decision, metadata, actor, workspace_id::text, agent_id::text, connection_id::text"
            " FROM l_audit_events WHERE policy_id = %s ORDER BY id",
            policy_id,
        )
        return [row for row in rows if action in (None, row["action"])]

    async def counts(self) -> list[int]:
        """How many rows there are of everything that a call or a change could leave."""
        tables = ("t_policies", "t_call_minutes", "l_audit_events", "t_idempotency_keys", "t_connections")
        return [(await self.sql(f"SELECT count(*) AS n FROM {table}"))[0]["n"] for table in tables]


@asynccontextmanager
async def open_stage(database: Database, chain: AdminChain, catalog: Catalog, admin_dsn: str) -> AsyncIterator[Stage]:
    """A stage with both workspaces."""
    async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
        stage = Stage(database, chain, catalog, admin)
        stage.here, stage.elsewhere = await stage.make_workspace("works.example"), await stage.make_workspace()
        async with stage.client:
            yield stage


def paths_of(answer: httpx.Response) -> list[tuple[str, str]]:
    """Path and code of every problem in a refusal."""
    return [(field["path"], field["code"]) for field in answer.json()["fields"]]


def codes_of(answer: httpx.Response) -> set[str]:
    """The codes of the warnings."""
    return {warning["code"] for warning in answer.json()["warnings"]}
