"""POST /v1/policies: what a new policy holds, and what is refused before anything is stored."""

import asyncio
from typing import Any

import pytest

from agenthifive.ids import new_id
from policies.stage import BASE, EVERYTHING, Stage, codes_of, paths_of

NOTION = {"baseUrl": "https://api.notion.com", "methods": ["GET"], "pathPatterns": ["/v1/pages/*"]}
UNSTORABLE = {"request": [{"label": "a\0b", "match": {}, "action": "deny"}], "response": []}
MEMBERS = {
    "id", "agentId", "connectionId", "connectionLabel", "connectionProvider", "connectionService", "status", "version",
    "createdAt", "updatedAt", "actionTemplateId", "securityPreset", "customised", "enforcement", "allowedModels",
    "vendStaticCredentials", "defaultMode", "stepUpApproval", "allowlists", "rateLimits", "timeWindows", "rules",
    "providerConstraints",
}  # fmt: skip


async def ask(stage: Stage, connection_id: str, **body: Any) -> Any:
    return await stage.post("/v1/policies", {"agentId": stage.here.agent_id, "connectionId": connection_id, **body})


async def test_without_facets_a_policy_has_the_catalog_allowlist_and_closed_defaults(stage: Stage) -> None:
    policy = await stage.create(await stage.add_connection("notion"))
    assert set(policy) == MEMBERS
    assert {entry["baseUrl"] for entry in policy["allowlists"]} == {"https://api.notion.com"}
    assert (policy["defaultMode"], policy["stepUpApproval"], policy["enforcement"]) == (
        "read_only", "risk_based", "enforce",
    )  # fmt: skip
    assert policy["rules"] == {"request": [], "response": [], "fieldStepUpEnabled": False}
    assert (policy["rateLimits"], policy["timeWindows"], policy["providerConstraints"]) == (None, [], None)
    assert (policy["version"], policy["customised"], policy["status"]) == (1, False, "active")
    assert await stage.read(policy) == policy


async def test_an_audit_row_names_policy_agent_connection_and_labels(stage: Stage) -> None:
    policy = await stage.create(enforcement="report", allowlists=EVERYTHING)
    (row,) = await stage.audit(policy["id"])
    assert (row["action"], row["decision"], row["actor"]) == ("policy_created", "allowed", stage.here.owner_id)
    assert (row["agent_id"], row["connection_id"]) == (policy["agentId"], policy["connectionId"])
    assert row["metadata"] == {
        "policyId": policy["id"], "actionTemplateId": None, "securityPreset": None, "enforcement": "report",
    }  # fmt: skip


@pytest.mark.parametrize("member", ["policyTier", "securityPreset"])
async def test_a_tier_writes_its_facets_and_names_itself(stage: Stage, member: str) -> None:
    body = {member: "strict", "actionTemplateId": "notion-manage", "timezone": "Europe/Berlin"}
    policy = await stage.create(await stage.add_connection("notion"), **body)
    assert (policy["actionTemplateId"], policy["securityPreset"]) == ("notion-manage", "strict")
    assert policy["customised"] is False
    assert {window["timezone"] for window in policy["timeWindows"]} == {"Europe/Berlin"}
    assert policy["rateLimits"]["maxRequestsPerHour"] == 25
    ids = [rule["id"] for side in ("request", "response") for rule in policy["rules"][side]]
    assert len(set(ids)) == len(ids) > 3


async def test_without_a_timezone_a_tier_has_no_windows(stage: Stage) -> None:
    policy = await stage.create(await stage.add_connection("notion"), policyTier="strict")
    assert policy["timeWindows"] == []


async def test_facets_in_the_body_replace_those_of_the_tier(stage: Stage) -> None:
    policy = await stage.create(
        await stage.add_connection("notion"), policyTier="standard", allowlists=[NOTION], rateLimits=None
    )
    assert policy["allowlists"] == [{**NOTION, "encodedSlash": False}]
    assert policy["rateLimits"] is None
    assert policy["rules"]["request"]
    assert policy["customised"] is True


