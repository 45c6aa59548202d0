"""Which template fits a connection, and the facets a tier of it writes there. Pure.

    service + granted scopes -> choose_template -> template
    template + tier          -> preset data?  yes: presets.json for this site    no: the generic tiers of the catalog

Source: contract/policy.md sections 15.2 (last paragraph), 17.2; catalog/SCHEMA.md section 9.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agenthifive.catalog.allowlists import default_entries, tier_entries
from agenthifive.catalog.binding import Binding, BoundHost
from agenthifive.catalog.schema import TemplateSpec
from agenthifive.catalog.service import HTTPS_PORT, Service
from agenthifive.errors import AppError
from agenthifive.policy import presets
from agenthifive.policy.presets import PlainService

_NOT_ASKED: Final = "offline_access"
_WRITE_ACCESS: Final = "write"
_ANY_LABEL: Final = "*."


def expand_tier(
    service: Service, binding: Binding, template: TemplateSpec, tier: str, timezone: str | None
) -> dict[str, Any]:
    """The facets and labels that a tier writes; constraints, models and enforcement are left alone.

    Shapes:
        tier: one of presets.TIERS. timezone: of the windows; without one there are none.
    """
    if presets.has_template(template.id):
        return presets.template_config(template.id, tier, timezone, _site_of(binding))
    return presets.generic_config(template.id, template.mode, tier, _as_plain(service, binding))


def choose_template(service: Service, granted_scopes: Sequence[str]) -> TemplateSpec | None:
    """The template that asks for most among those whose scopes are all granted; None when the service has none.

    Where nothing was granted by scope: `manage` if write access was granted, else what reads.

    Shapes:
        granted_scopes: as the provider returned them.
    """
    templates = service.file.templates
    granted = set(granted_scopes)
    spellings = _spellings(service)
    fitting = [
        template
        for template in templates
        if template.scopes
        and all(scope == _NOT_ASKED or granted & spellings.get(scope, {scope}) for scope in template.scopes)
    ]
    if fitting:
        return max(fitting, key=lambda template: len(template.scopes))
    wanted = "manage" if _WRITE_ACCESS in granted else "read"
    return next((t for t in templates if t.mode == wanted), templates[0] if templates else None)


def named_template(service: Service, template_id: str) -> TemplateSpec:
    """A template of a service. Raises: AppError (400 unknown_template)."""
    for template in service.file.templates:
        if template.id == template_id:
            return template
    known = ", ".join(template.id for template in service.file.templates)
    raise AppError(
        "unknown_template",
        f"{service.id} has no action template {template_id[:80]}. Its templates: {known or 'none'}.",
        hint=known or None,
    )


def bind_at_large(service: Service) -> Binding:
    """Every host of a service before there is a connection; hosts of a tenant keep the catalog's wildcard."""
    variant = service.default_variant
    hosts = tuple(
        BoundHost(
            origin=("https", spec.name, HTTPS_PORT),
            prefix="",
            catalog_host=spec.name,
            rule=service.host_rules[spec.name],
            plan=variant.plan(spec.name),
            classifier=service.classifier(spec.name),
        )
        for spec in service.file.hosts
    )
    return Binding(service, variant, hosts)


def _spellings(service: Service) -> Mapping[str, set[str]]:
    """Scope keys with everything a provider may call them."""
    return {
        scope.key: {scope.key, scope.value}
        for variant in service.file.credentials
        if variant.oauth is not None
        for scope in variant.oauth.scopes
    }


def _as_plain(service: Service, binding: Binding) -> PlainService:
    every = default_entries(service, binding)
    reading = tier_entries(service, binding, "read")
    return PlainService(
        is_llm=service.file.llm is not None,
        default_allow=tuple((entry.base_url, entry.methods, entry.paths) for entry in every),
        read_posts=tuple((entry.base_url, entry.paths) for entry in reading if entry.methods == ("POST",)),
    )


def _site_of(binding: Binding) -> str | None:
    """The connection's own host in the place of a wildcard of the catalog."""
    for bound in binding.hosts:
        if (bound.catalog_host or "").startswith(_ANY_LABEL) and not bound.origin[1].startswith(_ANY_LABEL):
            return bound.origin[1]
    return None
