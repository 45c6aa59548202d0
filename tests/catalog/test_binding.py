"""Host binding at run time: the acceptance of contract/catalog/SCHEMA.md section 13, and what else may try."""

from pathlib import Path
from typing import Any

import pytest

from agenthifive.broker.inject import inject
from agenthifive.broker.target import Target, parse_target
from agenthifive.catalog.binding import Binding, bind
from agenthifive.catalog.catalog import Catalog, load_catalog
from agenthifive.catalog.load import read_file
from agenthifive.catalog.service import HostRule, Service

CONNECTION, CATALOG, PATH = "host_not_in_connection", "host_not_in_catalog", "path_not_in_catalog"


def binding_of(catalog: Catalog, service_id: str, params: dict[str, Any] | None = None) -> Binding:
    service = catalog.get(service_id)
    assert service is not None
    return bind(service, service.default_variant, params or {})


def target(url: str, *http_hosts: str) -> Target:
    return parse_target(url, http_hosts=frozenset(http_hosts)).target


def test_a_tenant_reaches_its_own_host_only(catalog: Catalog) -> None:
    binding = binding_of(catalog, "zendesk", {"subdomain": "acme", "email": "a@b.c"})
    assert binding.check(target("https://acme.zendesk.com/api/v2/tickets")) is None
    for host in ("evil.zendesk.com", "zendesk.zendesk.com"):
        assert binding.check(target(f"https://{host}/api/v2/tickets")) == CONNECTION
    for host in ("zendesk.com", "a.acme.zendesk.com", "evilzendesk.com", "acme.zendesk.com.evil.test"):
        assert binding.check(target(f"https://{host}/api/v2/tickets")) == CATALOG


def test_a_star_is_one_label(catalog: Catalog) -> None:
    binding = binding_of(catalog, "twilio", {"accountSid": "AC1"})
    for host in ("api", "verify", "a-b"):
        assert binding.check(target(f"https://{host}.twilio.com/v1/x")) in (None, PATH)
    assert binding.check(target("https://verify.twilio.com/v2/Services")) is None
    for host in ("twilio.com", "a.b.twilio.com", "eviltwilio.com"):
        assert binding.check(target(f"https://{host}/v1/x")) == CATALOG
    assert binding.check(target("https://a_b.twilio.com/v1/x", "a_b.twilio.com")) == CATALOG
    assert binding.check(target("https://verify.twilio.com:8443/v1/x")) == CATALOG
    assert binding.check(target("http://verify.twilio.com:443/v1/x", "verify.twilio.com")) == CATALOG


def test_an_exact_host_goes_before_a_wildcard(catalog: Catalog) -> None:
    binding = binding_of(catalog, "twilio", {"accountSid": "AC1"})
    assert binding.check(target("https://api.twilio.com/2010-04-01/Accounts.json")) is None
    assert binding.check(target("https://api.twilio.com/v1/x")) == PATH


def test_only_the_chosen_region_is_live(catalog: Catalog) -> None:
    binding = binding_of(catalog, "datadog", {"site": "api.datadoghq.eu"})
    assert [bound.origin[1] for bound in binding.hosts] == ["api.datadoghq.eu"]
    assert binding.check(target("https://api.datadoghq.com/api/v1/validate")) == CONNECTION


@pytest.mark.parametrize("params", [{}, {"siteUrl": ""}, {"siteUrl": "evil.test"}, {"siteUrl": "a.b.atlassian.net"}])
def test_a_connection_without_a_proper_tenant_reaches_nothing(catalog: Catalog, params: dict[str, str]) -> None:
    binding = binding_of(catalog, "jira", params)
    assert binding.hosts == ()
    assert binding.check(target("https://acme.atlassian.net/rest/api/3/myself")) == CONNECTION
    assert binding.check(target("https://evil.test/rest/api/3/myself")) == CATALOG


