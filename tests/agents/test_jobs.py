"""Cleaning up takes what is dead, all of it, on one replica at a time."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from agenthifive.agents import jobs
from agents.stage import Agent, Stage, open_stage


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stage(database, admin_chain, admin_dsn) -> AsyncIterator[Stage]:
    async with open_stage(database, admin_chain, admin_dsn) as opened:
        yield opened


async def spend(stage: Stage, agent: Agent, age: str, count: int = 1) -> None:
    """Replay rows that expired this long ago."""
    await stage.sql(
        "INSERT INTO l_jti_replay_cache (agent_id, jti, expires_at)"
        " SELECT %s, %s || n, now() - %s::interval FROM generate_series(1, %s) n",
        agent.id,
        str(uuid4()),
        age,
        count,
    )


async def run(stage: Stage, job) -> int:
    async with stage.database.transaction() as connection:
        return await job(connection)


async def test_replays_go_five_minutes_after_they_expired_in_batches(
    stage, signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(stage, jobs.sweep_replays)
    agent = await stage.make_agent(signers["ES256"])
    monkeypatch.setattr(jobs, "BATCH", 10)
    await spend(stage, agent, "5 min 1 s", 25)
    await spend(stage, agent, "4 min")
    await spend(stage, agent, "-1 min")
    assert await run(stage, jobs.sweep_replays) == 25
    assert await run(stage, jobs.sweep_replays) == 0
    assert (await stage.spent(agent))[0] == 2


async def test_expired_tokens_go_and_secrets_a_day_after_their_end(stage, signers) -> None:
    await run(stage, jobs.sweep_tokens)
    agent = await stage.make_agent(signers["ES256"])
    kept, gone = await stage.token(agent), await stage.token(agent)
    await stage.sql(
        "UPDATE t_agent_access_tokens SET expires_at = now() WHERE agent_id = %s AND id ="
        " (SELECT id FROM t_agent_access_tokens WHERE agent_id = %s ORDER BY created_at DESC LIMIT 1)",
        agent.id,
        agent.id,
    )
    await stage.sql("DELETE FROM t_agent_bootstrap_secrets WHERE agent_id = %s", agent.id)
    for column in ("consumed_at", "revoked_at", "expires_at"):
        for age in ("25 h", "23 h"):
            values = {"expires_at": "now() + '1 h'", "consumed_at": "null", "revoked_at": "null"}
            values[column] = f"now() - '{age}'::interval"
            await stage.sql("UPDATE t_agent_bootstrap_secrets SET revoked_at = now() WHERE revoked_at IS NULL")
            await stage.sql(
                f"INSERT INTO t_agent_bootstrap_secrets (id, agent_id, secret_hash, {', '.join(values)})"
                f" VALUES (%s, %s, %s, {', '.join(values.values())})",
                str(uuid4()),
                agent.id,
                f"{column} {age}",
            )
    assert await run(stage, jobs.sweep_tokens) == 1 + 3
    left = await stage.sql("SELECT secret_hash FROM t_agent_bootstrap_secrets WHERE agent_id = %s", agent.id)
    assert {row["secret_hash"][-4:] for row in left} == {"23 h"}
    answers = [await stage.client.get("/v1/capabilities/me", headers=token) for token in (kept, gone)]
    assert [answer.status_code for answer in answers] == [200, 401]


@pytest.mark.parametrize("job", [jobs.sweep_replays, jobs.sweep_tokens])
async def test_a_replica_that_comes_second_leaves_the_work_to_the_first(stage, signers, job) -> None:
    agent = await stage.make_agent(signers["ES256"])
    await stage.token(agent)
    await spend(stage, agent, "1 h")
    await stage.sql("UPDATE t_agent_access_tokens SET expires_at = now() WHERE agent_id = %s", agent.id)
    async with stage.database.transaction() as first:
        assert await job(first) >= 1
        assert await run(stage, job) == 0
