"""What is served and what is gone: lists, deleted and revoked policies."""

from typing import Any

from policies.stage import OPEN, Stage


def url(policy: dict[str, Any]) -> str:
    return f"/v1/policies/{policy['id']}"


async def test_a_deleted_policy_is_gone_and_its_history_stays(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    answer = await stage.delete(url(policy))
    assert (answer.status_code, answer.json()) == (200, {"deleted": True})
    assert (await stage.get(url(policy))).status_code == 404
    assert (await stage.delete(url(policy))).status_code == 404
    created, deleted = await stage.audit(policy["id"])
    assert (created["action"], deleted["action"]) == ("policy_created", "policy_deleted")
    assert deleted["metadata"] == {
        "policyId": policy["id"], "actionTemplateId": None, "securityPreset": None, "version": 1,
    }  # fmt: skip
    again = await stage.create(policy["connectionId"])
    assert again["id"] != policy["id"]


async def test_a_deletion_may_name_the_version_it_means(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    refused = await stage.delete(url(policy), {"version": 2})
    assert (refused.status_code, refused.json()["currentVersion"]) == (409, 1)
    for body in ({"version": "1"}, {"force": True}):
        assert (await stage.delete(url(policy), body)).status_code == 400
    assert (await stage.read(policy))["version"] == 1
    assert (await stage.delete(url(policy), {"version": 1})).status_code == 200


async def test_revoked_policies_are_not_served(stage: Stage) -> None:
    policy = await stage.create(**OPEN)
    await stage.sql("UPDATE t_policies SET status = 'revoked' WHERE id = %s", policy["id"])
    assert (await stage.get(url(policy))).status_code == 404
    assert (await stage.put(url(policy), {"enforcement": "enforce"})).status_code == 404
    listed = await stage.get("/v1/policies", connectionId=policy["connectionId"])
    assert listed.json() == {"policies": []}


async def test_lists_are_narrowed_by_agent_and_connection(stage: Stage) -> None:
    first, second = await stage.create(**OPEN), await stage.create(**OPEN)
    other = await stage.add_agent()
    answer = await stage.post("/v1/policies", {"agentId": other, "connectionId": first["connectionId"]})
    third = answer.json()["policy"]

    async def ids(**query: str) -> list[str]:
        return [policy["id"] for policy in (await stage.get("/v1/policies", **query)).json()["policies"]]

    assert await ids(connectionId=first["connectionId"]) == [first["id"], third["id"]]
    assert await ids(agentId=other) == [third["id"]]
    assert await ids(agentId=other, connectionId=second["connectionId"]) == []
    assert await ids(agentId="x") == []
    assert {first["id"], second["id"], third["id"]} <= set(await ids())
