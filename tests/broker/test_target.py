"""The URL parser: every row of the contract's grammar and verdicts.

Source: contract/broker.md sections 4.1, 4.2 and 4.4 and section 19 (cases 6 and 8).
"""

import re
from urllib.parse import SplitResult, urlsplit

import pytest

from agenthifive.broker.target import ADVICE, MAX_URL_BYTES, InvalidUrl, Target, parse_target
from agenthifive.policy.paths import glob_regex, glob_subject

ORIGIN = "https://api.example.com"
ALLOWED = re.compile(glob_regex("/v1/**"))


def read(url, query=None, **options):
    return parse_target(ORIGIN + url if url.startswith("/") else url, query, **options).target


def refused(url, query=None, **options):
    with pytest.raises(InvalidUrl) as caught:
        parse_target(url, query, **options)
    assert str(caught.value) == ADVICE[caught.value.detail]
    return caught.value.detail


LEGITIMATE = [
    ("/v1/x", "/v1/x"),
    ("HTTPS://API.EXAMPLE.COM:443/v1/x", "/v1/x"),
    ("/v1/%78#top", "/v1/x"),
    ("/v1", "/v1"),
    ("/v1/a%2fb%20c", "/v1/a%2Fb%20c"),
    ("/v1/a b", "/v1/a%20b"),
    ("/v1/me@x/(id='7')/c.d..e/...;v=1", "/v1/me@x/(id='7')/c.d..e/...;v=1"),
    ("/v1/100%25/a%252Fb", "/v1/100%25/a%252Fb"),
    ("/v1/x/", "/v1/x/"),
    ("/v1/Ü?$filter=name eq 'é'", "/v1/%C3%9C?$filter=name%20eq%20'%C3%A9'"),
    ("/v1/x?u=http://10.0.0.1/", "/v1/x?u=http://10.0.0.1/"),
    ('/v1/"<>^{}|`[]?"<>^{}|`[]', "/v1/%22%3C%3E%5E%7B%7D%7C%60%5B%5D?%22%3C%3E%5E%7B%7D%7C%60[]"),
    ("/v1/a%40b/%7e%2d%5F%2e5", "/v1/a%40b/~-_.5"),
    ("/v1//x", "/v1//x"),
    ("/v1/x?a=b?c/d", "/v1/x?a=b?c/d"),
    ("/v1/x?", "/v1/x"),
    ("/v1/x?&&", "/v1/x"),
    ("/v1/x?a=%0a", "/v1/x?a=%0A"),
    ("https://api.example.com", "/"),
    ("https://api.example.com?q=1", "/?q=1"),
    ("https://api.example.com#/v2", "/"),
]


@pytest.mark.parametrize(("url", "request_target"), LEGITIMATE)
def test_a_legitimate_url_is_sent_in_its_canonical_form(url, request_target):
    target = read(url)
    assert target.request_target == request_target
    assert target.origin == ("https", "api.example.com", 443)
    assert target.authority == "api.example.com"
    assert target.url == ORIGIN + request_target


@pytest.mark.parametrize("path", ["/v1/x", "/v1", "/v1/x/", "/v1/Ü", "/v1/100%25/a%252Fb"])
def test_a_legitimate_path_stays_inside_the_rule(path):
    assert ALLOWED.search(glob_subject(read(path).path))


@pytest.mark.parametrize("path", ["/V1/x", "/v1x", "/v2/x"])
def test_a_foreign_path_is_left_to_the_allowlist_and_not_made_to_fit(path):
    target = read(path)
    assert target.path == path
    assert not ALLOWED.search(glob_subject(target.path))


