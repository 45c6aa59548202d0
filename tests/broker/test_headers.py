"""Headers in both directions: what never reaches a provider, and what a provider can never say to an agent.

Source: contract/broker.md sections 2, 5, 10.4, 14.3 and 19 (cases 13 to 15, 38, 46).
"""

import re

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from agenthifive.broker.headers import (
    MAX_NAMES,
    MAX_TOTAL_BYTES,
    MAX_VALUE_BYTES,
    InvalidHeader,
    content_disposition,
    envelope_headers,
    file_name_in,
    filter_response_headers,
    llm_reply_headers,
    raw_reply_headers,
    sanitise_request_headers,
)

NOTHING = frozenset()

# fmt: off
NEVER_SENT = [
    "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings",
    "Sec-WebSocket-Key", "Host", "Content-Length", "Content-Encoding", "Accept-Encoding", "Expect", "Authorization",
    "Proxy-Authorization", "Proxy-Authenticate", "Cookie", "Cookie2", "X-Api-Key", "Api-Key", "X-Goog-Api-Key",
    "X-Auth-Token", "X-Access-Token", "X-Goog-IAM-Authorization-Token", "DPoP", "Forwarded", "Via",
    "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Anything", "X-Real-IP", "X-Client-IP", "True-Client-IP",
    "CF-Connecting-IP", "X-Original-URL", "X-Rewrite-URL", "X-Original-Host", "X-Host", "X-HTTP-Method-Override",
    "X-HTTP-Method", "X-Method-Override", "x-ah5-session-key", "x-ah5-approval-id", "X-AgentHiFive-Audit-Id",
    "Origin", "Referer", "Sec-Fetch-Mode", "Anthropic-Dangerous-Direct-Browser-Access", "X-App",
    "X_Forwarded_For", "X_HTTP_Method_Override", "x_api_key", "Proxy_Authorization", "x_ah5_session_key",
]
SENT = [
    "Idempotency-Key", "If-Match", "Prefer", "Range", "HTTP-Referer", "X-Title", "Traceparent", "Notion-Version",
    "Anthropic-Version", "Anthropic-Beta", "Content-Type", "Accept", "User-Agent", "X-Custom", "X-Requested-With",
]
NEVER_RETURNED = [
    "Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Trailer", "Set-Cookie", "Set-Cookie2",
    "Content-Encoding", "Content-Length", "Alt-Svc", "Clear-Site-Data", "Strict-Transport-Security",
    "Content-Security-Policy", "Content-Security-Policy-Report-Only", "Access-Control-Allow-Origin", "Refresh",
    "Service-Worker-Allowed", "NEL", "Report-To", "x-ah5-anything", "X-AgentHiFive-Approval-Required",
    "x-agenthifive-error", "X_AgentHiFive_Error",
]
# fmt: on


@pytest.mark.parametrize("name", NEVER_SENT)
def test_a_name_of_the_list_never_reaches_the_provider(name):
    headers = {"Accept": "a", name: "evil", "X-Title": "t"}
    assert sanitise_request_headers(headers, strip=NOTHING) == [("accept", "a"), ("x-title", "t")]


@pytest.mark.parametrize("name", SENT)
def test_all_else_passes_unchanged(name):
    assert sanitise_request_headers({name: "V a l"}, strip=NOTHING) == [(name.lower(), "V a l")]


def test_what_connection_names_is_for_one_hop():
    headers = {"Connection": "close, X-Secret ,,keep-alive", "X-Secret": "1", "X-Other": "2"}
    assert sanitise_request_headers(headers, strip=NOTHING) == [("x-other", "2")]


def test_what_the_connection_injects_is_removed():
    headers = {"X-Token": "1", "x_other": "2", "X-Third": "3", "x_third": "4"}
    assert sanitise_request_headers(headers, strip=frozenset({"x-token", "x-other"})) == [
        ("x-third", "3"),
        ("x_third", "4"),
    ]


@pytest.mark.parametrize("headers", [None, {}, []])
def test_no_headers_are_fine(headers):
    assert sanitise_request_headers(headers, strip=NOTHING) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "a\r\nB: c"},
        {"X-A": "a\nb"},
        {"X-A": "a\rb"},
        {"X-A": "a\0b"},
        {"X-A": "a\x01"},
        {"X-A": "a\x7fb"},
        {"X-A": " a"},
        {"X-A": "a "},
        {"X-A": "\ta"},
        {"X-A": "a\t"},
        {"X-A": " "},
        {"X-A": "č"},
        {"X-A": "\u010a"},
        {"X-A": "\ud800"},
        {"": "a"},
        {"X A": "a"},
        {"X-A:": "a"},
        {"X-Ä": "a"},
        {"X-A\r\n": "a"},
        {"(X)": "a"},
        {"X-A": "a", "x-a": "b"},
        {"Authorization": "a", "authorization": "b"},
        {f"x-{n}": "a" for n in range(MAX_NAMES + 1)},
        {"X-A": "a" * (MAX_VALUE_BYTES + 1)},
        {f"x-{n}": "a" * (MAX_TOTAL_BYTES // 4) for n in range(4)},
        {"Authorization": "a\r\nb"},
    ],
    ids=repr,
)
def test_what_is_no_header_is_refused(headers):
    with pytest.raises(InvalidHeader) as caught:
        sanitise_request_headers(headers, strip=NOTHING)
    assert "\r\n" not in str(caught.value)


