"""The stage of these tests: a workspace with its people and an agent, the room behind the real edge, and providers
that answer under the real names of their hosts.

Every name leads to 127.0.0.1; `Doors` maps port 443 of a host to the TLS port of its double, and changes nothing else.
"""

import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
from psycopg.rows import dict_row

from agenthifive.audit.chains import AdminChain
from agenthifive.audit.flood import FloodGate
from agenthifive.broker.address import Guard
from agenthifive.broker.egress import Egress, tls_context
from agenthifive.broker.wire import Wire
from agenthifive.catalog.catalog import Catalog
from agenthifive.connections.api import routes
from agenthifive.connections.model import ConnectionOptions
from agenthifive.connections.service import ConnectionService
from agenthifive.connections.watch import CredentialWatch
from agenthifive.db.database import Database
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.edge.answers import StandardHeaders
from agenthifive.edge.callers import Caller
from agenthifive.edge.context import TrustedProxies
from agenthifive.edge.gate import Gate
from agenthifive.edge.gatekeeper import Gatekeeper, LookUps
from agenthifive.edge.management import make_management
from agenthifive.edge.routing import Edge
from agenthifive.operations.ratelimit import RateLimiter, Window
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AGENT_SCOPES, PAT_SCOPES, PrincipalType, RateLimit, Role, Scope
from certificates import issue
from fakes import Provider, Received, Script, respond

WEB_URL = "https://ah5.example.com"
KEY = bytes(range(7, 39))
WIDE = Window(100_000, 60)
TELEGRAM_TOKEN = "123456789:AAH-abcdefghijklmnopqrstuvwxyz_0123"
OTHER_TELEGRAM_TOKEN = "987654321:BBH-abcdefghijklmnopqrstuvwxyz_0123"
SLACK_TOKEN = "xoxb-1111111111-2222222222-abcdefABCDEF"
OPENAI_KEY = "sk-proj-abcdefghijklmnopqrstuvwxyz0123"
GET_ME = {"ok": True, "result": {"id": 123456789, "is_bot": True, "first_name": "Helper", "username": "helper_bot"}}
AUTH_TEST = {
    "ok": True,
    "url": "https://acme.slack.com/",
    "team": "Acme",
    "user": "helper",
    "team_id": "T1",
    "user_id": "U1",
    "bot_id": "B1",
}
HOSTS = (
    "api.telegram.org",
    "slack.com",
    "api.openai.com",
    "openrouter.ai",
    "acme.atlassian.net",
    "api.trello.com",
    "api.example.com",
    "evil.example.net",
)


class _Nobody:
    """Counts nothing, writes nothing."""

    def observe_request(self, *_: object) -> None:
        """As it says."""

    def write(self, *_: object) -> None:
        """As it says."""


def says(value: Any, status: int = 200, *headers: tuple[str, str]) -> Script:
    """A script that answers with this JSON."""
    return respond(status, json.dumps(value).encode(), *headers)


def telegram(token: str = TELEGRAM_TOKEN, **members: Any) -> dict[str, Any]:
    """A body for the bot-token route."""
    return {"service": "telegram", "botToken": token, **members}


def openai(**members: Any) -> dict[str, Any]:
    """A body for the api-key route."""
    return {"service": "openai", "apiKey": OPENAI_KEY, **members}


class Doors(Egress):
    """The real egress whose sockets end at the doubles."""

    def __init__(self, guard: Guard, tls: ssl.SSLContext, ports: dict[str, int]) -> None:
        super().__init__(guard, tls, _resolve)
        self.ports = ports

    async def _dial(self, scheme: str, host: str, port: int) -> Wire:
        return await super()._dial(scheme, host, self.ports.get(host, port))


async def _resolve(host: str, port: int) -> Sequence[str]:
    try:
        return [str(ip_address(host))]
    except ValueError:
        return ["127.0.0.1"]


@dataclass
class World:
    """The providers, started once: one double per host, each with a certificate of its own."""

    tls: ssl.SSLContext
    providers: dict[str, Provider] = field(default_factory=dict)

    def __getitem__(self, host: str) -> Provider:
        return self.providers[host]

    @property
    def received(self) -> list[Received]:
        """Everything that reached any provider."""
        return [request for provider in self.providers.values() for request in provider.received]

    def reset(self) -> None:
        """Forget what was received; every provider refuses again."""
        for provider in self.providers.values():
            provider.received.clear()
            provider.script = says({"ok": False, "error": "unset"}, 500)


@asynccontextmanager
async def open_world(folder: Path) -> AsyncIterator[World]:
    """The doubles of all hosts."""
    async with AsyncExitStack() as stack:
        world = World(tls_context(None))
        for host in HOSTS:
            place = folder / host
            place.mkdir()
            bundle, chain, key = issue(place, host)
            world.tls.load_verify_locations(cafile=bundle)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain, key)
            world.providers[host] = await Provider().start(context)
            stack.push_async_callback(world.providers[host].stop)
        yield world