HOSTILE = [
    ("https://api.example.com//v1/x", "empty_segment"),
    (ORIGIN + "/v1/../admin", "dot_segment"),
    (ORIGIN + "/v1/%2e%2e/admin", "dot_segment"),
    (ORIGIN + "/v1/.%2E%2fadmin", "dot_segment"),
    (ORIGIN + "/v1/%252e%252e/admin", "dot_segment"),
    (ORIGIN + "/v1/..;/admin", "dot_segment"),
    (ORIGIN + "/v1/x/%5c..%5cadmin", "dot_segment"),
    (ORIGIN + "/v1/‥/admin", "dot_segment"),
    (ORIGIN + "/v1/．．／admin", "dot_segment"),
    (ORIGIN + "/v1/.", "dot_segment"),
    (ORIGIN + "/..", "dot_segment"),
    (ORIGIN + "/v1/%20../admin", "dot_segment"),
    (ORIGIN + "/v1/..%20/admin", "dot_segment"),
    (ORIGIN + "/v1/..%C2%A0;x/admin", "dot_segment"),
    (ORIGIN + "/v1/%" + "25" * 6 + "41", "dot_segment"),
    (ORIGIN + "/v1/%c0%ae%c0%ae/admin", "percent_encoding"),
    (ORIGIN + "/v1/%zz", "percent_encoding"),
    (ORIGIN + "/v1/%u002e", "percent_encoding"),
    (ORIGIN + "/v1/%", "percent_encoding"),
    (ORIGIN + "/v1/%4", "percent_encoding"),
    (ORIGIN + "/v1/x?a=%g1", "percent_encoding"),
    (ORIGIN + "/v1/x?a=%ff", "percent_encoding"),
    (ORIGIN + "/v1/x?a=%ED%A0%80", "percent_encoding"),
    (ORIGIN + "/v1/\ud800", "percent_encoding"),
    (ORIGIN + "/v1/a%0d%0aX:1", "control_character"),
    (ORIGIN + "/v1/a%00", "control_character"),
    (ORIGIN + "/v1/a%7f", "control_character"),
    (ORIGIN + "/v1/a%2500", "control_character"),
    (ORIGIN + "/v1/x?a=%00", "control_character"),
    (ORIGIN + "/v1/a\tb", "control_character"),
    (ORIGIN + "/v1/a\rb", "control_character"),
    (ORIGIN + "/v1/a\nb", "control_character"),
    (ORIGIN + "/v1/a\x7fb", "control_character"),
    (ORIGIN + "/v1/a\x85b", "control_character"),
    (ORIGIN + "/v1/a#\x00", "control_character"),
    ("https://api.exa\nmple.com/v1", "control_character"),
    (" https://api.example.com/v1/x", "control_character"),
    (ORIGIN + "/v1/x ", "control_character"),
    (ORIGIN + "/v1/x\u3000", "control_character"),
    ("https://user@api.example.com/", "userinfo"),
    ("https://api.example.com@10.0.0.1/", "userinfo"),
    ("https://@api.example.com/", "userinfo"),
    ("https://u:p@api.example.com/", "userinfo"),
    ("https://api.example.com\\@evil.test/v1/x", "backslash"),
    (ORIGIN + "/v1\\admin", "backslash"),
    (ORIGIN + "/v1/x?a=\\", "backslash"),
    (ORIGIN + "/v1/x#\\", "backslash"),
    ("https://api.example.com%40evil.test/", "host"),
    ("https://api.example.com./v1/x", "host"),
    ("https://аpi.example.com/v1/x", "host"),
    ("https://api.example.com。evil.test/", "host"),
    ("https://１27.0.0.1/", "host"),
    ("https://api.\u212aelvin.com/", "host"),
    ("https://a_b.example.com/", "host"),
    ("https://-a.example.com/", "host"),
    ("https://a..example.com/", "host"),
    ("https://a b.example.com/", "host"),
    ("https://:443/", "host"),
    ("https://*.example.com/", "host"),
    (f"https://{'a' * 64}.example.com/", "host"),
    (f"https://{'a.' * 127}ab/", "host"),
    ("https://::1/", "host"),
    ("https://[::1/", "host"),
    ("https://[::1]x/", "host"),
    ("https://[v1.x]/", "host"),
    ("https://[api.example.com]/", "host"),
    ("https://2130706433/", "non_canonical_ip"),
    ("https://0x7f.1/", "non_canonical_ip"),
    ("https://127.1/", "non_canonical_ip"),
    ("https://010.0.0.1/", "non_canonical_ip"),
    ("https://256.0.0.1/", "non_canonical_ip"),
    ("https://1.2.3.4.5/", "non_canonical_ip"),
    ("https://127.0.0.0x1/", "non_canonical_ip"),
    ("https://api.example.0X/", "non_canonical_ip"),
    ("https://[::ffff:7f00:1]/", "non_canonical_ip"),
    ("https://[0:0:0:0:0:0:0:1]/", "non_canonical_ip"),
    ("https://[2001:db8:0:0:1::1]/", "non_canonical_ip"),
    ("https://[fe80::1%25eth0]/", "zone_id"),
    ("https://[fe80::1%eth0]/", "zone_id"),
    ("https://api.example.com:/v1/x", "port"),
    ("https://api.example.com:0443/v1/x", "port"),
    ("https://api.example.com:0/v1/x", "port"),
    ("https://api.example.com:65536/v1/x", "port"),
    ("https://api.example.com:+443/v1/x", "port"),
    ("https://api.example.com:４43/v1/x", "port"),
    ("https://api.example.com:443:443/v1/x", "port"),
    ("http://api.example.com/v1/x", "scheme"),
    ("ftp://api.example.com/", "scheme"),
    ("file:///etc/passwd", "scheme"),
    ("javascript:alert(1)", "scheme"),
    ("ws://api.example.com/", "scheme"),
    ("//api.example.com/v1/x", "relative"),
    ("/messages/send", "relative"),
    ("v1/x", "relative"),
    ("", "relative"),
    ("?a=1", "relative"),
    ("https:api.example.com/v1/x", "syntax"),
    ("https:/api.example.com/v1/x", "syntax"),
    ("https:///v1/x", "syntax"),
    ("https://", "syntax"),
    ("https://?x", "syntax"),
    (ORIGIN + "/v1/" + "a" * MAX_URL_BYTES, "too_long"),
    (ORIGIN + "/v1/x?" + "é" * (MAX_URL_BYTES // 6), "too_long"),
    (ORIGIN + "/v1/x#" + "a" * 1_000_000, "too_long"),
]


@pytest.mark.parametrize(("url", "detail"), HOSTILE)
def test_a_hostile_url_is_refused_with_its_sub_code(url, detail):
    assert refused(url) == detail


def test_every_sub_code_but_the_second_parsers_has_a_row():
    assert {detail for _, detail in HOSTILE} | {"ambiguous"} == set(ADVICE)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://api.example.com:8443/v1/x", "api.example.com", 8443),
        ("https://api.example.com.evil.test/v1/x", "api.example.com.evil.test", 443),
        ("https://sub.api.example.com/v1/x", "sub.api.example.com", 443),
        ("https://evil.test/?h=api.example.com", "evil.test", 443),
        ("https://10.0.0.1/v1/x", "10.0.0.1", 443),
    ],
)
def test_another_destination_is_shown_to_the_allowlist_as_what_it_is(url, host, port):
    target = read(url)
    assert (target.host, target.port) == (host, port)
    assert target.origin != read("/v1/x").origin


