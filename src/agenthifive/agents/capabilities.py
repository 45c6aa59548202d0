"""What can be done here, and what one agent may do: the two answers agents start from.

Permission requests do not exist in this release, so nothing is ever pending.
Source: contract/agents.md section 11.
"""

from collections.abc import Mapping
from typing import Any

from agenthifive.agents import store
from agenthifive.agents.model import Holding
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.describe import capability
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller


class Capabilities:
    """Describes the catalog once, and an agent's part of it whenever asked."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._described = [capability(service) for service in catalog.services]
        self._actions = [
            {
                "id": action["id"],
                "serviceId": described["id"],
                "label": action["label"],
                "description": action["description"],
                "requiresApproval": action["requiresApproval"],
            }
            for described in self._described
            for action in described["actions"]
        ]
        # OAuth clients cannot be configured in this release, so no provider is available that way
        self._oauth_status = {provider: {"available": False, "source": None} for provider in catalog.oauth_providers}

    def services(self) -> Mapping[str, Any]:
        """Every service of the catalog, connected or not. Shapes: the wire answer."""
        return {"services": self._described, "oauthStatus": self._oauth_status}

    async def of_agent(self, unit: Unit, caller: Caller) -> Mapping[str, Any]:
        """What the calling agent holds and what it might ask for. Shapes: the wire answer."""
        holdings = await store.find_holdings(await unit.begin(), caller.workspace_id, caller.id)
        held = {holding.action_template_id for holding in holdings}
        return {
            "activeConnections": [entry for entry in map(self._describe, holdings) if entry is not None],
            "pendingRequests": [],
            "availableActions": [action for action in self._actions if action["id"] not in held],
        }

    def _describe(self, holding: Holding) -> dict[str, Any] | None:
        """One active connection; None when the catalog no longer has its service, which cannot be called then."""
        service = self._catalog.get(holding.service)
        if service is None or holding.variant not in service.variants:
            return None
        return {
            "connectionId": None if service.file.singleton else holding.connection_id,
            "service": holding.service,
            "provider": holding.provider,
            "status": holding.status,
            "credentialType": service.variants[holding.variant].wire_type,
            "category": service.file.category,
            "displayName": service.file.name,
            "label": holding.label,
            "actionTemplateId": holding.action_template_id or "",
            "policyId": holding.policy_id,
            "allowedModels": holding.allowed_models or ["B"],
        }
