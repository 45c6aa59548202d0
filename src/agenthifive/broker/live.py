"""Running streams: cut within two seconds when what allowed them is gone.

Source: contract/broker.md section 3 (live changes), policy.md section 15.5, agents.md section 2.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg_pool import PoolTimeout

from agenthifive.broker.grants import Grants
from agenthifive.policy.decide import decide
from agenthifive.policy.model import Deny
from agenthifive.words import ConnectionStatus

if TYPE_CHECKING:
    from agenthifive.broker.delivery import Sent

_RETRY_S: Final = 0.25
_ATTEMPTS: Final = 4


@dataclass(slots=True, eq=False)
class Running:
    """One stream. `cut_by` holds the code once it was cut."""

    sent: "Sent"
    close: Callable[[], None]
    cut_by: str = ""

    def cut(self, code: str) -> None:
        """End the stream now."""
        if not self.cut_by:
            self.cut_by = code
            self.close()


class LiveStreams:
    """All streams of the process, by workspace."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._running: dict[str, set[Running]] = {}
        self._checks: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        """Open streams, for metrics."""
        return sum(len(streams) for streams in self._running.values())

    def add(self, sent: "Sent", close: Callable[[], None]) -> Running:
        """Watch a stream."""
        running = Running(sent, close)
        self._running.setdefault(sent.grant.workspace_id, set()).add(running)
        self._cut_if_frozen(running)
        return running

    def remove(self, running: Running) -> None:
        """Stop watching."""
        workspace_id = running.sent.grant.workspace_id
        streams = self._running.get(workspace_id, set())
        streams.discard(running)
        if not streams:
            self._running.pop(workspace_id, None)

    def check(self, workspace_id: str | None) -> None:
        """Something changed in a workspace (or anywhere): look again at what its streams stand on."""
        for changed in list(self._running) if workspace_id is None else [workspace_id]:
            if changed in self._running:
                task = asyncio.get_running_loop().create_task(self._check(changed))
                self._checks.add(task)
                task.add_done_callback(self._checks.discard)

    def cut_frozen(self) -> None:
        """End every stream that an operator has stopped; nothing and nobody is asked."""
        for streams in list(self._running.values()):
            for running in list(streams):
                self._cut_if_frozen(running)

    def cut_all(self, code: str) -> None:
        """End every stream."""
        for streams in list(self._running.values()):
            for running in list(streams):
                running.cut(code)

    def _cut_if_frozen(self, running: Running) -> None:
        grant = running.sent.grant
        if self._grants.frozen.scope_of(grant.workspace_id, grant.agent_id) is not None:
            running.cut("frozen")

    async def _check(self, workspace_id: str) -> None:
        for running in list(self._running.get(workspace_id, ())):
            for attempt in range(_ATTEMPTS):
                try:
                    code = await self._verdict(running.sent)
                except (psycopg.Error, PoolTimeout):
                    if attempt + 1 == _ATTEMPTS:
                        running.cut("unavailable")
                    await asyncio.sleep(_RETRY_S)
                else:
                    if code is not None:
                        running.cut(code)
                    break

    async def _verdict(self, sent: "Sent") -> str | None:
        """Why the stream must end, None when it may go on."""
        old = sent.grant
        if not await self._grants.has_agent(old.workspace_id, old.agent_id):
            return "agent_disabled"
        if await self._grants.is_revoked(sent.call.principal, time.time()):
            return "agent_disabled" if sent.call.principal.agent_id is not None else "invalid_token"
        grant = await self._grants.resolve(old.workspace_id, old.agent_id, old.connection_id, None)
        if grant is None or grant.status is not ConnectionStatus.HEALTHY:
            return "connection_revoked"
        if grant.policy is None or "B" not in grant.policy.allowed_models:
            return "no_policy"
        if grant.policy_version != old.policy_version:
            verdict = decide(sent.judged.request, grant.policy, datetime.now(UTC))
            if isinstance(verdict, Deny):
                return verdict.code
        return None
