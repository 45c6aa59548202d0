"""The values of this room: a stored policy, the connection it is for, and what saving one answers.

Source: contract/policy.md sections 2.1 and 15.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from agenthifive.catalog.binding import Binding, bind
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.facts import service_facts
from agenthifive.catalog.service import Service, Variant
from agenthifive.errors import AppError
from agenthifive.ids import wire_time
from agenthifive.policy.defaults import fill_defaults
from agenthifive.policy.model import Problem, ServiceFacts
from agenthifive.words import ConnectionStatus, PolicyStatus

FACETS: Final = (
    "enforcement",
    "allowedModels",
    "vendStaticCredentials",
    "defaultMode",
    "stepUpApproval",
    "allowlists",
    "rateLimits",
    "timeWindows",
    "rules",
    "providerConstraints",
)
"""What a policy decides with, in wire order; these are the members of `t_policies.document`."""

TIER_FACETS: Final = frozenset({"allowlists", "rateLimits", "timeWindows", "rules", "stepUpApproval", "defaultMode"})
"""The facets a tier writes; constraints, models and enforcement stay a person's own."""


@dataclass(frozen=True)
class StoredPolicy:
    """An active policy as it stands in the database."""

    id: str
    agent_id: str
    connection_id: str
    connection_label: str
    connection_provider: str
    connection_service: str
    version: int
    action_template_id: str | None
    security_preset: str | None
    customised: bool
    document: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime

    @cached_property
    def facets(self) -> dict[str, Any]:
        """Every facet, defaults filled in."""
        filled = fill_defaults(self.document)
        return {name: filled[name] for name in FACETS}

    def wire(self) -> dict[str, Any]:
        """The policy as GET answers it and PUT takes it back."""
        return {
            "id": self.id,
            "agentId": self.agent_id,
            "connectionId": self.connection_id,
            "connectionLabel": self.connection_label,
            "connectionProvider": self.connection_provider,
            "connectionService": self.connection_service,
            "status": PolicyStatus.ACTIVE,
            "version": self.version,
            "createdAt": wire_time(self.created_at),
            "updatedAt": wire_time(self.updated_at),
            "actionTemplateId": self.action_template_id,
            "securityPreset": self.security_preset,
            "customised": self.customised,
            **self.facets,
        }


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """What the database says of a connection, as far as policies care."""

    label: str
    status: ConnectionStatus
    service: str
    variant: str
    metadata: Mapping[str, Any]
    granted_scopes: Sequence[str]
    tenant: str | None


@dataclass(frozen=True)
class Place:
    """The connection a policy is for, as the catalog reads it."""

    status: ConnectionStatus
    service: Service
    variant: Variant
    params: Mapping[str, Any]
    granted_scopes: Sequence[str]
    tenant: str | None

    @cached_property
    def binding(self) -> Binding:
        """The hosts and paths the credential may be used for."""
        return bind(self.service, self.variant, self.params)

    @cached_property
    def facts(self) -> ServiceFacts:
        """What the policy engine must know of it."""
        return service_facts(self.service, self.variant, self.binding)


def read_place(record: ConnectionRecord, catalog: Catalog) -> Place:
    """A connection as the catalog reads it. Raises: AppError (400) when the catalog no longer has its service."""
    service = catalog.get(record.service)
    if service is None or record.variant not in service.variants:
        raise AppError(
            "unknown_service",
            f"The catalog of this instance no longer has the service {record.service} of this connection. "
            "Ask its operator.",
        )
    params = record.metadata.get("params", {})
    scopes = tuple(record.granted_scopes)
    return Place(record.status, service, service.variant(record.variant), params, scopes, record.tenant)


@dataclass(frozen=True, slots=True)
class Labels:
    """Where the facets of a policy came from; decides nothing."""

    action_template_id: str | None
    security_preset: str | None
    customised: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """A policy after it was saved, and what is legal in it and probably not meant."""

    policy: StoredPolicy
    warnings: Sequence[Problem]