@dataclass
class Workspace:
    """A workspace, its people by role, and one agent."""

    id: str
    people: dict[Role, str]
    tokens: dict[Role, str]
    agent_id: str
    agent_token: str

    def headers(self, role: Role = Role.OWNER) -> dict[str, str]:
        return {"authorization": f"Bearer {self.tokens[role]}"}

    @property
    def agent(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.agent_token}"}


class Replica:
    """One process's view: its own egress and application over the common database."""

    def __init__(self, stage: "Stage", guard: Guard, limit: Window, options: ConnectionOptions) -> None:
        self.egress = Doors(guard, stage.world.tls, {host: p.port for host, p in stage.world.providers.items()})
        limiter = RateLimiter(stage.database, {RateLimit.CONNECTION_PROBE: limit, RateLimit.AUTH_FAILURES: WIDE})
        self.room = ConnectionService(stage.catalog, stage.keyring, self.egress, limiter, options)
        self.watch = CredentialWatch(stage.unit, stage.catalog, stage.keyring, self.room.probes)
        gatekeeper = Gatekeeper(
            stage.database,
            stage.chain,
            limiter,
            LookUps(stage.find_caller, stage.find_caller, stage.find_caller),
            FloodGate(),
            cookie_name="ah5_session",
            web_origin=WEB_URL,
        )
        app = make_management([routes.router])
        app.state.edge = Edge(stage.database, stage.chain, gatekeeper)
        app.state.connections = self.room
        gate = Gate(
            broker=app,
            management=app,
            lifespan=app,
            proxies=TrustedProxies([]),
            headers=StandardHeaders(WEB_URL),
            web_origin=WEB_URL,
            cors_origins=frozenset(),
            meter=_Nobody(),
            journal=_Nobody(),
        )
        transport = httpx.ASGITransport(app=gate, client=("203.0.113.7", 40000), raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url=WEB_URL)

    async def close(self) -> None:
        await self.watch.close()
        await self.client.aclose()
        await self.egress.close()


