"""Ending a connection: the local cut first and always, then the provider, for as long as it takes.

    lock the row -> status, ciphertext, policies, audit row: COMMIT     nothing goes out any more, on any replica
        -> the provider's revocation call (5 s) -> result row
        -> a job repeats it after 1 min, 5 min, 30 min, 2 h, 12 h -> given up after 24 h, the credential erased

Source: contract/connections.md section 10, catalog/SCHEMA.md section 4.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from agenthifive import strict_json
from agenthifive.broker.egress import EgressError
from agenthifive.catalog.address import Unrenderable
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.probe import judge_probe
from agenthifive.catalog.schema import RevokeSpec
from agenthifive.catalog.service import Variant
from agenthifive.catalog.template import parse_template
from agenthifive.connections import refusals, revocation_store, store
from agenthifive.connections.calls import CannotCall, ProviderCalls, Reply, Request
from agenthifive.connections.model import (
    STATIC_KINDS,
    Held,
    OpenCredential,
    ProviderRevocation,
    RevocationState,
    Revoked,
    Ticket,
)
from agenthifive.connections.probes import open_credential, open_held
from agenthifive.db.database import Connection as Link
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.errors import AppError
from agenthifive.ids import new_id
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AuditAction, AuditDecision, ConnectionStatus

TABLE: Final = "t_provider_revocations"
COLUMN: Final = "sealed_token"
_BATCH: Final = 20
_STATES: Final[Mapping[str, RevocationState]] = {"pending": "pending", "done": "done", "failed": "failed"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A connection as its local cut left it.

    Shapes:
        ticket_id, credential: what waits for the provider; None when there is nothing to wait for.
    """

    held: Held
    state: RevocationState
    manage_url: str | None
    ticket_id: str | None = None
    credential: OpenCredential | None = None


