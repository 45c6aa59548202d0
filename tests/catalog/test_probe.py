"""What a probe asks, and what its answer means for a credential."""

import json
from typing import Any

import pytest

from agenthifive.catalog.address import Unrenderable
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.dotpath import pick
from agenthifive.catalog.probe import ProbeResult, build_probe, judge_probe, shows_auth_failure
from agenthifive.catalog.service import Service


def service_of(catalog: Catalog, service_id: str) -> Service:
    service = catalog.get(service_id)
    assert service is not None
    return service


def judge(catalog: Catalog, service_id: str, status: int, reply: Any) -> ProbeResult:
    body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
    return judge_probe(service_of(catalog, service_id).default_variant, {}, status, body)


@pytest.mark.parametrize(
    ("service", "values", "method", "url"),
    [
        ("google-gmail", {}, "GET", "https://gmail.googleapis.com/gmail/v1/users/me/profile"),
        ("telegram", {}, "GET", "https://api.telegram.org/bot/getMe"),
        ("slack", {}, "POST", "https://slack.com/api/auth.test"),
        ("anthropic-messages", {}, "GET", "https://api.anthropic.com/v1/models?limit=1"),
        ("openrouter", {}, "GET", "https://openrouter.ai/api/v1/key"),
        ("jira", {"siteUrl": "acme.atlassian.net"}, "GET", "https://acme.atlassian.net/rest/api/3/myself"),
        ("twilio", {"accountSid": "AC1"}, "GET", "https://api.twilio.com/2010-04-01/Accounts/AC1.json"),
        ("gitlab", {"baseUrl": "https://git.corp/x"}, "GET", "https://git.corp/x/api/v4/user"),
    ],
)
def test_the_request_of_a_probe(catalog: Catalog, service: str, values: dict[str, str], method: str, url: str) -> None:
    found = service_of(catalog, service)
    probe = build_probe(found, found.default_variant, values)
    assert probe is not None
    assert (probe.method, probe.url, probe.is_free) == (method, url, True)


def test_a_probe_may_have_headers_a_body_and_a_price(catalog: Catalog) -> None:
    linear, exa = service_of(catalog, "linear"), service_of(catalog, "exa")
    probe = build_probe(linear, linear.default_variant, {})
    assert probe is not None
    assert probe.headers == (("content-type", "application/json"),)
    assert probe.body == b'{"query":"{ viewer { id name } }"}'
    counted = build_probe(exa, exa.default_variant, {})
    assert counted is not None
    assert not counted.is_free


def test_a_service_without_probe_has_none_and_a_missing_field_is_said(catalog: Catalog) -> None:
    mail, jira = service_of(catalog, "email-imap"), service_of(catalog, "jira")
    assert build_probe(mail, mail.default_variant, {}) is None
    with pytest.raises(Unrenderable):
        build_probe(jira, jira.default_variant, {})


@pytest.mark.parametrize(
    ("service", "status", "reply", "outcome"),
    [
        ("telegram", 200, {"ok": True, "result": {"id": 7, "username": "b"}}, "ok"),
        ("telegram", 200, {"ok": False}, "unknown"),
        ("telegram", 200, {"ok": 1}, "unknown"),
        ("telegram", 401, {"ok": False}, "bad"),
        ("telegram", 404, b"not json", "bad"),
        ("telegram", 502, b"<html>", "unknown"),
        ("slack", 200, {"ok": True, "bot_id": "B1"}, "ok"),
        ("slack", 200, {"ok": False, "error": "invalid_auth"}, "bad"),
        ("slack", 200, {"ok": False, "error": "ratelimited"}, "unknown"),
        ("slack", 200, {"ok": False, "error": ["invalid_auth"]}, "unknown"),
        ("google-gmail", 403, {}, "limited"),
        ("google-gmail", 401, {}, "bad"),
        ("google-gmail", 429, {}, "unknown"),
        ("gemini", 400, {}, "bad"),
        ("gemini", 403, {}, "bad"),
        ("openai", 200, {}, "ok"),
        ("openrouter", 401, {}, "bad"),
        ("trello", 400, b"invalid key", "bad"),
        ("zendesk", 200, {"user": {"id": 5}}, "ok"),
        ("zendesk", 200, {"user": {"id": None}}, "bad"),
        ("datadog", 200, {"valid": True}, "ok"),
        ("datadog", 200, {"valid": "true"}, "unknown"),
        ("notion", 500, {}, "unknown"),
        ("notion", 302, {}, "unknown"),
    ],
)
def test_replies_have_one_meaning(catalog: Catalog, service: str, status: int, reply: Any, outcome: str) -> None:
    result = judge(catalog, service, status, reply)
    assert result.outcome == outcome
    assert result.is_accepted is (outcome in ("ok", "limited"))


@pytest.mark.parametrize(
    ("service", "reply", "account"),
    [
        ("telegram", {"ok": True, "result": {"id": 7, "username": "helper_bot"}}, ("7", "helper_bot")),
        ("slack", {"ok": True, "bot_id": "B1", "user": "bot", "team": "Acme"}, ("B1", "bot in Acme")),
        (
            "notion",
            {"id": "n1", "name": "Int", "bot": {"workspace_name": "Acme (EU)"}},
            ("n1", "Int (Acme (EU))"),
        ),
        ("notion", {"id": "n1", "name": "Int"}, ("n1", "Int")),
        ("sentry", [{"id": "4", "slug": "acme"}], ("4", "acme")),
        ("jira", {"accountId": "a", "displayName": "Ann\r\n Bo\u0007b"}, ("a", "Ann Bo b")),
        ("jira", {"accountId": {"x": 1}, "displayName": True}, (None, None)),
        ("jira", {"accountId": "", "displayName": "x" * 999}, (None, "x" * 200)),
        ("jira", [], (None, None)),
    ],
)
def test_the_account_is_read_from_the_reply(
    catalog: Catalog, service: str, reply: Any, account: tuple[Any, Any]
) -> None:
    result = judge(catalog, service, 200, reply)
    assert (result.account_id, result.account_name) == account


def test_a_refused_credential_names_no_account(catalog: Catalog) -> None:
    assert judge(catalog, "jira", 401, {"accountId": "a"}).account_id is None


def test_two_readings_of_a_reply_are_none(catalog: Catalog) -> None:
    assert judge(catalog, "telegram", 200, b'{"ok":false,"ok":true}').outcome == "unknown"


def test_a_dead_credential_shows_in_ordinary_replies(catalog: Catalog) -> None:
    slack, notion = service_of(catalog, "slack"), service_of(catalog, "notion")
    assert shows_auth_failure(slack, {"ok": False, "error": "token_revoked"})
    for value in ({"ok": False, "error": "channel_not_found"}, {"ok": True}, [], "token_revoked", None):
        assert not shows_auth_failure(slack, value)
    assert not shows_auth_failure(notion, {"error": "token_revoked"})


@pytest.mark.parametrize(
    ("path", "value"),
    [("a.b", 1), ("l.0.x", 2), ("l.1", None), ("l.-1", None), ("l.x", None), ("a.b.c", None), ("none", None),
     ("l.99999999999999999999", None), ("l.²", None), ("", None)],
)  # fmt: skip
def test_dot_paths(path: str, value: Any) -> None:
    assert pick({"a": {"b": 1}, "l": [{"x": 2}]}, path) == value


def test_the_dollar_is_the_reply_itself() -> None:
    assert pick([1], "$") == [1]
