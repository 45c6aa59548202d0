"""What was stored can be entered again: nothing is lost and nothing appears."""

from typing import Any

import pytest

from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.fields import FieldErrors, Fields, join_members, read_fields
from agenthifive.catalog.generic_http import read_generic
from agenthifive.catalog.stored import members_of

CASES: list[tuple[str, str | None, dict[str, Any]]] = [
    ("telegram", None, {"botToken": "123456:" + "A" * 35}),
    ("jira", None, {"apiKey": "T0ken" * 5, "email": "a@b.test", "siteUrl": "acme.atlassian.net"}),
    ("gitlab", "pat", {"apiKey": "glpat-" + "a" * 20, "baseUrl": "https://git.corp:8443/x"}),
    (
        "anthropic-messages",
        "token_pair",
        {"accessToken": "sk-ant-oat01-" + "x" * 30, "refreshToken": "r", "expiresAt": 1_800_000_000_000},
    ),
    ("email-imap", None, {"email": "a@b.test", "imapHost": "i.b.test", "smtpHost": "s.b.test", "password": "p"}),
    (
        "email-imap",
        None,
        {"email": "a@b.test", "imapHost": "i.b.test", "smtpHost": "s.b.test", "password": "p", "username": "u",
         "displayName": "A", "smtpUsername": "su", "smtpPassword": "sp", "imapPort": 143, "imapTls": False},
    ),
    ("generic-http", None, {"baseUrl": "https://api.example.com/v1", "apiKey": "k" * 20, "paths": ["/v1/a/**"],
                            "defaultHeaders": {"x-v": "1"}, "probe": {"method": "GET", "path": "/me"}}),
    ("generic-http", None, {"baseUrl": "https://api.example.com", "authType": "custom", "secrets": {"A": "a"},
                            "headers": [{"name": "x-a", "value": "{A}"}]}),
]  # fmt: skip


def read(catalog: Catalog, service_id: str, variant: str | None, members: dict[str, Any]) -> Fields:
    service = catalog.get(service_id)
    assert service is not None
    chosen = service.variant(variant) if variant else service.default_variant
    reader = read_generic if chosen.spec.kind == "http" else read_fields
    return reader(service, chosen, members)


@pytest.mark.parametrize(("service_id", "variant", "members"), CASES)
def test_reading_what_was_stored_gives_the_same(
    catalog: Catalog, service_id: str, variant: str | None, members: dict[str, Any]
) -> None:
    service = catalog.get(service_id)
    assert service is not None
    chosen = service.variant(variant) if variant else service.default_variant
    stored = read(catalog, service_id, variant, members)
    again = read(catalog, service_id, variant, members_of(chosen, stored.payload, stored.params))
    assert again.payload == stored.payload
    assert again.preview == stored.preview
    for name, value in stored.params.items():
        assert again.params[name] == value


def test_a_new_password_is_that_of_both_logins_unless_they_differed(catalog: Catalog) -> None:
    service = catalog.get("email-imap")
    assert service is not None
    for _, _, members in CASES[4:6]:
        stored = read(catalog, "email-imap", None, members)
        changed = {**members_of(service.default_variant, stored.payload, stored.params), "password": "new"}
        payload = read(catalog, "email-imap", None, changed).payload
        assert payload["imap"]["password"] == "new"
        assert payload["smtp"]["password"] == members.get("smtpPassword", "new")


def test_a_member_stands_in_one_place() -> None:
    assert join_members({"a": 1}, {"b": 2}) == {"a": 1, "b": 2}
    assert join_members({"a": 1}, None) == {"a": 1}
    with pytest.raises(FieldErrors) as errors:
        join_members({"a": 1, "c": 3}, {"a": "s3cret"})
    assert [field["path"] for field in errors.value.fields] == ["a"]
    assert "s3cret" not in str(errors.value.fields)
    with pytest.raises(FieldErrors):
        join_members({}, ["a"])
