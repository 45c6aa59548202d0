"""A whole broker on real sockets and a real database, with people, agents, connections and policies put in by hand.

World -> Gate on a loopback port -> Broker -> Egress (every name leads to the recording provider) -> Provider
"""

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import msgspec
import psycopg
import uvicorn
from psycopg.types.json import Jsonb

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.audit.lane import Lane
from agenthifive.audit.writer import Writer, WriterOptions
from agenthifive.broker import records
from agenthifive.broker.address import Guard, parse_allowlist
from agenthifive.broker.broker import Broker, BrokerOptions
from agenthifive.broker.changes import Changes
from agenthifive.broker.delivery import Delivery
from agenthifive.broker.egress import Egress, tls_context
from agenthifive.broker.grants import Grants
from agenthifive.broker.http import BrokerHttp
from agenthifive.broker.idempotency import Idempotency
from agenthifive.broker.live import LiveStreams
from agenthifive.broker.streaming import Streaming
from agenthifive.catalog.catalog import Catalog, load_catalog
from agenthifive.db.database import Database
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.edge.answers import StandardHeaders
from agenthifive.edge.callers import Caller
from agenthifive.edge.context import Context, TrustedProxies
from agenthifive.edge.credentials import CredentialKind, invalid_token
from agenthifive.edge.frozen import Frozen
from agenthifive.edge.gate import Gate
from agenthifive.edge.listener import BoundedProtocol
from agenthifive.errors import AppError
from agenthifive.ids import new_id
from agenthifive.operations.freeze import FreezeWatch
from agenthifive.operations.journal import Journal
from agenthifive.operations.metrics import Metrics
from agenthifive.vault.keyring import Keyring
from fakes import Provider

SECRET = "sk-the-secret-value-that-nobody-may-see-0123456789"
HOST = "api.example.com"
KEYRING = Keyring.parse("5f" * 15 + "a1" * 17, "")


class Strangers:
    """The broker's view of people when nobody but agents exists."""

    async def authenticate(self, request: Any, context: Context) -> Caller:
        raise AppError(
            "authentication_required", "No credential was sent. Use Authorization, X-API-Key, X-Goog-Api-Key."
        )

    async def note_failure(self, kind: CredentialKind, context: Context) -> AppError:
        return invalid_token(kind)

    async def is_agent_jwt(self, text: str) -> bool:
        return False

    def count_principal(self, principal_id: str) -> None:
        return None

    async def note_denied(self, caller: Caller, context: Context, method: str, route: str, code: str) -> None:
        return None


