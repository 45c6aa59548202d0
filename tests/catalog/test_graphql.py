"""A GraphQL call is a read only when nothing else can be in it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.catalog.graphql import MAX_DOCUMENT_LENGTH, reads_only

READS = [
    "{ viewer { id } }",
    "query { viewer { id } }",
    'query Find($q: In = {a: [1, "}"], b: 1.5e3}) @c(f: "{") { find(q: $q) { ...F ... on T { x } } }',
    "query Q { ...F } fragment F on T @d { d }",
    "# mutation { x }\n{ a } # end",
    '{ a(text: "mutation { x }", block: """\n} mutation { "x" } \\""" }\n""", empty: "", none: """""") }',
    "{ a(n: -1.0, b: true, e: RED, l: [1 2], o: {x: null}) }",
    "\n\t,query,Q\r\n{a}",
    "query query { mutation }",
]
UNCLEAR = [
    "mutation { x }",
    "query A { a } mutation B { b }",
    "mutation B { b } query A { a }",
    "subscription { x }",
    "fragment F on T { d }",
    "fragment F T { d } { a }",
    "",
    " # nothing",
    "query",
    "query Q mutation { x }",
    "{ a",
    "{ a } }",
    "{ a(b: ] }",
    "{ a(b: 'x') }",
    '{ a(b: "x\ny") }',
    '{ a(b: """x) }',
    '{ a(b: """\\""") }',
    '"text" query { a }',
    "type T { a: Int }",
    "extend schema { mutation: M }",
    "{ a } # \u2028 mutation { b }",
    "{ a } # \x0b mutation { b }",
    "{ a } \ufeff { b }",
    "query { a } query { b }",
    "QUERY { a }",
    "{ é }",
    "query Q @ { a }",
    "{ a; b }",
]


@pytest.mark.parametrize("document", READS)
def test_a_document_of_queries_reads(document: str) -> None:
    assert reads_only({"query": document})


@pytest.mark.parametrize("document", UNCLEAR)
def test_anything_else_does_not(document: str) -> None:
    assert not reads_only({"query": document})


def test_several_operations_need_a_name_of_theirs() -> None:
    document = "query A { a } query B { b }"
    assert reads_only({"query": document, "operationName": "A"})
    for chosen in (None, "", "C", 1, ["A"]):
        assert not reads_only({"query": document, "operationName": chosen})
    assert not reads_only({"query": "query A { a } mutation B { b }", "operationName": "A"})


@pytest.mark.parametrize(
    "body",
    [
        None,
        "{ a }",
        [],
        [{"query": "{ a }"}],
        {},
        {"query": None},
        {"query": ["{ a }"]},
        {"operationName": "A"},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "x"}}},
        {"query": "{ a }", "extensions": {"persistedQuery": {"sha256Hash": "x"}}},
        {"query": "{ a }", "id": "x"},
        {"query": "{ a }", "documentId": "x"},
        {"query": "{ a }", "mutation": "x"},
    ],
)
def test_a_body_that_may_name_another_document_does_not_read(body: Any) -> None:
    assert not reads_only(body)


def test_variables_and_empty_extensions_change_nothing() -> None:
    assert reads_only({"query": "query Q { a }", "operationName": "Q", "variables": {"x": 1}, "extensions": {}})


def test_a_huge_document_is_not_read() -> None:
    assert not reads_only({"query": "{a}" + " " * MAX_DOCUMENT_LENGTH})


@given(st.text(alphabet='{}()[]"#\\ \n,@:$!a1mutation query', max_size=60))
def test_no_text_makes_it_fail_and_brackets_always_close(document: str) -> None:
    if reads_only({"query": document}):
        assert document.count("{") > 0


@given(st.text(max_size=30), st.sampled_from(['"{}"', '"""{}"""', "#{}\n"]))
def test_a_mutation_is_seen_behind_any_text(noise: str, holder: str) -> None:
    """Whatever stands in a string or comment, the operation behind it is either seen or nothing is believed."""
    hidden = holder.replace("{}", noise)
    assert not reads_only({"query": "{ a(x: 1 " + (hidden if holder[0] == '"' else "") + ") } mutation { b }"})
    assert not reads_only({"query": (hidden if holder[0] == "#" else "") + "mutation { b }"})
