"""Asking a provider whether a credential works, and whose it is. The one place of this room that sees plaintext.

    sealed -> open_credential -> build_probe (catalog) -> ProviderCalls -> judge_probe (catalog) -> Finding

Source: contract/connections.md sections 2 and 9, catalog/SCHEMA.md section 5.
"""

from collections.abc import Mapping
from typing import Any, Final

from agenthifive import strict_json
from agenthifive.broker.egress import EgressError
from agenthifive.catalog.address import Unrenderable
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.dotpath import pick
from agenthifive.catalog.probe import build_probe, judge_probe
from agenthifive.catalog.service import Variant
from agenthifive.connections.calls import CannotCall, ProviderCalls, Reply, Request, explain
from agenthifive.connections.model import Finding, Held, OpenCredential, visible_line
from agenthifive.errors import AppError
from agenthifive.vault.envelope import EnvelopeError
from agenthifive.vault.keyring import Keyring

TABLE: Final = "t_connections"
COLUMN: Final = "encrypted_tokens"
_SCOPES_HEADER: Final = "x-oauth-scopes"
_SCOPES_MAX: Final = 200
_TEXT_MAX: Final = 200
_FACTS: Final[Mapping[str, Mapping[str, str]]] = {
    "telegram": {"botId": "result.id", "botUsername": "result.username", "botFirstName": "result.first_name"},
    "slack": {
        "botId": "bot_id",
        "botUserId": "user_id",
        "botUsername": "user",
        "teamId": "team_id",
        "teamName": "team",
        "teamUrl": "url",
    },
    "discord": {"botId": "id", "botUsername": "username"},
}
"""What existing clients read in `metadata`, as dot paths into the reply of the service's probe."""


def open_credential(
    keyring: Keyring, sealed: str, row_id: str, workspace_id: str, table: str = TABLE, column: str = COLUMN
) -> dict[str, Any]:
    """The members of a sealed credential. Raises: AppError (credential_unreadable)."""
    try:
        members: dict[str, Any] = strict_json.loads(keyring.open(sealed, table, column, row_id, workspace_id).reveal())
    except (EnvelopeError, strict_json.InvalidJson):
        raise AppError(
            "credential_unreadable",
            "The stored credential cannot be read. Enter it again on this connection.",
        ) from None
    return members


def open_held(catalog: Catalog, keyring: Keyring, held: Held) -> OpenCredential:
    """The credential of a connection. Raises: AppError (credential_unreadable, unknown_service)."""
    service = catalog.get(held.service)
    if service is None or held.variant not in service.variants:
        raise AppError("unknown_service", "The catalog of this instance no longer has the service of this connection.")
    payload = {} if held.sealed is None else open_credential(keyring, held.sealed, held.id, held.workspace_id)
    return OpenCredential(service, service.variant(held.variant), payload, held.params)


def has_free_probe(variant: Variant, params: Mapping[str, Any]) -> bool:
    """Whether a probe exists that may run without a person asking."""
    if variant.spec.kind == "http":
        return bool(params.get("probe"))
    return not variant.test.none and variant.test.cost == "free"


class Probes:
    """Checks credentials at their providers."""

    def __init__(self, calls: ProviderCalls) -> None:
        self._calls = calls

    async def check(self, credential: OpenCredential, pool: str) -> Finding | None:
        """What the provider says; None when the service has no probe. Raises: EgressError, CannotCall."""
        try:
            probe = build_probe(credential.service, credential.variant, credential.values)
        except Unrenderable as error:
            raise CannotCall(str(error)) from None
        if probe is None:
            return None
        reply = await self._calls.send(credential, Request(probe.method, probe.url, probe.headers, probe.body), pool)
        return read_finding(credential, reply)

    async def check_entered(self, credential: OpenCredential, pool: str) -> Finding | None:
        """The same for a credential that is not stored yet: an accepted finding, None without a probe.

        Raises: AppError: 400 credential_rejected, 403 egress_blocked, 502 upstream_unreachable, 504 upstream_timeout.
        """
        name = credential.service.file.name
        try:
            finding = await self.check(credential, pool)
        except (EgressError, CannotCall) as error:
            raise explain(error, name) from None
        finally:
            self._calls.forget(pool)
        if finding is None or finding.is_accepted:
            return finding
        raise refusal_of(finding, credential)


def read_finding(credential: OpenCredential, reply: Reply) -> Finding:
    """What a reply to the probe means. Pure."""
    result = judge_probe(credential.variant, credential.values, reply.status, reply.body)
    if not result.is_accepted:
        return Finding(result.outcome, reply.status)
    return Finding(
        result.outcome,
        reply.status,
        account_id=result.account_id,
        account_name=None if result.account_name is None else visible_line(result.account_name, _TEXT_MAX) or None,
        facts=_facts(credential.service.id, reply.body),
        scopes=_scopes(reply.header(_SCOPES_HEADER)),
    )


def refusal_of(finding: Finding, credential: OpenCredential) -> AppError:
    """The answer for a credential that was refused, or could not be judged."""
    name = credential.service.file.name
    if finding.outcome == "bad":
        return AppError(
            "credential_rejected",
            f"{name} refused the credential. Check that it is complete and still valid, then enter it again.",
            hint=credential.variant.spec.help_url,
        )
    return AppError(
        "upstream_unreachable",
        f"{name} answered with status {finding.status}, which says nothing about the credential. Try again later.",
        detail="inconclusive",
        retry_after_s=5,
    )


def _facts(service_id: str, body: bytes) -> dict[str, Any]:
    paths = _FACTS.get(service_id)
    if paths is None:
        return {}
    try:
        value = strict_json.loads(body)
    except strict_json.InvalidJson:
        return {}
    found = {name: pick(value, path) for name, path in paths.items()}
    return {
        name: visible_line(fact, _TEXT_MAX) if isinstance(fact, str) else fact
        for name, fact in found.items()
        if isinstance(fact, str | int) and not isinstance(fact, bool)
    }


def _scopes(header: str | None) -> tuple[str, ...] | None:
    if header is None:
        return None
    words = (visible_line(word, _TEXT_MAX) for word in header.split(","))
    return tuple(dict.fromkeys(word for word in words if word))[:_SCOPES_MAX]