class Stage:
    """Everything a test asks for."""

    def __init__(
        self,
        database: Database,
        chain: AdminChain,
        admin: psycopg.AsyncConnection[Any],
        world: World,
        catalog: Catalog,
    ) -> None:
        self.database = database
        self.chain = chain
        self.admin = admin
        self.world = world
        self.catalog = catalog
        self.keyring = Keyring.of([KEY])
        self.callers: dict[str, Caller] = {}
        self.replicas: list[Replica] = []
        self.here: Workspace
        self.elsewhere: Workspace
        self.main: Replica
        self.client: httpx.AsyncClient

    def replica(
        self, guard: Guard | None = None, limit: Window = WIDE, options: ConnectionOptions | None = None
    ) -> Replica:
        """Another process; guard, limit and settings may differ."""
        replica = Replica(self, guard or Guard(allow_private=True), limit, options or ConnectionOptions())
        self.replicas.append(replica)
        return replica

    def unit(self) -> Unit:
        return Unit(self.database, self.chain, SYSTEM)

    async def find_caller(self, token: str) -> Caller | None:
        return self.callers.get(token)

    async def sql(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run a statement as the superuser, past every right of the application."""
        cursor = self.admin.cursor(row_factory=dict_row)
        await cursor.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []

    async def row(self, connection_id: str) -> dict[str, Any]:
        """A connection as it is stored."""
        return (await self.sql("SELECT * FROM t_connections WHERE id = %s", connection_id))[0]

    async def stored(self) -> int:
        """How many connections the workspace has, in any state."""
        rows = await self.sql("SELECT count(*) AS n FROM t_connections WHERE workspace_id = %s", self.here.id)
        return int(rows[0]["n"])

    async def audit(self, connection_id: str | None = None) -> list[dict[str, Any]]:
        """The rows of the workspace or of one connection, oldest first."""
        return await self.sql(
            "SELECT action, decision, metadata, actor, principal_type, agent_id::text, audit_id::text,"
            " connection_id::text FROM l_audit_events WHERE workspace_id = %s"
            " AND (%s::uuid IS NULL OR connection_id = %s) ORDER BY id",
            self.here.id,
            connection_id,
            connection_id,
        )

    def secret_of(self, row: dict[str, Any]) -> dict[str, Any]:
        """What stands sealed in a connection."""
        opened = self.keyring.open(
            row["encrypted_tokens"], "t_connections", "encrypted_tokens", row["id"], row["workspace_id"]
        )
        return json.loads(opened.reveal())

    async def post(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> httpx.Response:
        """As the owner, unless headers say otherwise."""
        return await self.client.post(f"/v1/connections/{path}", json=body, headers=headers or self.here.headers())

    async def put(self, path: str, body: Any) -> httpx.Response:
        return await self.client.put(f"/v1/connections/{path}", json=body, headers=self.here.headers())

    async def get(self, path: str = "", headers: dict[str, str] | None = None) -> httpx.Response:
        return await self.client.get(f"/v1/connections{path}", headers=headers or self.here.headers())

    async def connect_telegram(self, token: str = TELEGRAM_TOKEN) -> str:
        """A telegram connection."""
        self.world["api.telegram.org"].script = says(GET_ME)
        answer = await self.post("bot-token", {"service": "telegram", "botToken": token})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["connection"]["id"])

    async def connect_slack(self) -> str:
        self.world["slack.com"].script = says(AUTH_TEST)
        answer = await self.post("bot-token", {"service": "slack", "botToken": SLACK_TOKEN})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["connection"]["id"])

    async def connect_http(self, **members: Any) -> str:
        """A generic connection without a probe."""
        body = {
            "label": "Things",
            "baseUrl": "https://api.example.com/v1",
            "authType": "header",
            "headerName": "X-Key",
            "apiKey": "generic-secret-0123456789",
            **members,
        }
        answer = await self.post("http", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["connection"]["id"])

    async def give_policy(self, connection_id: str, workspace: Workspace | None = None, **document: Any) -> str:
        """An active policy of the workspace's agent."""
        policy_id, workspace = str(uuid4()), workspace or self.here
        await self.sql(
            "INSERT INTO t_policies (id, workspace_id, agent_id, connection_id, action_template_id, document)"
            " VALUES (%s, %s, %s, %s, 'telegram', %s)",
            policy_id,
            workspace.id,
            workspace.agent_id,
            connection_id,
            json.dumps({"defaultMode": "read_write", "allowedModels": ["B"], **document}),
        )
        return policy_id

    async def make_workspace(self) -> Workspace:
        workspace_id, agent_id = str(uuid4()), str(uuid4())
        people = {role: str(uuid4()) for role in Role}
        tokens = {
            role: self.token(Caller(PrincipalType.USER, user_id, workspace_id, user_id=user_id, role=role))
            for role, user_id in people.items()
        }
        await self.sql(
            "WITH u AS (INSERT INTO t_users (id, email, email_key, name)"
            " SELECT p, p || '@example.com', p || '@example.com', r FROM unnest(%s::uuid[], %s::text[]) AS x(p, r)),"
            " w AS (INSERT INTO t_workspaces (id, name, owner_id) VALUES (%s, 'W', %s)),"
            " a AS (INSERT INTO t_agents (id, workspace_id, name, status) VALUES (%s, %s, 'Bot', 'active'))"
            " INSERT INTO t_members (workspace_id, user_id, role)"
            " SELECT %s, p, r FROM unnest(%s::uuid[], %s::text[]) AS x(p, r)",
            list(people.values()),
            list(people),
            workspace_id,
            people[Role.OWNER],
            agent_id,
            workspace_id,
            workspace_id,
            list(people.values()),
            list(people),
        )
        return Workspace(workspace_id, people, tokens, agent_id, self.agent_token(workspace_id, agent_id))

    def token(self, caller: Caller) -> str:
        """A bearer token that stands for this caller."""
        token = f"ah5p_{uuid4().hex}{uuid4().hex}"[:48]
        self.callers[token] = caller
        return token

    def agent_token(self, workspace_id: str, agent_id: str, scopes: Sequence[Scope] = AGENT_SCOPES) -> str:
        return self.token(
            Caller(PrincipalType.AGENT, agent_id, workspace_id, agent_id=agent_id, scopes=frozenset(scopes))
        )

    def pat(self, *scopes: Scope, role: Role = Role.OWNER) -> dict[str, str]:
        """Headers of a PAT of a person of the workspace."""
        user_id, held = self.here.people[role], frozenset(scopes or PAT_SCOPES)
        caller = Caller(PrincipalType.PAT, str(uuid4()), self.here.id, user_id=user_id, role=role, scopes=held)
        return {"authorization": f"Bearer {self.token(caller)}"}


@asynccontextmanager
async def open_stage(
    database: Database, chain: AdminChain, admin: psycopg.AsyncConnection[Any], world: World, catalog: Catalog
) -> AsyncIterator[Stage]:
    """A stage with two fresh workspaces; the providers have received nothing."""
    world.reset()
    stage = Stage(database, chain, admin, world, catalog)
    stage.here, stage.elsewhere = await stage.make_workspace(), await stage.make_workspace()
    stage.main = stage.replica()
    stage.client = stage.main.client
    try:
        yield stage
    finally:
        for replica in stage.replicas:
            await replica.close()
