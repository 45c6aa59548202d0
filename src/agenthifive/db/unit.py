"""The unit of work: one request or job, one transaction, its audit rows as the last statement before COMMIT.

    begin() -> statements -> record(...) -> finish(): rows appended, committed, or nothing happened

Source: contract/audit.md section 4 (management rows), design section "one transaction per request".
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from agenthifive.audit.chains import AdminChain
from agenthifive.audit.model import Event
from agenthifive.db.database import Connection, Database
from agenthifive.ids import new_id, wire_time_of
from agenthifive.words import AuditAction, AuditDecision, PrincipalType


class Signature(msgspec.Struct, frozen=True):
    """Who acts and from where: the members every row of a unit shares."""

    actor: str
    principal_type: PrincipalType
    principal_id: str | None = None
    workspace_id: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


class Unit:
    """A lazily opened transaction with the rows that will be written with it. Use as an async context manager."""

    def __init__(self, database: Database, chain: AdminChain, signature: Signature, *, read_only: bool = False) -> None:
        self._database = database
        self._chain = chain
        self._is_read_only = read_only
        self._stack = contextlib.AsyncExitStack()
        self._connection: Connection | None = None
        self._events: list[Event] = []
        self._afterwards: list[Callable[[], None]] = []
        self.signature = signature

    async def begin(self) -> Connection:
        """The connection of this unit's transaction. Raises: psycopg.Error, PoolTimeout."""
        if self._connection is None:
            self._connection = await self._stack.enter_async_context(self._database.connection())
            if self._is_read_only:
                await self._connection.execute("SET TRANSACTION READ ONLY")
        return self._connection

    def record(
        self,
        action: AuditAction,
        metadata: Mapping[str, Any] | None = None,
        *,
        decision: AuditDecision = AuditDecision.ALLOWED,
        **members: Any,
    ) -> str:
        """Note a row to be written with the transaction and return its audit id.

        Shapes:
            members: fields of Event that differ from the signature, e.g. agent_id, connection_id, workspace_id.
        """
        signature = self.signature
        fields: dict[str, Any] = {
            "actor": signature.actor,
            "principal_type": signature.principal_type,
            "principal_id": signature.principal_id,
            "workspace_id": signature.workspace_id,
            "ip": signature.ip,
            "user_agent": signature.user_agent,
            "request_id": signature.request_id,
        }
        event = Event(
            audit_id=new_id(),
            timestamp=wire_time_of(time.time()),
            action=action,
            decision=decision,
            metadata=metadata or {},
            **{**fields, **members},
        )
        self._events.append(event)
        return event.audit_id

    def after_commit(self, act: Callable[[], None]) -> None:
        """Do something once the unit is in force; nothing of it happens when the unit is undone. `act` never raises."""
        self._afterwards.append(act)

    def another(self) -> "Unit":
        """A unit of its own under the same name, for work that goes on after the answer."""
        return Unit(self._database, self._chain, self.signature)

    async def finish(self) -> None:
        """Commit, with the noted rows; on any failure nothing of the unit is in force."""
        if self._connection is None and not self._events and not self._afterwards:
            return
        connection = await self.begin()
        if self._events:
            await self._chain.commit(connection, self._events)
        else:
            await connection.commit()
        afterwards, self._events = self._afterwards, []
        await self.release()
        for act in afterwards:
            act()

    async def release(self) -> None:
        """Give the connection back; what was not committed is undone."""
        self._events, self._afterwards = [], []
        self._connection = None
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.finish()
        else:
            await self.release()


SYSTEM = Signature(actor="system", principal_type=PrincipalType.SYSTEM)