@pytest.mark.parametrize(
    ("url", "authority", "canonical"),
    [
        ("https://[2001:DB8::1]:444/x", "[2001:db8::1]:444", "https://[2001:db8::1]:444/x"),
        ("https://[::ffff:127.0.0.1]/", "[::ffff:127.0.0.1]", "https://[::ffff:127.0.0.1]/"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "https://xn--bcher-kva.example/"),
        ("https://192.0.2.1:65535/", "192.0.2.1:65535", "https://192.0.2.1:65535/"),
        ("http://git.corp:80/", "git.corp", "http://git.corp/"),
        ("http://git.corp:443/", "git.corp:443", "http://git.corp:443/"),
        ("https://my_host.corp/", "my_host.corp", "https://my_host.corp/"),
    ],
)
def test_the_authority_has_one_spelling(url, authority, canonical):
    target = read(url, http_hosts={"git.corp", "my_host.corp"})
    assert target.authority == authority
    assert target.url == canonical


@pytest.mark.parametrize("url", ["http://x.git.corp/", "http://git.corp.evil.test/", "http://other.corp/"])
def test_http_is_for_exactly_the_listed_names(url):
    assert refused(url, http_hosts={"git.corp"}) == "scheme"


@pytest.mark.parametrize(
    "label",
    [
        "xn--",
        "xn---",
        "xn--a",
        "xn--abc-",
        "xn--bcher-kva-",
        "xn--999999999",
        "xn--ls8h",  # a symbol
        "xn--pi-bz3n",  # a full-width letter
        "xn---wyr",  # a second spelling of xn--wyr
        "xn--www-hn0a",  # an invisible direction mark
        "xn--munchen-gie",  # ü with a combining mark instead of its own letter
    ],
)
def test_an_a_label_must_decode_and_round_trip(label):
    assert refused(f"https://{label}.example.com/") == "host"


class TestMail:
    def test_a_relative_url_is_resolved_to_the_virtual_origin_only(self):
        target = parse_target("/messages/send?x=1", is_mail=True).target
        assert target.url == "https://email-imap.internal/messages/send?x=1"

    @pytest.mark.parametrize(
        ("url", "detail"),
        [
            ("//evil.test/x", "relative"),
            ("messages", "relative"),
            ("/../x", "dot_segment"),
            ("/\\x", "backslash"),
        ],
    )
    def test_a_relative_url_is_read_as_strictly(self, url, detail):
        assert refused(url, is_mail=True) == detail


@pytest.mark.parametrize("path", ["/%61dmin", "/admin/", "/admin;x=1", "/x%2f..%2fadmin", "//admin", "/x/%2e%2e/admin"])
def test_a_deny_rule_on_the_strict_view_cannot_be_walked_around(path):
    try:
        target = read(ORIGIN + path)
    except InvalidUrl:
        return
    assert target.strict_path == "/admin"


def test_a_second_parser_that_disagrees_refuses_the_url(monkeypatch):
    import agenthifive.broker.target as module

    def drawing_other_borders(url):
        return urlsplit(url.replace("?", "%3F"))

    monkeypatch.setattr(module, "urlsplit", drawing_other_borders)
    assert refused(ORIGIN + "/v1/x?a=1") == "ambiguous"


def test_a_second_parser_that_sees_another_host_refuses_the_url(monkeypatch):
    import agenthifive.broker.target as module

    class OtherHost(SplitResult):
        hostname = "other.example.com"

    monkeypatch.setattr(module, "urlsplit", lambda url: OtherHost(*urlsplit(url)))
    assert refused("https://unseen.example.com/") == "ambiguous"


def test_a_target_is_a_value():
    assert hash(read("/v1/x")) == hash(Target("https", "api.example.com", 443, "/v1/x", "/v1/x", ""))
