"""Sealed records in a database, put there by hand: credentials, stored replies, revocations that wait."""

import os
from dataclasses import dataclass, field
from typing import Any

import psycopg

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.db.database import Database
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.ids import new_id
from agenthifive.vault.envelope import Key
from agenthifive.vault.keyring import Keyring

OLD, NEW, OTHER = (bytes([number]) + os.urandom(31) for number in range(3))
OLD_KID, NEW_KID, OTHER_KID = (Key(material).kid for material in (OLD, NEW, OTHER))
_TABLES = ("t_connections", "t_provider_revocations", "t_idempotency_keys", "t_key_canaries", "t_key_replicas",
           "t_key_reencryption")  # fmt: skip


@dataclass
class KeyGround:
    """A database of these tests."""

    database: Database
    instance: Instance
    admin_dsn: str
    workspace_id: str = field(default_factory=new_id)

    def unit(self) -> Unit:
        """A unit of the system."""
        return Unit(self.database, AdminChain(self.database, self.instance), SYSTEM)

    async def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run SQL as the application."""
        async with self.database.transaction() as link:
            cursor = await link.execute(statement, values)  # type: ignore[arg-type]
            return await cursor.fetchall() if cursor.description else []

    async def clear(self) -> None:
        """Take out what the tests put in, the log included."""
        with psycopg.connect(self.admin_dsn) as admin:
            admin.execute("SET session_replication_role = replica")
            for table in (*_TABLES, "l_audit_events", "t_changes"):
                admin.execute(f"DELETE FROM {table}")  # type: ignore[arg-type]
            admin.execute("INSERT INTO t_users (id, email, email_key, name) VALUES (%s, 'o', %s, 'Olga')",
                          [self.workspace_id, self.workspace_id])  # fmt: skip
            admin.execute("INSERT INTO t_workspaces (id, name, owner_id) VALUES (%s, 'W', %s)",
                          [self.workspace_id, self.workspace_id])  # fmt: skip

    async def add_credential(self, ring: Keyring, secret: bytes = b'{"apiKey":"k"}', text: str | None = None) -> str:
        """A connection's sealed credential; `text` instead of a good envelope."""
        row_id = new_id()
        sealed = ring.seal(secret, "t_connections", "encrypted_tokens", row_id, self.workspace_id)
        await self.ask(
            "INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status, encrypted_tokens,"
            " encrypted_tokens_kid) VALUES (%s, %s, 'http', 'generic-http', 'bearer', 'C', 'healthy', %s, %s)",
            row_id, self.workspace_id, text or sealed.text, sealed.kid,
        )  # fmt: skip
        return row_id

    async def add_reply(self, ring: Keyring) -> str:
        """A stored reply."""
        row_id = new_id()
        sealed = ring.seal(b'{"ok":true}', "t_idempotency_keys", "reply", row_id, self.workspace_id)
        await self.ask(
            "INSERT INTO t_idempotency_keys (principal, key, fingerprint, audit_id, workspace_id, state, reply,"
            " reply_kid, expires_at) VALUES ('p', %s, 'f', %s, %s, 'stored', %s, %s, now() + interval '1 day')",
            row_id, row_id, self.workspace_id, sealed.text, sealed.kid,
        )  # fmt: skip
        return row_id

    async def add_ticket(self, ring: Keyring) -> str:
        """A credential that waits for its revocation."""
        row_id = new_id()
        sealed = ring.seal(b"{}", "t_provider_revocations", "sealed_token", row_id, self.workspace_id)
        await self.ask(
            "INSERT INTO t_provider_revocations (id, workspace_id, connection_id, sealed_token, sealed_token_kid)"
            " VALUES (%s, %s, %s, %s, %s)",
            row_id, self.workspace_id, new_id(), sealed.text, sealed.kid,
        )  # fmt: skip
        return row_id

    async def audited(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What the log says: action, decision, metadata."""
        return [(str(action), str(decision), metadata) for action, decision, metadata in await self.ask(
            "SELECT action, decision, metadata FROM l_audit_events ORDER BY id")]  # fmt: skip
