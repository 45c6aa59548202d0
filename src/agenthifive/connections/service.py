"""What people do with connections: enter, read, rename, replace the credential.

    fields -> limits of the workspace -> the provider is asked (no transaction) -> seal -> one transaction -> answer

A request that waits for a provider holds no database connection; what was read before is checked again under the
row's lock. Source: contract/connections.md sections 5, 7, 8, 9 and 13.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from agenthifive import strict_json
from agenthifive.broker.egress import Egress, EgressError
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.describe import describe
from agenthifive.catalog.fields import EntryLimits
from agenthifive.connections import refusals, store
from agenthifive.connections.calls import ProviderCalls, explain
from agenthifive.connections.checkup import Checkup
from agenthifive.connections.entry import reach, read_change
from agenthifive.connections.model import (
    LABEL_MAX,
    STATIC_KINDS,
    Connection,
    ConnectionOptions,
    Entry,
    Filter,
    Finding,
    Held,
    OpenCredential,
    PolicyLine,
    Sealed,
    Stored,
    visible_line,
)
from agenthifive.connections.probes import COLUMN, TABLE, Probes, open_held
from agenthifive.connections.revocation import Revocations
from agenthifive.db.database import Connection as Link
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.errors import AppError
from agenthifive.ids import is_id, new_id
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.vault import base64url
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AuditAction, RateLimit

_COPIED_PARAMS: Final = ("email", "siteUrl")


class ConnectionService:
    """The connections of all workspaces; every verb acts in the caller's workspace only.

    Ids that are unknown, malformed or of another workspace raise the same AppError (404).
    """

    def __init__(
        self, catalog: Catalog, keyring: Keyring, egress: Egress, limiter: RateLimiter, options: ConnectionOptions
    ) -> None:
        self.catalog = catalog
        self.limits = EntryLimits(listed_hosts=options.listed_hosts)
        self._keyring = keyring
        self._limiter = limiter
        self._options = options
        self._calls = ProviderCalls(egress, options.listed_hosts)
        self.probes = Probes(self._calls)
        self.checkup = Checkup(catalog, keyring, self._calls, self.probes)
        self.revocations = Revocations(catalog, keyring, self._calls, agents_may_revoke=options.agents_may_revoke)

    @cached_property
    def described_catalog(self) -> Sequence[Mapping[str, Any]]:
        """The catalog as people see it. Source: contract/catalog/SCHEMA.md section 12."""
        return [describe(service) for service in self.catalog.services]

    async def count_try(self, caller: Caller) -> Mapping[str, str]:
        """Count an entry, test or look-up of the workspace; headers for the answer. Raises: AppError (429)."""
        return await self._limiter.take(RateLimit.CONNECTION_PROBE, caller.workspace_id)

    async def list_all(
        self, unit: Unit, caller: Caller, wanted: Filter
    ) -> tuple[Sequence[Connection], Mapping[str, Sequence[PolicyLine]]]:
        """Connections the caller may see, oldest first, and the policies on them."""
        link = await unit.begin()
        found = await store.list_connections(link, caller.workspace_id, wanted, caller.agent_id)
        ids = [connection.id for connection in found]
        return found, await store.list_policies(link, caller.workspace_id, ids, caller.agent_id) if ids else {}

    async def find(self, unit: Unit, caller: Caller, connection_id: str) -> tuple[Connection, Sequence[PolicyLine]]:
        """One connection and the policies on it."""
        link = await unit.begin()
        connection = await store.find_connection(link, caller.workspace_id, refusals.known_form(connection_id))
        if connection is None:
            raise refusals.no_connection()
        policies = await store.list_policies(link, caller.workspace_id, [connection_id], None)
        return connection, policies.get(connection_id, ())

    async def enter(self, unit: Unit, caller: Caller, entry: Entry) -> Stored:
        """Store an entered credential that its provider accepts. Raises: AppError."""
        await self._check_room(await unit.begin(), caller, entry)
        await unit.release()
        credential = entry.credential
        await self._check_hosts(credential)
        connection_id = new_id()
        finding = None if entry.skips_check else await self.probes.check_entered(credential, new_id())
        label = entry.label or _default_label(entry, finding)
        sealed = self._seal(entry, finding, connection_id, caller.workspace_id)
        service = entry.service
        link = await unit.begin()
        await self._check_room(link, caller, entry)
        is_new = await store.insert(
            link,
            connection_id,
            caller.workspace_id,
            sealed,
            provider=service.provider,
            service=service.id,
            variant=entry.variant.id,
            label=label,
            created_by=caller.user_id,
            singleton_key=service.id if service.file.singleton else None,
        )
        if not is_new:
            raise refusals.singleton_exists(service, await store.find_singleton(link, caller.workspace_id, service.id))
        metadata = {"provider": service.provider, "service": service.id, "label": label, "scopes": _scopes(finding)}
        account = {"account": finding.account_name} if finding and finding.account_name else {}
        unit.record(AuditAction.CONNECTION_CREATED, {**metadata, **account}, connection_id=connection_id)
        return _stored(entry, connection_id, label, sealed, "is connected")

    async def relabel(self, unit: Unit, caller: Caller, connection_id: str, label: str, version: int | None) -> None:
        """Rename a connection. Raises: AppError (409 version_conflict)."""
        link = await unit.begin()
        if await store.get_held(link, caller.workspace_id, refusals.known_form(connection_id)) is None:
            raise refusals.no_connection()
        if not await store.relabel(link, caller.workspace_id, connection_id, label, version):
            raise refusals.changed_meanwhile("version_conflict")
        unit.record(AuditAction.CONNECTION_UPDATED, {"fields": ["label"]}, connection_id=connection_id)

    async def replace(
        self,
        unit: Unit,
        caller: Caller,
        connection_id: str,
        given: Mapping[str, Any],
        *,
        allows_account_change: bool,
    ) -> Stored:
        """Give a connection another credential of the same account. Raises: AppError; then nothing has changed."""
        held = await store.get_held(await unit.begin(), caller.workspace_id, refusals.known_form(connection_id))
        await unit.release()
        held = refusals.live(held)
        current = open_held(self.catalog, self._keyring, held)
        if current.variant.spec.kind not in STATIC_KINDS:
            raise refusals.use_reauth()
        entry = read_change(current, given, self.limits)
        moves = reach(entry.credential) != reach(current)
        _check_move(held, moves=moves)
        await self._check_hosts(entry.credential)
        finding = await self.probes.check_entered(entry.credential, new_id())
        if not allows_account_change:
            _check_account(held, finding)
        sealed = self._seal(entry, finding, held.id, held.workspace_id)
        link = await unit.begin()
        now = refusals.live(await store.lock_held(link, caller.workspace_id, connection_id))
        _check_move(now, moves=moves)
        label = await store.replace(link, held, sealed)
        if label is None:
            raise refusals.changed_meanwhile("conflict")
        unit.record(
            AuditAction.CONNECTION_CREDENTIALS_UPDATED,
            {"provider": held.provider, "members": sorted(given)},
            connection_id=held.id,
        )
        self._calls.forget(held.id)
        return _stored(entry, held.id, label, sealed, "has its new credential")

    async def _check_room(self, link: Link, caller: Caller, entry: Entry) -> None:
        """Refuse what the workspace cannot take. Raises: AppError (409)."""
        if entry.service.file.singleton:
            existing = await store.find_singleton(link, caller.workspace_id, entry.service.id)
            if existing is not None:
                raise refusals.singleton_exists(entry.service, existing)
        limit = self._options.max_connections
        if await store.count_live(link, caller.workspace_id) >= limit:
            raise refusals.connection_limit(limit)

    async def _check_hosts(self, credential: OpenCredential) -> None:
        try:
            await self._calls.check_hosts(credential)
        except EgressError as error:
            raise explain(error, "The base address") from None

    def _seal(self, entry: Entry, finding: Finding | None, connection_id: str, workspace_id: str) -> Sealed:
        """Seal a credential for its row. Raises: KeyExhausted."""
        plaintext = strict_json.dumps(dict(entry.fields.payload))
        sealed = self._keyring.seal(plaintext, TABLE, COLUMN, connection_id, workspace_id)
        params = dict(entry.fields.params)
        metadata: dict[str, Any] = {name: params[name] for name in _COPIED_PARAMS if name in params}
        if finding is not None:
            metadata |= finding.facts
        metadata["params"] = params
        return Sealed(sealed.text, sealed.kid, entry.fields.preview, metadata, finding, entry.expires_at)


def write_cursor(last: Connection) -> str:
    """Where a page ended, as clients hand it back."""
    return base64url.encode(f"{last.created_at.isoformat()} {last.id}".encode())


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Where the page before ended. Raises: AppError (400 invalid_cursor)."""
    try:
        at, _, connection_id = base64url.decode(cursor).decode("ascii").partition(" ")
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment, connection_id = None, ""
    if moment is None or moment.tzinfo is None or not is_id(connection_id):
        raise AppError("invalid_cursor", "This cursor is none of ours. Begin again without one.")
    return moment, connection_id