class Revocations:
    """Ends connections, here and at their providers."""

    def __init__(self, catalog: Catalog, keyring: Keyring, calls: ProviderCalls, *, agents_may_revoke: bool) -> None:
        self._catalog = catalog
        self._keyring = keyring
        self._calls = calls
        self._agents_may_revoke = agents_may_revoke

    async def revoke(self, unit: Unit, caller: Caller, connection_id: str) -> Revoked:
        """End a connection for good. Raises: AppError (403 for agents by the setting, 404, 409 connection_revoked)."""
        if caller.agent_id is not None and not self._agents_may_revoke:
            raise AppError("agent_not_allowed", "Agents may not revoke connections here. Ask a person to do it.")
        link = await unit.begin()
        held = await store.lock_held(link, caller.workspace_id, refusals.known_form(connection_id))
        if caller.agent_id is not None:
            await _check_agent(link, held, caller.agent_id)
        held = refusals.live(held)
        by_agent = caller.agent_id is not None
        cut, metadata = await self._cut(link, held, "revoked_by_agent" if by_agent else "revoked_by_user")
        named = {"agentId": caller.agent_id} if by_agent else {}
        audit_id = unit.record(
            AuditAction.CONNECTION_REVOKED,
            {**metadata, **named},
            connection_id=held.id,
            agent_id=caller.agent_id,
        )
        at_provider, vended_at = await self._finish(unit, cut)
        return Revoked(held.id, held.provider, held.service, held.label, audit_id, at_provider, vended_at)

    async def delete(self, unit: Unit, caller: Caller, connection_id: str) -> tuple[str, ProviderRevocation]:
        """Revoke a connection if it is live, and hide it; the audit id and what became of it at its provider.

        Raises: AppError (404).
        """
        link = await unit.begin()
        held = await store.lock_held(link, caller.workspace_id, refusals.known_form(connection_id))
        if held is None:
            raise refusals.no_connection()
        if held.status is ConnectionStatus.REVOKED:
            state = _STATES.get(await revocation_store.last_state(link, held) or "", "unsupported")
            cut = _Cut(held, state, self._manage_url(held))
            metadata = _describe(cut, 0)
        else:
            cut, metadata = await self._cut(link, held, "deleted")
        await revocation_store.hide(link, held)
        audit_id = unit.record(AuditAction.CONNECTION_DELETED, metadata, connection_id=held.id)
        if held.status is ConnectionStatus.REVOKED:
            return audit_id, ProviderRevocation(cut.state, cut.manage_url)
        at_provider, _ = await self._finish(unit, cut)
        return audit_id, at_provider

    async def end_workspace(self, unit: Unit, workspace_id: str) -> int:
        """Cut off every connection of a workspace that goes, within the caller's transaction; how many that were.

        The job asks the providers: what waits for them outlives the workspace.
        """
        link, number = await unit.begin(), 0
        for connection_id in await revocation_store.list_live(link, workspace_id):
            held = await store.lock_held(link, workspace_id, connection_id)
            if held is None or held.status is ConnectionStatus.REVOKED:
                continue
            _, metadata = await self._cut(link, held, "deleted")
            unit.record(AuditAction.CONNECTION_REVOKED, metadata, connection_id=held.id, workspace_id=workspace_id)
            number += 1
        return number

    async def retry_due(self, unit: Unit) -> int:
        """Try again what is due at providers; how many were tried. No transaction is open while a provider is asked."""
        for number in range(_BATCH):
            ticket = await revocation_store.claim_ticket(await unit.begin())
            await unit.finish()
            if ticket is None:
                return number
            await self._retry(unit, ticket)
        return _BATCH

    async def _cut(self, link: Link, held: Held, reason: str) -> tuple[_Cut, dict[str, Any]]:
        """The local cut, within the caller's transaction. It never fails because of what is wrong with a credential."""
        cut = await self._keep_for_provider(link, held)
        policies = await revocation_store.revoke(link, held, reason)
        return cut, _describe(cut, policies)

    async def _keep_for_provider(self, link: Link, held: Held) -> _Cut:
        """Move the credential to where it waits for its revocation, when the catalog knows a call for it."""
        manage_url = self._manage_url(held)
        try:
            credential = open_held(self._catalog, self._keyring, held)
            if not knows_revocation(credential.variant):
                return _Cut(held, "unsupported", manage_url)
            ticket_id = new_id()
            sealed = self._keyring.seal(_pack(credential), TABLE, COLUMN, ticket_id, held.workspace_id)
        except AppError as error:
            log.error("credential_dropped_unrevoked", connectionId=held.id, code=error.code)
            return _Cut(held, "failed", manage_url)
        await revocation_store.open_ticket(link, ticket_id, held, sealed.text, sealed.kid)
        return _Cut(held, "pending", manage_url, ticket_id, credential)

    async def _finish(self, unit: Unit, cut: _Cut) -> tuple[ProviderRevocation, datetime | None]:
        """Commit the cut, then ask the provider and record the result. What fails from here on undoes nothing."""
        if cut.credential is None:
            _record_result(unit, cut.held.provider, cut.held.id, cut.held.workspace_id, cut.state)
        await unit.finish()
        self._calls.forget(cut.held.id)
        state = cut.state
        if cut.credential is not None and await self._ask(cut.credential, cut.held.id):
            state = "done"
        vended_at = None
        try:
            link = await unit.begin()
            if cut.ticket_id is not None:
                if state == "done":
                    await revocation_store.close_ticket(link, cut.ticket_id, state)
                _record_result(unit, cut.held.provider, cut.held.id, cut.held.workspace_id, state)
            if state != "done":
                vended_at = await revocation_store.last_vended_at(link, cut.held)
            await unit.finish()
        except (psycopg.Error, PoolTimeout, OSError) as error:
            await unit.release()
            log.error("provider_revocation_unrecorded", connectionId=cut.held.id, error=type(error).__name__)
        return ProviderRevocation(state, cut.manage_url), vended_at

    async def _retry(self, unit: Unit, ticket: Ticket) -> None:
        credential = self._unpack(ticket)
        is_done = credential is not None and not ticket.is_over and await self._ask(credential, ticket.connection_id)
        if not is_done and credential is not None and not ticket.is_over:
            return
        state: RevocationState = "done" if is_done else "failed"
        link = await unit.begin()
        if await revocation_store.close_ticket(link, ticket.id, state):
            _record_result(unit, ticket.provider, ticket.connection_id, ticket.workspace_id, state)
        await unit.finish()

    async def _ask(self, credential: OpenCredential, pool: str) -> bool:
        """Call the provider; True when the credential is dead there."""
        try:
            reply = await self._calls.send(credential, build_request(credential), pool)
        except (EgressError, CannotCall, Unrenderable) as error:
            log.warning("provider_revocation_failed", service=credential.service.id, error=type(error).__name__)
            return False
        finally:
            self._calls.forget(pool)
        return is_dead(credential, reply)

    def _unpack(self, ticket: Ticket) -> OpenCredential | None:
        """The credential of a ticket; None when it can no longer be read or the catalog lost its service."""
        if ticket.sealed is None:
            return None
        try:
            members = open_credential(self._keyring, ticket.sealed, ticket.id, ticket.workspace_id, TABLE, COLUMN)
        except AppError:
            return None
        service = self._catalog.get(members["service"])
        if service is None or members["variant"] not in service.variants:
            return None
        return OpenCredential(service, service.variant(members["variant"]), members["payload"], members["params"])

    def _manage_url(self, held: Held) -> str | None:
        service = self._catalog.get(held.service)
        variant = None if service is None else service.variants.get(held.variant)
        return None if variant is None else variant.spec.revoke.manage_url


