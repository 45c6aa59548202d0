"""Bodies, sorted: what is a facet, what is a label, what only says how to save."""

import pytest

from agenthifive.errors import AppError
from agenthifive.policies.bodies import ON_CHANGE, ON_CREATE, agreed_version, read_policy_body, refuse
from agenthifive.policy.model import Problem


def test_members_are_sorted_by_what_they_are_for() -> None:
    body = {
        "enforcement": "report", "version": 3, "securityPreset": "strict", "agentId": "a", "status": "active",
        "timezone": "UTC", "discardEdits": True, "foo": 1, "timeWindows": None, "rateLimits": None,
    }  # fmt: skip
    asked = read_policy_body(body, ON_CHANGE)
    assert asked.facets == {"enforcement": "report", "rateLimits": None}
    assert dict(asked.document) == {**asked.facets, "version": 3, "securityPreset": "strict", "foo": 1}
    assert asked.read_only == {"agentId": "a", "status": "active"}
    assert (asked.tier, asked.timezone, asked.discards_edits, asked.version) == ("strict", "UTC", True, 3)
    assert asked.problems == ()


def test_a_tier_that_is_none_is_left_to_the_engine() -> None:
    assert read_policy_body({"securityPreset": ["strict"]}, ON_CHANGE).tier is None
    assert read_policy_body({"policyTier": {}}, ON_CREATE).tier is None


def test_a_zone_that_is_not_known_is_never_used() -> None:
    asked = read_policy_body({"timezone": "Mars/Olympus"}, ON_CREATE)
    assert asked.timezone is None
    assert [(problem.path, problem.code) for problem in asked.problems] == [("timezone", "timezone")]


def test_texts_that_cannot_be_stored_are_named_with_their_place() -> None:
    asked = read_policy_body({"rules": {"request": [{"label": "ok"}, {"label": "a\0"}]}}, ON_CHANGE)
    assert [(problem.path, problem.code) for problem in asked.problems] == [("rules.request[1].label", "type")]


@pytest.mark.parametrize("tag", ["", '"0"', '"01"', '"-1"', "W/", '"1', "١", '"99999999999999999999"'])
def test_entity_tags_are_versions_or_refused(tag: str) -> None:
    if tag == '"1':
        assert agreed_version(None, tag) == 1
        return
    with pytest.raises(AppError) as refused:
        agreed_version(None, tag)
    assert refused.value.code == "invalid_request"


def test_problems_stand_in_the_order_of_the_body() -> None:
    problems = [Problem(path, "type", "x") for path in ("b.c", "a[1].d", "z", "a[0]", "c")]
    error = refuse(problems, ("c", "a", "b"))
    assert error.fields is not None
    assert [field["path"] for field in error.fields] == ["c", "a[1].d", "a[0]", "b.c", "z"]
    assert "5 problems, the first at c: x" in error.message
