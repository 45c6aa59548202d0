"""The whole application on a real database, the cast signed in by hand. No port: requests go straight to the gate."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import msgspec

from agenthifive.app import Application
from agenthifive.ids import new_id
from agenthifive.settings import load_settings
from agenthifive.vault.hashing import new_token
from agenthifive.words import PAT_SCOPES, Scope

WEB_URL = "http://localhost:4000"


@dataclass
class Place:
    """A running application and what the tests put into it."""

    app: Application
    client: httpx.AsyncClient
    workspace_id: str = field(default_factory=new_id)
    owner_id: str = ""

    async def execute(self, statement: str, values: list[object]) -> list[tuple[Any, ...]]:
        """Run SQL as the application."""
        async with self.app.database.transaction() as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

    async def add_person(self, role: str | None, workspace_id: str | None = None) -> str:
        """A person with a role in a workspace; the owner brings the workspace along."""
        user_id, home = new_id(), workspace_id or self.workspace_id
        await self.execute(
            "INSERT INTO t_users (id, email, email_key, name, email_verified_at) VALUES (%s, %s, %s, %s, now())",
            [user_id, f"{user_id}@example.com", f"{user_id}@example.com", role or "nobody"],
        )
        if role == "owner":
            await self.execute("INSERT INTO t_workspaces (id, name, owner_id) VALUES (%s, 'W', %s)", [home, user_id])
        if role is not None:
            await self.execute(
                "INSERT INTO t_members (workspace_id, user_id, role) VALUES (%s, %s, %s)", [home, user_id, role]
            )
        return user_id

    async def add_pat(
        self, user_id: str, scopes: tuple[Scope, ...] = PAT_SCOPES, workspace_id: str | None = None
    ) -> str:
        """A personal access token."""
        token = new_token("ah5p_")
        await self.execute(
            "INSERT INTO t_personal_tokens"
            " (id, user_id, workspace_id, name, token_hash, hint_suffix, scopes, expires_at)"
            " VALUES (%s, %s, %s, 'test', %s, 'test', %s, now() + interval '1 day')",
            [new_id(), user_id, workspace_id or self.workspace_id, sha256(token.encode()).hexdigest(),
             [str(scope) for scope in scopes]],
        )  # fmt: skip
        return token

    async def add_agent(self, workspace_id: str | None = None) -> tuple[str, str]:
        """An active agent and its token."""
        agent_id, token, home = new_id(), new_token("ah5t_"), workspace_id or self.workspace_id
        await self.execute(
            "INSERT INTO t_agents (id, workspace_id, name, status, created_by) VALUES (%s, %s, 'Bot', 'active', %s)",
            [agent_id, home, self.owner_id],
        )
        await self.execute(
            "INSERT INTO t_agent_access_tokens (id, agent_id, workspace_id, token_hash, scopes, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, now() + interval '1 hour')",
            [new_id(), agent_id, home, sha256(token.encode()).hexdigest(),
             [str(s) for s in Scope if s in ("vault:execute", "connections:read", "capabilities:read", "approvals:read",
                                             "connections:revoke", "capabilities:request")]],
        )  # fmt: skip
        return agent_id, token

    async def ask(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One request."""
        sent = dict(headers or {})
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        content = None
        if body is not None:
            sent.setdefault("content-type", "application/json")
            content = msgspec.json.encode(body)
        return await self.client.request(method, path, content=content, headers=sent)


@contextlib.asynccontextmanager
async def run_application(dsn: str, home: Path, *, has_owner: bool = True, **environ: str) -> AsyncIterator[Place]:
    """An application for the length of a block; its owner is Olga, unless it is to be set up yet."""
    loaded = load_settings(
        {
            "HOME": str(home),
            "AGENTHIFIVE_HOME": str(home),
            "WEB_URL": WEB_URL,
            "DATABASE_URL": dsn,
            "ENCRYPTION_KEY": "5f" * 15 + "a1" * 17,
            "BETTER_AUTH_SECRET": "test-secret-of-at-least-thirty-two-characters",
            "LOG_LEVEL": "error",
            "RATE_LIMIT_AUTH_FAILURES_PER_5_MINUTES": "100000",
            "RATE_LIMIT_LINKS_PER_MINUTE": "100000",
            **environ,
        },
        cwd=home,
    )
    # the event loop stands still between a fixture and its test: grants must not grow stale by that alone
    with mock.patch("agenthifive.broker.changes.FRESH_S", 3.0):
        async with _running(Application(loaded.settings, dsn)) as place:
            if has_owner:
                place.owner_id = await place.add_person("owner")
            yield place


@contextlib.asynccontextmanager
async def _running(application: Application) -> AsyncIterator[Place]:
    async with application.running() as app:
        transport = httpx.ASGITransport(app=app.gate, client=("203.0.113.7", 40000))
        async with httpx.AsyncClient(transport=transport, base_url=WEB_URL, timeout=30) as client:
            yield Place(app, client)
