"""The credential in a request: where the catalog says, literally, once, or not at all."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.broker.inject import Injected, NotInjectable, SlotMissing, inject
from agenthifive.catalog.catalog import load_catalog
from agenthifive.catalog.injection import InjectionPlan

CATALOG = load_catalog()
TOKEN = "t0ken-t0ken-t0ken-t0ken"
BOT = "123456:" + "A" * 35


def plan_of(service_id: str, variant: str | None = None) -> InjectionPlan:
    service = CATALOG.get(service_id)
    assert service is not None
    chosen = service.variant(variant) if variant else service.default_variant
    return chosen.plan(service.file.hosts[0].name)


def send(
    service_id: str,
    payload: Mapping[str, Any],
    headers: list[tuple[str, str]] | None = None,
    path: str = "/x",
    query: str = "",
    variant: str | None = None,
) -> Injected:
    return inject(headers or [], path, query, plan_of(service_id, variant), payload)


def test_a_header_takes_the_token_and_replaces_the_callers() -> None:
    sent = send("notion", {"apiKey": TOKEN}, [("authorization", "mine"), ("accept", "*/*")])
    assert sent.headers == [
        ("accept", "*/*"),
        ("notion-version", "2022-06-28"),
        ("authorization", f"Bearer {TOKEN}"),
    ]
    assert sent.secrets == (TOKEN,)
    assert (sent.path, sent.query) == ("/x", "")
    assert TOKEN not in repr(sent)


def test_trello_gets_exactly_one_key_and_one_token() -> None:
    """contract/catalog/SCHEMA.md section 13."""
    payload = {"apiKey": "ours-token-123", "appKey": "ours-key-12345"}
    sent = send("trello", payload, query="?key=x&key=y&fields=a&to%6Ben=z&token=")
    assert sent.query == "?fields=a&key=ours-key-12345&token=ours-token-123"
    assert set(sent.secrets) == set(payload.values())
    assert send("trello", payload).query == "?key=ours-key-12345&token=ours-token-123"


def test_a_path_slot_takes_the_token() -> None:
    sent = send("telegram", {"botToken": BOT, "tokenType": "bot"}, path="/bot/getMe")
    assert sent.path == f"/bot{BOT}/getMe"
    assert sent.secrets == (BOT,)
    assert (
        send("telegram", {"botToken": BOT}, path="/file/bot/photos/bot/1.jpg").path
        == f"/file/bot{BOT}/photos/bot/1.jpg"
    )
    assert send("telegram", {"botToken": "a/b?c#d%"}, path="/bot/getMe").path == "/bota%2Fb%3Fc%23d%25/getMe"


def test_a_path_without_slot_is_never_sent() -> None:
    with pytest.raises(SlotMissing):
        send("telegram", {"botToken": BOT}, path="/other/getMe")


def test_a_pair_is_one_header_and_its_secret_half_is_known() -> None:
    sent = send("jira", {"apiKey": TOKEN, "email": "ä@b.test", "siteUrl": "acme.atlassian.net"})
    assert sent.headers[0] == ("accept", "application/json")
    name, value = sent.headers[1]
    assert name == "authorization"
    assert b64decode(value.removeprefix("Basic ")).decode() == f"ä@b.test:{TOKEN}"
    assert set(sent.secrets) == {value.removeprefix("Basic "), TOKEN}, "the account name is no secret"


def test_a_secret_may_be_the_name_of_a_pair() -> None:
    sent = send("freshdesk", {"apiKey": TOKEN, "subdomain": "acme"})
    assert b64decode(sent.headers[0][1].removeprefix("Basic ")).decode() == f"{TOKEN}:X"
    assert TOKEN in sent.secrets
    assert "X" not in sent.secrets


def test_several_headers_carry_several_secrets() -> None:
    sent = send("datadog", {"apiKey": "a" * 32, "appKey": "b" * 40})
    assert sent.headers == [("dd-api-key", "a" * 32), ("dd-application-key", "b" * 40)]


def test_replacement_is_literal() -> None:
    payload = {"apiKey": "{appKey}$1{{x}}\\1", "appKey": "{apiKey}"}
    sent = send("datadog", payload)
    assert [value for _, value in sent.headers] == list(payload.values())


def test_nothing_is_injected_without_a_key_that_is_optional() -> None:
    service = CATALOG.get("openai-compatible")
    assert service is not None
    plan = service.default_variant.platform_plan
    for payload in ({"baseUrl": "https://llm.corp"}, {"apiKey": "", "baseUrl": "https://llm.corp"}):
        sent = inject([("accept", "*/*")], "/models", "", plan, payload)
        assert (sent.headers, sent.secrets) == ([("accept", "*/*")], ())


def test_a_refresh_token_is_never_sent_but_scrubbed() -> None:
    sent = send("google-gmail", {"accessToken": TOKEN, "refreshToken": "r3fresh-r3fresh"})
    assert sent.headers == [("authorization", f"Bearer {TOKEN}")]
    assert set(sent.secrets) == {TOKEN, "r3fresh-r3fresh"}


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\0b", "é", "\u2028", "a\tb", " a", "a ", "", "a\x7fb", "\ud800"])
def test_a_header_cannot_carry_it(value: str) -> None:
    """422 `credential_not_injectable`, nothing sent."""
    with pytest.raises(NotInjectable) as refused:
        send("assemblyai", {"apiKey": value})
    assert str(refused.value) == "the stored credential cannot stand in the header authorization"


@pytest.mark.parametrize("value", ["a\r\nb", "a\0b", "\ud800"])
@pytest.mark.parametrize(
    ("service", "payload", "path"),
    [
        ("trello", {"appKey": "k"}, "/1/x"),
        ("jira", {"email": "a@b.test"}, "/x"),
        ("telegram", {}, "/bot/getMe"),
    ],
)
def test_no_place_takes_a_line_break(service: str, payload: dict[str, str], path: str, value: str) -> None:
    with pytest.raises(NotInjectable):
        send(service, {**payload, "apiKey": value, "botToken": value}, path=path)


def test_a_colon_cannot_move_the_border_of_a_pair() -> None:
    with pytest.raises(NotInjectable):
        send("jira", {"email": "a:b", "apiKey": TOKEN})


def test_a_payload_without_its_secret_is_refused() -> None:
    with pytest.raises(NotInjectable, match="apiKey"):
        send("notion", {})


def test_defaults_fill_gaps_and_forced_headers_replace() -> None:
    plan = InjectionPlan("api_key", (), (("accept", "application/json"), ("x-v", "1")), (("x-f", "7"),))
    sent = inject([("accept", "text/plain"), ("x-f", "mine")], "/", "", plan, {})
    assert sent.headers == [("accept", "text/plain"), ("x-v", "1"), ("x-f", "7")]


@pytest.mark.parametrize(
    ("variant", "sent", "kept"),
    [
        ("api_key", None, None),
        ("api_key", "a-2024, claude-code-20250219,oauth-2025-04-20 , b-2025", "a-2024,b-2025"),
        ("api_key", "Claude-Code-x,OAuth-2025-04-20", None),
        ("token_pair", None, "oauth-2025-04-20"),
        ("token_pair", "a-2024,claude-code-20250219", "a-2024,oauth-2025-04-20"),
        ("token_pair", "oauth-2025-04-20,a,a", "oauth-2025-04-20,a"),
    ],
)
def test_anthropic_beta_lists_are_merged(variant: str, sent: str | None, kept: str | None) -> None:
    """contract/broker.md section 7: no imitation of the vendor's client."""
    caller = [("user-agent", "mine"), *([("anthropic-beta", sent)] if sent else [])]
    payload = {"apiKey": "sk-ant-api", "accessToken": "sk-ant-oat01-x"}
    headers = dict(send("anthropic-messages", payload, caller, variant=variant).headers)
    assert headers.get("anthropic-beta") == kept
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["user-agent"] == "mine"
    assert ("x-api-key" in headers, "authorization" in headers) == (
        variant == "api_key",
        variant != "api_key",
    )


