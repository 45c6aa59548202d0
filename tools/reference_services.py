"""The page of the catalog's services."""

from typing import Final

from agenthifive.catalog.catalog import load_catalog
from agenthifive.catalog.service import Service, Variant
from agenthifive.connections.model import STATIC_KINDS
from tools.markdown import code, codes, table

_HEADING: Final = """\
# Services

{count} services, {ready} of which can be connected with this release; their files are in
`src/agenthifive/catalog/services/`. *Variants* are the ways to connect, each with its models (B: AgentHiFive calls,
A: the credential is handed out). Variants marked `–` need a sign-in at the provider or a mail account and cannot be
connected with this release. *Hosts* are the only places the credential may go; `*.` stands for one tenant's name,
`own` for a base address the person enters. *LLM* is the name below `/v1/vault/llm/`. *Confidence*:
`verified-in-original` entries were in use in the original AgentHiFive, `public-docs-knowledge` entries were written
from public documentation and not tried against the provider.

This page is generated (`python -m tools.reference`).
"""


def render_services() -> str:
    """The Markdown of docs/reference/services.md."""
    services = load_catalog().services
    rows = [
        (
            code(service.id),
            service.file.name,
            code(service.provider),
            ", ".join(_variant(variant) for variant in service.variants.values()),
            _hosts(service),
            code(service.file.llm.slug if service.file.llm is not None else ""),
            service.file.confidence,
        )
        for service in services
    ]
    ready = sum(any(_is_ready(variant) for variant in service.variants.values()) for service in services)
    heading = _HEADING.format(count=len(services), ready=ready)
    return heading + "\n" + table(("id", "name", "provider", "variants", "hosts", "LLM", "confidence"), rows)


def _variant(variant: Variant) -> str:
    return f"{code(variant.id)} ({', '.join(variant.spec.models)}){'' if _is_ready(variant) else ' –'}"


def _is_ready(variant: Variant) -> bool:
    """Whether its credential can be entered by a person."""
    return variant.spec.kind in STATIC_KINDS


def _hosts(service: Service) -> str:
    named = codes(host.name for host in service.file.hosts)
    return ", ".join(filter(None, [named, "own" if service.file.self_hosted else ""]))
