"""The catalog on the wire: whole for people, without credential fields for agents, never with a secret."""

import json

from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.describe import capability, describe


def test_people_see_everything_they_need_to_connect(catalog: Catalog) -> None:
    github = catalog.get("github")
    assert github is not None
    described = describe(github)
    assert set(described) == {
        "id", "provider", "name", "icon", "group", "description", "category", "section", "singleton", "confidence",
        "credentialType", "variants", "hosts", "actionTemplates", "docs",
    }  # fmt: skip
    assert described["credentialType"] == "oauth"
    oauth, pat = described["variants"]
    assert set(oauth) == {"id", "kind", "label", "helpUrl", "models", "fields", "scopes", "deviceFlow"}
    assert oauth["deviceFlow"] is True
    assert oauth["scopes"][0] == {
        "key": "repo",
        "value": "repo",
        "label": oauth["scopes"][0]["label"],
        "default": True,
    }
    assert "scopes" not in pat
    assert pat["fields"][0]["name"] == "apiKey"
    assert pat["fields"][0]["required"] is True


def test_fields_say_what_a_form_needs(catalog: Catalog) -> None:
    datadog, mail = catalog.get("datadog"), catalog.get("email-imap")
    assert datadog is not None
    assert mail is not None
    site = describe(datadog)["variants"][0]["fields"][2]
    assert site["default"] == "api.datadoghq.com"
    assert "api.datadoghq.eu" in site["options"]
    tls = next(field for field in describe(mail)["variants"][0]["fields"] if field["name"] == "imapTls")
    assert tls["default"] is True


def test_kinds_that_older_clients_do_not_know_are_api_keys(catalog: Catalog) -> None:
    generic = catalog.get("generic-http")
    assert generic is not None
    assert describe(generic)["credentialType"] == "api_key"
    assert describe(generic)["variants"][0]["kind"] == "http"


def test_agents_see_what_they_may_ask_for(catalog: Catalog) -> None:
    gmail = catalog.get("google-gmail")
    assert gmail is not None
    shown = capability(gmail)
    assert "variants" not in shown
    assert {key: shown[key] for key in ("id", "name", "provider", "singleton", "category", "credentialType")} == {
        "id": "google-gmail",
        "name": "Gmail",
        "provider": "google",
        "singleton": False,
        "category": "data",
        "credentialType": "oauth",
    }
    assert [action["id"] for action in shown["actions"]] == ["gmail-read", "gmail-manage"]
    assert set(shown["actions"][0]) == {"id", "label", "description", "requiresApproval"}


def test_every_service_can_be_written_as_json(catalog: Catalog) -> None:
    for service in catalog.services:
        assert json.dumps([describe(service), capability(service)])