@dataclass
class Replica:
    """One running broker process's worth of parts."""

    broker: Broker
    http: BrokerHttp
    grants: Grants
    changes: Changes
    writer: Writer
    egress: Egress
    live: LiveStreams
    switch: FreezeWatch
    port: int
    server: uvicorn.Server
    task: "asyncio.Task[None]"

    @property
    def base(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


@dataclass
class World:
    """The test's side of everything."""

    database: Database
    instance: Instance
    admin_dsn: str
    provider: Provider
    catalog: Catalog = field(default_factory=load_catalog)
    replicas: list[Replica] = field(default_factory=list)
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=30))
    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ah5-world-")))
    workspace_id: str = field(default_factory=new_id)
    owner_id: str = field(default_factory=new_id)

    @property
    def origin(self) -> str:
        """The provider as connections name it."""
        return f"http://{HOST}:{self.provider.port}"

    # ------------------------------------------------------------------ putting things in

    async def execute(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run SQL as the application."""
        async with self.database.transaction() as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

    def unit(self) -> Unit:
        """A unit of work of the system."""
        return Unit(self.database, AdminChain(self.database, self.instance), SYSTEM)

    async def settle(self) -> None:
        """Wait until every replica has heard of what was changed (between tests the event loop stands still)."""
        [(total,)] = await self.execute("SELECT coalesce(sum(n), 0)::bigint FROM t_changes")
        for replica in self.replicas:
            while replica.changes._sum < total or not replica.changes.is_fresh:
                await asyncio.sleep(0.005)

    async def add_workspace(self) -> None:
        """Olga and her workspace."""
        await self.execute(
            "INSERT INTO t_users (id, email, email_key, name) VALUES (%s, %s, %s, 'Olga')",
            [self.owner_id, self.owner_id, self.owner_id],
        )
        await self.execute(
            "INSERT INTO t_workspaces (id, name, owner_id) VALUES (%s, 'Olga''s workspace', %s)",
            [self.workspace_id, self.owner_id],
        )

    async def add_agent(self, scopes: Sequence[str] = ("vault:execute",), ttl: str = "2 hours") -> tuple[str, str]:
        """An active agent and an access token of its."""
        agent_id, token = new_id(), "ah5t_" + new_id().replace("-", "") + "A" * 11
        await self.execute(
            "INSERT INTO t_agents (id, workspace_id, name, status, created_by) VALUES (%s, %s, 'Bot', 'active', %s)",
            [agent_id, self.workspace_id, self.owner_id],
        )
        await self.execute(
            "INSERT INTO t_agent_access_tokens (id, agent_id, workspace_id, token_hash, scopes, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, now() + %s::interval)",
            [new_id(), agent_id, self.workspace_id, sha256(token.encode()).hexdigest(), list(scopes), ttl],
        )
        return agent_id, token

    async def add_connection(
        self,
        service: str = "generic-http",
        payload: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        status: str = "healthy",
    ) -> str:
        """A connection; by default a generic one to the provider with a bearer key."""
        connection_id = new_id()
        found = self.catalog.get(service)
        assert found is not None
        if service == "generic-http":
            payload = payload or {"authType": "bearer", "apiKey": SECRET}
            params = params or {"baseUrl": self.origin}
        sealed = KEYRING.seal(
            msgspec.json.encode(payload), "t_connections", "encrypted_tokens", connection_id, self.workspace_id
        )
        await self.execute(
            "INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status, encrypted_tokens,"
            " encrypted_tokens_kid, metadata, singleton_key) VALUES (%s, %s, %s, %s, %s, 'Test', %s, %s, %s, %s, %s)",
            [
                connection_id,
                self.workspace_id,
                found.provider,
                service,
                found.default_variant.id,
                status,
                sealed.text,
                sealed.kid,
                Jsonb({"params": dict(params or {})}),
                service if found.file.singleton else None,
            ],
        )
        return connection_id

    async def add_policy(self, agent_id: str, connection_id: str, **facets: Any) -> str:
        """An active policy: everything allowed below the provider unless the facets say otherwise."""
        policy_id = new_id()
        document = {
            "enforcement": "enforce",
            "allowedModels": ["B"],
            "vendStaticCredentials": False,
            "defaultMode": "read_write",
            "stepUpApproval": "never",
            "allowlists": [
                {
                    "baseUrl": self.origin,
                    "methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
                    "pathPatterns": ["/**"],
                }
            ],
            "rateLimits": None,
            "timeWindows": [],
            "rules": {"request": [], "response": [], "fieldStepUpEnabled": False},
            "providerConstraints": None,
            **facets,
        }
        await self.execute(
            "INSERT INTO t_policies (id, workspace_id, agent_id, connection_id, document) VALUES (%s, %s, %s, %s, %s)",
            [policy_id, self.workspace_id, agent_id, connection_id, Jsonb(document)],
        )
        return policy_id

    async def ready(self, **facets: Any) -> "Bot":
        """An agent with a connection and a policy, known to every replica."""
        agent_id, token = await self.add_agent()
        connection_id = await self.add_connection()
        policy_id = await self.add_policy(agent_id, connection_id, **facets)
        await self.settle()
        return Bot(self, agent_id, token, connection_id, policy_id)

    # ------------------------------------------------------------------ looking

    async def rows(self, audit_id: str) -> list[dict[str, Any]]:
        """A row and, when it is an intent, its outcome."""
        found = await self.execute(
            "SELECT to_jsonb(e) FROM l_audit_events e WHERE audit_id = %s OR intent_id = %s ORDER BY id",
            [audit_id, audit_id],
        )
        return [row[0] for row in found]

    def admin(self) -> psycopg.Connection[Any]:
        """A superuser's connection, for faults."""
        return psycopg.connect(self.admin_dsn, autocommit=True)

    # ------------------------------------------------------------------ running

    async def start_replica(self, options: BrokerOptions | None = None, **limits: int) -> Replica:
        """A broker on a loopback port of its own."""
        guard = Guard(allowlist=parse_allowlist(f"{HOST}=127.0.0.0/8,other.example.com=127.0.0.0/8"))
        frozen = Frozen()
        grants = Grants(self.database, self.catalog, creator_stops=True, frozen=frozen)
        live = LiveStreams(grants)
        switch = FreezeWatch(frozen, self.home, live.cut_frozen, self.unit)

        def on_change(workspace_id: str | None) -> None:
            grants.drop(workspace_id)
            live.check(workspace_id)

        changes = Changes(self.database.dedicated, on_change, switch.read)
        writer = Writer(
            lambda name: Lane(self.database.dedicated, self.instance, name), records.given_up, WriterOptions()
        )
        egress = Egress(guard, tls_context(None), self.resolve)
        idempotency = Idempotency(self.database, KEYRING)
        delivery = Delivery(
            writer, egress, idempotency, Streaming(egress, live),
            max_download_bytes=104_857_600, on_auth_failure=lambda *_: None,
        )  # fmt: skip
        options = options or BrokerOptions(http_hosts=guard.http_hosts, head_timeout_s=5, llm_head_timeout_s=5)
        broker = Broker(grants, changes, writer, KEYRING, egress, idempotency, delivery, options)
        http = BrokerHttp(
            broker, Strangers(), lambda scope: scope, max_body_bytes=limits.get("max_body_bytes", 26_214_400),
            process_max_in_flight=limits.get("process_max_in_flight", 512),
        )  # fmt: skip
        await writer.start()
        await changes.start()
        switch.start()
        gate = Gate(
            broker=http, management=_nothing, lifespan=_nothing, proxies=TrustedProxies([]),
            headers=StandardHeaders("http://localhost:4000"), web_origin="http://localhost:4000",
            cors_origins=frozenset(), meter=Metrics("test", "test"),
            journal=Journal(is_on=False, is_readable=False),
        )  # fmt: skip
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            gate, http=BoundedProtocol, ws="none", lifespan="off", log_config=None, access_log=False
        )
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        port = listener.getsockname()[1]
        replica = Replica(broker, http, grants, changes, writer, egress, live, switch, port, server, task)
        self.replicas.append(replica)
        return replica

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Every name leads to the provider's machine."""
        return ["127.0.0.1"]

    async def close(self) -> None:
        """Stop every replica."""
        await self.client.aclose()
        for replica in self.replicas:
            replica.server.should_exit = replica.server.force_exit = True
            await replica.task
            await replica.switch.close()
            await replica.changes.close()
            await replica.writer.close()
            await replica.egress.close()
        shutil.rmtree(self.home, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Bot:
    """An agent as it sees the world: a token and what it was told."""

    world: World
    agent_id: str
    token: str
    connection_id: str
    policy_id: str

    async def execute(
        self, path: str = "/v1/x", method: str = "GET", replica: int = 0, **members: Any
    ) -> httpx.Response:
        """POST /v1/vault/execute; `url` and other members of the body may be given."""
        headers = members.pop("http_headers", {})
        call = {
            "model": "B",
            "connectionId": self.connection_id,
            "method": method,
            "url": f"{self.world.origin}{path}",
            **members,
        }
        return await self.world.client.post(
            f"{self.world.replicas[replica].base}/v1/vault/execute",
            content=msgspec.json.encode(call),
            headers={"authorization": f"Bearer {self.token}", "content-type": "application/json", **headers},
        )


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@contextlib.asynccontextmanager
async def make_world(database: Database, instance: Instance, admin_dsn: str, replicas: int = 1) -> AsyncIterator[World]:
    """A world for the length of a block."""
    provider = await Provider().start()
    world = World(database, instance, admin_dsn, provider)
    try:
        await world.add_workspace()
        # the event loop stands still between a fixture and its test: grants must not grow stale by that alone
        with mock.patch("agenthifive.broker.changes.FRESH_S", 3.0):
            for _ in range(replicas):
                await world.start_replica()
            yield world
    finally:
        await world.close()
        await provider.stop()
