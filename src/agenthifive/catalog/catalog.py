"""The catalog of an instance: every service it knows, read once at the start.

    services/*.toml + CATALOG_DIR + CATALOG_EXTRA_HOSTS -> Catalog -> get, llm, template, by_provider

Source: contract/catalog/SCHEMA.md section 12, broker.md section 7.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from agenthifive.broker.host import InvalidHost, read_host
from agenthifive.catalog.load import read_files
from agenthifive.catalog.schema import TemplateSpec
from agenthifive.catalog.service import HTTPS_PORT, Origin, Service

_EXTRA: Final = re.compile(r"([a-z0-9-]+)=(https?)://([^/?#@:\[\]]+|\[[^\]]+\])(?::([1-9][0-9]{0,4}))?/?")
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": HTTPS_PORT, "http": 80}
_PORT_MAX: Final = 65_535


class Catalog:
    """The services, in catalog order."""

    __slots__ = ("_by_id", "_by_slug", "_by_template", "services")

    def __init__(self, services: Iterable[Service]) -> None:
        self.services = tuple(services)
        self._by_id = {service.id: service for service in self.services}
        self._by_slug = {s.file.llm.slug: s for s in self.services if s.file.llm is not None}
        self._by_template = {
            template.id: (service, template) for service in self.services for template in service.file.templates
        }

    def get(self, service_id: str) -> Service | None:
        """The service of an id, None when there is none."""
        return self._by_id.get(service_id)

    def by_provider(self, provider: str) -> tuple[Service, ...]:
        """The services of a wire provider, in catalog order."""
        return tuple(service for service in self.services if service.provider == provider)

    def llm(self, slug: str) -> Service | None:
        """The service behind `/v1/vault/llm/<slug>`, None when there is none."""
        return self._by_slug.get(slug)

    def template(self, template_id: str) -> tuple[Service, TemplateSpec] | None:
        """An action template and its service, None when there is none."""
        return self._by_template.get(template_id)

    @property
    def oauth_providers(self) -> tuple[str, ...]:
        """Providers with an OAuth variant, in catalog order."""
        return tuple(
            dict.fromkeys(
                service.provider
                for service in self.services
                if any(credential.kind == "oauth" for credential in service.file.credentials)
            )
        )


def load_catalog(extra_dir: Path | None = None, extra_hosts: str = "") -> Catalog:
    """Read the built-in files and the operator's.

    Shapes:
        extra_dir: CATALOG_DIR. extra_hosts: CATALOG_EXTRA_HOSTS, a comma list of
            `service=scheme://host[:port]`.
    Raises: CatalogError naming file and key; ValueError naming the entry of extra_hosts.
    """
    files = read_files(extra_dir)
    origins = read_extra_hosts(extra_hosts, {file.id for file in files})
    return Catalog(Service(file, tuple(origins.get(file.id, ()))) for file in files)


def read_extra_hosts(text: str, known: set[str]) -> dict[str, list[Origin]]:
    """The origins an operator adds, by service id. Raises: ValueError naming the entry."""
    origins: dict[str, list[Origin]] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        match = _EXTRA.fullmatch(entry)
        if match is None:
            raise ValueError(f"CATALOG_EXTRA_HOSTS: {entry!r} is not service=scheme://host[:port]")
        service_id, scheme, written_host, written_port = match.groups()
        if service_id not in known:
            raise ValueError(f"CATALOG_EXTRA_HOSTS: {entry!r} names no service of the catalog")
        port = int(written_port) if written_port else _DEFAULT_PORTS[scheme]
        try:
            host = read_host(written_host)
        except InvalidHost:
            raise ValueError(f"CATALOG_EXTRA_HOSTS: {entry!r} has no plain host name") from None
        if port > _PORT_MAX:
            raise ValueError(f"CATALOG_EXTRA_HOSTS: {entry!r} has no valid port")
        origins.setdefault(service_id, []).append((scheme, host, port))
    return origins
