"""What a call does: first entry, both views, the severer wins."""

from typing import Any

import pytest

from agenthifive.broker.target import parse_target
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.classify import FALLBACK, SEVERITY, Classifier
from agenthifive.catalog.schema import ClassifySpec
from agenthifive.words import ActionClass

READ, WRITE = ActionClass.READ, ActionClass.WRITE


def judge(catalog: Catalog, service_id: str, method: str, url: str, body: Any = None) -> ActionClass:
    service = catalog.get(service_id)
    assert service is not None
    target = parse_target(url).target
    path = service.default_variant.canonicalise_slot(target.path)
    strict = target.strict_path if path == target.path else path
    return service.classify(target.host, path, strict, method, body, target.query).action


@pytest.mark.parametrize(
    ("service", "method", "url", "action"),
    [
        ("telegram", "GET", "https://api.telegram.org/bot/sendMessage?chat_id=1", "send"),
        ("telegram", "GET", "https://api.telegram.org/bot/SENDMESSAGE", "send"),
        ("telegram", "POST", "https://api.telegram.org/botX/getUpdates", "read"),
        ("telegram", "GET", "https://api.telegram.org/bot/unknownMethod", "write"),
        ("telegram", "GET", "https://api.telegram.org/bot/deleteMessage", "delete"),
        ("telegram", "POST", "https://api.telegram.org/bot/banChatMember", "admin"),
        ("telegram", "GET", "https://api.telegram.org/file/bot/photos/1.jpg", "read"),
        ("slack", "POST", "https://slack.com/api/conversations.history", "read"),
        ("slack", "GET", "https://slack.com/api/chat.postMessage", "send"),
        ("slack", "GET", "https://slack.com/api/anything.else", "write"),
        ("slack", "POST", "https://slack.com/api/admin.users.remove", "admin"),
        ("notion", "POST", "https://api.notion.com/v1/search", "read"),
        ("notion", "PATCH", "https://api.notion.com/v1/pages/1", "write"),
        ("openai", "POST", "https://api.openai.com/v1/responses", "read"),
        ("google-gmail", "GET", "https://gmail.googleapis.com/gmail/v1/users/me/messages", "read"),
        ("google-gmail", "PUT", "https://gmail.googleapis.com/gmail/v1/unheard/of", "write"),
        ("github", "DELETE", "https://api.github.com/repos/o/r", "delete"),
        ("github", "DELETE", "https://api.github.com/gists/1", "delete"),
        ("github", "PUT", "https://api.github.com/repos/o/r/collaborators/u", "admin"),
        ("posthog", "POST", "https://us.posthog.com/api/projects/1/query/", "read"),
    ],
)
def test_classes_of_shipped_services(catalog: Catalog, service: str, method: str, url: str, action: str) -> None:
    assert judge(catalog, service, method, url) == action


def test_without_an_entry_the_method_decides() -> None:
    classifier = Classifier(())
    for method, action in (("GET", READ), ("HEAD", READ), ("OPTIONS", READ), ("DELETE", "delete"),
                           ("POST", WRITE), ("PUT", WRITE), ("PATCH", WRITE), ("BREW", WRITE)):  # fmt: skip
        assert classifier.classify(method, "/x", "/x", "", None).action == action
    assert "POST" not in FALLBACK


def test_the_first_matching_entry_wins_and_gives_the_label() -> None:
    classifier = Classifier(
        (
            ClassifySpec(methods=("POST",), path="/a/b", action=READ, label="Look"),
            ClassifySpec(methods=("POST",), path=("/x", "/a/**"), action=ActionClass.SEND, label="Send"),
        )
    )
    first = classifier.classify("POST", "/a/b", "/a/b", "", None)
    second = classifier.classify("POST", "/a/c", "/a/c", "", None)
    assert (first.action, first.label) == (READ, "Look")
    assert (second.action, second.label) == (ActionClass.SEND, "Send")


def test_a_view_that_reads_as_a_change_wins_over_one_that_reads_as_a_read() -> None:
    """`/a/b;x` is sent as it is, but a provider may read `/a/b`."""
    classifier = Classifier(
        (
            ClassifySpec(methods=("*",), path="/a/b", action=ActionClass.ADMIN),
            ClassifySpec(methods=("*",), path="/**", action=READ),
        )
    )
    assert classifier.classify("POST", "/a/b;x", "/a/b", "", None).action is ActionClass.ADMIN
    assert classifier.classify("POST", "/a//b", "/a/b", "", None).action is ActionClass.ADMIN
    assert classifier.classify("POST", "/a/c/", "/a/c", "", None).action is READ


def test_a_read_needs_both_views() -> None:
    classifier = Classifier((ClassifySpec(methods=("POST",), path="/search", action=READ),))
    assert classifier.classify("POST", "/search", "/search", "", None).action is READ
    assert classifier.classify("POST", "/search;x", "/search", "", None).action is WRITE
    assert classifier.classify("POST", "/search%3Bx", "/search", "", None).action is WRITE


def test_an_escaped_slash_hides_no_change_and_proves_no_read() -> None:
    admin = Classifier((ClassifySpec(methods=("POST",), path="/p/*/members", action=ActionClass.ADMIN),))
    read = Classifier((ClassifySpec(methods=("POST",), path="/p/*/search", action=READ),))
    assert admin.classify("POST", "/p/a%2Fb/members", "/p/a/b/members", "", None).action is ActionClass.ADMIN
    assert read.classify("POST", "/p/a%2Fb/search", "/p/a/b/search", "", None).action is WRITE


def test_a_send_is_less_than_a_write_because_listed_recipients_waive_it() -> None:
    assert SEVERITY[READ] < SEVERITY[ActionClass.SEND] < SEVERITY[WRITE]
    assert set(SEVERITY) == set(ActionClass)


URL = "https://api.linear.app/graphql"


@pytest.mark.parametrize(
    ("method", "url", "body", "action"),
    [
        ("POST", URL, {"query": "{ viewer { id } }"}, "read"),
        ("POST", URL, {"query": "mutation { x }"}, "write"),
        ("POST", URL, None, "write"),
        ("POST", URL, [{"query": "{ a }"}], "write"),
        ("POST", URL + "?query=mutation{x}", {"query": "{ a }"}, "write"),
        ("GET", URL + "?query=mutation{x}", None, "write"),
        ("GET", URL + "?query={a}", None, "write"),
        ("GET", URL, None, "read"),
        ("GET", URL, {"query": "mutation { x }"}, "write"),
        ("PUT", URL, {"query": "mutation { x }"}, "write"),
        ("POST", URL + "/", {"query": "mutation { x }"}, "write"),
    ],
)
def test_graphql_goes_by_the_document(catalog: Catalog, method: str, url: str, body: Any, action: str) -> None:
    assert judge(catalog, "linear", method, url, body) == action


def test_a_class_of_one_host_is_not_that_of_another(catalog: Catalog) -> None:
    query = {"query": "{ viewer { id } }"}
    assert judge(catalog, "buildkite", "POST", "https://graphql.buildkite.com/v1", query) == "read"
    assert judge(catalog, "buildkite", "POST", "https://api.buildkite.com/v1", query) == "write"
