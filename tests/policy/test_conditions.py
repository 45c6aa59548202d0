"""Conditions: an allow rule needs certainty, every other rule needs only possibility."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.policy.conditions import OPERATORS, compile_condition
from agenthifive.policy.fields import compile_path
from agenthifive.policy.model import Request
from policy.calls import NOON, call

DENIALS = {"neq": "eq", "not_in": "in", "not_contains": "contains", "not_matches": "matches"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def judge(request: Request, path: str, op: str, value: Any = None, *, is_certain: bool) -> bool | None:
    condition = {"path": path, "op": op} if value is None else {"path": path, "op": op, "value": value}
    return compile_condition(condition, is_certain=is_certain).judge(request, NOON)


def both(body: Any, op: str, value: Any = None, path: str = "a", **more: Any) -> tuple[bool | None, bool | None]:
    """(certain, possible)"""
    request = call("POST", body=body, **more)
    return (
        judge(request, path, op, value, is_certain=True),
        judge(request, path, op, value, is_certain=False),
    )


texts = st.sampled_from(["x", "bad", " bad ", "b\u0430d", "1", "true", "BAD", "", "a@own.example"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 20_000), st.floats(-5, 5), texts)
names = st.sampled_from("abc")
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)
bodies = st.dictionaries(names, values, max_size=3)
PATHS = ("a", "a.b", "a[*]", "a[*].b", "a[0]", "a.$count", "$text", "$body", "$query.q", "$size")
VALUES = {
    "eq": ["bad", 1, True, "true"],
    "in": [["bad", "1"], ["x"]],
    "contains": ["bad", "A"],
    "matches": ["bad", "^bad$", "(?i)BAD", "."],
    "gt": [0, 10],
    "domain_in": [["own.example"], ["$orgDomains"]],
}


@given(bodies, st.sampled_from(PATHS), st.sampled_from(sorted(VALUES)), st.data())
def test_what_is_certain_of_every_value_is_possible(
    body: dict[str, Any], path: str, op: str, data: st.DataObject
) -> None:
    value = data.draw(st.sampled_from(VALUES[op]))
    request = call("POST", "/v1/x?q=bad", body=body)
    if judge(request, path, op, value, is_certain=True):
        assert judge(request, path, op, value, is_certain=False)


@given(bodies, st.sampled_from(PATHS), st.sampled_from(sorted(DENIALS)), st.data())
def test_a_negative_operator_in_an_allow_rule_denies_that_the_positive_one_may_hold(
    body: dict[str, Any], path: str, op: str, data: st.DataObject
) -> None:
    value = data.draw(st.sampled_from(VALUES[DENIALS[op]]))
    request = call("POST", "/v1/x?q=bad", body=body)
    if judge(request, path, op, value, is_certain=True):
        assert judge(request, path, DENIALS[op], value, is_certain=False) is False


@given(bodies, st.sampled_from(PATHS), st.sampled_from(sorted(OPERATORS)))
def test_free_text_never_satisfies_an_allow_rule_about_members(body: Any, path: str, op: str) -> None:
    value = {"in": ["x"], "not_in": ["x"], "domain_in": ["x"], "domain_not_in": ["x"]}.get(
        op, 1 if op in ("gt", "gte", "lt", "lte", "within_last_days") else "x"
    )
    request = call("POST", "/v1/x", body="some text")
    if not path.startswith("$"):
        needs_none = op in ("exists", "not_exists")
        assert judge(request, path, op, None if needs_none else value, is_certain=True) is None


@pytest.mark.parametrize(
    ("body", "op", "value", "expected"),
    [
        ({"a": 1.0}, "eq", 1, (False, True)),
        ({"a": 1000.0}, "in", ["1000"], (False, True)),
        ({"a": "bad\u200b"}, "eq", "bad", (False, True)),
        ({"a": True}, "eq", 1, (False, False)),
        ({"a": [["bad"]]}, "eq", "bad", (False, True)),
        ({"a": ["bad"]}, "neq", "bad", (False, False)),
        ({"a": ["x", "bad"]}, "not_contains", "bad", (False, True)),
        ({"a": []}, "neq", "bad", (True, True)),
        ({"a": {"bad": 1}}, "contains", "bad", (False, True)),
        ({"a": "пароль"}, "contains", "пароль", (True, True)),
        ({"a": "10 000"}, "gt", 5, (False, True)),
        ({"a": None}, "gt", 5, (False, True)),
        ({"a": "\uff11\uff10"}, "lt", 50, (False, True)),
        ({"a": ["a@own.example"]}, "domain_in", ["own.example"], (True, True)),
        ({"a": "<x@own.example>"}, "domain_in", ["own.example"], (True, True)),
        ({"a": "x@own.example.evil.test"}, "domain_in", ["own.example", ".own.example"], (False, False)),
        ({"a": "b@evil.test, a@own.example"}, "domain_in", ["own.example"], (False, True)),
        ({"a": "b@evil.test, a@own.example"}, "domain_not_in", ["own.example"], (False, True)),
        ({"a": "nobody"}, "domain_not_in", ["own.example"], (True, True)),
        ({"a": ""}, "domain_in", ["own.example"], (False, False)),
        ({"a": "2026-11-20 to 2026-11-21"}, "within_last_days", 7, (False, False)),
        ({"a": "2026-02-30"}, "within_last_days", 7, (False, False)),
    ],
)
def test_the_two_readings(body: Any, op: str, value: Any, expected: tuple[bool, bool]) -> None:
    assert both(body, op, value) == expected


def test_a_restricting_rule_steps_into_arrays_on_the_way() -> None:
    assert both({"a": [{"b": "bad"}]}, "eq", "bad", path="a.b") == (False, True)
    assert both([{"a": "bad"}], "eq", "bad") == (False, True)


def test_stepping_into_arrays_never_weakens_an_absence() -> None:
    """`not_exists` and negative operators keep what the path says word by word."""
    assert both({"a": [{"b": "bad"}]}, "not_exists", path="a.b") == (False, True)
    assert both({"a": [{"b": "bad"}]}, "neq", "bad", path="a.b") == (False, True)


def test_a_name_given_twice_holds_both_values() -> None:
    twice = "a=fine&a=bad"
    assert both(twice, "eq", "fine", headers=FORM) == (False, True)
    assert both(twice, "neq", "bad", headers=FORM) == (False, True)
    assert both(twice, "gte", 2, path="a.$count", headers=FORM) == (False, True)
    parts = [{"name": "a", "value": "fine"}, {"name": "a", "value": "bad"}]
    assert both({"_multipart": True, "subtype": "form-data", "parts": parts}, "eq", "bad") == (False, True)


def test_a_part_sent_as_bytes_is_read_when_it_is_an_argument() -> None:
    """Otherwise any argument could be hidden by encoding it."""
    part = {"name": "a", "data": "YmFk"}
    assert both({"_multipart": True, "subtype": "form-data", "parts": [part]}, "eq", "bad") == (True, True)


def test_a_part_that_is_a_file_cannot_be_judged_but_exists() -> None:
    part = {"name": "a", "filename": "x.bin", "data": "AAEC"}
    body = {"_multipart": True, "subtype": "form-data", "parts": [part]}
    assert both(body, "eq", "bad") == (None, None)
    assert both(body, "exists") == (None, True)
    assert both(body, "exists", path="b") == (False, False)


def test_what_may_be_hidden_is_undecidable_unless_it_is_already_found() -> None:
    assert both("a=1", "eq", 1) == (None, None)
    assert both("a=1", "not_exists") == (None, None)
    assert both("a=1", "lt", 1, path="a.$count") == (None, None)
    assert both({"_binary": True, "data": "AAEC"}, "contains", "x", path="$body") == (None, None)
    assert both({"_binary": True, "data": "AAEC"}, "gt", 1, path="$size") == (True, True)


def test_all_of_an_absent_body_is_absent() -> None:
    assert both(None, "exists", path="$body") == (False, False)
    assert both(None, "not_contains", "x", path="$body") == (True, True)
    assert both(None, "lt", 1, path="a.$count") == (True, True)


@pytest.mark.parametrize(
    ("text", "view", "tokens"),
    [
        ("a.b[2].c", "", ("a", "b", "[2]", "c")),
        ("$query.a[b].c", "$query", ()),
        ("$mail.attachments[*].name", "$mail", ("attachments", "[*]", "name")),
        ("$mailbox", "", ("$mailbox",)),
        ("$text", "$text", ()),
        ("$textual", "", ("$textual",)),
    ],
)
def test_paths_are_read_into_view_and_steps(text: str, view: str, tokens: tuple[str, ...]) -> None:
    path = compile_path(text)
    assert (path.view, path.tokens) == (view, tokens)
