"""The whole table of spoilt assertions over HTTP: each gets its code, is recorded, and burns nothing."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.agents import store
from agents.stage import Agent, Stage, open_stage, token_body, told
from agents.test_assertion_attacks import (
    AGENT_ID,
    ATTACKS,
    AUDIENCE,
    CLOCK,
    HEADER,
    JTI,
    LIFETIME,
    MISMATCH,
    NOW_S,
    SIGNATURE,
)

PROVEN = {AUDIENCE, LIFETIME, CLOCK, JTI}
BOUND_TO_THE_KEY = {HEADER, MISMATCH, SIGNATURE}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stage(database, admin_chain, admin_dsn) -> AsyncIterator[Stage]:
    async with open_stage(database, admin_chain, admin_dsn) as opened:
        yield opened


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The database's clock stands at the instant the attacks were made for."""
    registered = store._registered

    def registered_at_noon(agent_id: str, row: Any) -> Any:
        return replace(registered(agent_id, row), now_s=NOW_S)

    monkeypatch.setattr(store, "_registered", registered_at_noon)
    return iter(())


async def make_the_victim(stage: Stage, signer: Any) -> Agent:
    """The agent that all attacks name, with this signer's key."""
    await stage.sql("DELETE FROM t_agents WHERE id = %s", AGENT_ID)
    agent = await stage.make_agent(signer)
    await stage.sql("DELETE FROM t_agent_bootstrap_secrets WHERE agent_id = %s", agent.id)
    await stage.sql("UPDATE t_agents SET id = %s WHERE id = %s", AGENT_ID, agent.id)
    return replace(agent, id=AGENT_ID)


async def post(client: Any, assertion: str) -> Any:
    body = json.dumps(token_body(assertion)).encode()  # a lone surrogate travels as an escape
    return await client.post("/v1/agents/token", headers={"content-type": "application/json"}, content=body)


@pytest.mark.usefixtures("noon")
async def test_no_attack_of_the_table_gets_a_token(stage, signer) -> None:
    victim = await make_the_victim(stage, signer)
    attacks = [attack for attack in ATTACKS if signer.alg == "ES256" or attack[1] in BOUND_TO_THE_KEY]
    expected, proven = [], 0
    for name, code, build in attacks:
        proven += code in PROVEN
        async with stage.stranger() as client:
            answer = await post(client, build(signer))
        wanted = (400, "invalid_json") if name == "lone surrogate" else (401, code)
        assert told(answer) == wanted, name
        assert (b'"reason":"clock_skew"' in answer.content) is (code == CLOCK), name
        assert AGENT_ID.encode() not in answer.content
        expected.append(answer.json().get("auditId"))
    assert await stage.spent(victim) == (0, 0)
    rows = await stage.sql(
        "SELECT audit_id::text, agent_id, metadata FROM l_audit_events WHERE action = 'agent_token_denied'"
        " AND audit_id = ANY(%s::uuid[])",
        [audit_id for audit_id in expected if audit_id],
    )
    unread = sum(name == "lone surrogate" for name, _, _ in attacks)
    assert len(rows) == len(attacks) - unread, "every refusal is recorded, but for the body that was no JSON"
    assert sum(row["agent_id"] is not None for row in rows) == proven
    assert all(row["metadata"]["verified"] is (row["agent_id"] is not None) for row in rows)
    assert not any(row["metadata"]["reason"] == SIGNATURE and row["agent_id"] for row in rows)
    assert (await post(stage.client, signer.token())).status_code == 200, "the jti they all carried is still good"
    assert await stage.spent(victim) == (1, 1)
    await stage.sql("DELETE FROM l_jti_replay_cache WHERE agent_id = %s", AGENT_ID)


@pytest.mark.usefixtures("noon")
async def test_clock_skew_is_told_with_our_time_and_only_to_the_agent_itself(stage, signers) -> None:
    signer = signers["ES256"]
    await make_the_victim(stage, signer)
    late = {"iat": int(NOW_S) - 60, "exp": int(NOW_S) - 30}
    answer = await post(stage.client, signer.token(**late))
    assert answer.json()["serverTime"] == "2026-01-01T00:00:00.250Z"
    stranger = await post(stage.client, type(signer)("ES256").token(**late))
    assert told(stranger) == (401, "assertion_signature_invalid")
    assert b"reason" not in stranger.content