def test_the_limits_are_inclusive():
    assert len(sanitise_request_headers({f"x-{n}": "a" for n in range(MAX_NAMES)}, strip=NOTHING)) == MAX_NAMES
    assert sanitise_request_headers({"x": "a" * MAX_VALUE_BYTES}, strip=NOTHING) == [("x", "a" * MAX_VALUE_BYTES)]
    half = MAX_TOTAL_BYTES // 2 - 1
    exact = {"a": "v" * half, "b": "v" * half}
    assert len(sanitise_request_headers(exact, strip=NOTHING)) == 2


def test_latin_1_text_and_inner_blanks_pass():
    assert sanitise_request_headers({"X": "é\tñ  ÿ", "Y": ""}, strip=NOTHING) == [("x", "é\tñ  ÿ"), ("y", "")]


def test_pairs_from_the_wire_may_repeat_what_proxies_add_and_nothing_else():
    front = [("x-forwarded-for", "1"), ("via", "a"), ("x-forwarded-for", "2"), ("via", "b"), ("accept", "a")]
    assert sanitise_request_headers(front, strip=NOTHING) == [("accept", "a")]
    with pytest.raises(InvalidHeader, match="anthropic-beta"):
        sanitise_request_headers([("anthropic-beta", "a"), ("Anthropic-Beta", "b")], strip=NOTHING)


NAMES = st.sampled_from([*NEVER_SENT, *SENT, "x-a", "X-A", "bad name"]) | st.text(max_size=6)
VALUES = st.text(max_size=10) | st.sampled_from(["close, x-a", "a\r\nb", "1"])


@settings(max_examples=250, deadline=None, database=None)
@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_any_map_is_refused_or_cleaned(headers):
    try:
        kept = sanitise_request_headers(headers, strip=frozenset({"x-a"}))
    except InvalidHeader:
        event("refused")
        return
    event("cleaned")
    assert len({name for name, _ in kept}) == len(kept)
    for name, value in kept:
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name)
        assert value == value.strip(" \t")
        assert not set(value) & {chr(code) for code in (*range(9), *range(10, 32), 127)}
        assert name not in {"x-a", *(removed.lower() for removed in NEVER_SENT)}
        assert value.encode("latin-1").decode("latin-1") == value


@pytest.mark.parametrize("name", NEVER_RETURNED)
def test_a_provider_cannot_set_what_is_ours(name):
    pairs = [("Content-Type", "text/plain"), (name, "x"), ("ETag", "1")]
    assert filter_response_headers(pairs) == [("content-type", "text/plain"), ("etag", "1")]


def test_a_providers_connection_header_takes_its_names_along():
    assert filter_response_headers([("Connection", "X-Hop"), ("X-Hop", "1"), ("Date", "d")]) == [("date", "d")]


def test_an_envelope_joins_repeated_values():
    pairs = [("Link", "<a>"), ("Vary", "x"), ("link", "<b>"), ("Set-Cookie", "s")]
    assert envelope_headers(pairs) == {"link": "<a>, <b>", "vary": "x"}


class TestLlmReply:
    PAIRS = (
        ("Content-Type", "text/event-stream"),
        ("Retry-After", "1"),
        ("Retry-After-Ms", "1000"),
        ("Request-Id", "req_1"),
        ("X-Should-Retry", "false"),
        ("X-RateLimit-Remaining-Requests", "9"),
        ("Anthropic-RateLimit-Tokens-Limit", "1"),
        ("OpenAI-Processing-Ms", "5"),
        ("OpenAI-Version", "v"),
        ("Server", "nginx"),
        ("Set-Cookie", "a=b"),
        ("OpenAI-Organization", "secret"),
        ("x-agenthifive-approval-required", "true"),
        ("x-ratelimit-evil", "a\r\nb"),
    )

    def test_only_the_listed_headers_and_ours_remain(self):
        kept = llm_reply_headers(self.PAIRS, audit_id="A", request_id="R")
        assert kept == [
            *((name.lower(), value) for name, value in self.PAIRS[:9]),
            ("cache-control", "no-store"),
            ("x-agenthifive-audit-id", "A"),
            ("x-request-id", "R"),
        ]

    def test_a_vendors_request_id_keeps_its_name(self):
        kept = llm_reply_headers([("X-Request-Id", "theirs")], audit_id="A", request_id="ours")
        assert ("x-request-id", "theirs") in kept
        assert ("x-agenthifive-request-id", "ours") in kept
        assert ("x-request-id", "ours") not in kept


