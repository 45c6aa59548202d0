"""What the rotation is rehearsed on: two replicas of one installation, each with settings of its own, and records.

database -> survivor, mortal (`serve`, key in ./.env) -> account, connections, agent -> sealed records
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from agenthifive.db import embedded, migrate
from agenthifive.ids import new_id
from agenthifive.vault.keyring import Keyring
from agenthifive.vault.signing import new_rsa_pem
from agenthifive.vault.token_keys import one_line
from bench.account import Account, Agent, Connection, egress_settings, open_account
from bench.instance import Instance

_CONNECTIONS: Final = 5
_REPLY_EVERY: Final = 10
WORKSPACE: Final = "SELECT workspace_id::text FROM t_agents WHERE id = %s"
CONNECTION: Final = """
    INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status, encrypted_tokens,
        encrypted_tokens_kid, singleton_key)
    VALUES (%s, %s, 'http', 'generic-http', 'bearer', 'Stored', 'healthy', %s, %s, NULL)
"""
REPLY: Final = """
    INSERT INTO t_idempotency_keys (principal, key, fingerprint, audit_id, workspace_id, state, reply, reply_kid,
        expires_at)
    VALUES ('stored', %s, 'stored', %s, %s, 'stored', %s, %s, now() + interval '1 day')
"""


@dataclass(frozen=True, slots=True)
class Site:
    """The stage. `admin_dsn` reads past the application."""

    survivor: Instance
    mortal: Instance
    account: Account
    agent: Agent
    connections: list[Connection]
    admin_dsn: str

    def ask(self, statement: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()


@contextlib.contextmanager
def throw_away_database() -> Iterator[tuple[str, str]]:
    """A database of our own with the schema in it: the DSN of the application and of the superuser."""
    home = Path(tempfile.mkdtemp(prefix="ah5-rotation-db-"))
    passwords = {role: f"bench-{role}-{os.urandom(8).hex()}" for role in ("owner", "app", "admin")}
    cluster = embedded.start(home, passwords, lambda _: None)
    try:
        embedded.apply_roles(cluster)
        migrate.upgrade(cluster.dsn("owner"), lambda _: None)
        embedded.apply_roles(cluster)
        yield cluster.dsn("app"), cluster.dsn("admin")
    finally:
        embedded.stop(cluster)
        shutil.rmtree(cluster.data.parent, ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def two_replicas(
    app_dsn: str, admin_dsn: str, origin: str, *, records: int, rows_per_s: int, log: Path | None
) -> Iterator[Site]:
    """Both replicas, healthy, with records under the first key, for the length of a block. Raises: BenchError."""
    settings = {
        **egress_settings(origin),
        "DATABASE_URL": app_dsn,
        "REGISTRATION": "invite",
        "REENCRYPT_BATCH_SIZE": str(min(200, max(25, records // 80))),
        "REENCRYPT_MAX_ROWS_PER_SECOND": str(rows_per_s),
    }
    key = os.urandom(32)
    env = (
        f"ENCRYPTION_KEY={key.hex()}\nBETTER_AUTH_SECRET={os.urandom(32).hex()}\n"
        f"JWT_PRIVATE_KEY={one_line(new_rsa_pem()).reveal()}\n"
    )
    with contextlib.ExitStack() as stack:
        survivor = _home(stack, "a", settings, env, log)
        mortal = _home(stack, "b", {**settings, "WEB_URL": survivor.base}, env, log)
        survivor.begin("serve")
        survivor.wait_until_healthy()
        account = open_account(survivor)
        agent = account.create_agent("Steady")
        connections = [account.connect(f"Provider {number}", origin) for number in range(_CONNECTIONS)]
        for connection in connections:
            account.allow(agent, connection)
        site = Site(survivor, mortal, account, agent, connections, admin_dsn)
        fill(site, Keyring.of([key]), records)
        mortal.begin("serve")
        mortal.wait_until_healthy()
        yield site


def fill(site: Site, keyring: Keyring, records: int) -> None:
    """Add sealed records: credentials, and every tenth a stored reply."""
    workspace_id = site.ask(WORKSPACE, [site.agent.id])[0][0]
    with psycopg.connect(site.admin_dsn) as connection, connection.cursor() as cursor:
        replies = records // _REPLY_EVERY
        rows = []
        for _ in range(records - replies):
            row_id = new_id()
            sealed = keyring.seal(b'{"apiKey":"stored"}', "t_connections", "encrypted_tokens", row_id, workspace_id)
            rows.append((row_id, workspace_id, sealed.text, sealed.kid))
        cursor.executemany(CONNECTION, rows)
        stored = []
        for _ in range(replies):
            row_id = new_id()
            sealed = keyring.seal(b'{"stored":true}', "t_idempotency_keys", "reply", row_id, workspace_id)
            stored.append((row_id, row_id, workspace_id, sealed.text, sealed.kid))
        cursor.executemany(REPLY, stored)


def _home(stack: contextlib.ExitStack, name: str, settings: dict[str, str], env: str, log: Path | None) -> Instance:
    home = Path(tempfile.mkdtemp(prefix=f"ah5-rotation-{name}-"))
    instance = Instance(home, home / "server.log" if log is None else log.with_suffix(f".{name}.log"), settings)
    stack.callback(instance.remove)
    (home / ".env").write_text(env)
    (home / ".env").chmod(0o600)
    return instance
