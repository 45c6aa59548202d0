"""Addresses of a file for one connection: values never break out of their place."""

import pytest

from agenthifive.catalog.address import Unrenderable
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.service import Service


def service_of(catalog: Catalog, service_id: str) -> Service:
    service = catalog.get(service_id)
    assert service is not None
    return service


@pytest.mark.parametrize(
    ("service", "template", "values", "address"),
    [
        ("jira", "https://{siteUrl}/rest/api/3/myself", {"siteUrl": "acme.atlassian.net"},
         "https://acme.atlassian.net/rest/api/3/myself"),
        ("trello", "https://api.trello.com/1/tokens/{apiKey}", {"apiKey": "a/b?c#d é"},
         "https://api.trello.com/1/tokens/a%2Fb%3Fc%23d%20%C3%A9"),
        ("openai-compatible", "{baseUrl}/models", {"baseUrl": "http://llm.corp:8080/v1"},
         "http://llm.corp:8080/v1/models"),
        ("gitlab", "https://gitlab.com/api/v4/user", {}, "https://gitlab.com/api/v4/user"),
        ("gitlab", "https://gitlab.com/api/v4/user", {"baseUrl": "https://git.corp:8443/x"},
         "https://git.corp:8443/x/api/v4/user"),
        ("gitlab", "https://gitlab.com/oauth/token", {"baseUrl": "https://git.corp"}, "https://git.corp/oauth/token"),
        ("grafana", "https://{stack}.grafana.net/api/x?y=1", {"baseUrl": "https://graf.corp"},
         "https://graf.corp/api/x?y=1"),
        ("grafana", "https://{stack}.grafana.net/api/x", {"stack": "acme"}, "https://acme.grafana.net/api/x"),
        ("sentry", "https://login.elsewhere.test/x", {"baseUrl": "https://s.corp"}, "https://login.elsewhere.test/x"),
    ],
)  # fmt: skip
def test_templates_are_filled(
    catalog: Catalog, service: str, template: str, values: dict[str, str], address: str
) -> None:
    assert service_of(catalog, service).address(template, values) == address


@pytest.mark.parametrize("value", ["evil.test/", "a@evil.test", "evil.test:8443", "x y", "", "127.0.0.1", "{a}.test"])
def test_a_value_cannot_become_another_host(catalog: Catalog, value: str) -> None:
    with pytest.raises(Unrenderable):
        service_of(catalog, "jira").address("https://{siteUrl}/rest", {"siteUrl": value})


def test_what_is_missing_is_named_not_guessed(catalog: Catalog) -> None:
    with pytest.raises(Unrenderable, match="siteUrl"):
        service_of(catalog, "jira").address("https://{siteUrl}/rest", {})
    with pytest.raises(Unrenderable, match="base address"):
        service_of(catalog, "openai-compatible").address("{baseUrl}/models", {})


def test_a_base_address_means_nothing_to_a_service_that_has_none(catalog: Catalog) -> None:
    address = service_of(catalog, "notion").address("https://api.notion.com/v1/x", {"baseUrl": "https://evil.test"})
    assert address == "https://api.notion.com/v1/x"