@pytest.mark.parametrize(
    "url",
    ["http://api.notion.com/v1/x", "https://api.notion.com:8443/v1/x", "http://api.notion.com:443/v1/x"],
)
def test_only_https_on_443(catalog: Catalog, url: str) -> None:
    """Listing a name for private addresses or http does not widen the binding."""
    assert binding_of(catalog, "notion").check(target(url, "api.notion.com")) == CATALOG


def test_hosts_that_only_we_contact_are_no_hosts_of_a_call(catalog: Catalog) -> None:
    binding = binding_of(catalog, "google-docs")
    assert binding.check(target("https://oauth2.googleapis.com/revoke")) == CATALOG
    assert binding.platform_plan("https", "openidconnect.googleapis.com", 443).injections
    for origin in (("https", "evil.test", 443), ("http", "openidconnect.googleapis.com", 443)):
        with pytest.raises(KeyError):
            binding.platform_plan(*origin)
    with pytest.raises(KeyError):
        binding.plan(target("https://openidconnect.googleapis.com/v1/userinfo"))


@pytest.mark.parametrize(
    "path",
    ["/v1.0/$batch", "/v1.0/%24batch", "/V1.0/$BATCH", "/v1.0/$batch/", "/v1.0//$batch", "/v1.0/$batch;x=1",
     "/v1.0/%2524batch", "/v1.0%2F$batch", "/beta/$Batch"],
)  # fmt: skip
def test_a_batch_endpoint_is_refused_in_every_spelling(catalog: Catalog, path: str) -> None:
    binding = binding_of(catalog, "microsoft-teams")
    assert binding.check(target(f"https://graph.microsoft.com{path}")) == PATH
    assert binding.check(target("https://graph.microsoft.com/V1.0/Me/Chats")) is None


@pytest.mark.parametrize("path", ["/1/batch", "/1/Batch", "/1/batch/", "/1/%62atch", "/1//batch"])
def test_refused_paths_ignore_letter_case_everywhere(catalog: Catalog, path: str) -> None:
    binding = binding_of(catalog, "trello")
    assert binding.check(target(f"https://api.trello.com{path}")) == PATH
    assert binding.check(target("https://api.trello.com/1/batches")) is None


def test_a_refused_path_counts_in_either_view() -> None:
    rule = HostRule(("/**",), ("/a/*", "/b/c"))
    assert not rule.has("/a/", "/a")
    assert not rule.has("/b;x/c", "/b/c")
    assert rule.has("/a", "/a")


def test_paths_are_compared_as_they_are_sent(catalog: Catalog) -> None:
    binding = binding_of(catalog, "slack")
    assert binding.check(target("https://slack.com/api/chat.postMessage")) is None
    for path in ("/api/a/b", "/api/a%2Fb", "/api/a%252Fb", "/API/x", "/apix", "/", "/api/x/"):
        assert binding.check(target(f"https://slack.com{path}")) == PATH


def test_an_operators_extra_host_serves_one_service(catalog: Catalog) -> None:
    extended = load_catalog(extra_hosts="zendesk=http://127.0.0.1:9000")
    url = "http://127.0.0.1:9000/api/v2/tickets"
    params = {"subdomain": "acme", "email": "a@b.c"}
    binding = binding_of(extended, "zendesk", params)
    assert binding.check(target(url, "127.0.0.1")) is None
    assert binding.plan(target(url, "127.0.0.1")).injections
    assert binding.check(target("http://127.0.0.1:9000/other", "127.0.0.1")) == PATH
    assert binding.check(target("http://127.0.0.1:9001/api/v2/x", "127.0.0.1")) == CATALOG
    assert binding.check(target("https://acme.zendesk.com/api/v2/x")) is None
    assert binding_of(catalog, "zendesk", params).check(target(url, "127.0.0.1")) == CATALOG
    assert binding_of(extended, "notion").check(target(url, "127.0.0.1")) == CATALOG


