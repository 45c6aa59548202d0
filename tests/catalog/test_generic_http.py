"""Any HTTP API: what each kind of authentication needs, and what is refused.

contract/connections.md section 5.1, acceptance 24 and 25 where no network is needed.
"""

from typing import Any

import pytest

from agenthifive.broker.inject import inject
from agenthifive.broker.target import parse_target
from agenthifive.catalog.binding import bind
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.fields import EntryLimits, FieldErrors, Fields
from agenthifive.catalog.generic_http import read_generic
from agenthifive.catalog.probe import build_probe, judge_probe

BASE = {"baseUrl": "https://api.example.com/v1"}
KEY = "s3cr3t-s3cr3t-s3cr3t-s3"
PAIR = "dTpzM2NyM3QtczNjcjN0LXMzY3IzdC1zMw=="


def read(catalog: Catalog, members: dict[str, Any], *listed: str) -> Fields:
    service = catalog.get("generic-http")
    assert service is not None
    return read_generic(service, service.default_variant, {**BASE, **members}, EntryLimits(frozenset(listed)))


def paths_refused(catalog: Catalog, members: dict[str, Any]) -> list[str]:
    with pytest.raises(FieldErrors) as errors:
        read(catalog, members)
    assert KEY not in str(errors.value.fields)
    return [field["path"] for field in errors.value.fields]


def sent_by(catalog: Catalog, fields: Fields, url: str = "https://api.example.com/v1/items?key=mine&q=1") -> Any:
    service = catalog.get("generic-http")
    assert service is not None
    binding = bind(service, service.default_variant, fields.params)
    target = parse_target(url).target
    assert binding.check(target) is None
    caller = [("x-key", "mine"), ("authorization", "mine"), ("accept", "*/*")]
    return inject(caller, target.path, target.query, binding.plan(target), fields.payload), binding


@pytest.mark.parametrize(
    ("members", "header"),
    [
        ({"apiKey": KEY}, ("authorization", f"Bearer {KEY}")),
        ({"authType": "bearer", "apiKey": KEY}, ("authorization", f"Bearer {KEY}")),
        ({"authType": "header", "headerName": "X-Key", "apiKey": KEY}, ("x-key", KEY)),
        ({"authType": "header", "apiKey": KEY}, ("authorization", KEY)),
        ({"authType": "header", "apiKey": KEY, "headerPrefix": "Token"}, ("authorization", f"Token {KEY}")),
        ({"authType": "header", "apiKey": KEY, "headerPrefix": "Key token="}, ("authorization", f"Key token={KEY}")),
        ({"authType": "header", "apiKey": KEY, "headerPrefix": "{apiKey}:"}, ("authorization", "{apiKey}:" + KEY)),
        ({"authType": "basic", "username": "u", "password": KEY}, ("authorization", f"Basic {PAIR}")),
        ({"authType": "custom", "headers": [{"name": "X-Key", "value": "v1 {A}.{B}"}],
          "secrets": {"A": KEY, "B": "b{A}"}}, ("x-key", f"v1 {KEY}.b{{A}}")),
    ],
)  # fmt: skip
def test_the_secret_stands_where_the_person_said(
    catalog: Catalog, members: dict[str, Any], header: tuple[str, str]
) -> None:
    sent, binding = sent_by(catalog, read(catalog, members))
    assert header in sent.headers
    assert ("x-key" if header[0] == "authorization" else "authorization", "mine") in sent.headers
    assert [name for name, _ in sent.headers].count(header[0]) == 1
    assert header[0] in binding.stripped_headers
    assert KEY in sent.secrets


def test_a_key_in_the_query_replaces_every_copy_of_the_caller(catalog: Catalog) -> None:
    sent, binding = sent_by(catalog, read(catalog, {"authType": "query", "queryName": "key", "apiKey": "a&b=c"}))
    assert sent.query == "?q=1&key=a%26b%3Dc"
    assert binding.stripped_params == {"key"}


