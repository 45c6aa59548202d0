"""Policies as code, at the server: all of them or none, and a second time nothing changes."""

from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.ids import new_id
from agenthifive.words import Role
from policies.stage import EVERYTHING, OPEN, Stage, paths_of

LARGE = {"label": "Large", "match": {"body": [{"path": "$size", "op": "gt", "value": 1}]}, "action": "deny"}
RULES = {"request": [LARGE, {"match": {}, "action": "allow"}], "response": []}


async def entry(stage: Stage, connection_id: str | None = None, **facets: Any) -> dict[str, Any]:
    pair = {"agentId": stage.here.agent_id, "connectionId": connection_id or await stage.add_connection()}
    return {**pair, "allowlists": EVERYTHING, **facets}


async def apply(stage: Stage, *entries: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    answer = await stage.post("/v1/policies/apply", {"policies": list(entries), **more})
    assert answer.status_code == 200, answer.text
    applied: list[dict[str, Any]] = answer.json()["policies"]
    return applied


async def test_what_is_not_there_is_created_and_what_is_there_becomes_what_the_entry_says(stage: Stage) -> None:
    saved = await stage.create(**OPEN, enforcement="report")
    changed, made = await apply(
        stage,
        await entry(stage, saved["connectionId"], defaultMode="read_write", rules=RULES),
        await entry(stage, timeWindows=None),
    )
    assert (changed["change"], changed["policyId"]) == ("updated", saved["id"])
    assert changed["before"]["enforcement"] == "report"
    now = await stage.read(saved)
    assert {name: now[name] for name in changed["after"]} == changed["after"]
    # what the entry leaves out takes its default, whatever it was
    assert (now["enforcement"], now["stepUpApproval"], now["version"]) == ("enforce", "risk_based", 2)
    assert (made["change"], made["before"]) == ("created", None)
    assert (await stage.read({"id": made["policyId"]}))["timeWindows"] == []
    [row] = await stage.audit(saved["id"], "policy_updated")
    assert set(row["metadata"]["changes"]) == {"enforcement", "stepUpApproval", "rules"}
    assert row["actor"] == stage.here.owner_id
    assert len(await stage.audit(made["policyId"], "policy_created")) == 1


async def test_the_second_time_nothing_changes(stage: Stage) -> None:
    entries = [await entry(stage, rules=RULES), await entry(stage, rateLimits={"maxRequestsPerHour": 3})]
    first = await apply(stage, *entries)
    before = await stage.counts()
    second = await apply(stage, *entries)
    assert [each["change"] for each in second] == ["unchanged", "unchanged"]
    assert [each["after"] for each in second] == [each["after"] for each in first]
    assert await stage.counts() == before
    assert (await stage.read({"id": first[0]["policyId"]}))["version"] == 1


async def test_rules_keep_their_ids_where_they_say_the_same(stage: Stage) -> None:
    written = await entry(stage, rules=RULES)
    [first] = await apply(stage, written)
    ids = [rule["id"] for rule in first["after"]["rules"]["request"]]
    grown = {**RULES, "request": [{"match": {"methods": ["GET"]}, "action": "deny"}, *RULES["request"], LARGE]}
    [second] = await apply(stage, {**written, "rules": grown})
    later = [rule["id"] for rule in second["after"]["rules"]["request"]]
    assert later[1:3] == ids
    assert len(set(later)) == 4


async def test_one_and_true_are_two_values(stage: Stage) -> None:
    def asking(value: Any) -> dict[str, Any]:
        body = [{"path": "flag", "op": "eq", "value": value}]
        return {"request": [{"id": "r", "match": {"body": body}, "action": "deny"}], "response": []}

    written = await entry(stage, rules=asking(1))
    await apply(stage, written)
    [changed] = await apply(stage, {**written, "rules": asking(True)})
    assert changed["change"] == "updated"
    [row] = await stage.audit(changed["policyId"], "policy_updated")
    assert "rules" in row["metadata"]["changes"]


async def test_a_dry_run_says_the_same_and_does_nothing(stage: Stage) -> None:
    saved = await stage.create(**OPEN)
    entries = [await entry(stage, saved["connectionId"], rules=RULES), await entry(stage)]
    before = await stage.counts()
    dry = await apply(stage, *entries, dryRun=True)
    assert await stage.counts() == before
    assert await stage.read(saved) == saved
    assert [each["change"] for each in dry] == ["updated", "created"]
    assert (dry[0]["policyId"], dry[1]["policyId"]) == (saved["id"], None)
    wet = await apply(stage, *entries)
    assert [(each["change"], each["before"]) for each in wet] == [(each["change"], each["before"]) for each in dry]


async def test_one_wrong_entry_stops_all_and_everything_wrong_is_named(stage: Stage) -> None:
    saved = await stage.create(**OPEN)
    before = await stage.counts()
    rule = {"match": {"urlPattern": "(?=x)"}, "action": "deny"}
    answer = await stage.post(
        "/v1/policies/apply",
        {
            "policies": [
                await entry(stage, saved["connectionId"]),
                await entry(stage, defaultMode="fast", rules={"request": [rule], "response": []}),
                {**await entry(stage), "agentId": new_id()},
                {"agentId": stage.here.agent_id},
            ]
        },
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_policy")
    assert answer.json()["error"].startswith("3 of 4 policies cannot be applied, so none was. policies[1]: ")
    assert paths_of(answer) == [
        ("policies[1].defaultMode", "enum"),
        ("policies[1].rules.request[0].match.urlPattern", "regex"),
        ("policies[2]", "not_found"),
        ("policies[3].connectionId", "required"),
        ("policies[3].allowlists", "required"),
    ]
    assert await stage.read(saved) == saved
    assert (await stage.counts())[0] == before[0]


@pytest.mark.parametrize("member", ["id", "version", "actionTemplateId", "securityPreset", "policyTier", "Rules"])
async def test_an_entry_holds_facets_and_nothing_else(stage: Stage, member: str) -> None:
    answer = await stage.post("/v1/policies/apply", {"policies": [{**await entry(stage), member: "strict"}]})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")


async def test_two_entries_for_one_pair_contradict_each_other(stage: Stage) -> None:
    one = await entry(stage)
    answer = await stage.post("/v1/policies/apply", {"policies": [one, one]})
    assert paths_of(answer) == [("policies[0].connectionId", "conflict"), ("policies[1].connectionId", "conflict")]


async def test_labels_stay_and_edits_are_marked(stage: Stage) -> None:
    connection_id = await stage.add_connection("notion")
    tier = await stage.create(connection_id, policyTier="standard")
    facets = {name: tier[name] for name in ("allowlists", "rules", "rateLimits", "defaultMode", "stepUpApproval")}
    [same] = await apply(stage, await entry(stage, connection_id, **facets))
    assert same["change"] == "unchanged"
    await apply(stage, await entry(stage, connection_id, **{**facets, "defaultMode": "custom"}))
    now = await stage.read(tier)
    assert (now["securityPreset"], now["actionTemplateId"]) == ("standard", tier["actionTemplateId"])
    assert (tier["customised"], now["customised"]) == (False, True)


async def test_a_policy_whose_stored_facets_went_bad_is_repaired(stage: Stage) -> None:
    saved = await stage.create(**OPEN)
    await stage.sql("UPDATE t_policies SET document = '{\"rules\": [1]}' WHERE id = %s", saved["id"])
    [applied] = await apply(stage, await entry(stage, saved["connectionId"], rules=RULES))
    assert applied["change"] == "updated"


async def test_a_workspace_applies_to_itself_only(stage: Stage) -> None:
    saved = await stage.create(**OPEN)
    body = {"policies": [await entry(stage, saved["connectionId"])]}
    foreign = await stage.post("/v1/policies/apply", body, stage.elsewhere.owner)
    assert (foreign.status_code, foreign.json()["code"]) == (404, "not_found")
    viewer = await stage.post("/v1/policies/apply", body, stage.here.people[Role.VIEWER])
    assert viewer.json()["code"] == "insufficient_role"
    assert await stage.read(saved) == saved


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "match", "action", "request", "response", "body"]), inner, max_size=4)
    ),
    max_leaves=8,
)
FACETS = st.dictionaries(st.sampled_from(["rules", "allowlists", "rateLimits", "timeWindows", "x"]), JUNK, max_size=3)


@settings(max_examples=60)
@given(facets=FACETS, number=st.integers(0, 1))
async def test_whatever_is_sent_is_answered(stage: Stage, pairs: list[Any], facets: Any, number: int) -> None:
    """Applied or tried: what is no policy is refused, never stumbled over."""
    for path, body in (
        ("apply", {"policies": [{**pairs[number], **facets}], "dryRun": True}),
        ("simulate", {**pairs[number], "draft": facets}),
    ):
        answer = await stage.post(f"/v1/policies/{path}", body)
        assert answer.status_code in (200, 400), (path, facets, answer.text)


@pytest_asyncio.fixture(scope="module")
async def pairs(stage: Stage) -> list[Any]:
    """One with a policy, one without."""
    found = [await entry(stage, (await stage.create(**OPEN, rules=RULES))["connectionId"]), await entry(stage)]
    return [{name: each[name] for name in ("agentId", "connectionId")} for each in found]