def test_an_own_server_replaces_the_vendors_cloud(catalog: Catalog) -> None:
    binding = binding_of(catalog, "gitlab", {"baseUrl": "https://git.corp:8443/gl"})
    assert binding.check(target("https://git.corp:8443/gl/api/v4/projects")) is None
    for url in ("https://gitlab.com/api/v4/projects", "https://git.corp/gl/api/v4", "https://evil.test/gl/x",
                "https://git.corp:8444/gl/x"):  # fmt: skip
        assert binding.check(target(url)) == CONNECTION
    for path in ("/", "/glx/api", "/GL/api", "/api/v4"):
        assert binding.check(target(f"https://git.corp:8443{path}")) == PATH
    cloud = binding_of(catalog, "gitlab", {})
    assert cloud.check(target("https://gitlab.com/api/v4/projects")) is None
    assert cloud.check(target("https://evil.test/api/v4/projects")) == CATALOG


def test_classes_of_an_own_server_are_read_below_its_prefix(catalog: Catalog) -> None:
    binding = binding_of(catalog, "gitlab", {"baseUrl": "https://git.corp/gl"})
    url = target("https://git.corp/gl/api/graphql")
    assert binding.classify(url, "POST", {"query": "{ a }"}).action == "read"
    assert binding.classify(url, "POST", {"query": "mutation { a }"}).action == "write"
    assert binding.classify(target("https://git.corp/gl/api/v4/user/keys"), "POST", None).action == "admin"
    assert binding.classify(target("https://elsewhere.test/x"), "POST", None).action == "write"
    llm = binding_of(catalog, "openai-compatible", {"baseUrl": "https://llm.corp/v1"})
    assert llm.classify(target("https://llm.corp/v1/chat/completions"), "POST", {}).action == "read"


GENERIC = {
    "baseUrl": "https://api.example.com/v1",
    "authType": "header",
    "headerName": "x-key",
    "injectedHeaders": ["x-key"],
    "injectedParams": [],
}


def test_a_generic_connection_reaches_its_origin_below_its_prefix(catalog: Catalog) -> None:
    """contract/connections.md acceptance 24."""
    binding = binding_of(catalog, "generic-http", GENERIC)
    ours = target("https://api.example.com/v1/items")
    assert binding.check(ours) is None
    assert binding.check(target("https://api.example.com/v1")) is None
    assert binding.check(target("https://api.example.com/v2/items")) == PATH
    assert binding.check(target("https://api.example.com/v1x")) == PATH
    assert binding.check(target("https://other.example.com/v1/items")) == CONNECTION
    assert binding.check(target("https://api.example.com:8443/v1/items")) == CONNECTION
    assert "x-key" in binding.stripped_headers
    payload = {"authType": "header", "headerName": "x-key", "apiKey": "s3cret-s3cret"}
    sent = inject([("x-key", "mine")], ours.path, ours.query, binding.plan(ours), payload)
    assert sent.headers == [("x-key", "s3cret-s3cret")]


def test_a_generic_connection_can_be_narrowed_and_described(catalog: Catalog) -> None:
    params = {**GENERIC, "paths": ["/items/**", "/graphql"], "readPosts": ["/items/search"],
              "graphqlPaths": ["/graphql"], "defaultHeaders": {"x-version": "7"}}  # fmt: skip
    binding = binding_of(catalog, "generic-http", params)
    search = target("https://api.example.com/v1/items/search")
    assert binding.check(search) is None
    assert binding.check(target("https://api.example.com/v1/users")) == PATH
    assert binding.classify(search, "POST", {}).action == "read"
    assert binding.classify(target("https://api.example.com/v1/items/1"), "POST", {}).action == "write"
    assert binding.classify(target("https://api.example.com/v1/graphql"), "POST", {"query": "{a}"}).action == "read"
    assert binding.plan(search).defaults == (("x-version", "7"),)


def test_case_is_ignored_where_the_provider_ignores_it(catalog: Catalog) -> None:
    binding = binding_of(catalog, "telegram")
    service = binding.service
    path = service.default_variant.canonicalise_slot("/BOT123:abc/SENDMESSAGE")
    assert path == "/bot/SENDMESSAGE"
    assert binding.check(target(f"https://api.telegram.org{path}")) is None


