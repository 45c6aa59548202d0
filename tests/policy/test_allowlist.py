"""Allowlists: default deny, and a refusal that says what is missing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.policy.allowlist import (
    Match,
    Miss,
    compile_allowlists,
    host_matches,
    match_allowlists,
    read_base_url,
)
from agenthifive.policy.compile import compile_policy
from agenthifive.policy.decide import decide
from agenthifive.policy.model import Deny, HostFacts, Request, ServiceFacts
from agenthifive.policy.paths import glob_regex, glob_subject
from agenthifive.policy.patterns import pattern_set
from agenthifive.words import ActionClass
from policy.calls import GENERIC, NOON, call, document


def entry(*globs: str, base: str = "https://api.example.com", methods: tuple[str, ...] = ("GET",)) -> dict[str, Any]:
    return {"baseUrl": base, "methods": list(methods), "pathPatterns": list(globs)}


def refusal(request: Request, *entries: dict[str, Any]) -> Deny:
    decision = decide(request, compile_policy(document(allowlists=list(entries)), GENERIC), NOON)
    assert isinstance(decision, Deny)
    assert decision.code == "allowlist_denied"
    return decision


segments = st.text("abc*./%25F-:", max_size=12)


@given(
    st.lists(segments.map(lambda text: "/" + text), max_size=3),
    segments.map(lambda text: "/" + text),
    st.booleans(),
)
def test_the_fast_ways_agree_with_the_pattern_of_the_glob(globs: list[str], path: str, ignores_case: bool) -> None:
    """Look-ups and prefixes stand for RE2; they must give its answer."""
    facts = ServiceFacts("s", "p", (HostFacts("h.example", ignores_case),))
    entries = compile_allowlists([entry(*globs, base="https://h.example")] if globs else [], facts)
    request = Request("GET", "https", "h.example", 443, path, path, "", call().body, ActionClass.READ, facts)
    patterns = pattern_set(tuple(glob_regex(glob) for glob in globs), ignores_case)
    expected = patterns.is_found(glob_subject(path).encode())
    assert isinstance(match_allowlists(entries, request), Match) is expected


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*.example.net", "a.example.net", True),
        ("*.example.net", "example.net", False),
        ("*.example.net", ".example.net", False),
        ("*.example.net", "a.b.example.net", False),
        ("*.example.net", "evilexample.net", False),
        ("example.net", "example.net", True),
        ("example.net", "a.example.net", False),
    ],
)
def test_a_star_is_one_label(pattern: str, host: str, expected: bool) -> None:
    assert host_matches(pattern, host) is expected


@pytest.mark.parametrize(
    "text",
    ["https://a@h.example", "https://h.example?x", "https://h.example#x", "https://h.example:0x50", "https://",
     "https://h.example:", "https://h..example", "ftp://h.example", "https://h example", "https://hé.example"],
)  # fmt: skip
def test_a_base_url_with_other_parts_cannot_be_read(text: str) -> None:
    assert read_base_url(text) is None


def test_a_base_url_is_read_into_its_parts() -> None:
    assert read_base_url("https://H.example:8443/api/") == ("https", "h.example", 8443, "/api")
    assert read_base_url("https://[2001:db8::1]/") == ("https", "2001:db8::1", 443, "")


def test_plain_http_does_not_pass_an_entry_for_https() -> None:
    entries = compile_allowlists([entry("/**", base="https://api.example.com:8080")], GENERIC)
    request = Request("GET", "http", "api.example.com", 8080, "/x", "/x", "", call().body, ActionClass.READ, GENERIC)
    assert match_allowlists(entries, request) == Miss("port")


def test_a_method_refusal_names_the_listed_methods() -> None:
    decision = refusal(call("POST", "/v1/a"), entry("/v1/a"), entry("/v1/a", methods=("DELETE", "PUT")), entry("/b"))
    assert decision.detail == "method"
    assert decision.hint == "Methods listed for it: GET, PUT, DELETE."
    assert "POST /v1/a" in decision.message


def test_a_path_refusal_names_the_closest_patterns_first() -> None:
    decision = refusal(call("GET", "/v1/items/7/notes"), entry("/v2/x", "/v1/items/*", "/v1/**/x", "/a", "/b", "/c"))
    assert decision.detail == "path"
    assert decision.hint is not None
    assert decision.hint.startswith("Paths listed on this host: /v1/items/*, ")
    assert decision.hint.count(", ") == 4


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/v1/Items/", "drop the trailing slash"),
        ("/v1/items", "letter case differs"),
        ("/v1%2FItems", "write the slash unencoded"),
    ],
)
def test_a_near_miss_says_what_alone_would_match(path: str, advice: str) -> None:
    hint = refusal(call("GET", path), entry("/v1/Items")).hint
    assert hint is not None
    assert advice in hint


def test_advice_is_given_only_where_it_helps() -> None:
    hint = refusal(call("GET", "/v9/other/"), entry("/v1/Items")).hint
    assert hint is not None
    assert "To match" not in hint


def test_host_and_port_refusals_name_the_listed_ones() -> None:
    host = refusal(call("GET", "https://other.example.com/x"), entry("/x", base="https://api.example.com:8443"))
    port = refusal(call("GET", "/x"), entry("/x", base="https://api.example.com:8443"))
    assert (host.detail, port.detail) == ("host", "port")
    assert host.hint == port.hint == "Listed hosts and ports: api.example.com:8443."


def test_an_empty_list_says_who_can_change_it() -> None:
    decision = refusal(call())
    assert decision.detail == "empty"
    assert "owner or admin" in decision.message


def test_the_nearest_miss_wins_over_the_order_of_entries() -> None:
    entries = [entry("/other"), entry("/v1/x", methods=("POST",)), entry("/x", base="https://b.example")]
    assert refusal(call("GET", "/v1/x"), *entries).detail == "method"
    assert refusal(call("GET", "/v1/x"), *reversed(entries)).detail == "method"


def test_a_prefix_of_a_host_without_letter_case_is_compared_without_it() -> None:
    facts = ServiceFacts("s", "p", (HostFacts("api.example.com", True),))
    entries = compile_allowlists([entry("/API/*", base="https://api.example.com/Api")], facts)
    assert isinstance(match_allowlists(entries, call("GET", "/aPI/x")), Match)
    assert isinstance(match_allowlists(entries, call("GET", "/apix/x")), Miss)
