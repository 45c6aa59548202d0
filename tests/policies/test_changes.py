"""What an audit row can hold of a change."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive import strict_json
from agenthifive.policies.changes import describe_changes

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def numbers_in(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in numbers_in(inner)]
    if isinstance(value, list):
        return [number for inner in value for number in numbers_in(inner)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


@settings(max_examples=40)
@given(JSON, JSON)
def test_changes_hold_whole_numbers_only_and_only_what_differs(before: Any, after: Any) -> None:
    changes = describe_changes({"facet": before, "same": after}, {"facet": after, "same": after})
    assert set(changes) == ({"facet"} if before != after else set())
    for number in numbers_in(changes):
        assert isinstance(number, int)
        assert abs(number) < 2**53


def test_what_is_long_is_recorded_by_hash_and_counts() -> None:
    rules = {"request": [{"label": "x" * 90}] * 100, "response": []}
    changes = describe_changes(
        {"rules": rules, "list": []}, {"rules": {**rules, "response": [1]}, "list": ["y" * 9000]}
    )
    assert changes["rules"]["after"] == {**changes["rules"]["after"], "request": 100, "response": 1}
    assert changes["rules"]["before"]["sha256"] != changes["rules"]["after"]["sha256"]
    assert changes["list"]["after"]["entries"] == 1
    assert len(strict_json.dumps(changes)) < 1000
