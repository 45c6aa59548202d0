"""Drafts tried on calls a running broker decided and recorded: what changes, and that trying leaves no trace."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.db.database import Database
from agenthifive.errors import AppError
from agenthifive.ids import new_id, wire_time
from agenthifive.policies.explain import Explainer, Question
from agenthifive.policies.simulate import Simulator, Trial
from policies.stage import OPEN, Stage
from world import HOST, Bot, World, make_world


def rules(*request: dict[str, Any]) -> dict[str, Any]:
    return {"request": list(request), "response": []}


DELETION = {"id": "r0", "label": "Deletion", "match": {"methods": ["DELETE"]}, "action": "deny"}
NOTES = {"id": "r1", "label": "Notes", "match": {"urlPattern": "^/notes"}, "action": "require_approval"}
ARCHIVING = {
    "id": "r2", "label": "Archiving", "match": {"body": [{"path": "archived", "op": "eq", "value": True}]},
    "action": "deny",
}  # fmt: skip
SAVED = rules(DELETION, NOTES)


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    async with make_world(database, instance, admin_dsn) as made:
        yield made


@pytest_asyncio.fixture(scope="module")
async def bot(world: World) -> Bot:
    """An agent that called: sent, denied, held, sent with a body, and refused for reasons of no policy."""
    bot = await world.ready(rules=SAVED)
    assert (await bot.execute("/v1/x")).status_code == 200
    assert (await bot.execute("/v1/x", "DELETE")).json()["code"] == "rule_denied"
    assert (await bot.execute("/notes/1")).json()["code"] == "approval_required"
    assert (await bot.execute("/v1/x", "POST", body={"archived": True})).status_code == 200
    assert (await bot.execute("/a/../b")).json()["code"] == "invalid_url"
    assert (await bot.execute("/v1/y?a=1")).status_code == 200
    return bot


async def simulate(world: World, bot: Bot, draft: dict[str, Any], **trial: Any) -> dict[str, Any]:
    if "policy_id" not in trial:
        trial |= {"agent_id": bot.agent_id, "connection_id": bot.connection_id}
    return await Simulator(world.database, world.catalog).simulate(Trial(world.workspace_id, draft, **trial))


def calls_of(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(result["method"], result["path"]) for result in answer["results"]]


async def test_the_policy_as_it_is_changes_nothing(world: World, bot: Bot) -> None:
    answer = await simulate(world, bot, {}, policy_id=bot.policy_id)
    assert answer == {
        "summary": {"calls": 5, "same": 5, "newlyDenied": 0, "newlyHeld": 0, "newlyAllowed": 0, "undetermined": 0},
        "results": [],
    }


async def test_what_changes_is_listed_newest_first_with_both_decisions(world: World, bot: Bot) -> None:
    deny = {**NOTES, "label": "No notes", "action": "deny"}
    hold = {"id": "r3", "label": "Everything else", "match": {}, "action": "require_approval"}
    answer = await simulate(world, bot, {"rules": rules(deny, hold)})
    summary = {"calls": 5, "same": 0, "newlyDenied": 1, "newlyHeld": 4, "newlyAllowed": 0, "undetermined": 0}
    assert answer["summary"] == summary
    assert calls_of(answer) == [
        ("GET", "/v1/y"), ("POST", "/v1/x"), ("GET", "/notes/1"), ("DELETE", "/v1/x"), ("GET", "/v1/x"),
    ]  # fmt: skip
    notes = answer["results"][2]
    assert notes["before"] == {"decision": "require_approval", "code": "rule_approval", "rule": "Notes"}
    assert notes["after"] == {"decision": "deny", "code": "rule_denied", "rule": "No notes"}
    assert answer["results"][3]["before"] == {"decision": "deny", "code": "rule_denied", "rule": "Deletion"}
    assert answer["results"][0]["before"] == {"decision": "allow", "code": "no_rule", "rule": None}
    row = (await world.rows(notes["auditId"]))[0]
    assert (row["metadata"]["path"], datetime.fromisoformat(row["timestamp"])) == (
        "/notes/1", datetime.fromisoformat(notes["at"]),
    )  # fmt: skip
    opened = await simulate(world, bot, {"rules": rules()})
    assert opened["summary"]["newlyAllowed"] == 2


async def test_what_a_body_decides_is_left_open(world: World, bot: Bot) -> None:
    answer = await simulate(world, bot, {"rules": rules(DELETION, NOTES, ARCHIVING)})
    assert answer["summary"]["undetermined"] == 1
    assert answer["results"][0]["after"] == {
        "decision": "undetermined", "code": None, "rule": "Archiving", "dependsOn": "rules.request[2]",
    }  # fmt: skip


async def test_the_newest_calls_of_a_span_are_tried(world: World, bot: Bot) -> None:
    closed: dict[str, Any] = {"allowlists": []}
    assert calls_of(await simulate(world, bot, closed, last=2)) == [("GET", "/v1/y"), ("POST", "/v1/x")]
    later = datetime.now(UTC) + timedelta(hours=1)
    assert (await simulate(world, bot, closed, since=later))["summary"]["calls"] == 0
    assert (await simulate(world, bot, closed, until=later))["summary"]["calls"] == 5
    other = await world.ready()
    assert (await simulate(world, other, closed))["summary"]["calls"] == 0


async def test_call_explain_and_simulation_name_the_same_decision_code_and_rule(world: World) -> None:
    """Each call is made under the policy, explained under it, and foreseen by it from a row of another time."""
    drafts: list[dict[str, Any]] = [
        {"rules": SAVED},
        {"rules": rules({**NOTES, "match": {}, "action": "deny"})},
        {"rules": rules({**NOTES, "action": "allow"}), "defaultMode": "read_only"},
        {"rules": rules(), "stepUpApproval": "always"},
        {"rules": rules(), "allowlists": []},
        {"rules": rules(DELETION), "enforcement": "report"},
    ]
    calls = [("GET", "/v1/x"), ("DELETE", "/v1/x"), ("GET", "/notes/1"), ("DELETE", "/notes/1"), ("GET", "/n%6Ftes")]
    explainer = Explainer(world.database, world.catalog, frozenset({HOST}))
    everywhere = [{"baseUrl": world.origin, "methods": ["GET", "DELETE"], "pathPatterns": ["/**"]}]
    denied = await world.ready(allowlists=[])
    for method, path in calls:
        await denied.execute(path, method)
    for facets in drafts:
        draft = {"allowlists": everywhere, **facets}
        made = await world.ready(**draft)
        foreseen = await simulate(world, denied, draft)
        by_call = {(each["method"], each["path"]): each["after"] for each in foreseen["results"]}
        for method, path in calls:
            answer = (await made.execute(path, method)).json()
            request = {"method": method, "url": world.origin + path}
            told = await explainer.explain(
                Question(world.workspace_id, made.agent_id, request, datetime.now(UTC), made.connection_id)
            )
            code = answer.get("detail") if answer.get("code") == "approval_required" else answer.get("code")
            assert code == (None if told["decision"] == "allow" else told["code"])
            after = by_call.get((method, path.replace("%6F", "o")))
            if after is None:  # not listed: decided as before
                assert told["decision"] == "deny"
                continue
            if after["decision"] == "undetermined":
                pytest.fail(f"nothing of {method} {path} is unknown to these rules")
            assert (after["decision"], after["code"]) == (told["decision"], told["code"]), (draft, method, path)
            assert after["rule"] == (told["rule"] and told["rule"]["label"])


async def test_nothing_is_recorded_counted_or_sent(world: World, bot: Bot) -> None:
    counted = "SELECT (SELECT count(*) FROM l_audit_events), (SELECT coalesce(sum(calls), 0) FROM t_call_minutes)"
    before, received = await world.execute(counted), len(world.provider.received)
    await simulate(world, bot, {"rules": rules(ARCHIVING)})
    assert await world.execute(counted) == before
    assert len(world.provider.received) == received


async def test_a_draft_that_could_not_be_saved_is_refused(world: World, bot: Bot) -> None:
    with pytest.raises(AppError) as refused:
        await simulate(world, bot, {"defaultMode": "fast"})
    assert refused.value.code == "invalid_policy"
    assert refused.value.fields is not None
    assert [field["path"] for field in refused.value.fields] == ["draft.defaultMode"]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({}, "invalid_request"),
        ({"agentId": new_id()}, "invalid_request"),
        ({"policyId": new_id(), "agentId": new_id(), "connectionId": new_id()}, "invalid_request"),
        ({"policyId": new_id()}, "not_found"),
        ({"policyId": "x"}, "not_found"),
        ({"agentId": new_id(), "connectionId": new_id()}, "not_found"),
        ({"policyId": "x", "last": 501}, "invalid_request"),
        ({"policyId": "x", "last": 0}, "invalid_request"),
        ({"policyId": "x", "from": "yesterday"}, "invalid_request"),
        ({"policyId": "x", "to": "2026-11-23"}, "invalid_request"),
        ({"policyId": "x", "what": 1}, "unknown_field"),
    ],
)
async def test_what_cannot_be_tried_is_refused(stage: Stage, more: dict[str, Any], code: str) -> None:
    answer = await stage.post("/v1/policies/simulate", {"draft": {}, **more})
    assert answer.json()["code"] == code, answer.text


async def test_the_route_names_the_pair_either_way(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    pair = {"agentId": policy["agentId"], "connectionId": policy["connectionId"]}
    now = wire_time(datetime.now(UTC))
    for named in ({"policyId": policy["id"]}, pair):
        answer = await stage.post("/v1/policies/simulate", {**named, "draft": policy, "last": 500, "from": now})
        assert answer.status_code == 200, answer.text
        assert answer.json()["summary"]["calls"] == 0
