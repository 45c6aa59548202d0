"""Default allowlists name the connection's own hosts; a written one must lie inside the binding."""

from typing import Any

import pytest

from agenthifive.catalog.allowlists import AllowEntry, default_allowlists, outside_binding, tier_entries
from agenthifive.catalog.binding import Binding, bind
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.facts import service_facts
from agenthifive.catalog.service import Service
from agenthifive.policy.model import HostFacts

ACME = {"siteUrl": "acme.atlassian.net"}


def bound(catalog: Catalog, service_id: str, params: dict[str, Any] | None = None) -> tuple[Service, Binding]:
    service = catalog.get(service_id)
    assert service is not None
    return service, bind(service, service.default_variant, params or {})


def test_a_tenants_entry_names_its_site(catalog: Catalog) -> None:
    entries = default_allowlists(*bound(catalog, "jira", {"siteUrl": "acme.atlassian.net"}))
    assert [entry["baseUrl"] for entry in entries] == ["https://acme.atlassian.net"]
    assert entries[0]["methods"] == ["GET", "POST", "PUT", "DELETE"]
    assert "/rest/api/3/**" in entries[0]["pathPatterns"]


def test_only_the_chosen_region_gets_an_entry(catalog: Catalog) -> None:
    entries = default_allowlists(*bound(catalog, "datadog", {"site": "api.datadoghq.eu"}))
    assert [entry["baseUrl"] for entry in entries] == ["https://api.datadoghq.eu"]


def test_an_own_server_gets_one_entry_with_its_prefix(catalog: Catalog) -> None:
    entries = default_allowlists(*bound(catalog, "sentry", {"baseUrl": "https://s.corp:8443/x"}))
    assert entries == [
        {
            "baseUrl": "https://s.corp:8443/x",
            "methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
            "pathPatterns": ["/x/api/0/**"],
        }
    ]


def test_a_shared_wildcard_stays_one(catalog: Catalog) -> None:
    entries = default_allowlists(*bound(catalog, "twilio"))
    assert [entry["baseUrl"] for entry in entries] == ["https://api.twilio.com", "https://*.twilio.com"]


def test_the_generic_read_tier_only_reads(catalog: Catalog) -> None:
    notion = tier_entries(*bound(catalog, "notion"), "read")
    assert notion[0] == AllowEntry("https://api.notion.com", ("GET",), ("/v1/**",))
    assert notion[1].methods == ("POST",)
    assert "/v1/search" in notion[1].paths
    assert "/v1/pages" not in notion[1].paths
    linear = tier_entries(*bound(catalog, "linear"), "read")
    assert AllowEntry("https://api.linear.app", ("POST",), ("/graphql",)) in linear
    for service in catalog.services:
        values = {spec.name: (spec.options or ("acme",))[0] for spec in service.default_variant.fields}
        values["baseUrl"] = "" if service.file.hosts else "https://own.test"
        for entry in tier_entries(service, bind(service, service.default_variant, values), "read"):
            assert set(entry.methods) <= {"GET", "POST"}


def test_other_generic_tiers_take_the_default(catalog: Catalog) -> None:
    service, binding = bound(catalog, "notion")
    assert [entry.wire() for entry in tier_entries(service, binding, "manage")] == default_allowlists(service, binding)


@pytest.mark.parametrize(
    ("service", "params", "host", "globs", "fault"),
    [
        ("notion", {}, "api.notion.com", ("/v1/pages/*", "/v1/**"), None),
        ("notion", {}, "api.notion.com", ("/v1/pages", "/**"), "path_not_in_catalog"),
        ("notion", {}, "evil.test", ("/v1/x",), "host_not_in_catalog"),
        ("jira", ACME, "acme.atlassian.net", ("/rest/api/3/**",), None),
        ("jira", ACME, "*.atlassian.net", ("/rest/api/3/**",), None),
        ("jira", ACME, "evil.atlassian.net", ("/rest/api/3/**",), "host_not_in_connection"),
        ("jira", ACME, "*.net", ("/rest/api/3/**",), "host_not_in_catalog"),
        ("twilio", {}, "verify.twilio.com", ("/v2/x",), None),
        ("twilio", {}, "*.twilio.com", ("/v2/**",), None),
        ("microsoft-teams", {}, "graph.microsoft.com", ("/V1.0/Me",), None),
        ("gitlab", {"baseUrl": "https://git.corp/x"}, "git.corp", ("/x/api/**",), None),
        ("gitlab", {"baseUrl": "https://git.corp/x"}, "git.corp", ("/api/**",), "path_not_in_catalog"),
        ("gitlab", {"baseUrl": "https://git.corp/x"}, "gitlab.com", ("/api/v4/x",), "host_not_in_connection"),
    ],
)  # fmt: skip
def test_a_written_allowlist_lies_inside_the_binding(
    catalog: Catalog,
    service: str,
    params: dict[str, Any],
    host: str,
    globs: tuple[str, ...],
    fault: str | None,
) -> None:
    _, binding = bound(catalog, service, params)
    assert outside_binding(binding, ("https", host, 443), globs) == fault


def test_port_and_scheme_are_part_of_a_host(catalog: Catalog) -> None:
    _, binding = bound(catalog, "notion")
    assert outside_binding(binding, ("https", "api.notion.com", 8443), ("/v1/x",)) == "host_not_in_catalog"
    assert outside_binding(binding, ("http", "api.notion.com", 80), ("/v1/x",)) == "host_not_in_catalog"


def test_the_facts_a_decision_needs(catalog: Catalog) -> None:
    service, binding = bound(catalog, "telegram")
    facts = service_facts(service, service.default_variant, binding)
    assert facts.hosts == (HostFacts("api.telegram.org", path_insensitive=True),)
    assert (facts.service, facts.provider, facts.constraints) == ("telegram", "telegram", "telegram")
    assert facts.params_in_query
    assert not facts.is_llm
    assert facts.models == {"B"}
    assert facts.origins == ()
    service, binding = bound(catalog, "gitlab", {"baseUrl": "https://git.corp:8443/x"})
    facts = service_facts(service, service.variant("oauth"), binding)
    assert facts.hosts == (HostFacts("git.corp"),)
    assert facts.origins == (("https", "git.corp", 8443, "/x"),)
    assert facts.models == {"A", "B"}
    service, binding = bound(catalog, "jira", {"siteUrl": "acme.atlassian.net"})
    facts = service_facts(service, service.default_variant, binding)
    assert facts.hosts == (HostFacts("*.atlassian.net"),)