def _check_move(held: Held, *, moves: bool) -> None:
    """A credential does not follow live policies to another host."""
    if moves and held.has_policies:
        raise refusals.host_in_use()


def _check_account(held: Held, finding: Finding | None) -> None:
    new_id = None if finding is None else finding.account_id
    if held.account_id is not None and new_id is not None and new_id != held.account_id:
        raise refusals.account_mismatch()


def _default_label(entry: Entry, finding: Finding | None) -> str:
    name = entry.service.file.name
    account = (finding.account_name or finding.account_id) if finding is not None else None
    return visible_line(f"{name} – {account}" if account else name, LABEL_MAX)


def _scopes(finding: Finding | None) -> list[str]:
    return list(finding.scopes or ()) if finding is not None else []


def _stored(entry: Entry, connection_id: str, label: str, sealed: Sealed, what: str) -> Stored:
    finding = sealed.finding
    warnings = ("unverified",) if finding is None else ("limited",) if finding.outcome == "limited" else ()
    service = entry.service
    words = {
        "unverified": " It was not checked whether the provider accepts it.",
        "limited": " The provider accepts it, but it lacks a permission.",
    }
    return Stored(
        connection_id,
        service.provider,
        service.id,
        label,
        finding is not None,
        sealed.metadata,
        warnings,
        f"{service.file.name} {what}.{''.join(words[warning] for warning in warnings)}",
    )