@pytest.mark.parametrize(
    ("written", "judged"),
    [
        ("/bot/getMe", "/bot/getMe"),
        ("/bot123:ABC/getMe", "/bot/getMe"),
        ("/bot%2F..%3F/getMe", "/bot/getMe"),
        ("/bot;x=1/getMe", "/bot/getMe"),
        ("/Bot1/getMe", "/bot/getMe"),
        ("/file/bot1/photos/a.jpg", "/file/bot/photos/a.jpg"),
        ("/file/BOT/photos/bot2/a", "/file/bot/photos/bot2/a"),
        ("/other/bot1/getMe", "/other/bot1/getMe"),
        ("/bot", "/bot"),
        ("/", "/"),
    ],
)
def test_the_slot_of_a_path_is_emptied_before_judging(catalog: Catalog, written: str, judged: str) -> None:
    service = catalog.get("telegram")
    assert service is not None
    assert service.default_variant.canonicalise_slot(written) == judged
    notion = catalog.get("notion")
    assert notion is not None
    assert notion.default_variant.canonicalise_slot(written) == written


def test_a_path_without_its_slot_is_refused(tmp_path: Path, demo_text: str) -> None:
    text = demo_text.replace('in = "query"\nname = "who"', 'in = "path"\nmatch = "^/v1/t/(?P<slot>[^/]*)/"')
    path = tmp_path / "demo.toml"
    path.write_text(text, encoding="utf-8")
    service = Service(read_file(path))
    binding = bind(service, service.variant("key"), {"shop": "acme", "region": "eu.demo.test"})
    assert binding.check(target("https://api.demo.test/v1/t/x/items")) is None
    assert binding.check(target("https://api.demo.test/v1/items")) == "credential_slot_missing"


def test_a_host_without_credential_gets_none(tmp_path: Path, demo_text: str) -> None:
    path = tmp_path / "demo.toml"
    path.write_text(demo_text, encoding="utf-8")
    service = Service(read_file(path))
    binding = bind(service, service.variant("oauth"), {"shop": "acme"})
    upload = target("https://upload.demo.test/x?who=me")
    assert binding.check(upload) is None
    sent = inject([], upload.path, upload.query, binding.plan(upload), {"accessToken": "t" * 20})
    assert sent.secrets == ()
    assert "authorization" not in dict(sent.headers)
    params = {"shop": "acme", "region": "eu.demo.test"}
    assert bind(service, service.variant("key"), params).check(target("https://eu.demo.test/")) is None
    other = bind(service, service.variant("oauth"), params)
    assert other.check(target("https://eu.demo.test/")) == CONNECTION, "a host of another variant"


def test_a_caller_cannot_bring_the_credential_of_another_variant(catalog: Catalog) -> None:
    gitlab = catalog.get("gitlab")
    assert gitlab is not None
    for variant in gitlab.variants.values():
        assert {"authorization", "private-token", "job-token", "deploy-token"} <= variant.stripped_headers
        assert {"private_token", "access_token"} <= variant.stripped_params
        assert variant.stripped_arguments == frozenset()


def test_redirects_are_followed_only_where_the_file_says(catalog: Catalog) -> None:
    drive = catalog.get("microsoft-onedrive")
    assert drive is not None
    graph = "graph.microsoft.com"
    assert drive.allows_redirect(graph, ("https", "contoso-my.sharepoint.com", 443), "/x")
    for origin in (("https", "a.b.sharepoint.com", 443), ("http", "contoso.sharepoint.com", 443),
                   ("https", "contoso.sharepoint.com", 8443), ("https", "sharepoint.com", 443),
                   ("https", "evil.test", 443)):  # fmt: skip
        assert not drive.allows_redirect(graph, origin, "/x")
    assert not drive.allows_redirect("evil.test", ("https", "contoso.sharepoint.com", 443), "/x")
