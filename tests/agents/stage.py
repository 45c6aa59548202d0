"""The stage of these tests: replicas of the agents room behind the real edge, two workspaces, and agents that sign.

Olga owns the first workspace, Adam is its admin, Ann its approver, Vera its viewer; Mallory owns the second one.
"""

import functools
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from psycopg.rows import dict_row

from agenthifive.agents.api import make_room, routes
from agenthifive.agents.assertion import accepted_audiences
from agenthifive.agents.model import AgentOptions
from agenthifive.agents.tokens import ASSERTION_TYPE
from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.audit.flood import FloodGate
from agenthifive.audit.lane import Lane
from agenthifive.audit.writer import Writer, WriterOptions
from agenthifive.catalog.catalog import Catalog, load_catalog
from agenthifive.db.database import Database
from agenthifive.edge.answers import StandardHeaders
from agenthifive.edge.callers import Caller
from agenthifive.edge.context import TrustedProxies
from agenthifive.edge.frozen import Frozen
from agenthifive.edge.gate import Gate
from agenthifive.edge.gatekeeper import Gatekeeper, LookUps
from agenthifive.edge.management import make_management
from agenthifive.edge.routing import Edge
from agenthifive.ids import new_id
from agenthifive.jwt.keys import KeySet
from agenthifive.jwt.service import SignedTokens
from agenthifive.operations.journal import Journal
from agenthifive.operations.ratelimit import RateLimiter, Window
from agenthifive.vault.signing import new_rsa_pem
from agenthifive.vault.token_keys import read_signing_key
from agenthifive.words import PAT_SCOPES, PrincipalType, RateLimit, Role, Scope

KEY = read_signing_key(new_rsa_pem(), "stage")
WEB_URL = "https://ah5.example.com"
INTERNAL_URL = "http://ah5.internal:4000"
OPTIONS = AgentOptions(web_url=WEB_URL, audiences=accepted_audiences(WEB_URL, INTERNAL_URL, (), False))
WIDE = Window(100_000, 60)
_addresses = itertools.count(1)


class _NoMeter:
    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts nothing."""


@dataclass
class Workspace:
    """A workspace with a person of each role, and the tokens that stand for them."""

    id: str
    owner_id: str
    tokens: dict[Role, str]
    people: dict[Role, str]

    def headers(self, role: Role = Role.OWNER) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[role]}"}


@dataclass
class Agent:
    """An agent of the tests: what the server told of it, and its key."""

    id: str
    secret: str
    workspace: Workspace
    signer: Any

    def claims(self, **changes: Any) -> dict[str, Any]:
        now_s = int(time.time())
        claims = {
            "iss": self.id,
            "sub": self.id,
            "aud": WEB_URL,
            "iat": now_s,
            "exp": now_s + 30,
            "jti": str(uuid4()),
        }
        return {name: value for name, value in {**claims, **changes}.items() if value is not ...}

    def assertion(self, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """A good assertion, or one spoilt by these members; `...` leaves a claim out."""
        return self.signer.compact(
            json.dumps({"alg": self.signer.alg, **(header or {})}).encode(), json.dumps(self.claims(**changes)).encode()
        )


class Replica:
    """One process's view: its own chain, caches and application over the common database."""

    def __init__(
        self,
        database: Database,
        chain: AdminChain,
        catalog: Catalog,
        callers: Mapping[str, Caller],
        options: AgentOptions,
        windows: Mapping[RateLimit, Window],
    ) -> None:
        async def find_person(token: str) -> Caller | None:
            return callers.get(token)

        self.writer = Writer(
            lambda name: Lane(database.dedicated, Instance(new_id(), 1), name),
            lambda event: event,
            WriterOptions(deadline_s=10.0, name="tokens", lanes=1),
        )
        self.frozen = Frozen()
        keys = KeySet(database, KEY, token_ttl_s=options.token_ttl_s)
        signed_tokens = SignedTokens(options.web_url, keys, keys)
        room = make_room(database, self.writer, FloodGate(), catalog, options, signed_tokens, self.frozen)
        self.agents, self.exchange = room.agents, room.tokens
        limits = {RateLimit.BOOTSTRAP: WIDE, RateLimit.TOKEN: WIDE, RateLimit.AUTH_FAILURES: WIDE, **windows}
        self.gatekeeper = Gatekeeper(
            database,
            chain,
            RateLimiter(database, limits),
            LookUps(self.agents.caller_by_token, find_person, find_person),
            FloodGate(),
            cookie_name="ah5_session",
            web_origin=WEB_URL,
        )
        self.edge = Edge(database, chain, self.gatekeeper)
        app = make_management([routes.router])
        app.state.edge = self.edge
        app.state.agents = room
        self.gate = Gate(
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

    def client(self, ip: str = "203.0.113.7") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.gate, client=(ip, 40000), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=WEB_URL)