def knows_revocation(variant: Variant) -> bool:
    """Whether the catalog has a call that ends a credential of this variant without an OAuth client."""
    spec = variant.spec
    return spec.kind in STATIC_KINDS and spec.revoke.how == "request" and spec.revoke.auth in ("inject", "none")


def build_request(credential: OpenCredential) -> Request:
    """The revocation call. Raises: Unrenderable when the connection lacks a value of the address."""
    spec: RevokeSpec = credential.variant.spec.revoke
    assert spec.method is not None  # checked when the file was read
    assert spec.url is not None
    values = credential.values
    try:
        body = None if spec.body is None else parse_template(spec.body).render(values, _in_json).encode("utf-8")
    except KeyError as error:
        raise Unrenderable(f"the connection has no {error.args[0]}") from None
    return Request(spec.method, credential.service.address(spec.url, values), (), body)


def is_dead(credential: OpenCredential, reply: Reply) -> bool:
    """Whether a reply says that the credential no longer works: it was revoked, or is unknown there.

    Providers that answer every call with 200 say in the body how it went, as in their probe.
    """
    verdict = judge_probe(credential.variant, credential.values, reply.status, reply.body)
    if verdict.outcome == "bad":
        return True
    if credential.service.file.api_style == "rpc":
        return verdict.outcome == "ok"
    return 200 <= reply.status < 300


async def _check_agent(link: Link, held: Held | None, agent_id: str) -> None:
    """An agent may end what it holds a live policy on; of everything else it learns nothing.

    A connection whose revocation took its policy is still known to it: the answer is then 409, not 404.
    """
    if held is None:
        raise refusals.no_connection()
    standing = await revocation_store.agent_standing(link, held, agent_id)
    if standing is None or not (standing or held.status is ConnectionStatus.REVOKED):
        raise refusals.no_connection()


def _describe(cut: _Cut, policies: int) -> dict[str, Any]:
    """The metadata of the row that ends a connection."""
    return {
        "provider": cut.held.provider,
        "label": cut.held.label,
        "previousStatus": str(cut.held.status),
        "policiesRevoked": policies,
        "providerRevoke": cut.state,
    }


def _record_result(unit: Unit, provider: str, connection_id: str, workspace_id: str, state: RevocationState) -> None:
    is_trouble = state in ("pending", "failed")
    unit.record(
        AuditAction.PROVIDER_REVOCATION,
        {"provider": provider, "outcome": state},
        decision=AuditDecision.ERROR if is_trouble else AuditDecision.ALLOWED,
        connection_id=connection_id,
        workspace_id=workspace_id,
    )


def _pack(credential: OpenCredential) -> bytes:
    """A credential with all that its revocation needs, independent of the connection's row."""
    return strict_json.dumps(
        {
            "service": credential.service.id,
            "variant": credential.variant.id,
            "payload": dict(credential.payload),
            "params": dict(credential.params),
        }
    )


def _in_json(value: str) -> str:
    """A value inside a JSON string of a body template."""
    return strict_json.dumps(value)[1:-1].decode("utf-8")
