"""Credentials that die in use: a provider's 401 leads to one probe, and only the probe can mark the connection.

    reply 401, or the catalog's auth_failure in a 200 -> at most one probe a minute -> bad -> needs_reauth

Called by the broker for replies on their way to the agent: it looks, schedules and returns.
Source: contract/connections.md sections 1 and 12, broker.md section 13.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from agenthifive import strict_json
from agenthifive.broker.egress import EgressError
from agenthifive.broker.model import Grant
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.probe import shows_auth_failure
from agenthifive.connections import store
from agenthifive.connections.calls import CannotCall
from agenthifive.connections.checkup import REJECTED
from agenthifive.connections.model import STATIC_KINDS
from agenthifive.connections.probes import Probes, has_free_probe, open_held
from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AuditAction

RUNNING_MAX: Final = 32
_PAUSE_S: Final = 60.0
_REMEMBERED_MAX: Final = 10_000
_ERROR_REPLY_MAX: Final = 8 * 1024  # an error is short: longer replies are not read a second time

log = structlog.get_logger(__name__)


class CredentialWatch:
    """Looks at replies for dead credentials. Safe to lose: everything it decides is decided in PostgreSQL."""

    def __init__(self, make_unit: Callable[[], Unit], catalog: Catalog, keyring: Keyring, probes: Probes) -> None:
        self._make_unit = make_unit
        self._catalog = catalog
        self._keyring = keyring
        self._probes = probes
        self._asked_at: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def on_auth_failure(self, grant: Grant, status: int, body: bytes | None) -> None:
        """Look at a reply; when it says that the credential is dead, ask the provider itself, later."""
        variant = grant.variant
        if variant.spec.kind not in STATIC_KINDS or not has_free_probe(variant, grant.params):
            return
        if status != 401 and not _says_so(grant, status, body):
            return
        now = asyncio.get_running_loop().time()
        if len(self._tasks) >= RUNNING_MAX or now - self._asked_at.get(grant.connection_id, -_PAUSE_S) < _PAUSE_S:
            return
        if len(self._asked_at) >= _REMEMBERED_MAX:
            self._asked_at.clear()
        self._asked_at[grant.connection_id] = now
        task = asyncio.create_task(self._probe(grant))
        self._tasks.add(task)
        task.add_done_callback(self._settle)

    async def close(self) -> None:
        """Stop what is running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _probe(self, grant: Grant) -> None:
        async with self._make_unit() as unit:
            held = await store.claim_probe(
                await unit.begin(), grant.workspace_id, grant.connection_id, grant.generation
            )
        if held is None:
            return
        try:
            finding = await self._probes.check(open_held(self._catalog, self._keyring, held), held.id)
        except (EgressError, CannotCall, AppError) as error:
            log.info("probe_inconclusive", connectionId=held.id, error=type(error).__name__)
            return
        if finding is None or finding.outcome != "bad":
            return
        async with self._make_unit() as unit:
            if await store.mark_bad(await unit.begin(), held, "provider_401", REJECTED):
                unit.record(
                    AuditAction.CONNECTION_NEEDS_REAUTH,
                    {"reason": "provider_401", "errorCode": REJECTED},
                    workspace_id=held.workspace_id,
                    connection_id=held.id,
                )

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("probe_failed", error=type(error).__name__)


def _says_so(grant: Grant, status: int, body: bytes | None) -> bool:
    """Whether an ordinary reply carries the catalog's sign of a dead credential."""
    if grant.service.file.auth_failure is None or not 200 <= status < 300:
        return False
    if body is None or len(body) > _ERROR_REPLY_MAX:
        return False
    try:
        return shows_auth_failure(grant.service, strict_json.loads(body))
    except strict_json.InvalidJson:
        return False
