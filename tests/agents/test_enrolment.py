"""Enrolment: one secret, one key, once; and refusals that tell a thief nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from agenthifive.audit.chains import AdminChain
from agenthifive.operations.ratelimit import Window
from agenthifive.vault import base64url
from agenthifive.words import RateLimit
from agents.stage import Stage, open_stage, told

REFUSED = (401, "invalid_bootstrap_secret")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stage(database, admin_chain, admin_dsn) -> AsyncIterator[Stage]:
    async with open_stage(database, admin_chain, admin_dsn) as opened:
        yield opened


async def new_secret(stage: Stage, agent) -> str:
    path = f"/v1/agents/{agent.id}/bootstrap-secret"
    answer = await stage.client.post(path, headers=agent.workspace.headers())
    assert answer.status_code == 200
    return answer.json()["bootstrapSecret"]


async def failures(stage: Stage, agent) -> list[str]:
    return [row["metadata"]["reason"] for row in await stage.audit(agent.id, "agent_bootstrap_failed")]


async def test_each_kind_of_key_enrols(stage, signer) -> None:
    agent = await stage.make_agent()
    answer = await stage.enrol(agent.secret, signer.jwk)
    assert answer.status_code == 200
    assert answer.json() == {
        "agentId": agent.id,
        "name": "Mail helper",
        "status": "active",
        "workspaceId": stage.here.id,
        "publicKeyThumbprint": signer.key.thumbprint,
    }
    shown = (await stage.client.get(f"/v1/agents/{agent.id}", headers=stage.here.headers())).json()["agent"]
    assert (shown["status"], shown["keyAlg"]) == ("active", signer.alg)
    assert shown["publicKeyThumbprint"] == signer.key.thumbprint
    assert shown["enrolledAt"] is not None
    row = (await stage.audit(agent.id, "agent_bootstrapped"))[0]
    assert row["metadata"] == {
        "publicKeyThumbprint": signer.key.thumbprint,
        "previousThumbprint": None,
        "previousStatus": "created",
        "keyAlg": signer.alg,
        "tokensRevoked": 0,
        "retry": False,
    }
    assert (row["actor"], row["principal_type"], row["workspace_id"]) == (f"agent:{agent.id}", "agent", stage.here.id)


def whole(number: int, size: int) -> str:
    return base64url.encode(number.to_bytes(size))


def bad_keys(good: dict) -> dict[str, dict]:
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key().public_numbers()
    small = rsa.generate_private_key(65537, 1024).public_key().public_numbers().n
    return {
        "P-384": {"kty": "EC", "crv": "P-384", "x": whole(p384.x, 48), "y": whole(p384.y, 48)},
        "RSA-1024": {"kty": "RSA", "n": whole(small, 128), "e": "AQAB"},
        "off the curve": {**good, "y": good["x"]},
        "padded": {**good, "x": good["x"] + "="},
        "symmetric": {"kty": "oct", "k": "AAAA"},
        "private": {**good, "d": good["x"]},
        "empty": {},
    }


async def test_a_bad_key_is_not_stored_and_does_not_spend_the_secret(stage, signers) -> None:
    agent = await stage.make_agent()
    good = signers["ES256"].jwk
    keys = bad_keys(good)
    for name, jwk in keys.items():
        answer = await stage.enrol(agent.secret, jwk)
        assert told(answer) == (400, "invalid_public_key"), name
        assert answer.json()["auditId"]
    assert await failures(stage, agent) == ["bad_key"] * 4 + ["private_key_sent"] * 2 + ["bad_key"]
    row = (await stage.sql("SELECT status, public_key_jwk FROM t_agents WHERE id = %s", agent.id))[0]
    assert row == {"status": "created", "public_key_jwk": None}
    assert keys["private"]["d"] not in str(await stage.audit(agent.id))
    assert (await stage.enrol(agent.secret, good)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{}, [], "x", {"bootstrapSecret": "x"}, {"publicKey": {}}, {"bootstrapSecret": "x", "publicKey": "{}"}],
)
async def test_a_body_of_another_form_is_400_and_no_attempt(stage, body) -> None:
    rows = "SELECT count(*) FROM l_audit_events WHERE action = 'agent_bootstrap_failed'"
    before = await stage.sql(rows)
    assert told(await stage.client.post("/v1/agents/bootstrap", json=body)) == (400, "invalid_request")
    assert await stage.sql(rows) == before


async def test_unknown_members_are_ignored(stage, signers) -> None:
    agent = await stage.make_agent()
    body = {"bootstrapSecret": agent.secret, "publicKey": signers["ES256"].jwk, "sdkVersion": "1"}
    assert (await stage.client.post("/v1/agents/bootstrap", json=body)).status_code == 200


async def test_every_bad_secret_gets_the_same_bytes_and_its_own_reason(stage, signers) -> None:
    jwk, other = signers["ES256"].jwk, signers["EdDSA"].jwk
    agent, used, expired = [await stage.make_agent() for _ in range(3)]
    revoked, agent.secret = agent.secret, await new_secret(stage, agent)
    await stage.enrol(used.secret, jwk)
    await stage.sql("UPDATE t_agent_bootstrap_secrets SET expires_at = now() WHERE agent_id = %s", expired.id)
    secrets = ["", None, 7, ["x"], "ah5t_" + "A" * 43, "ah5b_" + "A" * 42, agent.secret + "\n", "ah5b_" + "+" * 43]
    secrets += ["ah5b_" + "A" * 43, revoked, expired.secret, used.secret]
    async with stage.stranger() as client:
        answers = [await stage.enrol(secret, other, client) for secret in secrets]
    assert {told(answer) for answer in answers} == {REFUSED}
    assert len({answer.content for answer in answers}) == 1
    assert await failures(stage, agent) == ["revoked"]
    assert await failures(stage, expired) == ["expired"]
    assert await failures(stage, used) == ["consumed"]
    rows = await stage.sql(
        "SELECT metadata, agent_id, workspace_id, decision FROM l_audit_events"
        " WHERE action = 'agent_bootstrap_failed' AND ip = %s ORDER BY id",
        client._transport.client[0],  # type: ignore[attr-defined]
    )
    assert [row["metadata"]["reason"] for row in rows] == ["format"] * 8 + ["unknown", "revoked", "expired", "consumed"]
    assert {row["decision"] for row in rows} == {"denied"}
    assert {row["workspace_id"] for row in rows[:9]} == {row["agent_id"] for row in rows[:9]} == {None}
    assert {str(row["workspace_id"]) for row in rows[9:]} == {stage.here.id}
    assert agent.secret not in str(rows)


async def test_a_lost_answer_can_be_asked_for_again_with_the_same_key_only(stage, signers) -> None:
    signer, other = signers["ES256"], signers["EdDSA"]
    agent = await stage.make_agent(signer)
    token = await stage.token(agent)
    first = await stage.sql("SELECT * FROM t_agent_bootstrap_secrets WHERE agent_id = %s", agent.id)
    again = await stage.enrol(agent.secret, {**signer.jwk, "kid": "renamed", "use": "sig"})
    assert again.json()["publicKeyThumbprint"] == signer.key.thumbprint
    assert await stage.sql("SELECT * FROM t_agent_bootstrap_secrets WHERE agent_id = %s", agent.id) == first
    assert (await stage.client.get("/v1/capabilities/me", headers=token)).status_code == 200
    assert [row["metadata"]["retry"] for row in await stage.audit(agent.id, "agent_bootstrapped")] == [False, True]
    row = (await stage.sql("SELECT key_kid FROM t_agents WHERE id = %s", agent.id))[0]
    assert row["key_kid"] is None, "a retry changes nothing"
    for jwk in (other.jwk, {}, {**signer.jwk, "d": "AA"}):
        assert told(await stage.enrol(agent.secret, jwk)) == REFUSED
    off = stage.make_replica(bootstrap_retry_minutes=0).client()
    assert told(await stage.enrol(agent.secret, signer.jwk, off)) == REFUSED
    await stage.sql(
        "UPDATE t_agent_bootstrap_secrets SET consumed_at = consumed_at - interval '10 min' WHERE agent_id = %s",
        agent.id,
    )
    assert told(await stage.enrol(agent.secret, signer.jwk)) == REFUSED


async def test_a_new_secret_ends_the_retry_of_the_old_one(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    await new_secret(stage, agent)
    assert told(await stage.enrol(agent.secret, signers["ES256"].jwk)) == REFUSED
    assert await failures(stage, agent) == ["revoked"]
    issued = await stage.audit(agent.id, "agent_bootstrap_secret_issued")
    assert [row["metadata"]["revokedEarlier"] for row in issued] == [0, 1]


async def test_a_replaced_key_ends_the_retry_with_the_one_before(stage, signers) -> None:
    first, second = signers["ES256"], signers["EdDSA"]
    agent = await stage.make_agent(first)
    await stage.sql("UPDATE t_agents SET public_key_thumbprint = %s WHERE id = %s", second.key.thumbprint, agent.id)
    assert told(await stage.enrol(agent.secret, first.jwk)) == REFUSED


async def test_an_unused_secret_dies_when_another_is_issued(stage, signers) -> None:
    agent = await stage.make_agent()
    second = await new_secret(stage, agent)
    assert told(await stage.enrol(agent.secret, signers["ES256"].jwk)) == REFUSED
    assert (await stage.enrol(second, signers["ES256"].jwk)).status_code == 200


@pytest.mark.parametrize("is_same_key", [False, True])
async def test_twenty_at_once_over_two_replicas_enrol_one_key(stage, database, instance, signers, is_same_key) -> None:
    agent = await stage.make_agent()
    signer = type(signers["EdDSA"])
    keys = [signer("EdDSA") for _ in range(20)]
    if is_same_key:
        keys = keys[:1] * 20
    clients = [stage.client, stage.make_replica(chain=AdminChain(database, instance)).client()]
    await asyncio.gather(*(stage.enrol("nonsense", {}, client) for client in clients))  # both have their chain now
    answers = await asyncio.gather(
        *(stage.enrol(agent.secret, key.jwk, clients[number % 2]) for number, key in enumerate(keys))
    )
    good = [key for key, answer in zip(keys, answers, strict=True) if answer.status_code == 200]
    assert len(good) == (20 if is_same_key else 1)
    assert {told(answer) for answer in answers} <= {(200, None), REFUSED}
    row = (await stage.sql("SELECT public_key_thumbprint FROM t_agents WHERE id = %s", agent.id))[0]
    assert row["public_key_thumbprint"] == good[0].key.thumbprint
    enrolled = await stage.audit(agent.id, "agent_bootstrapped")
    assert [row["metadata"]["retry"] for row in enrolled] == [False] + [True] * (len(good) - 1)


async def test_another_key_replaces_the_first_and_its_tokens(stage, signers) -> None:
    old, new = signers["ES256"], signers["EdDSA"]
    agent = await stage.make_agent(old)
    tokens = [await stage.token(agent) for _ in range(2)]
    assert (await stage.enrol(await new_secret(stage, agent), new.jwk)).status_code == 200
    for token in tokens:
        assert told(await stage.client.get("/v1/capabilities/me", headers=token)) == (401, "invalid_token")
    assert told(await stage.exchange(agent.assertion())) == (401, "assertion_key_mismatch")
    agent.signer = type(old)("EdDSA")
    stranger = await stage.exchange(agent.assertion())
    assert told(stranger) == (401, "assertion_signature_invalid")
    assert "re-enrol" in stranger.json()["error"]
    agent.signer = new
    await stage.token(agent)
    metadata = (await stage.audit(agent.id, "agent_bootstrapped"))[1]["metadata"]
    assert metadata["publicKeyThumbprint"] == new.key.thumbprint
    assert metadata["previousThumbprint"] == old.key.thumbprint
    assert (metadata["previousStatus"], metadata["tokensRevoked"]) == ("active", 2)


async def test_the_same_key_with_a_new_secret_keeps_the_tokens(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    token = await stage.token(agent)
    before = await stage.sql("SELECT enrolled_at, key_changed_at FROM t_agents WHERE id = %s", agent.id)
    secret = await new_secret(stage, agent)
    assert (await stage.enrol(secret, {**signers["ES256"].jwk, "kid": "k-1"})).status_code == 200
    assert (await stage.client.get("/v1/capabilities/me", headers=token)).status_code == 200
    assert await stage.sql("SELECT enrolled_at, key_changed_at FROM t_agents WHERE id = %s", agent.id) == before
    assert (await stage.exchange(agent.assertion({"kid": "k-1"}))).status_code == 200
    assert told(await stage.enrol(secret, signers["EdDSA"].jwk)) == REFUSED


async def test_a_disabled_agent_does_not_enrol(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    await stage.client.post(f"/v1/agents/{agent.id}/disable", headers=stage.here.headers())
    answer = await stage.enrol(agent.secret, signers["ES256"].jwk)
    assert told(answer) == (409, "agent_disabled")
    assert await failures(stage, agent) == ["disabled"]
    assert answer.json()["auditId"] == (await stage.audit(agent.id, "agent_bootstrap_failed"))[0]["audit_id"]


async def test_the_sixth_try_in_a_minute_waits_whatever_it_says_of_its_address(stage) -> None:
    replica = stage.make_replica(windows={RateLimit.BOOTSTRAP: Window(5, 60)})
    async with stage.stranger(replica) as client:
        answers = [
            await client.post(
                "/v1/agents/bootstrap",
                headers={"x-forwarded-for": f"10.0.0.{number}"},
                json={"bootstrapSecret": "x", "publicKey": {}},
            )
            for number in range(6)
        ]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert told(answers[-1]) == (429, "rate_limited")
    assert int(answers[-1].headers["retry-after"]) >= 1