class TestRawReply:
    def test_a_download_is_an_attachment_that_no_browser_runs_or_stores(self):
        headers = raw_reply_headers(
            content_type="application/pdf",
            file_name="q.pdf",
            content_length=7,
            provider_status=200,
            audit_id="A",
            is_stream=False,
        )
        assert dict(headers) == {
            "content-type": "application/pdf",
            "content-disposition": "attachment; filename=\"q.pdf\"; filename*=UTF-8''q.pdf",
            "content-length": "7",
            "x-content-type-options": "nosniff",
            "content-security-policy": "sandbox; default-src 'none'",
            "cache-control": "no-store",
            "x-agenthifive-provider-status": "200",
            "x-agenthifive-audit-id": "A",
        }

    @pytest.mark.parametrize("content_type", [None, "", "text/html\r\nx: y", "nonsense", "a/b, c/d"])
    def test_a_stream_without_a_readable_type_is_octets(self, content_type):
        headers = raw_reply_headers(
            content_type=content_type,
            file_name=None,
            content_length=None,
            provider_status=206,
            audit_id="A",
            is_stream=True,
        )
        assert ("content-type", "application/octet-stream") in headers
        assert ("content-disposition", "attachment") in headers
        assert ("x-accel-buffering", "no") in headers
        assert not [value for name, value in headers if name == "content-length"]


class TestFileName:
    @pytest.mark.parametrize(
        ("name", "disposition"),
        [
            ("q.pdf", "attachment; filename=\"q.pdf\"; filename*=UTF-8''q.pdf"),
            ("Ünï 1.pdf", "attachment; filename=\"_n_ 1.pdf\"; filename*=UTF-8''%C3%9Cn%C3%AF%201.pdf"),
            ('../../x"\r\n.exe', "attachment; filename=\"x.exe\"; filename*=UTF-8''x.exe"),
            ("C:\\temp\\a.txt", "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"),
            ("a\u202egnp.exe", "attachment; filename=\"agnp.exe\"; filename*=UTF-8''agnp.exe"),
            ("'a;b%0a'", "attachment; filename=\"a;b%0a\"; filename*=UTF-8''a%3Bb%250a"),
            (".htaccess ", "attachment; filename=\"htaccess\"; filename*=UTF-8''htaccess"),
            (None, "attachment"),
            ("", "attachment"),
            ("..", "attachment"),
            ("a/", "attachment"),
            ("\x00\ud800", "attachment"),
        ],
    )
    def test_one_safe_base_name_in_both_forms(self, name, disposition):
        assert content_disposition(name) == disposition

    @pytest.mark.parametrize("name", ["n" * 500 + ".pdf", "n" * 500, "n." + "p" * 500])
    def test_a_long_name_is_cut(self, name):
        safe = file_name_in(content_disposition(name))
        assert safe is not None
        assert len(safe) == 150
        assert safe.endswith(".pdf") == name.endswith(".pdf")

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.text(max_size=40))
    def test_no_name_breaks_out_of_the_header(self, name):
        disposition = content_disposition(name)
        assert re.fullmatch(
            r"attachment(; filename=\"[ !#-&(-.0-\[\]-~]+\"; filename\*=UTF-8''[!#$&+.^_`|~0-9A-Za-z%-]+)?",
            disposition,
        )
        assert content_disposition(file_name_in(disposition)) == disposition

    @pytest.mark.parametrize(
        ("disposition", "name"),
        [
            ('attachment; filename="q.pdf"', "q.pdf"),
            ("attachment; filename=q.pdf; x=y", "q.pdf"),
            ('inline; FILENAME = "a b.txt"', "a b.txt"),
            ("attachment; filename=\"plain\"; filename*=UTF-8''%C3%9C.txt", "Ü.txt"),
            ("attachment; filename*=utf-8'de'a%20b", "a b"),
            ('attachment; filename="Ã\x9c.txt"', "Ü.txt"),
            ('attachment; filename="\xdc.txt"', "Ü.txt"),
            ("attachment", None),
            ("", None),
        ],
    )
    def test_the_providers_name_is_read(self, disposition, name):
        assert file_name_in(disposition) == name
