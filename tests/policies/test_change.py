"""PUT and DELETE: round trip, versions, all or nothing, tiers over edits, and what the audit log says."""

import asyncio
from typing import Any

import pytest

from agenthifive import strict_json
from agenthifive.ids import new_id
from policies.stage import BASE, EVERYTHING, OPEN, Stage, codes_of, paths_of

RULES = {
    "request": [
        {"label": "Archiving", "match": {"methods": ["PATCH"], "body": [{"path": "n", "op": "gt", "value": 1.5},
            {"path": "a", "op": "eq", "value": True}]}, "action": "deny"},
        {"label": "Zürich \u2028 €", "match": {"urlPattern": r"^/v1/\D+$"}, "action": "allow", "guard": "x"},
        {"match": {}, "action": "require_approval"},
    ],
    "response": [{"label": "No people", "match": {}, "filter": {"denyFields": ["created_by"]}}],
}  # fmt: skip
WINDOW = {"dayOfWeek": 1, "startHour": 9, "endHour": 17, "timezone": "Europe/Berlin"}


def url(policy: dict[str, Any], tail: str = "") -> str:
    return f"/v1/policies/{policy['id']}{tail}"


async def test_what_get_returns_put_accepts_and_nothing_changes_but_version_and_time(stage: Stage) -> None:
    policy = await stage.create(**OPEN, rules=RULES, timeWindows=[WINDOW], rateLimits={"maxRequestsPerHour": 9})
    before = await stage.client.get(url(policy), headers=stage.here.owner)
    assert before.headers["etag"] == '"1"'
    read = before.json()["policy"]
    answer = await stage.put(url(policy), read)
    assert answer.status_code == 200, answer.text
    changed = {name for name, value in answer.json()["policy"].items() if value != read[name]}
    assert {"version"} <= changed <= {"version", "updatedAt"}
    assert (answer.json()["policy"]["version"], answer.headers["etag"]) == (2, '"2"')
    rules = strict_json.dumps(read["rules"])
    for path in (url(policy), url(policy, "/rules")):
        after = await stage.get(path)
        assert b'"rules":' + rules in after.content
    assert b'"rules":' + rules in before.content


async def test_a_round_trip_of_a_tier_keeps_it_as_it_is(stage: Stage) -> None:
    connection_id = await stage.add_connection("notion")
    policy = await stage.create(connection_id, policyTier="strict", timezone="Europe/Paris")
    answer = await stage.put(url(policy), policy)
    kept = answer.json()["policy"]
    assert (kept["rules"], kept["timeWindows"]) == (policy["rules"], policy["timeWindows"])
    assert (kept["customised"], kept["securityPreset"]) == (False, "strict")


async def test_rule_ids_are_kept_and_given_to_new_rules(stage: Stage) -> None:
    policy = await stage.create(**OPEN, rules=RULES)
    first = policy["rules"]["request"][0]
    sent = {"request": [{"match": {}, "action": "deny", "label": "New"}, first], "response": []}
    answer = await stage.put(url(policy), {"rules": sent})
    new, kept = answer.json()["policy"]["rules"]["request"]
    assert kept == first
    assert new["id"] not in ("", first["id"])


async def test_members_left_out_stay(stage: Stage) -> None:
    policy = await stage.create(**OPEN, rules=RULES)
    answer = await stage.put(url(policy), {"version": 1, "stepUpApproval": "always"})
    expected = {**policy, "stepUpApproval": "always", "version": 2, "customised": True}
    assert {**answer.json()["policy"], "updatedAt": policy["updatedAt"]} == expected


@pytest.mark.parametrize("where", ["body", "header"])
async def test_a_stale_version_changes_nothing_and_says_the_current_one(stage: Stage, where: str) -> None:
    policy = await stage.create(**OPEN)
    assert (await stage.put(url(policy), {"version": 1, "stepUpApproval": "always"})).status_code == 200
    body, headers = ({"version": 1}, {}) if where == "body" else ({}, {"if-match": '"1"'})
    answer = await stage.put(url(policy), {**body, "stepUpApproval": "never"}, **headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "version_conflict")
    assert answer.json()["currentVersion"] == 2
    assert (await stage.read(policy))["stepUpApproval"] == "always"


@pytest.mark.parametrize(
    ("body", "if_match", "status"),
    [
        ({}, '"1"', 200),
        ({}, "1", 200),
        ({}, 'W/"1"', 200),
        ({}, "*", 200),
        ({"version": 1}, '"1"', 200),
        ({"version": 2}, '"1"', 400),
        ({}, '"1", "2"', 400),
        ({}, "abc", 400),
        ({}, '"2"', 409),
        ({"version": "1"}, "*", 400),
        ({"version": 0}, "*", 400),
        ({"version": True}, "*", 400),
    ],
)
async def test_how_a_version_may_be_named(stage: Stage, body: dict[str, Any], if_match: str, status: int) -> None:
    policy = await stage.create(**OPEN)
    answer = await stage.put(url(policy), body, **{"if-match": if_match})
    assert answer.status_code == status, answer.text


