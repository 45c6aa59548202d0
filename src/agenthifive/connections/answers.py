"""Connections on the wire: who sees what. Pure.

    member               persons            owner, admin     agents
    policies             all                all              their own
    credentialPreview    null               masks            absent
    account, createdBy, oauthAppId  yes     yes              absent
    metadata             all                all              params and display names

Source: contract/connections.md sections 5, 7, 10 and 12; http.md section 15.6.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agenthifive.broker.host import bracketed
from agenthifive.catalog.binding import bind
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.service import HTTPS_PORT, Service, Variant
from agenthifive.connections.checkup import Tested
from agenthifive.connections.model import Connection, PolicyLine, ProviderRevocation, Revoked, Stored
from agenthifive.edge.callers import Caller
from agenthifive.ids import wire_time
from agenthifive.policy.defaults import DEFAULTS

_FACETS: Final = (
    "defaultMode",
    "stepUpApproval",
    "allowedModels",
    "allowlists",
    "rateLimits",
    "timeWindows",
    "providerConstraints",
)
_DISPLAY_NAMES: Final = ("botUsername", "botFirstName", "teamName")


def describe_connection(
    catalog: Catalog, caller: Caller, connection: Connection, policies: Sequence[PolicyLine]
) -> dict[str, Any]:
    """One connection as this caller may see it."""
    service = catalog.get(connection.service)
    variant = None if service is None else service.variants.get(connection.variant)
    described: dict[str, Any] = {
        "id": connection.id,
        "provider": connection.provider,
        "service": connection.service,
        "variant": connection.variant,
        "label": connection.label,
        "status": connection.status,
        "statusReason": connection.status_reason,
        "singleton": connection.is_singleton,
        "credentialType": None if variant is None else variant.wire_type,
        "category": None if service is None else service.file.category,
        "grantedScopes": list(connection.granted_scopes),
        "missingScopes": list(connection.missing_scopes),
        "metadata": _metadata(caller, connection.metadata),
        "hosts": [] if service is None or variant is None else _hosts(service, variant, connection),
        "allowedModels": [] if variant is None else list(variant.spec.models),
        "expiry": _expiry(connection),
        "verified": connection.verified,
        "lastVerifiedAt": wire_time(connection.last_verified_at),
        "lastUsedAt": wire_time(connection.last_used_at),
        "createdAt": wire_time(connection.created_at),
        "updatedAt": wire_time(connection.updated_at),
        "version": connection.version,
        "policies": [_policy(line) for line in policies],
    }
    if caller.agent_id is None:
        described |= {
            "credentialPreview": connection.preview if caller.is_admin else None,
            "account": _account(connection),
            "createdBy": connection.created_by,
            "oauthAppId": None,
        }
    return described


def describe_stored(stored: Stored) -> dict[str, Any]:
    """The answer to an entered credential."""
    connection: dict[str, Any] = {
        "id": stored.id,
        "provider": stored.provider,
        "service": stored.service,
        "label": stored.label,
        "status": "healthy",
        "verified": stored.verified,
        "metadata": stored.metadata,
    }
    if stored.warnings:
        connection["warnings"] = list(stored.warnings)
    return {"connection": connection, "message": stored.message}


def describe_bot(stored: Stored) -> dict[str, Any]:
    """The answer to an entered bot token: what is known of the bot stands beside the connection."""
    info = {name: fact for name, fact in stored.metadata.items() if name != "params"}
    return {**describe_stored(stored), "botInfo": info, "label": stored.label}


def describe_tested(tested: Tested, checked_at: str) -> dict[str, Any]:
    """The answer to a test whose credential was not refused."""
    finding = tested.finding
    described: dict[str, Any] = {"ok": True, "provider": tested.provider}
    if finding is None:
        described |= {"detail": "no check exists for this service", "warnings": ["unverified"]}
    elif finding.outcome == "limited":
        described |= {
            "detail": "The provider accepts the credential, but it lacks a permission.",
            "limited": True,
            "warnings": ["limited"],
        }
    else:
        account = f" ({finding.account_name})" if finding.account_name else ""
        described["detail"] = f"The provider accepts the credential{account}."
    return {**described, "checkedAt": checked_at}


def describe_revoked(revoked: Revoked) -> dict[str, Any]:
    """The answer to a revocation."""
    described: dict[str, Any] = {
        "revoked": True,
        "connection": {
            "id": revoked.id,
            "provider": revoked.provider,
            "service": revoked.service,
            "label": revoked.label,
            "status": "revoked",
        },
        "auditId": revoked.audit_id,
        "providerRevocation": describe_provider_revocation(revoked.at_provider),
    }
    if revoked.vended_at is not None:
        # what was vended is the credential itself: it has no end of its own
        described["vended"] = {"lastAt": wire_time(revoked.vended_at), "validUntil": None}
    return described


def describe_provider_revocation(at_provider: ProviderRevocation) -> dict[str, Any]:
    """What became of the credential at its provider, in a word and, where a person must act, in a sentence."""
    described: dict[str, Any] = {"status": at_provider.state}
    if at_provider.manage_url is not None:
        described["manageUrl"] = at_provider.manage_url
    if at_provider.state in ("unsupported", "failed"):
        described["message"] = "The credential itself keeps working at the provider until a person removes it there."
    return described


def _metadata(caller: Caller, metadata: Mapping[str, Any]) -> dict[str, Any]:
    if caller.agent_id is None:
        return dict(metadata)
    return {name: metadata[name] for name in ("params", *_DISPLAY_NAMES) if name in metadata}


def _hosts(service: Service, variant: Variant, connection: Connection) -> list[str]:
    """The hosts the credential may go to, as they stand in a URL."""
    origins = [bound.origin for bound in bind(service, variant, connection.metadata.get("params") or {}).hosts]
    return [
        bracketed(host) if (scheme, port) == ("https", HTTPS_PORT) else f"{bracketed(host)}:{port}"
        for scheme, host, port in origins
    ]


def _expiry(connection: Connection) -> dict[str, Any]:
    end: datetime | None = connection.credential_expires_at
    return {
        "accessExpiresAt": wire_time(connection.access_expires_at),
        "refreshExpiresAt": wire_time(connection.refresh_expires_at),
        "credentialExpiresAt": wire_time(end),
        "state": connection.expiry_state,
        "reason": None if end is None else "credential",
    }


def _account(connection: Connection) -> dict[str, Any] | None:
    if connection.account_id is None and connection.account_name is None:
        return None
    return {"id": connection.account_id, "name": connection.account_name, "tenant": connection.account_tenant}


def _policy(line: PolicyLine) -> dict[str, Any]:
    return {
        "id": line.id,
        "agentId": line.agent_id,
        "agentName": line.agent_name,
        "actionTemplateId": line.action_template_id,
        **{facet: line.document.get(facet, DEFAULTS[facet]) for facet in _FACETS},
        "securityPreset": line.security_preset,
        "version": line.version,
    }
