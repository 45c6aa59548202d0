"""The routes that read the log as their callers meet them: who sees what, how pages go on, what is refused."""

from typing import Any

import pytest

from agenthifive.audit.model import Event
from agenthifive.ids import new_id
from agenthifive.words import Role, Scope
from audit.room import FOREIGN, WORKSPACE, House, agent, person, token


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["auditId"] for event in events]


async def test_an_event_has_the_members_of_the_contract_in_their_order(house: House, written: list[Event]) -> None:
    (event,) = await house.events(
        agentId=written[7].agent_id, decision="denied", action="agent_deleted", principalType="agent"
    )
    assert list(event) == [
        "id",
        "auditId",
        "timestamp",
        "actor",
        "agentId",
        "connectionId",
        "action",
        "decision",
        "metadata",
        "workspaceId",
        "principalType",
        "principalId",
        "ip",
        "userAgent",
        "requestId",
        "policyId",
        "ruleId",
        "approvalId",
        "intentId",
        "chainId",
        "chainSeq",
        "prevHash",
        "hash",
    ]
    assert event["auditId"] == written[7].audit_id
    assert event["timestamp"] == "2026-11-23T15:00:07.000Z"
    assert isinstance(event["id"], str)
    assert (event["chainSeq"], len(event["hash"]), len(event["prevHash"])) == (8, 64, 64)


async def test_pages_go_on_where_the_last_one_ended_newest_first(house: House, written: list[Event]) -> None:
    query = {"dateFrom": "2026-11-23T15:00:00Z", "dateTo": "2026-11-23T17:01:00+02:00"}
    found: list[str] = []
    cursor: dict[str, str] = {}
    for _ in range(4):
        answer = (await house.get("/v1/audit", limit=6, **query, **cursor)).json()
        found += ids(answer["events"])
        assert (answer["nextCursor"] is None) is (len(found) == 20)
        cursor = {"cursor": answer["nextCursor"]}
    assert found == [event.audit_id for event in reversed(written[:20])]


async def test_a_page_that_ends_exactly_at_the_last_row_has_no_next_one(house: House, written: list[Event]) -> None:
    answer = (await house.get("/v1/audit", limit=20, dateTo="2026-11-23T15:00:20Z")).json()
    assert (len(answer["events"]), answer["nextCursor"]) == (20, None)


async def test_times_are_inclusive_then_exclusive_and_actions_may_be_several(
    house: House, written: list[Event]
) -> None:
    found = await house.events(dateFrom="2026-11-23T15:00:05.000Z", dateTo="2026-11-23T15:00:08.000Z")
    assert ids(found) == [event.audit_id for event in (written[7], written[6], written[5])]
    several = await house.events(action=["policy_created", "agent_deleted", "agent_deleted"])
    assert {event["action"] for event in several} == {"policy_created", "agent_deleted"}
    assert len(several) == 18


async def test_requests_and_reports_are_looked_for_in_a_stretch_of_time(house: House, written: list[Event]) -> None:
    """Both have no index: without a range it is the last day."""
    stretch = {"dateFrom": "2026-11-23T00:00:00Z", "dateTo": "2026-11-24T00:00:00Z"}
    assert ids(await house.events(requestId="req-7f3a9c01", **stretch)) == [written[0].audit_id]
    assert ids(await house.events(wouldDeny="true", **stretch)) == [written[0].audit_id]
    assert len(await house.events(wouldDeny="false", **stretch)) == 20
    assert await house.events(requestId="req-7f3a9c01", dateTo="2026-11-23T14:00:00Z") == []
    refused = await house.get(
        "/v1/audit", wouldDeny="true", dateFrom="2026-01-01T00:00:00Z", dateTo="2026-11-24T00:00:00Z"
    )
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    assert [field["path"] for field in refused.json()["fields"]] == ["dateFrom"]


@pytest.mark.parametrize("name", ["agentId", "connectionId", "policyId", "approvalId"])
async def test_unknown_ids_in_filters_give_an_empty_page(house: House, name: str) -> None:
    assert await house.events(**{name: new_id()}) == []


