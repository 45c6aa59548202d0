"""What presets offer: the templates of a provider, their tiers, guards, and the facets of one tier.

    {provider} is a provider or a service id; a provider answers for all its services.

Source: contract/policy.md section 17.4, http.md section 15.5.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.schema import TemplateSpec
from agenthifive.catalog.service import Service
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id
from agenthifive.policies import store
from agenthifive.policies.model import read_place
from agenthifive.policies.tiers import bind_at_large, choose_template, expand_tier
from agenthifive.policy import presets
from agenthifive.policy.windows import find_zone

_LISTED_TIER: Final = "standard"
_GENERIC_TEXTS: Final = {
    "minimal": "Everything the template is for, with the widest hourly limit.",
    "standard": "Everything the template is for, with a moderate hourly limit.",
    "strict": "The lowest hourly limit; where data is read or changed, replies are redacted and deletion is refused.",
}
_CONFIG: Final = ("allowlists", "rateLimits", "timeWindows", "rules", "stepUpApproval", "defaultMode")

Template = tuple[Service, TemplateSpec]


class Templates:
    """Answers of the template routes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def list_for(self, name: str) -> list[dict[str, Any]]:
        """The templates of a provider or service. Raises: AppError (400 unknown_template)."""
        return [_listed(template) for template in self._templates(name)]

    async def tiers_for(
        self, unit: Unit, caller: Caller, name: str, connection_id: str | None, template_id: str | None
    ) -> dict[str, Any]:
        """The tiers of the template that was named, or fits the connection, or comes first.

        Raises: AppError (400 unknown_template or invalid_request, 404 for the connection).
        """
        templates = self._templates(name)
        if template_id is not None:
            chosen = next((found for found in templates if found[1].id == template_id), None)
        elif connection_id is not None:
            chosen = await self._fitting(unit, caller, name, connection_id)
        else:
            chosen = templates[0] if templates else None
        if chosen is None:
            raise _unknown(template_id or name)
        return {"presets": _tiers(chosen), "templates": [_listed(template) for template in templates]}

    def guards_for(self, name: str) -> dict[str, Any]:
        """Guard categories and the guards of a provider or service. Raises: AppError (400 unknown_template)."""
        self._templates(name)
        return presets.guards_for(name)

    def config(self, template_id: str, tier: str | None, timezone: str | None) -> dict[str, Any]:
        """The facets a tier of a template writes. Raises: AppError (400 unknown_template or invalid_request)."""
        template = self._catalog.template(template_id)
        if template is None:
            raise _unknown(template_id)
        if tier not in presets.TIERS:
            raise _invalid("tier", f"must be one of {', '.join(presets.TIERS)}")
        if timezone is not None and find_zone(timezone) is None:
            raise _invalid("timezone", "must be a time zone of the IANA list, such as Europe/Paris")
        facets = _expand(template, tier, timezone)
        return {name: facets[name] for name in _CONFIG}

    def _templates(self, name: str) -> Sequence[Template]:
        """Every template behind a name, in catalog order."""
        service = self._catalog.get(name)
        services = self._catalog.by_provider(name) if service is None else (service,)
        if not services:
            raise _unknown(name)
        return [(service, template) for service in services for template in service.file.templates]

    async def _fitting(self, unit: Unit, caller: Caller, name: str, connection_id: str) -> Template | None:
        record = None
        if is_id(connection_id):
            record = await store.find_connection(await unit.begin(), caller.workspace_id, connection_id)
        if record is None:
            raise not_found("connection", "/v1/connections")
        place = read_place(record, self._catalog)
        if name not in (place.service.id, place.service.provider):
            raise _invalid("connectionId", f"belongs to {place.service.id}")
        template = choose_template(place.service, place.granted_scopes)
        return None if template is None else (place.service, template)


def _listed(template: Template) -> dict[str, Any]:
    service, spec = template
    return {
        "id": spec.id,
        "name": spec.label,
        "description": spec.description,
        "provider": service.provider,
        "sensitive": spec.mode != "read",
        "allowlists": _expand(template, _LISTED_TIER, None)["allowlists"],
    }


def _tiers(template: Template) -> list[dict[str, Any]]:
    """The tiers as people see them, minimal first."""
    _, spec = template
    if presets.has_template(spec.id):
        described = presets.tiers_of(spec.id)
    else:
        described = [_describe_generic(template, tier) for tier in reversed(presets.TIERS)]
    return [{**tier, "rules": _complete(tier["rules"])} for tier in described]


def _describe_generic(template: Template, tier: str) -> dict[str, Any]:
    facets = _expand(template, tier, None)
    return {
        "id": tier,
        "name": tier.capitalize(),
        "description": _GENERIC_TEXTS[tier],
        "rules": facets["rules"],
        "recommended": {"defaultMode": facets["defaultMode"], "stepUpApproval": facets["stepUpApproval"]},
        "rateLimitLabel": f"{facets['rateLimits']['maxRequestsPerHour']} requests per hour",
        "features": [],
    }


def _expand(template: Template, tier: str, timezone: str | None) -> dict[str, Any]:
    """The facets before there is a connection; hosts of a tenant stay wildcards."""
    service, spec = template
    facets = expand_tier(service, bind_at_large(service), spec, tier, timezone)
    return {**facets, "rules": _complete(facets["rules"])}


def _complete(rules: Mapping[str, Any]) -> dict[str, Any]:
    return {"fieldStepUpEnabled": False, **rules}


def _unknown(name: str) -> AppError:
    return AppError(
        "unknown_template",
        f"No provider, service or action template is called {name[:80]}. List services with GET /v1/catalog.",
        hint="GET /v1/catalog",
    )


def _invalid(path: str, message: str) -> AppError:
    return AppError("invalid_request", f"{path} {message}.", fields=[{"path": path, "message": message}])
