"""Who is on the other end: only listed proxies may speak for others, and no text makes the answer fail."""

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.edge.context import TrustedProxies, limit_key

PROXIES = TrustedProxies(["172.30.0.0/24", "fd00:1::/64"])


def scope(peer: str, *headers: tuple[str, str]) -> dict[str, Any]:
    return {"client": (peer, 1), "scheme": "http", "headers": [(n.encode(), v.encode("latin-1")) for n, v in headers]}


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("8.8.4.4", ["127.0.0.1"], "8.8.4.4"),
        ("172.30.0.9", [], "172.30.0.9"),
        ("172.30.0.9", ["8.8.8.8"], "8.8.8.8"),
        ("172.30.0.9", ["127.0.0.1, 8.8.8.8"], "8.8.8.8"),
        ("172.30.0.9", ["127.0.0.1", "8.8.8.8"], "8.8.8.8"),
        ("172.30.0.9", ["8.8.8.8, 172.30.0.7"], "8.8.8.8"),
        ("172.30.0.9", ["172.30.0.7, 172.30.0.8"], "172.30.0.7"),
        ("172.30.0.9", ["8.8.8.8, unknown"], "172.30.0.9"),
        ("172.30.0.9", ["8.8.8.8, 1.2.3.4:80"], "172.30.0.9"),
        ("172.30.0.9", ["2001:db8::7"], "2001:db8::7"),
        ("fd00:1::2", ["8.8.8.8"], "8.8.8.8"),
        ("fd00:2::2", ["8.8.8.8"], "fd00:2::2"),
        ("::ffff:172.30.0.9", ["8.8.8.8"], "8.8.8.8"),
        ("::ffff:8.8.4.4", ["127.0.0.1"], "8.8.4.4"),
    ],
)
def test_the_rightmost_address_that_no_proxy_owns_is_the_client(peer: str, forwarded: list[str], client: str) -> None:
    headers = [("x-forwarded-for", value) for value in forwarded]
    assert PROXIES.read(scope(peer, *headers)).ip == client


def test_other_headers_say_nothing_about_the_client() -> None:
    context = PROXIES.read(
        scope("172.30.0.9", ("forwarded", "for=8.8.8.8"), ("x-real-ip", "8.8.8.8"), ("cf-connecting-ip", "8.8.8.8"))
    )
    assert context.ip == "172.30.0.9"


def test_without_proxies_no_header_is_believed() -> None:
    context = TrustedProxies([]).read(
        scope("127.0.0.1", ("x-forwarded-for", "8.8.8.8"), ("x-forwarded-proto", "https"), ("x-request-id", "a" * 20))
    )
    assert (context.ip, context.scheme) == ("127.0.0.1", "http")
    assert context.request_id != "a" * 20


@pytest.mark.parametrize(("sent", "is_kept"), [("a" * 8, True), ("a" * 64, True), ("a" * 7, False), ("a" * 65, False),
                                               ("a" * 8 + "\n", False), ("a b c d e f", False)])  # fmt: skip
def test_a_request_id_is_kept_from_a_proxy_and_only_if_it_is_harmless(sent: str, is_kept: bool) -> None:
    assert (PROXIES.read(scope("172.30.0.9", ("x-request-id", sent))).request_id == sent) is is_kept


def test_the_scheme_is_one_of_two() -> None:
    for sent, scheme in (("https", "https"), ("http", "http"), ("gopher", "http")):
        assert PROXIES.read(scope("172.30.0.9", ("x-forwarded-proto", sent))).scheme == scheme


def test_ipv6_clients_are_counted_by_their_network() -> None:
    assert limit_key("2001:db8::1") == limit_key("2001:db8::ffff") != limit_key("2001:db8:0:1::1")
    assert limit_key("192.0.2.1") != limit_key("192.0.2.2")


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=4), st.sampled_from(["172.30.0.9", "8.8.4.4"]))
def test_no_text_of_a_header_makes_reading_fail(values: list[str], peer: str) -> None:
    context = PROXIES.read(scope(peer, *(("x-forwarded-for", value) for value in values)))
    assert ip_address(context.ip)
    assert limit_key(context.ip)