@pytest.mark.parametrize(
    ("service", "scopes", "template"),
    [
        ("google-gmail", ("https://www.googleapis.com/auth/gmail.readonly", "openid"), "gmail-read"),
        (
            "google-gmail",
            ("https://www.googleapis.com/auth/gmail.modify", "https://www.googleapis.com/auth/gmail.compose"),
            "gmail-manage",
        ),
        ("google-gmail", (), "gmail-read"),
        ("trello", ("read", "write"), "trello-manage"),
        ("trello", ("read",), "trello-read"),
        ("openai", (), "openai"),
        ("stripe", (), "stripe-read"),
    ],
)
async def test_the_template_follows_what_was_granted(
    stage: Stage, service: str, scopes: tuple[str, ...], template: str
) -> None:
    connection_id = await stage.add_connection(service, scopes=scopes)
    policy = await stage.create(connection_id, policyTier="minimal")
    assert policy["actionTemplateId"] == template


async def test_jira_gets_the_site_of_the_connection(stage: Stage) -> None:
    connection_id = await stage.add_connection("jira", params={"siteUrl": "acme.atlassian.net"})
    policy = await stage.create(connection_id, policyTier="standard")
    assert {entry["baseUrl"] for entry in policy["allowlists"]} == {"https://acme.atlassian.net"}


async def test_services_without_preset_data_take_the_generic_tiers(stage: Stage) -> None:
    policy = await stage.create(
        await stage.add_connection("stripe"), policyTier="strict", actionTemplateId="stripe-manage"
    )
    (deny,) = policy["rules"]["request"]
    assert (deny["action"], deny["match"]) == ("deny", {"methods": ["DELETE"]})
    assert policy["rateLimits"]["maxRequestsPerHour"] == 25


async def test_one_active_policy_per_agent_and_connection(stage: Stage) -> None:
    policy = await stage.create()
    answer = await ask(stage, policy["connectionId"])
    assert (answer.status_code, answer.json()["code"]) == (409, "policy_exists")
    assert answer.json()["policyId"] == policy["id"]


async def test_of_two_creations_at_once_one_wins(stage: Stage) -> None:
    connection_id = await stage.add_connection()
    answers = await asyncio.gather(*(ask(stage, connection_id) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    (winner,) = [answer.json()["policy"]["id"] for answer in answers if answer.status_code == 201]
    assert {answer.json()["policyId"] for answer in answers if answer.status_code == 409} == {winner}


async def test_everything_wrong_is_reported_at_once_in_the_order_of_the_body(stage: Stage) -> None:
    answer = await ask(
        stage,
        await stage.add_connection(),
        rules={"request": [{"match": {"urlPattern": "(?=x)"}, "action": "block"}], "response": []},
        timezone="Mars/Olympus",
        allowlists=[{"baseUrl": "http://evil.test", "methods": ["TRACE"], "pathPatterns": ["x"]}],
        priority=1,
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_policy")
    assert paths_of(answer) == [
        ("rules.request[0].match.urlPattern", "regex"),
        ("rules.request[0].action", "enum"),
        ("timezone", "timezone"),
        ("allowlists[0].baseUrl", "scheme"),
        ("allowlists[0].methods", "enum"),
        ("allowlists[0].pathPatterns[0]", "glob"),
        ("priority", "unknown_field"),
    ]
    assert "7 problems" in answer.json()["error"]
    assert "rules.request[0].match.urlPattern" in answer.json()["error"]


async def test_more_than_twenty_problems_are_all_named(stage: Stage) -> None:
    rules = [{"match": {}, "action": "block"}] * 30
    answer = await ask(stage, await stage.add_connection(), rules={"request": rules, "response": []})
    assert len(answer.json()["fields"]) == 30


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"priority": 1}, "unknown_field"),
        ({"priority": None}, "unknown_field"),
        ({"discardEdits": True}, "unknown_field"),
        ({"providerConstraints": {"provider": "slack"}}, "provider_mismatch"),
        ({"allowedModels": ["A"]}, "model_not_supported"),
        ({"policyTier": "relaxed"}, "invalid_policy"),
        ({"securityPreset": ["strict"]}, "invalid_policy"),
        ({"policyTier": "strict", "securityPreset": "minimal"}, "invalid_policy"),
        ({"actionTemplateId": 7}, "invalid_policy"),
        ({"actionTemplateId": "gmail-read"}, "unknown_template"),
        ({"policyTier": "strict", "actionTemplateId": "no-such"}, "unknown_template"),
        ({"rules": UNSTORABLE}, "invalid_policy"),
        ({"id": "x"}, "invalid_request"),
        ({"version": 1}, "invalid_request"),
        ({"customised": True}, "invalid_request"),
        ({"status": "active"}, "invalid_request"),
    ],
)  # fmt: skip
async def test_single_faults_have_their_own_code_and_store_nothing(
    stage: Stage, body: dict[str, Any], code: str
) -> None:
    connection_id = await stage.add_connection()
    answer = await ask(stage, connection_id, **body)
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    listed = await stage.get("/v1/policies", connectionId=connection_id)
    assert listed.json() == {"policies": []}