async def test_of_parallel_puts_with_one_version_exactly_one_wins(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    limits = [{"version": 1, "rateLimits": {"maxRequestsPerHour": number}} for number in (1, 2, 3, 4)]
    answers = await asyncio.gather(*(stage.put(url(policy), body) for body in limits))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert {a.json()["currentVersion"] for a in answers if a.status_code == 409} == {2}
    (winner,) = [answer.json()["policy"]["rateLimits"] for answer in answers if answer.status_code == 200]
    assert (await stage.read(policy))["rateLimits"] == winner
    assert len(await stage.audit(policy["id"], "policy_updated")) == 1


async def test_parallel_changes_of_different_facets_without_version_both_stay(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    bodies = [{"stepUpApproval": "always"}, {"timeWindows": [WINDOW]}, {"enforcement": "report"}]
    answers = await asyncio.gather(*(stage.put(url(policy), body) for body in bodies))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    after = await stage.read(policy)
    assert (after["version"], after["stepUpApproval"], after["enforcement"]) == (4, "always", "report")
    assert len(after["timeWindows"]) == 1


async def test_a_change_and_the_end_of_its_connection_do_not_wait_in_a_circle(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    async with stage.database.transaction() as connection:
        values = [policy["connectionId"]]
        await connection.execute("UPDATE t_connections SET status = 'revoked' WHERE id = %s", values)
        change = asyncio.create_task(stage.put(url(policy), {"enforcement": "report"}))
        while not await stage.sql("SELECT pid FROM pg_locks WHERE NOT granted") and not change.done():
            await asyncio.sleep(0)
        await connection.execute("UPDATE t_policies SET status = 'revoked' WHERE connection_id = %s", values)
    assert (await change).status_code == 404


async def test_a_valid_facet_beside_an_invalid_one_is_not_saved(stage: Stage) -> None:
    policy = await stage.create(**OPEN, rules=RULES)
    body = {"allowlists": [], "rules": {"request": [{"match": {"urlPattern": "(a"}, "action": "deny"}], "response": []}}
    answer = await stage.put(url(policy), body)
    assert (answer.status_code, paths_of(answer)) == (400, [("rules.request[0].match.urlPattern", "regex")])
    assert await stage.read(policy) == policy
    assert await stage.audit(policy["id"], "policy_updated") == []


async def test_validation_comes_before_the_version(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    answer = await stage.put(url(policy), {"version": 9, "priority": 1})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")


@pytest.mark.parametrize(
    ("name", "value"),
    [("id", new_id()), ("agentId", new_id()), ("status", "revoked"), ("customised", True), ("connectionLabel", "x"),
     ("createdAt", "2020-01-01T00:00:00.000Z")],
)  # fmt: skip
async def test_read_only_members_may_be_sent_back_but_not_changed(stage: Stage, name: str, value: Any) -> None:
    policy = await stage.create(**OPEN)
    answer = await stage.put(url(policy), {name: value})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert [field["path"] for field in answer.json()["fields"]] == [name]
    assert (await stage.put(url(policy), {name: policy[name]})).status_code == 200


async def test_models_and_static_credentials_are_judged_together(stage: Stage) -> None:
    policy = await stage.create(allowedModels=["A", "B"], vendStaticCredentials=True)
    answer = await stage.put(url(policy), {"vendStaticCredentials": False})
    assert (answer.status_code, answer.json()["code"]) == (400, "model_not_supported")
    assert (await stage.put(url(policy), {"allowedModels": ["A"]})).status_code == 200


# ---------------------------------------------------------------------- routes of one facet


@pytest.mark.parametrize(
    ("route", "facet", "value"),
    [
        ("allowlists", "allowlists", []),
        ("rate-limits", "rateLimits", {"maxRequestsPerHour": 7}),
        ("time-windows", "timeWindows", [{**WINDOW, "startMinute": 0, "endMinute": 0}]),
        ("provider-constraints", "providerConstraints", None),
    ],
)
async def test_a_facet_is_saved_under_its_own_key(stage: Stage, route: str, facet: str, value: Any) -> None:
    policy = await stage.create(**OPEN, rules=RULES)
    answer = await stage.put(url(policy, f"/{route}"), {facet: value, "version": 1})
    assert answer.status_code == 200, answer.text
    assert answer.json()["policy"][facet] == value
    assert (await stage.read(policy))["rules"] == policy["rules"]
    (row,) = await stage.audit(policy["id"], "policy_updated")
    assert (row["metadata"]["change"], row["metadata"]["version"]) == (facet, 2)
    stale = await stage.put(url(policy, f"/{route}"), {facet: value, "version": 1})
    assert (stale.status_code, stale.json()["currentVersion"]) == (409, 2)
    assert (await stage.put(url(policy, f"/{route}"), {facet: value}, **{"if-match": '"1"'})).status_code == 409


async def test_rules_are_read_back_complete(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    answer = await stage.put(url(policy, "/rules"), {"rules": {**RULES, "fieldStepUpEnabled": True}})
    assert codes_of(answer) == set()
    read = await stage.get(url(policy, "/rules"))
    assert read.json() == {"rules": answer.json()["policy"]["rules"]}
    assert read.json()["rules"]["fieldStepUpEnabled"] is True
    assert [rule.get("label") for rule in read.json()["rules"]["request"]] == ["Archiving", "Zürich \u2028 €", None]


@pytest.mark.parametrize("bare", [True, False])
async def test_constraints_are_taken_bare_or_under_their_key(stage: Stage, bare: bool) -> None:
    policy = await stage.create(await stage.add_connection("telegram"))

    async def save(value: Any) -> Any:
        body = strict_json.dumps(value if bare else {"providerConstraints": value})
        headers = {**stage.here.owner, "content-type": "application/json"}
        return await stage.client.put(url(policy, "/provider-constraints"), content=body, headers=headers)

    constraint = {"provider": "telegram", "allowedChatIds": ["5"]}
    assert (await save(constraint)).json()["policy"]["providerConstraints"] == constraint
    foreign = await save({"provider": "slack"})
    assert (foreign.status_code, foreign.json()["code"]) == (400, "provider_mismatch")
    empty = await save({})
    assert paths_of(empty) == [("providerConstraints.provider", "required")]
    assert (await save(None)).json()["policy"]["providerConstraints"] is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_policy"),
        ({"allowlists": None}, "invalid_policy"),
        ({"allowlists": [], "rules": {"request": [], "response": []}}, "unknown_field"),
        ({"allowlists": [], "agentId": "x"}, "unknown_field"),
        ({"allowlists": {}}, "invalid_policy"),
    ],
)
async def test_a_facet_route_takes_its_facet_and_nothing_else(stage: Stage, body: dict[str, Any], code: str) -> None:
    policy = await stage.create(**OPEN)
    answer = await stage.put(url(policy, "/allowlists"), body)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert await stage.read(policy) == policy


# ---------------------------------------------------------------------- tiers


async def test_another_tier_replaces_its_facets_and_leaves_constraints_and_models(stage: Stage) -> None:
    constraint = {"provider": "telegram", "allowedChatIds": ["5"]}
    policy = await stage.create(
        await stage.add_connection("telegram"), policyTier="strict", timezone="UTC", providerConstraints=constraint,
        allowedModels=["A", "B"], vendStaticCredentials=True, enforcement="report",
    )  # fmt: skip
    answer = await stage.put(url(policy), {"version": 1, "securityPreset": "minimal"})
    after = answer.json()["policy"]
    assert (after["securityPreset"], after["actionTemplateId"]) == ("minimal", "telegram")
    assert (after["rateLimits"]["maxRequestsPerHour"], after["timeWindows"]) == (1000, [])
    assert (after["stepUpApproval"], after["customised"]) == ("never", False)
    assert after["providerConstraints"] == constraint
    assert (after["allowedModels"], after["enforcement"]) == (["A", "B"], "report")


async def test_a_tier_is_applied_even_when_all_facets_come_back_unchanged_beside_it(stage: Stage) -> None:
    """A client that reads a policy, picks another tier and sends everything means the tier."""
    policy = await stage.create(await stage.add_connection("notion"), policyTier="minimal")
    answer = await stage.put(url(policy), {**policy, "securityPreset": "strict"})
    after = answer.json()["policy"]
    assert (after["securityPreset"], after["stepUpApproval"]) == ("strict", "always")
    assert after["rateLimits"]["maxRequestsPerHour"] == 50


async def test_facets_edited_beside_a_tier_replace_those_of_the_tier(stage: Stage) -> None:
    policy = await stage.create(await stage.add_connection("notion"), policyTier="minimal")
    limits = {"maxRequestsPerHour": 3}
    answer = await stage.put(url(policy), {**policy, "securityPreset": "strict", "rateLimits": limits})
    after = answer.json()["policy"]
    assert (after["rateLimits"], after["stepUpApproval"], after["customised"]) == (limits, "always", True)


async def test_edits_by_hand_are_not_discarded_unasked(stage: Stage) -> None:
    policy = await stage.create(await stage.add_connection("notion"), policyTier="standard")
    assert policy["customised"] is False
    edited = (await stage.put(url(policy, "/rate-limits"), {"rateLimits": {"maxRequestsPerHour": 1}})).json()["policy"]
    assert (edited["customised"], edited["securityPreset"]) == (True, "standard")
    for tier in ("standard", "strict"):
        refused = await stage.put(url(policy), {"securityPreset": tier})
        assert (refused.status_code, refused.json()["code"]) == (409, "would_discard_edits")
    assert (await stage.read(policy))["version"] == 2
    answer = await stage.put(url(policy), {"securityPreset": "standard", "discardEdits": True, "timezone": "UTC"})
    after = answer.json()["policy"]
    assert (after["customised"], after["rateLimits"]) == (False, policy["rateLimits"])
    assert {window["timezone"] for window in after["timeWindows"]} == {"UTC"}


async def test_what_no_tier_writes_does_not_count_as_an_edit(stage: Stage) -> None:
    policy = await stage.create(await stage.add_connection("notion"), policyTier="standard")
    answer = await stage.put(url(policy), {"enforcement": "report"})
    assert answer.json()["policy"]["customised"] is False


async def test_a_tier_needs_a_template_of_the_service(stage: Stage) -> None:
    policy = await stage.create(await stage.add_connection("notion"))
    answer = await stage.put(url(policy), {"securityPreset": "strict", "actionTemplateId": "gmail-read"})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_template")
    answer = await stage.put(url(policy), {"securityPreset": "strict", "actionTemplateId": "notion-manage"})
    assert answer.json()["policy"]["actionTemplateId"] == "notion-manage"


async def test_policies_of_the_original_keep_their_meaning(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    response = [{"label": "Strip contact PII fields", "match": {}, "filter": {"denyFields": ["emailAddresses"]}}]
    answer = await stage.put(url(policy, "/rules"), {"rules": {"request": [], "response": response}})
    assert answer.json()["policy"]["rules"]["response"][0]["relaxWhen"] == ["full_fields"]


# ---------------------------------------------------------------------- audit


async def test_the_audit_row_holds_every_changed_facet_before_and_after(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    await stage.put(url(policy), {"enforcement": "report", "rateLimits": {"maxRequestsPerHour": 5}, "rules": RULES})
    (row,) = await stage.audit(policy["id"], "policy_updated")
    metadata = row["metadata"]
    assert set(metadata) == {"policyId", "change", "changes", "version"}
    assert (metadata["policyId"], metadata["change"], metadata["version"]) == (policy["id"], "policy", 2)
    assert set(metadata["changes"]) == {"enforcement", "rateLimits", "rules"}
    assert metadata["changes"]["enforcement"] == {"before": "enforce", "after": "report"}
    assert metadata["changes"]["rateLimits"] == {"before": None, "after": {"maxRequestsPerHour": 5}}
    deny = metadata["changes"]["rules"]["after"]["request"][0]
    assert deny["match"]["body"][0]["value"] == "1.5"
    assert (row["agent_id"], row["connection_id"]) == (policy["agentId"], policy["connectionId"])


async def test_long_rules_are_recorded_by_hash_and_counts(stage: Stage) -> None:
    rules = [{"label": f"R{n}", "match": {"urlPattern": "a" * 100}, "action": "deny"} for n in range(100)]
    policy = await stage.create(**OPEN)
    await stage.put(url(policy), {"rules": {"request": rules, "response": []}})
    (row,) = await stage.audit(policy["id"], "policy_updated")
    before, after = (row["metadata"]["changes"]["rules"][side] for side in ("before", "after"))
    assert (before["request"], after["request"], after["response"]) == (0, 100, 0)
    assert len(after["sha256"]) == 64
    assert "_cut" not in row["metadata"]


async def test_a_put_that_changes_nothing_is_recorded_without_changes(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    await stage.put(url(policy), {})
    (row,) = await stage.audit(policy["id"], "policy_updated")
    assert row["metadata"]["changes"] == {}


async def test_a_policy_whose_stored_facets_went_bad_is_repaired_by_naming_them(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    await stage.sql(
        "UPDATE t_policies SET document = jsonb_set(document, '{allowlists,0,baseUrl}', '\"https://gone.test\"')"
        " WHERE id = %s",
        policy["id"],
    )
    refused = await stage.put(url(policy), {"enforcement": "report"})
    assert paths_of(refused) == [("allowlists[0].baseUrl", "host")]
    assert (await stage.put(url(policy), {"allowlists": EVERYTHING})).status_code == 200
    assert (await stage.read(policy))["allowlists"][0]["baseUrl"] == BASE