def test_several_secrets_in_several_places(catalog: Catalog) -> None:
    members = {
        "authType": "custom",
        "headers": [{"name": "X-A", "value": "{A}"}],
        "query": [{"name": "key", "value": "{B}"}],
        "secrets": {"A": KEY, "B": "second-secret"},
    }
    sent, binding = sent_by(catalog, read(catalog, members))
    assert ("x-a", KEY) in sent.headers
    assert sent.query == "?q=1&key=second-secret"
    assert set(sent.secrets) == {KEY, "second-secret"}
    assert (binding.stripped_headers, binding.stripped_params) == ({"x-a"}, {"key"})


def test_no_credential_is_a_choice_too(catalog: Catalog) -> None:
    fields = read(catalog, {"authType": "none"})
    sent, _ = sent_by(catalog, fields)
    assert sent.secrets == ()
    assert fields.preview is None
    assert fields.payload == {"authType": "none"}


def test_secrets_are_sealed_and_the_rest_is_shown(catalog: Catalog) -> None:
    fields = read(catalog, {"authType": "basic", "username": "ursula-k", "password": KEY})
    assert fields.payload == {"authType": "basic", "username": "ursula-k", "password": KEY}
    assert KEY not in str(fields.params)
    assert fields.params["username"] == "ursula-k"
    assert fields.preview == {
        "primaryLabel": "Password",
        "primaryMasked": "••••••",
        "secondaryLabel": "User name",
        "secondaryMasked": "ur…",
        "tertiaryLabel": "Base address",
        "tertiaryValue": "https://api.example.com/v1",
    }
    custom = read(
        catalog,
        {
            "authType": "custom",
            "headers": [{"name": "a", "value": "{A} {B}"}],
            "secrets": {"A": KEY, "B": "x"},
        },
    )
    assert custom.preview is not None
    assert custom.preview["primaryMasked"] == "s3cr…t-s3"
    assert custom.preview["secondaryMasked"] == "••"
    assert KEY not in str(custom.params)