def test_anthropic_version_of_the_caller_stays() -> None:
    sent = send("anthropic-messages", {"apiKey": TOKEN}, [("anthropic-version", "2024-01-01")])
    assert dict(sent.headers)["anthropic-version"] == "2024-01-01"


VISIBLE = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@given(VISIBLE, VISIBLE)
def test_any_visible_secret_arrives_as_it_is(first: str, second: str) -> None:
    header = send("assemblyai", {"apiKey": first})
    assert header.headers == [("authorization", first)]
    query = send("trello", {"apiKey": first, "appKey": second}, query="?q=1")
    assert parse_qsl(query.query[1:]) == [("q", "1"), ("key", second), ("token", first)]
    path = send("telegram", {"botToken": first}, path="/bot/getMe").path
    assert path.startswith("/bot")
    assert path.endswith("/getMe")
    assert path.count("/") == 2
    assert "?" not in path
    assert "#" not in path


@given(
    st.lists(
        st.tuples(st.sampled_from(["key", "token", "q", "ke", "keys"]), st.text("ab%2F", max_size=4)),
        max_size=6,
    )
)
def test_what_the_caller_wrote_under_other_names_is_kept(pairs: list[tuple[str, str]]) -> None:
    query = "?" + "&".join(f"{name}={value}" for name, value in pairs) if pairs else ""
    sent = send("trello", {"apiKey": "T", "appKey": "K"}, query=query)
    kept = [f"{name}={value}" for name, value in pairs if name not in ("key", "token")]
    assert sent.query == "?" + "&".join([*kept, "key=K", "token=T"])


@given(st.text(max_size=40))
def test_no_secret_can_add_a_header(value: str) -> None:
    try:
        sent = send("assemblyai", {"apiKey": value})
    except NotInjectable:
        return
    assert all(char.isprintable() and char.isascii() for _, text in sent.headers for char in text)
