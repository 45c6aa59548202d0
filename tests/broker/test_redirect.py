"""Redirects: the same origin is data, everything else is blocked and names at most a host.

Source: contract/broker.md sections 9 and 19 (case 28), contract/goals.md S4.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.broker.redirect import REDIRECT_STATUSES, resolve_redirect
from agenthifive.broker.target import parse_target

CURRENT = parse_target("https://api.example.com/v1/a/x?q=1").target


def test_the_statuses_are_those_that_carry_a_location():
    assert {300, 301, 302, 303, 305, 307, 308} == REDIRECT_STATUSES


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://api.example.com/v2", "https://api.example.com/v2"),
        ("HTTPS://API.example.COM:443/v2#top", "https://api.example.com/v2"),
        ("//api.example.com/v2", "https://api.example.com/v2"),
        ("/v2?a=b c", "https://api.example.com/v2?a=b%20c"),
        ("?z=2", "https://api.example.com/v1/a/x?z=2"),
        ("y", "https://api.example.com/v1/a/y"),
        ("../y", "https://api.example.com/v1/y"),
        ("", "https://api.example.com/v1/a/x?q=1"),
        ("#top", "https://api.example.com/v1/a/x?q=1"),
        ("/v1/Ü", "https://api.example.com/v1/%C3%9C"),
    ],
)
def test_the_same_origin_is_data(location, url):
    redirect = resolve_redirect(CURRENT, location)
    assert redirect.is_same_origin
    assert redirect.target is not None
    assert redirect.target.url == url
    assert redirect.other_host(CURRENT) is None


@pytest.mark.parametrize(
    ("location", "named_host"),
    [
        ("http://api.example.com/v1/x", None),
        ("http://other.test/", None),
        ("https://api.example.com:8443/v1/x", None),
        ("//api.example.com:8443/", None),
        ("https://other.test/secret?token=1", "other.test"),
        ("//other.test", "other.test"),
        ("https://api.example.com.evil.test/", "api.example.com.evil.test"),
        ("https://169.254.169.254/", "169.254.169.254"),
        ("https://user@api.example.com/", None),
        ("https://api.example.com@other.test/", None),
        ("https://@api.example.com/", None),
        ("file:///etc/passwd", None),
        ("javascript:alert(1)", None),
        ("ftp://api.example.com/", None),
        ("https:v2", None),
        ("https:/v2", None),
        ("///other.test/", None),
        ("/\\other.test/", None),
        ("\\\\other.test", None),
        ("https://api.example.com\\@other.test/", None),
        (" /v2", None),
        ("/v2\r\nset-cookie: a", None),
        ("/%2e%2e/v2", None),
        ("https://api.example.com/v1/../v2", None),
        ("https://api.example.com./v2", None),
        ("https://0x7f.1/", None),
        ("https://[::1", None),
        ("//[::1", None),
        ("/%zz", None),
        ("/\ud800", None),
    ],
)
def test_everything_else_is_blocked(location, named_host):
    redirect = resolve_redirect(CURRENT, location)
    assert not redirect.is_same_origin
    assert redirect.other_host(CURRENT) == named_host


@pytest.mark.parametrize("location", ["http://api.example.com/v1/x", "http://other.test/", "file:///x", "https:v2"])
def test_a_place_that_is_never_called_has_no_target(location):
    assert resolve_redirect(CURRENT, location).target is None


def test_plain_http_that_the_operator_listed_stays_on_its_origin():
    current = parse_target("http://my_git.corp/x", http_hosts={"my_git.corp"}).target
    assert resolve_redirect(current, "/y").is_same_origin
    assert resolve_redirect(current, "http://my_git.corp/y").is_same_origin
    assert not resolve_redirect(current, "https://my_git.corp/y").is_same_origin
    assert resolve_redirect(current, "http://other.corp/").target is None


PIECES = st.sampled_from(
    [
        "https:",
        "http:",
        "//",
        "/",
        "..",
        "@",
        "api.example.com",
        "evil.test",
        ":8443",
        "?",
        "#",
        "%2f",
        "[",
        "\\",
    ]
)


@settings(max_examples=300, deadline=None, database=None)
@given(st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=8).map("".join)))
def test_no_location_is_taken_for_the_same_origin_unless_it_is(location):
    redirect = resolve_redirect(CURRENT, location)
    assert redirect.is_same_origin == (redirect.target is not None and redirect.target.origin == CURRENT.origin)
    assert redirect.target is None or redirect.target.scheme == "https"
