"""What people enter: one spelling, refused before anything is called, never echoed.

contract/connections.md acceptance 17 to 20 where no network is needed.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.fields import EntryLimits, FieldErrors, Fields, read_fields
from agenthifive.catalog.masks import mask

TOKEN = "123456:" + "A" * 35


def read(catalog: Catalog, service_id: str, members: dict[str, Any], variant: str | None = None) -> Fields:
    service = catalog.get(service_id)
    assert service is not None
    chosen = service.variant(variant) if variant else service.default_variant
    limits = EntryLimits(listed_hosts=frozenset({"10.0.0.7", "mail.lan", "git_lab"}))
    return read_fields(service, chosen, members, limits)


def refused(catalog: Catalog, service_id: str, members: dict[str, Any], variant: str | None = None) -> FieldErrors:
    with pytest.raises(FieldErrors) as errors:
        read(catalog, service_id, members, variant)
    return errors.value


# ---- by kind -------------------------------------------------------------------------------------------------


def test_a_bot_token_is_sealed_and_masked(catalog: Catalog) -> None:
    fields = read(catalog, "telegram", {"botToken": TOKEN})
    assert fields.payload == {"botToken": TOKEN, "tokenType": "bot"}
    assert fields.params == {}
    assert fields.preview == {"primaryLabel": "Bot token", "primaryMasked": "1234…AAAA"}
    assert TOKEN not in repr(fields)


@pytest.mark.parametrize(
    "token", ["", "abc", "123456:short", TOKEN + "\n", " " + TOKEN, TOKEN + "/x", 5, None, [TOKEN]]
)
def test_a_malformed_bot_token_is_refused(catalog: Catalog, token: Any) -> None:
    errors = refused(catalog, "telegram", {"botToken": token})
    assert errors.code == "invalid_request"
    assert [field["path"] for field in errors.fields] == ["botToken"]
    assert not isinstance(token, str) or not token or token not in str(errors.fields)


def test_a_slack_user_token_is_no_bot_token(catalog: Catalog) -> None:
    assert read(catalog, "slack", {"botToken": "xoxb-1234567890-abc"})
    assert refused(catalog, "slack", {"botToken": "xoxp-1234567890-abc"}).fields[0]["path"] == "botToken"


def test_all_fields_of_a_key_are_sealed_and_the_harmless_ones_shown(catalog: Catalog) -> None:
    key = "T0kenT0kenT0kenT0ken"
    fields = read(catalog, "jira", {"apiKey": key, "email": " a@b.test ", "siteUrl": "acme.atlassian.net"})
    assert fields.payload == {"apiKey": key, "email": "a@b.test", "siteUrl": "acme.atlassian.net"}
    assert fields.params == {"email": "a@b.test", "siteUrl": "acme.atlassian.net"}
    assert fields.preview == {
        "primaryLabel": "API token",
        "primaryMasked": "T0ke…0ken",
        "secondaryLabel": "Account e-mail",
        "secondaryMasked": "a@…",
        "tertiaryLabel": "Site",
        "tertiaryValue": "acme.atlassian.net",
    }


def test_two_secrets_are_both_masked(catalog: Catalog) -> None:
    fields = read(catalog, "trello", {"apiKey": "a" * 64, "appKey": "b" * 32})
    assert fields.preview == {
        "primaryLabel": "Token",
        "primaryMasked": "aaaa…aaaa",
        "secondaryLabel": "API key",
        "secondaryMasked": "bbbb…bbbb",
    }
    assert fields.params == {}


def test_a_subscription_token_keeps_its_own_shape(catalog: Catalog) -> None:
    token = "sk-ant-oat01-" + "x" * 30
    fields = read(
        catalog, "anthropic-messages",
        {"accessToken": token, "refreshToken": "r", "expiresAt": 1_800_000_000_123}, "token_pair",
    )  # fmt: skip
    assert fields.payload == {"accessToken": token, "refreshToken": "r", "expiresAt": 1_800_000_000}
    assert fields.params == {}
    unknown = read(catalog, "anthropic-messages", {"accessToken": token, "expiresAt": 0}, "token_pair")
    assert unknown.payload == {"accessToken": token}


def test_a_subscription_token_given_as_a_key_becomes_one(catalog: Catalog) -> None:
    service = catalog.get("anthropic-messages")
    assert service is not None
    token = "sk-ant-oat01-" + "x" * 30
    variant, members = service.choose_variant("api_key", None, {"apiKey": token})
    assert (variant.id, members) == ("token_pair", {"accessToken": token})
    variant, members = service.choose_variant("api_key", None, {"apiKey": "sk-ant-api03-" + "x" * 30})
    assert variant.id == "api_key"
    with pytest.raises(KeyError):
        service.choose_variant("bot_token", None, {})
    with pytest.raises(KeyError):
        service.choose_variant("api_key", "nosuch", {"apiKey": "k"})


def test_a_variant_is_chosen_by_name_or_by_kind(catalog: Catalog) -> None:
    twilio = catalog.get("twilio")
    assert twilio is not None
    assert twilio.choose_variant("api_key", None, {})[0].id == "auth_token"
    assert twilio.choose_variant("api_key", "api_key", {})[0].id == "api_key"


MAIL = {"email": "a@b.test", "imapHost": "IMAP.b.test", "smtpHost": "smtp.b.test", "password": "p w"}


def test_a_mailbox_has_two_logins(catalog: Catalog) -> None:
    fields = read(catalog, "email-imap", MAIL)
    assert fields.payload == {
        "email": "a@b.test",
        "imap": {"host": "imap.b.test", "port": 993, "tls": True, "username": "a@b.test", "password": "p w"},
        "smtp": {
            "host": "smtp.b.test",
            "port": 587,
            "starttls": True,
            "username": "a@b.test",
            "password": "p w",
        },
    }
    assert "password" not in fields.params
    assert fields.params["imapHost"] == "imap.b.test"
    assert fields.preview == {
        "primaryLabel": "Password",
        "primaryMasked": "••••••",
        "secondaryLabel": "Address",
        "secondaryMasked": "a@…",
        "tertiaryLabel": "IMAP server",
        "tertiaryValue": "imap.b.test",
    }


def test_the_two_logins_of_a_mailbox_may_differ(catalog: Catalog) -> None:
    members = {**MAIL, "username": "u", "smtpUsername": "su", "smtpPassword": "sp", "imapTls": False, "smtpPort": 465,
               "smtpStarttls": False}  # fmt: skip
    payload = read(catalog, "email-imap", members).payload
    assert payload["imap"]["tls"] is False
    assert payload["imap"]["username"] == "u"
    assert payload["smtp"] == {
        "host": "smtp.b.test",
        "port": 465,
        "starttls": False,
        "username": "su",
        "password": "sp",
    }


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"imapPort": 80}, "imapPort"), ({"smtpPort": "587"}, "smtpPort"), ({"smtpPort": 25}, "smtpPort"),
        ({"imapPort": True}, "imapPort"), ({"imapTls": "yes"}, "imapTls"), ({"imapHost": "localhost"}, "imapHost"),
        ({"imapHost": "10.0.0.8"}, "imapHost"), ({"imapHost": "imap.b.test:993"}, "imapHost"),
        ({"smtpHost": "x@smtp.b.test"}, "smtpHost"), ({"email": "no address"}, "email"), ({"email": "a@b"}, "email"),
        ({"password": ""}, "password"), ({"displayName": "a\r\nBcc: x"}, "displayName"),
    ],
)  # fmt: skip
def test_a_mailbox_that_cannot_be_is_refused(catalog: Catalog, change: dict[str, Any], path: str) -> None:
    assert path in [field["path"] for field in refused(catalog, "email-imap", {**MAIL, **change}).fields]


@pytest.mark.parametrize("host", ["10.0.0.7", "mail.lan"])
def test_the_operator_can_list_a_mail_server(catalog: Catalog, host: str) -> None:
    assert read(catalog, "email-imap", {**MAIL, "imapHost": host}).payload["imap"]["host"] == host


# ---- by type -------------------------------------------------------------------------------------------------

JIRA = {"apiKey": "T0kenT0kenT0kenT0ken", "email": "a@b.test"}


@pytest.mark.parametrize(
    "written",
    ["acme.atlassian.net", " https://acme.atlassian.net/ ", "ACME.atlassian.net//", "acme.atlassian.net/"],
)
def test_a_host_has_one_spelling(catalog: Catalog, written: str) -> None:
    assert read(catalog, "jira", {**JIRA, "siteUrl": written}).params["siteUrl"] == "acme.atlassian.net"


@pytest.mark.parametrize(
    "written",
    [
        "127.0.0.1:4999/x.atlassian.net", "a@b.atlassian.net", "evil.com", "x.y.atlassian.net", "atlassian.net",
        "acme.atlassian.net:443", "acme.atlassian.net/x", "acme.atlassian.net?x", "acme.atlassian.net#x",
        "http://acme.atlassian.net", "https://https://acme.atlassian.net", "acme.atlassian.net.", "127.0.0.1",
        "acme%2eatlassian.net", "acme\\.atlassian.net", ".atlassian.net", "-.atlassian.net", "a_b.atlassian.net",
        "acme.atlassian.net\n.evil.test", "ａcme.atlassian.net", "acme.atlassıan.net", "\u212aey.atlassian.net",
        "evilatlassian.net", "acme.atlassian.net.evil.test", "", "{x}.atlassian.net", "*.atlassian.net",
    ],
)  # fmt: skip
def test_anything_but_a_bare_site_is_refused(catalog: Catalog, written: str) -> None:
    errors = refused(catalog, "jira", {**JIRA, "siteUrl": written})
    wanted = "must be a bare host name under *.atlassian.net, without port or path"
    assert errors.fields == ({"path": "siteUrl", "message": wanted if written else "is required"},)


@pytest.mark.parametrize("written", ["acme.zendesk.com", "a.b", "a/b", "a b", "-a", "a" * 64, "ä", "", "a@b"])
def test_a_subdomain_is_one_label(catalog: Catalog, written: str) -> None:
    members = {"apiKey": "k" * 20, "email": "a@b.test", "subdomain": written}
    assert refused(catalog, "zendesk", members).fields[0]["path"] == "subdomain"
    assert read(catalog, "zendesk", {**members, "subdomain": " Acme "}).params["subdomain"] == "acme"


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("https://git.corp", "https://git.corp"), (" https://Git.Corp:443/ ", "https://git.corp"),
        ("https://git.corp:8443/a/b/", "https://git.corp:8443/a/b"), ("http://10.0.0.7:80", "http://10.0.0.7"),
        ("https://10.0.0.5", "https://10.0.0.5"), ("https://[fd00::1]:8443", "https://[fd00::1]:8443"),
        ("http://git_lab/x", "http://git_lab/x"),
    ],
)  # fmt: skip
def test_a_base_address_has_one_spelling(catalog: Catalog, written: str, stored: str) -> None:
    """Private addresses are the egress guard's matter, not the field's."""
    fields = read(catalog, "openai-compatible", {"baseUrl": written})
    assert fields.params == {"baseUrl": stored}


@pytest.mark.parametrize(
    "written",
    [
        "git.corp", "http://git.corp", "ftp://git.corp", "https://u@git.corp", "https://git.corp/a/../b",
        "https://git.corp/%2e%2e/b", "https://git.corp?x=1", "https://git.corp?", "https://git.corp#x",
        "https://git.corp/a//b", "https://git.corp/a;x", "https://git.corp/*", "https://git.corp:0", "https://",
        "https://git.corp/a%2Fb", "https://010.0.0.1", "https://git.corp./", "https://git corp", "javascript:x",
    ],
)  # fmt: skip
def test_a_base_address_that_is_none_is_refused(catalog: Catalog, written: str) -> None:
    assert refused(catalog, "openai-compatible", {"baseUrl": written}).fields[0]["path"] == "baseUrl"


def test_a_choice_is_one_of_its_options_and_has_a_default(catalog: Catalog) -> None:
    members = {"apiKey": "A" * 32, "appKey": "k" * 20}
    assert read(catalog, "datadog", members).params == {"site": "api.datadoghq.com"}
    assert read(catalog, "datadog", {**members, "site": "api.datadoghq.eu"}).params == {"site": "api.datadoghq.eu"}
    assert refused(catalog, "datadog", {**members, "site": "evil.test"}).fields[0]["path"] == "site"


def test_exactly_one_of_cloud_and_own_server(catalog: Catalog) -> None:
    key = {"apiKey": "glsa_" + "a" * 30}
    assert read(catalog, "grafana", {**key, "stack": "acme"}).params == {"stack": "acme"}
    assert read(catalog, "grafana", {**key, "baseUrl": "https://g.corp"}).params == {"baseUrl": "https://g.corp"}
    both = refused(catalog, "grafana", {**key, "stack": "acme", "baseUrl": "https://g.corp"})
    assert [field["path"] for field in both.fields] == ["stack"]
    assert [field["path"] for field in refused(catalog, "grafana", key).fields] == ["stack"]


def test_null_and_empty_are_absent(catalog: Catalog) -> None:
    members = {"apiKey": "glpat-" + "a" * 20, "baseUrl": None}
    assert read(catalog, "gitlab", members).params == {}
    assert read(catalog, "gitlab", {**members, "baseUrl": "  "}).params == {}


def test_unknown_members_are_named(catalog: Catalog) -> None:
    errors = refused(catalog, "telegram", {"botToken": TOKEN, "colour": "s3cret"})
    assert errors.code == "unknown_field"
    assert [field["path"] for field in errors.fields] == ["colour"]
    assert "botToken" in errors.fields[0]["message"]
    assert "s3cret" not in str(errors.fields)


def test_every_fault_is_reported_at_once(catalog: Catalog) -> None:
    errors = refused(catalog, "jira", {"email": "x", "siteUrl": "evil.com"})
    assert {field["path"] for field in errors.fields} == {"apiKey", "email", "siteUrl"}


def test_a_secret_that_no_header_takes_is_stored_as_it_is(catalog: Catalog) -> None:
    """Whether it can be placed is asked when it is: the call then answers 422 (broker/inject.py)."""
    assert read(catalog, "pinecone", {"apiKey": "a\r\nb"}).payload == {"apiKey": "a\r\nb"}


@given(st.text(max_size=60))
def test_a_mask_never_shows_the_middle(secret: str) -> None:
    shown = mask(secret)
    hidden = secret[4:-4] if len(secret) >= 20 else secret[2:] if len(secret) >= 8 else secret
    assert len(shown) <= 9
    assert len(secret) - len(hidden) <= 8
    if len(secret) < 8:
        assert shown == "••"
