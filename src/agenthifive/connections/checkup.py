"""Asking the provider about a stored connection: the test a person presses, and look-ups for policy editors.

    read the row -> give the database back -> ask -> write what was learnt of that generation

Source: contract/connections.md section 9.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.broker.egress import EgressError
from agenthifive.catalog.address import Unrenderable
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.schema import LookupSpec
from agenthifive.connections import refusals, store
from agenthifive.connections.calls import CannotCall, ProviderCalls, Reply, explain
from agenthifive.connections.lookups import build_request, find_lookup, matches, read_page
from agenthifive.connections.model import Finding, Held, OpenCredential
from agenthifive.connections.probes import Probes, open_held, refusal_of
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.errors import AppError
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AuditAction, AuditDecision, ConnectionStatus

REJECTED: Final = "credential_rejected"
_PAGES_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Tested:
    """An accepted credential. `finding` is None when the service has no check."""

    provider: str
    finding: Finding | None


class Checkup:
    """Tests and look-ups of one process."""

    def __init__(self, catalog: Catalog, keyring: Keyring, calls: ProviderCalls, probes: Probes) -> None:
        self._catalog = catalog
        self._keyring = keyring
        self._calls = calls
        self._probes = probes

    async def test(self, unit: Unit, caller: Caller, connection_id: str) -> Tested:
        """Ask the provider whether the stored credential works, and remember the answer.

        Raises: AppError with `ok:false`: 400 credential_rejected (the connection then needs a person), 403, 422, 502,
            504; 404 and 409 before anything is asked.
        """
        held, credential = await self._open(unit, caller, connection_id)
        finding, refusal = None, None
        try:
            finding = await self._probes.check(credential, held.id)
        except (EgressError, CannotCall) as error:
            refusal = explain(error, credential.service.file.name)
        if finding is not None and not finding.is_accepted:
            refusal = refusal_of(finding, credential)
        link = await unit.begin()
        if refusal is None:
            if finding is not None:
                await store.mark_good(link, held)
            unit.record(AuditAction.CONNECTION_TESTED, {"ok": True}, connection_id=held.id)
            return Tested(held.provider, finding)
        unit.record(
            AuditAction.CONNECTION_TESTED,
            {"ok": False, "errorCode": refusal.code},
            decision=AuditDecision.ERROR,
            connection_id=held.id,
        )
        if refusal.code == REJECTED and await store.mark_bad(link, held, "probe_rejected", REJECTED):
            unit.record(
                AuditAction.CONNECTION_NEEDS_REAUTH,
                {"reason": "probe_rejected", "errorCode": REJECTED},
                connection_id=held.id,
            )
        await unit.finish()
        refusal.extra = {"ok": False}
        raise refusal

    async def look_up(
        self, unit: Unit, caller: Caller, connection_id: str, wanted: str, cursor: str | None, text: str | None
    ) -> tuple[Sequence[Mapping[str, Any]], str | None]:
        """What the credential can see of a type, and where to go on. Raises: AppError."""
        held, credential = await self._open(unit, caller, connection_id)
        if held.status is not ConnectionStatus.HEALTHY:
            raise AppError("connection_needs_reauth", "The credential was refused. Replace it first, then look up.")
        spec = find_lookup(credential.service, wanted)
        items: list[Mapping[str, Any]] = []
        for _ in range(min(spec.page_limit, _PAGES_MAX)):
            page = read_page(spec, await self._ask(credential, held, spec, cursor))
            if page is None:
                raise AppError(
                    "upstream_invalid",
                    f"{credential.service.file.name} did not list its {spec.type}. The credential may lack the "
                    "permission for it; test the connection.",
                )
            items.extend(item for item in page.items if not text or matches(item, text))
            cursor = page.next_cursor
            if cursor is None:
                break
        return items, cursor

    async def _ask(self, credential: OpenCredential, held: Held, spec: LookupSpec, cursor: str | None) -> Reply:
        try:
            request = build_request(credential.service, spec, credential.values, cursor)
            return await self._calls.send(credential, request, held.id)
        except (EgressError, CannotCall) as error:
            raise explain(error, credential.service.file.name) from None
        except Unrenderable as error:
            raise explain(CannotCall(str(error)), credential.service.file.name) from None

    async def _open(self, unit: Unit, caller: Caller, connection_id: str) -> tuple[Held, OpenCredential]:
        """A live connection and its credential, with the database given back. Raises: AppError."""
        held = await store.get_held(await unit.begin(), caller.workspace_id, refusals.known_form(connection_id))
        await unit.release()
        held = refusals.live(held)
        return held, open_held(self._catalog, self._keyring, held)