class Stage:
    """Everything a test asks for."""

    def __init__(self, database: Database, chain: AdminChain, admin: psycopg.AsyncConnection[Any]) -> None:
        self.database = database
        self.chain = chain
        self.admin = admin
        self.catalog = _catalog()
        self.callers: dict[str, Caller] = {}
        self.here: Workspace
        self.elsewhere: Workspace
        self.replicas: list[Replica] = []
        self.replica = self.make_replica()
        self.client = self.replica.client()

    def make_replica(self, chain: AdminChain | None = None, **changes: Any) -> Replica:
        """Another replica; `windows` and settings may differ."""
        windows = changes.pop("windows", {})
        options = replace(OPTIONS, **changes)
        replica = Replica(self.database, chain or self.chain, self.catalog, self.callers, options, windows)
        self.replicas.append(replica)
        return replica

    async def close(self) -> None:
        """Let go of the connections of every replica."""
        for replica in self.replicas:
            await replica.writer.close()

    def stranger(self, replica: Replica | None = None) -> httpx.AsyncClient:
        """A client with an address of its own, so that no limit and no flood rule of another test touches it."""
        number = next(_addresses)
        return (replica or self.replica).client(f"198.18.{number >> 8}.{number & 255}")

    async def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run a statement as the superuser, past every right of the application."""
        cursor = self.admin.cursor(row_factory=dict_row)
        await cursor.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []

    async def audit(self, agent_id: str, action: str | None = None) -> list[dict[str, Any]]:
        """The audit rows of an agent, oldest first."""
        rows = await self.sql(
            "SELECT action, decision, metadata, actor, workspace_id::text, principal_type, principal_id, ip,"
            " audit_id::text FROM l_audit_events WHERE agent_id = %s ORDER BY id",
            agent_id,
        )
        return [row for row in rows if action in (None, row["action"])]

    async def make_workspace(self) -> Workspace:
        workspace_id, people, tokens = str(uuid4()), {}, {}
        for role in Role:
            user_id = people[role] = str(uuid4())
            await self.sql(
                "INSERT INTO t_users (id, email, email_key, name) VALUES (%s, %s, %s, %s)",
                user_id,
                f"{user_id}@example.com",
                f"{user_id}@example.com",
                str(role),
            )
        await self.sql(
            "INSERT INTO t_workspaces (id, name, owner_id) VALUES (%s, 'Works', %s)", workspace_id, people[Role.OWNER]
        )
        for role, user_id in people.items():
            await self.sql(
                "INSERT INTO t_members (workspace_id, user_id, role) VALUES (%s, %s, %s)", workspace_id, user_id, role
            )
            tokens[role] = self.sign_in(workspace_id, user_id, role)
        return Workspace(workspace_id, people[Role.OWNER], tokens, people)

    def sign_in(self, workspace_id: str, user_id: str, role: Role, scopes: frozenset[Scope] | None = None) -> str:
        """A bearer token for a person, or for their PAT when it has scopes."""
        token = f"ah5p_{uuid4().hex}{uuid4().hex}"[:48]
        kind = PrincipalType.USER if scopes is None else PrincipalType.PAT
        self.callers[token] = Caller(
            kind, user_id, workspace_id, user_id=user_id, role=role, scopes=scopes or frozenset()
        )
        return token

    def pat(self, *scopes: Scope, role: Role = Role.OWNER) -> dict[str, str]:
        """Headers of a PAT of the first workspace."""
        held = frozenset(scopes or PAT_SCOPES)
        return {"authorization": f"Bearer {self.sign_in(self.here.id, self.here.people[role], role, held)}"}

    async def make_agent(self, signer: Any = None, workspace: Workspace | None = None, **body: Any) -> Agent:
        """A created agent; with a signer it is enrolled."""
        workspace = workspace or self.here
        answer = await self.client.post("/v1/agents", headers=workspace.headers(), json={"name": "Mail helper", **body})
        assert answer.status_code == 200, answer.text
        agent = Agent(answer.json()["agent"]["id"], answer.json()["bootstrapSecret"], workspace, signer)
        if signer is not None:
            enrolled = await self.enrol(agent.secret, signer.jwk)
            assert enrolled.status_code == 200, enrolled.text
        return agent

    async def enrol(self, secret: Any, jwk: Any, client: httpx.AsyncClient | None = None) -> httpx.Response:
        return await (client or self.client).post(
            "/v1/agents/bootstrap", json={"bootstrapSecret": secret, "publicKey": jwk}
        )

    async def exchange(
        self, assertion: Any, client: httpx.AsyncClient | None = None, **parameters: Any
    ) -> httpx.Response:
        return await (client or self.client).post("/v1/agents/token", json=token_body(assertion, **parameters))

    async def token(self, agent: Agent, **parameters: Any) -> dict[str, str]:
        """Headers with a fresh access token of the agent."""
        answer = await self.exchange(agent.assertion(), **parameters)
        assert answer.status_code == 200, answer.text
        return {"authorization": f"Bearer {answer.json()['access_token']}"}

    async def spent(self, agent: Agent) -> tuple[int, int]:
        """How many assertions of an agent are burned, and how many tokens it has."""
        rows = await self.sql(
            "SELECT (SELECT count(*) FROM l_jti_replay_cache WHERE agent_id = %s) AS burned,"
            " (SELECT count(*) FROM t_agent_access_tokens WHERE agent_id = %s) AS tokens",
            agent.id,
            agent.id,
        )
        return rows[0]["burned"], rows[0]["tokens"]


def token_body(assertion: Any, **parameters: Any) -> dict[str, Any]:
    """The parameters of a token request; `...` leaves one out."""
    body = {
        "grant_type": "client_assertion",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        **parameters,
    }
    return {name: value for name, value in body.items() if value is not ...}


def told(answer: httpx.Response) -> tuple[int, str | None]:
    """Status and code of an answer; the code is None for a good one."""
    return answer.status_code, answer.json().get("code")


_catalog = functools.cache(load_catalog)


@asynccontextmanager
async def open_stage(database: Database, chain: AdminChain, admin_dsn: str) -> AsyncIterator[Stage]:
    """A stage with both workspaces."""
    async with await psycopg.AsyncConnection.connect(admin_dsn, autocommit=True) as admin:
        stage = Stage(database, chain, admin)
        stage.here, stage.elsewhere = await stage.make_workspace(), await stage.make_workspace()
        async with stage.client:
            yield stage
        await stage.close()