CUSTOM = {"authType": "custom", "headers": [{"name": "x-a", "value": "{A}"}], "secrets": {"A": KEY}}


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"baseUrl": None, "apiKey": KEY}, "baseUrl"),
        ({"baseUrl": 5, "apiKey": KEY}, "baseUrl"),
        ({"baseUrl": "http://api.example.com", "apiKey": KEY}, "baseUrl"),
        ({"authType": "magic"}, "authType"),
        ({"authType": "bearer"}, "apiKey"),
        ({"authType": "query", "apiKey": KEY}, "queryName"),
        ({"authType": "query", "apiKey": KEY, "queryName": "a b"}, "queryName"),
        ({"authType": "basic", "username": "u"}, "password"),
        ({"authType": "basic", "username": "u:x", "password": KEY}, "username"),
        ({"authType": "none", "apiKey": KEY}, "apiKey"),
        ({"authType": "bearer", "apiKey": KEY, "password": KEY}, "password"),
        ({"authType": "header", "apiKey": KEY, "headerName": "x y"}, "headerName"),
        ({"authType": "header", "apiKey": KEY, "headerName": "Host"}, "headerName"),
        ({"authType": "header", "apiKey": KEY, "headerName": "Cookie"}, "headerName"),
        ({"authType": "header", "apiKey": KEY, "headerName": "Content-Length"}, "headerName"),
        ({"authType": "header", "apiKey": KEY, "headerName": "Transfer-Encoding"}, "headerName"),
        ({"authType": "header", "apiKey": KEY, "headerName": "X-AH5-Approval-Id"}, "headerName"),
        ({"authType": "header", "apiKey": KEY, "headerPrefix": "é"}, "headerPrefix"),
        ({**CUSTOM, "headers": [{"name": "x-a", "value": "{A}{UNKNOWN}"}]}, "headers"),
        ({**CUSTOM, "headers": [{"name": "x-a", "value": "{A"}]}, "headers"),
        ({**CUSTOM, "headers": [{"name": "x-a", "value": "{A}\r\nx: y"}]}, "headers"),
        ({**CUSTOM, "headers": [{"name": "host", "value": "{A}"}]}, "headers"),
        (
            {**CUSTOM, "headers": [{"name": "x-a", "value": "{A}"}, {"name": "X-A", "value": "{A}"}]},
            "headers",
        ),
        ({**CUSTOM, "headers": [{"name": "x-a", "value": "{A}", "more": 1}]}, "headers"),
        ({**CUSTOM, "headers": "x-a: {A}"}, "headers"),
        ({**CUSTOM, "query": [{"name": "a&b", "value": "{A}"}]}, "query"),
        ({**CUSTOM, "secrets": {"A": KEY, "B": "unused"}}, "secrets"),
        ({**CUSTOM, "secrets": {"a": KEY}}, "secrets"),
        ({**CUSTOM, "secrets": {"A": 5}}, "secrets"),
        ({**CUSTOM, "secrets": {"A": ""}}, "secrets"),
        ({**CUSTOM, "secrets": {f"A{n}": KEY for n in range(11)}}, "secrets"),
        ({"authType": "custom", "headers": CUSTOM["headers"]}, "secrets"),
        ({"apiKey": KEY, "paths": ["items"]}, "paths"),
        ({"apiKey": KEY, "paths": ["/a/../b"]}, "paths"),
        ({"apiKey": KEY, "readPosts": "/items"}, "readPosts"),
        ({"apiKey": KEY, "graphqlPaths": [5]}, "graphqlPaths"),
        ({"apiKey": KEY, "defaultHeaders": {"authorization": "x"}}, "defaultHeaders"),
        ({"apiKey": KEY, "defaultHeaders": {"x-a": "a\r\nb"}}, "defaultHeaders"),
        ({"apiKey": KEY, "probe": {"method": "DELETE", "path": "/x"}}, "probe"),
        ({"apiKey": KEY, "probe": {"method": "GET", "path": "x"}}, "probe"),
        ({"apiKey": KEY, "probe": {"method": "GET", "path": "/../x"}}, "probe"),
        ({"apiKey": KEY, "probe": {"method": "GET", "path": "/x", "okStatus": [True]}}, "probe"),
        ({"apiKey": KEY, "probe": {"method": "GET"}}, "probe"),
    ],
)
def test_what_cannot_be_is_refused(catalog: Catalog, members: dict[str, Any], path: str) -> None:
    assert path in paths_refused(catalog, members)


def test_unknown_members_are_refused(catalog: Catalog) -> None:
    with pytest.raises(FieldErrors) as errors:
        read(catalog, {"apiKey": KEY, "colour": 1})
    assert errors.value.code == "unknown_field"


def test_private_addresses_and_http_are_matters_of_the_operator(catalog: Catalog) -> None:
    assert read(catalog, {"baseUrl": "https://10.0.0.5", "apiKey": KEY}).params["baseUrl"] == "https://10.0.0.5"
    assert read(catalog, {"baseUrl": "http://10.0.0.5:8080", "apiKey": KEY}, "10.0.0.5")


def test_paths_may_be_written_in_full_or_below_the_base(catalog: Catalog) -> None:
    fields = read(catalog, {"apiKey": KEY, "paths": ["/v1/items/**", "/users/*", "/v1"], "readPosts": ["/v1/find"]})
    assert fields.params["paths"] == ["/items/**", "/users/*", "/"]
    assert fields.params["readPosts"] == ["/find"]


def test_a_person_may_bring_a_probe(catalog: Catalog) -> None:
    service = catalog.get("generic-http")
    assert service is not None
    variant = service.default_variant
    fields = read(catalog, {"apiKey": KEY, "probe": {"method": "GET", "path": "/v1/me", "okStatus": [200, 204]}})
    probe = build_probe(service, variant, fields.params)
    assert probe is not None
    assert (probe.method, probe.url, probe.is_free) == ("GET", "https://api.example.com/v1/me", True)
    for status, outcome in ((204, "ok"), (401, "bad"), (403, "unknown"), (500, "unknown")):
        assert judge_probe(variant, fields.params, status, b"").outcome == outcome
    assert build_probe(service, variant, read(catalog, {"apiKey": KEY}).params) is None