@pytest.mark.parametrize("missing", ["agentId", "connectionId"])
async def test_agent_and_connection_must_be_named(stage: Stage, missing: str) -> None:
    body = {"agentId": stage.here.agent_id, "connectionId": await stage.add_connection()}
    del body[missing]
    answer = await stage.post("/v1/policies", body)
    assert (answer.status_code, paths_of(answer)) == (400, [(missing, "required")])


async def test_null_means_absent_but_clears_limits_and_constraints(stage: Stage) -> None:
    policy = await stage.create(
        policyTier=None, timezone=None, rules=None, enforcement=None, actionTemplateId=None, rateLimits=None,
        providerConstraints=None, id=None,
    )  # fmt: skip
    assert policy["enforcement"] == "enforce"
    assert policy["rateLimits"] is None


async def test_foreign_malformed_and_unknown_ids_are_the_same_404(stage: Stage) -> None:
    connection_id, foreign = await stage.add_connection(), await stage.add_connection(workspace=stage.elsewhere)
    texts = set()
    for agent in (stage.elsewhere.agent_id, new_id(), "x", stage.here.agent_id.upper()):
        answer = await stage.post("/v1/policies", {"agentId": agent, "connectionId": connection_id})
        assert answer.status_code == 404
        texts.add(answer.text)
    assert len(texts) == 1
    for place in (foreign, new_id(), "x"):
        answer = await ask(stage, place)
        assert answer.status_code == 404
        texts.add(answer.text)
    assert len(texts) == 2


async def test_a_revoked_connection_takes_no_policy(stage: Stage) -> None:
    answer = await ask(stage, await stage.add_connection(status="revoked"))
    assert (answer.status_code, answer.json()["code"]) == (409, "connection_revoked")


async def test_a_service_the_catalog_lost_is_said_plainly(stage: Stage) -> None:
    connection_id = await stage.add_connection()
    await stage.sql("UPDATE t_connections SET service = 'bygone' WHERE id = %s", connection_id)
    answer = await ask(stage, connection_id)
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_service")


async def test_an_entry_outside_the_binding_is_saved_with_a_warning(stage: Stage) -> None:
    entry = {"baseUrl": "https://api.notion.com", "methods": ["GET"], "pathPatterns": ["/**"]}
    answer = await ask(stage, await stage.add_connection("notion"), allowlists=[entry])
    assert answer.status_code == 201
    assert "outside_binding" in codes_of(answer)


async def test_warnings_of_the_engine_come_with_the_answer(stage: Stage) -> None:
    rules = {"request": [{"label": "W", "match": {"methods": ["PUT"]}, "action": "allow"}], "response": []}
    allowlists = [{"baseUrl": BASE, "methods": ["GET"], "pathPatterns": ["/**"]}]
    answer = await ask(stage, await stage.add_connection(), allowlists=allowlists, rules=rules, enforcement="report")
    assert {"no_catch_all", "method_never_listed", "report_mode"} <= codes_of(answer)


async def test_an_empty_constraint_list_is_stored_as_absent_with_a_warning(stage: Stage) -> None:
    answer = await ask(
        stage,
        await stage.add_connection("telegram"),
        providerConstraints={"provider": "telegram", "allowedChatIds": []},
    )
    assert answer.json()["policy"]["providerConstraints"] == {"provider": "telegram"}
    assert "constraint_without_effect" in codes_of(answer)