async def test_an_id_of_another_workspace_is_like_an_unknown_one(house: House, written: list[Event]) -> None:
    assert await house.events(agentId=written[-1].agent_id) == []
    foreign = await house.get(f"/v1/audit/{written[-1].audit_id}")
    unknown = await house.get(f"/v1/audit/{new_id()}")
    malformed = await house.get("/v1/audit/not-an-id")
    assert foreign.status_code == unknown.status_code == malformed.status_code == 404
    assert foreign.content == unknown.content == malformed.content


async def test_every_row_of_a_page_is_of_the_callers_workspace(house: House, written: list[Event]) -> None:
    assert {event["workspaceId"] for event in await house.events(limit=200)} == {WORKSPACE}
    answer = await house.get("/v1/audit", person(Role.OWNER, FOREIGN))
    assert {event["workspaceId"] for event in answer.json()["events"]} == {FOREIGN}


@pytest.mark.parametrize(
    "query",
    [
        {"action": "no_such_action"}, {"decision": "maybe"}, {"principalType": "robot"}, {"limit": 0}, {"limit": 201},
        {"limit": "x"}, {"agentId": "X"}, {"agentId": WORKSPACE.upper()}, {"actor": ""}, {"actor": "a\0"},
        {"requestId": "x" * 129}, {"wouldDeny": "1"}, {"dateFrom": "2026-11-23"}, {"dateFrom": "1764000000"},
        {"dateTo": "2026-11-23T15:00:00"}, {"dateTo": "9999-12-31T23:59:59-01:00"}, {"dateTo": "1969-12-31T23:59:59Z"},
        {"dateFrom": "2026-02-30T00:00:00Z"},
    ],
)  # fmt: skip
async def test_filters_that_cannot_be_read_are_refused_by_name(house: House, query: dict[str, Any]) -> None:
    answer = await house.get("/v1/audit", **query)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.json()["fields"][0]["path"].partition("[")[0] == next(iter(query))


@pytest.mark.parametrize("cursor", ["", "x", "A" * 54, "A" * 201, "\u00e9", "AAAA\0"])
async def test_cursors_that_are_not_ours_are_refused(house: House, cursor: str) -> None:
    answer = await house.get("/v1/audit", cursor=cursor)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_cursor_of_other_filters_or_of_another_workspace_is_refused(house: House, written: list[Event]) -> None:
    cursor = (await house.get("/v1/audit", limit=1)).json()["nextCursor"]
    assert len(cursor) <= 200
    for answer in (
        await house.get("/v1/audit", limit=1, cursor=cursor, decision="denied"),
        await house.get("/v1/audit", person(Role.OWNER, FOREIGN), limit=1, cursor=cursor),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")
    assert (await house.get("/v1/audit", limit=2, cursor=cursor)).status_code == 200


async def test_an_event_comes_with_its_other_half_and_its_approval(house: House, written: list[Event]) -> None:
    intent, outcome, sibling = written[0], written[1], written[9]
    answer = (await house.get(f"/v1/audit/{intent.audit_id}")).json()
    assert answer["event"]["metadata"] == {"path": "/a,b", "wouldDeny": [{"code": "no_policy"}]}
    assert ids(answer["related"]) == [outcome.audit_id, sibling.audit_id]
    half = (await house.get(f"/v1/audit/{outcome.audit_id}")).json()
    assert (half["event"]["intentId"], ids(half["related"])) == (intent.audit_id, [intent.audit_id])
    alone = (await house.get(f"/v1/audit/{written[3].audit_id}")).json()
    assert alone["related"] == []


@pytest.mark.parametrize("role", Role)
async def test_every_member_reads(house: House, role: Role) -> None:
    assert (await house.get("/v1/audit", person(role))).status_code == 200
    assert (await house.get("/v1/audit", token(role, Scope.AUDIT_READ))).status_code == 200


@pytest.mark.parametrize("path", ["/v1/audit", f"/v1/audit/{WORKSPACE}", "/v1/audit/export"])
async def test_agents_and_tokens_without_the_scope_see_nothing(house: House, path: str) -> None:
    answer = await house.get(path, agent(), format="csv")
    assert (answer.status_code, answer.json()["code"]) == (403, "agent_not_allowed")
    answer = await house.get(path, token(Role.OWNER, Scope.AGENTS_READ), format="csv")
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
