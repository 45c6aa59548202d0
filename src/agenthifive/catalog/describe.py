"""The catalog as clients see it: people get the whole entry, agents what they may ask for; no secrets.

Source: contract/catalog/SCHEMA.md section 12, agents.md section 11.
"""

from typing import Any

from agenthifive.catalog.schema import FieldSpec, TemplateSpec
from agenthifive.catalog.service import Service, Variant


def describe(service: Service) -> dict[str, Any]:
    """One item of `GET /v1/catalog`."""
    file = service.file
    return {
        **_facts(service),
        "variants": [_variant(variant) for variant in service.variants.values()],
        "actionTemplates": [
            {
                "id": template.id,
                "label": template.label,
                "description": template.description,
                "mode": template.mode,
                "scopes": list(template.scopes),
            }
            for template in file.templates
        ],
    }


def capability(service: Service) -> dict[str, Any]:
    """One item of `GET /v1/capabilities/services`: the same facts without what a person would enter."""
    return {**_facts(service), "actions": [_action(template) for template in service.file.templates]}


def _facts(service: Service) -> dict[str, Any]:
    file = service.file
    return {
        "id": file.id,
        "name": file.name,
        "provider": file.provider,
        "icon": file.icon,
        "group": file.group,
        "description": file.description,
        "category": file.category,
        "section": file.section,
        "singleton": file.singleton,
        "confidence": file.confidence,
        "credentialType": service.default_variant.wire_type,
        "hosts": [host.name for host in file.hosts],
        "docs": list(file.docs),
    }


def _variant(variant: Variant) -> dict[str, Any]:
    spec = variant.spec
    described: dict[str, Any] = {
        "id": spec.id,
        "kind": spec.kind,
        "label": spec.label,
        "helpUrl": spec.help_url,
        "models": list(spec.models),
        "fields": [_field(field) for field in spec.fields],
        "deviceFlow": spec.oauth is not None and spec.oauth.device is not None,
    }
    if spec.oauth is not None:
        described["scopes"] = [
            {"key": scope.key, "value": scope.value, "label": scope.label, "default": scope.default}
            for scope in spec.oauth.scopes
        ]
    return described


def _field(spec: FieldSpec) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": spec.name,
        "label": spec.label,
        "type": spec.type,
        "required": spec.required,
    }
    if spec.options is not None:
        described["options"] = list(spec.options)
    if spec.placeholder is not None:
        described["placeholder"] = spec.placeholder
    if spec.default is not None:
        described["default"] = spec.default
    return described


def _action(template: TemplateSpec) -> dict[str, Any]:
    return {
        "id": template.id,
        "label": template.label,
        "description": template.description,
        "requiresApproval": False,  # a request is decided by a person; no template of its own says more
    }
