"""Stopping an agent: what ends, how fast, what comes back, and that nobody waits for anybody in a circle."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agenthifive.edge.frozen import Freeze, FreezeScope
from agenthifive.words import Role
from agents.stage import Stage, open_stage, told

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stage(database, admin_chain, admin_dsn) -> AsyncIterator[Stage]:
    async with open_stage(database, admin_chain, admin_dsn) as opened:
        yield opened


async def test_disabling_ends_everything_and_enabling_restores_nothing(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    tokens = [await stage.token(agent) for _ in range(3)]
    path, headers = f"/v1/agents/{agent.id}", stage.here.headers(Role.APPROVER)
    fresh = (await stage.client.post(f"{path}/bootstrap-secret", headers=stage.here.headers())).json()
    disabled = await stage.client.post(f"{path}/disable", headers=headers, json={"reason": "odd calls"})
    assert disabled.json() == {"success": True, "tokensRevoked": 3}
    assert told(await stage.client.post(f"{path}/disable", headers=headers)) == (409, "agent_disabled")
    for token in tokens:
        refused = await stage.client.get("/v1/capabilities/me", headers=token)
        assert told(refused) == (401, "invalid_token")
        assert "assertion" in refused.json()["error"]
    exchange = await stage.exchange(agent.assertion())
    assert told(exchange) == (401, "agent_disabled")
    assert "not active" in exchange.json()["error"]
    issue = await stage.client.post(f"{path}/bootstrap-secret", headers=stage.here.headers())
    assert told(issue) == (409, "agent_disabled")
    shown = (await stage.client.get(path, headers=headers)).json()["agent"]
    assert (shown["status"], shown["disabledReason"], shown["activeTokens"]) == ("disabled", "odd calls", 0)
    assert INSTANT.fullmatch(shown["disabledAt"])

    enabled = await stage.client.post(f"{path}/enable", headers=stage.here.headers())
    assert enabled.json() == {"success": True, "status": "active"}
    again = await stage.client.post(f"{path}/enable", headers=stage.here.headers())
    assert told(again) == (409, "agent_not_disabled")
    assert told(await stage.client.get("/v1/capabilities/me", headers=tokens[0])) == (401, "invalid_token")
    assert told(await stage.enrol(fresh["bootstrapSecret"], signers["EdDSA"].jwk)) == (401, "invalid_bootstrap_secret")
    await stage.token(agent)
    shown = (await stage.client.get(path, headers=headers)).json()["agent"]
    assert (shown["status"], shown["disabledAt"], shown["disabledReason"]) == ("active", None, None)
    changes = [row for row in await stage.audit(agent.id) if row["action"] in ("agent_disabled", "agent_enabled")]
    assert [row["metadata"] for row in changes] == [
        {"reason": "odd calls", "tokensRevoked": 3},
        {"newStatus": "active"},
    ]
    assert changes[0]["actor"] == stage.here.people[Role.APPROVER]


async def test_an_agent_that_never_enrolled_is_created_again_after_enabling(stage, signers) -> None:
    agent = await stage.make_agent()
    path, headers = f"/v1/agents/{agent.id}", stage.here.headers()
    assert (await stage.client.post(f"{path}/disable", headers=headers)).status_code == 200
    assert (await stage.client.post(f"{path}/enable", headers=headers)).json()["status"] == "created"
    assert told(await stage.enrol(agent.secret, signers["ES256"].jwk)) == (401, "invalid_bootstrap_secret")


async def test_a_forgotten_key_is_dead_for_good(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    path, headers = f"/v1/agents/{agent.id}", stage.here.headers()
    approver = stage.here.headers(Role.APPROVER)
    refused = await stage.client.post(f"{path}/disable", headers=approver, json={"forgetKey": True})
    assert told(refused) == (403, "insufficient_role")
    assert (await stage.client.get(path, headers=headers)).json()["agent"]["status"] == "active"
    denied = await stage.sql(
        "SELECT metadata FROM l_audit_events WHERE action = 'access_denied' AND principal_id = %s",
        stage.here.people[Role.APPROVER],
    )
    assert denied[-1]["metadata"]["code"] == "insufficient_role"
    assert (await stage.client.post(f"{path}/disable", headers=headers, json={"forgetKey": True})).status_code == 200
    assert told(await stage.exchange(agent.assertion())) == (401, "invalid_agent")
    assert (await stage.client.post(f"{path}/enable", headers=headers)).json()["status"] == "created"
    shown = (await stage.client.get(path, headers=headers)).json()["agent"]
    assert [shown[name] for name in ("publicKeyThumbprint", "keyAlg", "enrolledAt")] == [None] * 3
    assert told(await stage.exchange(agent.assertion())) == (401, "invalid_agent")
    assert told(await stage.enrol(agent.secret, signers["ES256"].jwk)) == (401, "invalid_bootstrap_secret")
    secret = (await stage.client.post(f"{path}/bootstrap-secret", headers=headers)).json()["bootstrapSecret"]
    assert (await stage.enrol(secret, signers["EdDSA"].jwk)).status_code == 200
    agent.signer = signers["EdDSA"]
    await stage.token(agent)


async def test_a_plain_disable_brings_the_old_key_back(stage, signers) -> None:
    agent = await stage.make_agent(signers["RS256"])
    for verb in ("disable", "enable"):
        answer = await stage.client.post(f"/v1/agents/{agent.id}/{verb}", headers=stage.here.headers())
        assert answer.status_code == 200
    await stage.token(agent)


async def test_revoked_tokens_are_dead_and_the_key_is_not(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    tokens = [await stage.token(agent) for _ in range(2)]
    await stage.sql(
        "UPDATE t_agent_access_tokens SET expires_at = now() WHERE id ="
        " (SELECT id FROM t_agent_access_tokens WHERE agent_id = %s LIMIT 1)",
        agent.id,
    )
    path = f"/v1/agents/{agent.id}/revoke-tokens"
    answer = await stage.client.post(path, headers=stage.here.headers(Role.APPROVER))
    assert answer.json() == {"tokensRevoked": 1}, "one had expired"
    for token in tokens:
        assert told(await stage.client.get("/v1/capabilities/me", headers=token)) == (401, "invalid_token")
    assert (await stage.audit(agent.id, "agent_tokens_revoked"))[0]["metadata"] == {"tokensRevoked": 1}
    await stage.token(agent)


async def test_a_deleted_agent_is_gone_and_its_history_is_not(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"], name="Short life")
    token = await stage.token(agent)
    path, headers = f"/v1/agents/{agent.id}", stage.here.headers(Role.ADMIN)
    assert (await stage.client.delete(path, headers=headers)).json() == {"success": True}
    assert told(await stage.client.delete(path, headers=headers)) == (404, "not_found")
    assert told(await stage.client.get("/v1/capabilities/me", headers=token)) == (401, "invalid_token")
    assert told(await stage.exchange(agent.assertion())) == (401, "invalid_agent")
    assert told(await stage.enrol(agent.secret, signers["ES256"].jwk)) == (401, "invalid_bootstrap_secret")
    row = (await stage.audit(agent.id, "agent_deleted"))[0]
    assert row["metadata"] == {"name": "Short life", "policies": 0, "tokensRevoked": 1}
    assert row["workspace_id"] == stage.here.id
    assert len(await stage.audit(agent.id)) == 5


async def test_a_disabled_creator_stops_the_agents_they_made(stage, signers) -> None:
    workspace = await stage.make_workspace()
    creator = workspace.people[Role.ADMIN]
    answer = await stage.client.post("/v1/agents", headers=workspace.headers(Role.ADMIN), json={"name": "n"})
    secret = answer.json()["bootstrapSecret"]
    lax = stage.make_replica(disabled_user_stops_agents=False).client()
    agent = await stage.make_agent(signers["ES256"], workspace)
    agent.id = answer.json()["agent"]["id"]
    await stage.enrol(secret, signers["ES256"].jwk)
    token = await stage.token(agent)

    async def stand(client) -> list[tuple[int, str | None]]:
        exchanged = await stage.exchange(agent.assertion(), client)
        return [told(exchanged), told(await client.get("/v1/capabilities/me", headers=token))]

    works = [(200, None), (200, None)]
    stopped = [(401, "agent_disabled"), (401, "invalid_token")]
    assert await stand(stage.client) == works
    await stage.sql("UPDATE t_users SET disabled_at = now() WHERE id = %s", creator)
    assert await stand(stage.client) == stopped
    assert await stand(lax) == works
    fresh = await stage.client.post(f"/v1/agents/{agent.id}/bootstrap-secret", headers=workspace.headers())
    assert told(await stage.enrol(fresh.json()["bootstrapSecret"], agent.signer.jwk)) == (409, "agent_disabled")
    await stage.sql("UPDATE t_users SET disabled_at = NULL WHERE id = %s", creator)
    assert await stand(stage.client) == works
    # who has left takes nobody along: the owner stands in
    await stage.sql("DELETE FROM t_members WHERE user_id = %s", creator)
    await stage.sql("UPDATE t_users SET disabled_at = now() WHERE id = %s", creator)
    assert await stand(stage.client) == works
    await stage.sql("UPDATE t_users SET disabled_at = now() WHERE id = %s", workspace.owner_id)
    assert await stand(stage.client) == stopped


async def test_a_token_is_marked_before_it_counts_and_its_end_is_announced(stage, signers) -> None:
    """The cache of other replicas hears of a deletion only through this mark."""
    agent = await stage.make_agent(signers["ES256"])
    text = (await stage.token(agent))["authorization"].removeprefix("Bearer ")
    caller = await stage.replica.agents.caller_by_token(text)
    assert (caller.agent_id, caller.workspace_id, caller.role) == (agent.id, stage.here.id, None)
    assert caller.actor == f"agent:{agent.id}"
    assert await stage.replica.agents.caller_by_token(text[:-1] + ("A" if text[-1] != "A" else "B")) is None

    async def marks():
        statement = (
            "SELECT t.last_used_at, a.last_seen_at FROM t_agent_access_tokens t JOIN t_agents a ON a.id = t.agent_id"
            " WHERE a.id = %s"
        )
        return list((await stage.sql(statement, agent.id))[0].values())

    async def changes() -> int:
        return (await stage.sql("SELECT n FROM t_changes WHERE workspace_id = %s", stage.here.id))[0]["n"]

    first = await marks()
    assert None not in first
    await stage.replica.agents.caller_by_token(text)
    assert await marks() == first, "at most once a minute"
    earlier = "UPDATE t_agent_access_tokens SET last_used_at = last_used_at - interval '61 s' WHERE agent_id = %s"
    await stage.sql(earlier, agent.id)
    await stage.sql("UPDATE t_agents SET last_seen_at = last_seen_at - interval '61 s' WHERE id = %s", agent.id)
    await stage.replica.agents.caller_by_token(text)
    assert all(new > old for new, old in zip(await marks(), first, strict=True))
    before = await changes()
    await stage.client.post(f"/v1/agents/{agent.id}/revoke-tokens", headers=stage.here.headers())
    assert await changes() > before


async def test_an_expired_token_is_no_credential(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    token = await stage.token(agent)
    await stage.sql("UPDATE t_agent_access_tokens SET expires_at = now() WHERE agent_id = %s", agent.id)
    assert told(await stage.client.get("/v1/capabilities/me", headers=token)) == (401, "invalid_token")


async def test_changes_and_exchanges_of_one_agent_do_not_wait_for_each_other_in_a_circle(stage, signers) -> None:
    """A change holds the agent and wants the audit chain; an exchange holds the chain: nobody may wait both ways."""
    agent = await stage.make_agent(signers["EdDSA"])
    path, headers = f"/v1/agents/{agent.id}", stage.here.headers()
    verbs = itertools.cycle(["revoke-tokens", "bootstrap-secret"])
    calls = [stage.exchange(agent.assertion()) for _ in range(20)]
    calls += [stage.client.post(f"{path}/{next(verbs)}", headers=headers) for _ in range(10)]
    calls += [stage.client.put(path, headers=headers, json={"name": "n"}) for _ in range(10)]
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("scope", list(FreezeScope))
async def test_a_frozen_agent_gets_no_token_and_its_assertion_is_not_spent(stage, signers, scope: FreezeScope) -> None:
    agent = await stage.make_agent(signers["ES256"])
    target_id = {"instance": None, "workspace": agent.workspace.id, "agent": agent.id}[scope]
    assertion = agent.assertion()
    stage.replica.frozen.note_recorded([Freeze(scope, target_id, "drill", "cli:root")])
    try:
        refused = await stage.exchange(assertion)
        assert told(refused) == (403, "frozen")
        assert "drill" not in refused.text
        forged = await stage.exchange(agent.assertion()[:-8] + "AAAAAAAA")
        assert told(forged) == (401, "assertion_signature_invalid")
        assert await stage.spent(agent) == (0, 0)
    finally:
        stage.replica.frozen.note_recorded([])
    row = (await stage.audit(agent.id, "agent_token_denied"))[0]
    assert (row["metadata"], row["workspace_id"]) == ({"reason": "frozen", "verified": True}, agent.workspace.id)
    assert told(await stage.exchange(assertion)) == (200, None)
