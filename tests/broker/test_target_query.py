"""The merged query: entries of the `query` map, credential parameters, and the readings for rules.

Source: contract/broker.md sections 4.3, 7 and 19 (case 7).
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.broker.target import (
    MAX_URL_BYTES,
    InvalidUrl,
    parse_target,
    query_names,
    query_pairs,
    raw_query_pairs,
)

URL = "https://api.example.com/v1/x"


def merged(raw, query=None, **options):
    return parse_target(URL + raw, query, **options).target.query


def refused(raw, query=None, **options):
    with pytest.raises(InvalidUrl) as caught:
        parse_target(URL + raw, query, **options)
    return caught.value.detail


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        ("?alt=media", None),
        ("", {"alt": "media"}),
        ("?alt=json", {"alt": "media"}),
        ("?alt=json&alt=xml", {"alt": ["media"]}),
        ("?%61lt=json", {"alt": "media"}),
        ("?al%2Bt=1", {"al+t": [], "alt": "media"}),
        ("?al+t=1&al%20t=2", {"al t": [], "alt": "media"}),
    ],
)
def test_a_rule_sees_one_merged_query_however_it_was_sent(raw, query):
    assert merged(raw, query) == "?alt=media"


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ({"a": 1, "b": True, "c": 2.5, "d": False}, "?z=%20&a=1&b=true&c=2.5&d=false"),
        ({"a": ["x", 2, False]}, "?z=%20&a=x&a=2&a=false"),
        ({"z": []}, ""),
        ({"a b": "c d"}, "?z=%20&a%20b=c%20d"),
        ({"a": "&b=1#/?é+%"}, "?z=%20&a=%26b%3D1%23%2F%3F%C3%A9%2B%25"),
        ({"z": "1"}, "?z=1"),
        ({}, "?z=%20"),
        ({"n": 10**40}, f"?z=%20&n={10**40}"),
        ({"a": "..", "b": "~-_."}, "?z=%20&a=..&b=~-_."),
    ],
)
def test_entries_are_encoded_and_replace_same_names_in_map_order(query, sent):
    assert merged("?z=%20", query) == sent


def test_parameters_of_the_url_keep_their_bytes_and_order():
    assert merged("?b=%2f+'&&a&b=1", {"c": "2"}) == "?b=%2F+'&a&b=1&c=2"
    assert merged("?b=1&&a") == "?b=1&&a"


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"a": "\0"}, "control_character"),
        ({"a\0": "b"}, "control_character"),
        ({"a": "\ud800"}, "percent_encoding"),
        ({"a": "x" * MAX_URL_BYTES}, "too_long"),
        ({"a": ["xxxx"] * MAX_URL_BYTES}, "too_long"),
        ({str(n): 1 for n in range(MAX_URL_BYTES)}, "too_long"),
        ({"a": 10**5000}, "too_long"),
        ({"a": None}, "syntax"),
        ({"a": {"b": 1}}, "syntax"),
        ({"a": [["b"]]}, "syntax"),
        ({"a": float("nan")}, "syntax"),
    ],
)
def test_an_entry_that_cannot_be_sent_is_refused(query, detail):
    assert refused("", query) == detail


def test_invalid_escapes_are_refused_before_names_are_compared():
    assert refused("?%ff=1", {"a": "b"}) == "percent_encoding"
    assert refused("?%ff=1", strip_params=("key",)) == "percent_encoding"


@pytest.mark.parametrize(
    ("raw", "query", "sent", "stripped"),
    [
        ("?key=1&a=2&key=3", None, "?a=2", ("key",)),
        ("?k%65y=1", None, "", ("key",)),
        ("?acc%65ss%5ftoken=1&Key=2", None, "?Key=2", ("access_token",)),
        ("?a=1", {"key": "2", "b": "3"}, "?a=1&b=3", ("key",)),
        ("?key=1", {"access_token": "2"}, "", ("key", "access_token")),
        ("?monkey=1", None, "?monkey=1", ()),
        ("", None, "", ()),
    ],
)
def test_credential_parameters_are_removed_and_named(raw, query, sent, stripped):
    parsed = parse_target(URL + raw, query, strip_params={"key", "access_token"})
    assert (parsed.target.query, parsed.stripped) == (sent, stripped)


def test_pairs_are_shown_raw_and_decoded():
    query = merged("?a=1&b%20c=%26+%2B&&d&a=2&=e")
    assert query_pairs(query) == [("a", "1"), ("b c", "& +"), ("d", ""), ("a", "2"), ("", "e")]
    assert raw_query_pairs(query)[1] == ("b%20c", "%26+%2B")
    assert query_names(query) == ("a", "b c", "d", "")
    assert query_pairs("") == []


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=150, deadline=None, database=None)
@given(query=st.dictionaries(TEXT, TEXT))
def test_entries_arrive_as_they_were_given(query):
    pairs = query_pairs(merged("?a=1&b=2", query))
    assert pairs[len(pairs) - len(query) :] == list(query.items())
    assert [name for name, _ in pairs if name not in query] == [name for name in ("a", "b") if name not in query]
