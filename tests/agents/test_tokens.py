"""The token exchange over HTTP: what it gives, what it burns, and what happens when the database fails."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.agents.tokens import read_claimed_id, read_token_request
from agenthifive.audit.chains import AdminChain
from agenthifive.db.database import Database, DatabaseOptions
from agenthifive.edge.context import Context
from agenthifive.errors import AppError
from agenthifive.operations.ratelimit import Window
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import AGENT_SCOPES, RateLimit, Scope
from agents.stage import INTERNAL_URL, WEB_URL, Stage, open_stage, token_body, told

ALL_SCOPES = "vault:execute capabilities:read capabilities:request connections:read connections:revoke approvals:read"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
REPLAYED = (401, "replay_detected")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def stage(database, admin_chain, admin_dsn) -> AsyncIterator[Stage]:
    async with open_stage(database, admin_chain, admin_dsn) as opened:
        yield opened


@pytest.mark.parametrize("grant", ["client_assertion", "client_credentials"])
@pytest.mark.parametrize("form", [False, True])
async def test_a_good_assertion_gives_a_token_in_every_spelling(stage, signer, grant, form) -> None:
    agent = await stage.make_agent(signer)
    body = token_body(agent.assertion(), grant_type=grant, unknown="x")
    answer = await stage.client.post("/v1/agents/token", **({"data": body} if form else {"json": body}))
    assert answer.status_code == 200, answer.text
    token = answer.json().pop("access_token")
    assert answer.json() == {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": 7200,
        "scope": ALL_SCOPES,
        "issued_token_type": ACCESS_TOKEN,
    }
    assert len(token) == 48
    assert token.startswith("ah5t_")
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    assert b": " not in answer.content
    rows = await stage.sql(
        "SELECT token_hash, form, scopes, workspace_id::text, round(extract(epoch FROM expires_at - created_at))::int"
        " AS ttl_s FROM t_agent_access_tokens WHERE agent_id = %s",
        agent.id,
    )
    assert rows == [
        {
            "token_hash": sha256_hex(token),
            "form": "opaque",
            "scopes": ALL_SCOPES.split(),
            "workspace_id": stage.here.id,
            "ttl_s": 7200,
        }
    ]
    row = (await stage.audit(agent.id, "agent_token_issued"))[0]
    assert row["metadata"] == {
        "tokenTtlSeconds": 7200,
        "form": "opaque",
        "scopes": ALL_SCOPES.split(),
        "publicKeyThumbprint": signer.key.thumbprint,
    }
    assert (row["actor"], row["principal_id"], row["workspace_id"]) == (f"agent:{agent.id}", agent.id, stage.here.id)
    assert token not in str(row)


async def test_each_credential_header_takes_the_token(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    token = (await stage.token(agent))["authorization"].removeprefix("Bearer ")
    for headers in ({"authorization": f"bearer {token}"}, {"x-api-key": token}, {"x-goog-api-key": token}):
        assert (await stage.client.get("/v1/capabilities/me", headers=headers)).status_code == 200
    for query in ({"key": token}, {"access_token": token}):
        answer = await stage.client.get("/v1/capabilities/me", params=query)
        assert told(answer) == (401, "wrong_credential_type")


REQUESTS = [
    ({"grant_type": ...}, "unsupported_grant_type"),
    ({"grant_type": "password"}, "unsupported_grant_type"),
    ({"grant_type": ["client_assertion"]}, "unsupported_grant_type"),
    ({"client_assertion_type": ...}, "unsupported_assertion_type"),
    ({"client_assertion_type": "jwt"}, "unsupported_assertion_type"),
    ({"client_assertion": ...}, "invalid_request"),
    ({"client_assertion": None}, "invalid_request"),
    ({"client_assertion": 7}, "invalid_request"),
    ({"scope": "agents:write"}, "invalid_scope"),
    ({"scope": "vault:execute agents:write"}, "invalid_scope"),
    ({"scope": ""}, "invalid_scope"),
    ({"scope": "vault:execute "}, "invalid_scope"),
    ({"scope": ["vault:execute"]}, "invalid_scope"),
    ({"requested_token_type": "jwt"}, "unsupported_token_type"),
    ({"requested_token_type": 1}, "unsupported_token_type"),
]


@pytest.mark.parametrize(("changes", "code"), REQUESTS, ids=[str(changes) for changes, _ in REQUESTS])
async def test_a_request_of_another_form_is_400_and_burns_nothing(stage, signers, changes, code) -> None:
    agent = await stage.make_agent(signers["EdDSA"])
    answer = await stage.client.post("/v1/agents/token", json=token_body(**{"assertion": agent.assertion(), **changes}))
    assert told(answer) == (400, code)
    assert await stage.spent(agent) == (0, 0)
    assert not await stage.audit(agent.id, "agent_token_denied")


async def test_optional_parameters_may_be_null_and_client_id_must_fit(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    absent = {"scope": None, "client_id": None, "requested_token_type": None}
    assert (await stage.exchange(agent.assertion(), **absent)).status_code == 200
    fitting = {"client_id": agent.id, "requested_token_type": ACCESS_TOKEN}
    assert (await stage.exchange(agent.assertion(), **fitting)).status_code == 200
    for client_id in (str(uuid4()), agent.id.upper(), "", 1, [agent.id]):
        refused = await stage.exchange(agent.assertion(), client_id=client_id)
        assert told(refused) == (401, "malformed_assertion")


@pytest.mark.parametrize(
    ("content_type", "content", "expected"),
    [
        ("application/json", b"[]", (400, "invalid_request")),
        ("application/json", b"{", (400, "invalid_json")),
        ("application/json", b'{"grant_type":"a","grant_type":"b"}', (400, "invalid_json")),
        ("application/json", b"", (400, "unsupported_grant_type")),
        ("text/plain", b"x", (415, "unsupported_media_type")),
        ("multipart/form-data; boundary=x", b"--x--", (415, "unsupported_media_type")),
        ("application/x-www-form-urlencoded", b"grant_type=a&grant_type=a", (400, "invalid_request")),
        ("application/x-www-form-urlencoded", b"grant_type=%ff", (400, "invalid_request")),
        ("application/x-www-form-urlencoded", b"a=\xff", (400, "invalid_request")),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=" % n for n in range(99)), (400, "invalid_request")),
        ("application/x-www-form-urlencoded", b"", (400, "unsupported_grant_type")),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 70_000, (413, "payload_too_large")),
    ],
)
async def test_a_body_nobody_can_read_is_refused(stage, content_type, content, expected) -> None:
    answer = await stage.client.post("/v1/agents/token", headers={"content-type": content_type}, content=content)
    assert told(answer) == expected


async def test_scopes_only_narrow(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    answer = await stage.exchange(agent.assertion(), scope="connections:read vault:execute vault:execute")
    assert answer.json()["scope"] == "vault:execute connections:read"
    narrow = {"authorization": f"Bearer {answer.json()['access_token']}"}
    refused = await stage.client.get("/v1/capabilities/me", headers=narrow)
    assert told(refused) == (403, "insufficient_scope")
    assert refused.json()["hint"] == "capabilities:read"
    wide = await stage.token(agent, scope="capabilities:read")
    assert (await stage.client.get("/v1/capabilities/me", headers=wide)).status_code == 200


@pytest.mark.parametrize(
    "audience", [WEB_URL, [WEB_URL], f"{WEB_URL}/", f"{WEB_URL}/v1", f"{WEB_URL}/v1/", INTERNAL_URL]
)
async def test_our_names_are_audiences(stage, signers, audience) -> None:
    agent = await stage.make_agent(signers["ES256"])
    assert (await stage.exchange(agent.assertion(aud=audience))).status_code == 200


async def test_an_assertion_works_once_and_another_jti_works(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    claims = agent.claims()
    first = agent.assertion(**claims)
    assert (await stage.exchange(first)).status_code == 200
    again = await stage.exchange(first)
    assert told(again) == REPLAYED
    assert "Replay detected" in again.json()["error"]
    assert told(await stage.exchange(agent.assertion(**claims | {"exp": claims["exp"] + 9}))) == REPLAYED
    assert await stage.spent(agent) == (1, 1)
    row = (await stage.audit(agent.id, "agent_token_denied"))[0]
    assert row["metadata"] == {"reason": "replay_detected", "verified": True}
    assert row["workspace_id"] == stage.here.id
    assert again.json()["auditId"] == row["audit_id"] == again.headers["x-agenthifive-audit-id"]
    kept = await stage.sql(
        "SELECT extract(epoch FROM expires_at)::int AS until FROM l_jti_replay_cache WHERE agent_id = %s", agent.id
    )
    assert kept == [{"until": claims["exp"] + 120}]
    await stage.sql("UPDATE l_jti_replay_cache SET expires_at = now() - interval '1 s' WHERE agent_id = %s", agent.id)
    assert (await stage.exchange(agent.assertion(jti=claims["jti"]))).status_code == 200


async def test_two_agents_may_use_the_same_jti(stage, signers) -> None:
    jti = str(uuid4())
    for agent in [await stage.make_agent(signers["ES256"]) for _ in range(2)]:
        assert (await stage.exchange(agent.assertion(jti=jti))).status_code == 200


async def test_a_refused_assertion_burns_nothing(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    jti = str(uuid4())
    refused = await stage.exchange(agent.assertion(jti=jti, aud="https://evil.example"))
    assert told(refused) == (401, "assertion_audience")
    assert WEB_URL in refused.json()["hint"]
    assert await stage.spent(agent) == (0, 0)
    assert (await stage.exchange(agent.assertion(jti=jti))).status_code == 200


async def test_a_spent_jti_outlives_a_new_key_and_a_pause(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    jti = str(uuid4())
    assert (await stage.exchange(agent.assertion(jti=jti))).status_code == 200
    headers = stage.here.headers()
    secret = (await stage.client.post(f"/v1/agents/{agent.id}/bootstrap-secret", headers=headers)).json()
    assert (await stage.enrol(secret["bootstrapSecret"], signers["EdDSA"].jwk)).status_code == 200
    for verb in ("disable", "enable"):
        assert (await stage.client.post(f"/v1/agents/{agent.id}/{verb}", headers=headers)).status_code == 200
    agent.signer = signers["EdDSA"]
    assert told(await stage.exchange(agent.assertion(jti=jti))) == REPLAYED


async def test_a_thousand_copies_over_two_replicas_give_one_token(stage, instance, app_dsn, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    wanted = read_token_request(token_body(agent.assertion()))
    databases = [Database(DatabaseOptions(app_dsn, pool_max=6, pool_timeout_ms=60_000)) for _ in range(2)]
    context = Context(str(uuid4()), "192.0.2.1", None, "https")
    outcomes: list[str] = []

    async def send(replica) -> None:
        try:
            async with replica.edge.unit(context, None, read_only=False) as unit:
                await replica.exchange.exchange(unit, wanted)
            outcomes.append("token")
        except AppError as error:
            outcomes.append(error.code)

    replicas = []
    for database in databases:
        await database.open()
        home = Stage(database, AdminChain(database, instance), stage.admin)
        replicas.append(home.replica)
        warm = await home.exchange(agent.assertion())  # each has its chain now
        assert warm.status_code == 200
    await asyncio.gather(*(send(replicas[number % 2]) for number in range(1000)))
    for database in databases:
        await database.close()
    assert sorted(set(outcomes)) == ["replay_detected", "token"]
    assert outcomes.count("token") == 1
    assert await stage.spent(agent) == (3, 3)
    assert len(await stage.audit(agent.id, "agent_token_denied")) == 999


async def test_the_oldest_token_goes_when_there_are_too_many(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    client = stage.make_replica(max_active_tokens=3).client()
    tokens = []
    for _ in range(5):
        answer = await stage.exchange(agent.assertion(), client)
        tokens.append({"authorization": f"Bearer {answer.json()['access_token']}"})
    answers = [await client.get("/v1/capabilities/me", headers=token) for token in tokens]
    assert [answer.status_code for answer in answers] == [401, 401, 200, 200, 200]


async def test_the_life_of_a_token_is_the_setting(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    answer = await stage.exchange(agent.assertion(), stage.make_replica(token_ttl_s=60).client())
    assert answer.json()["expires_in"] == 60


async def test_an_assertion_from_before_a_restore_is_spent(stage, signers) -> None:
    agent = await stage.make_agent(signers["ES256"])
    restored = stage.make_replica(restored_at_s=time.time() - 10).client()
    now_s = int(time.time())
    assert told(await stage.exchange(agent.assertion(iat=now_s - 20), restored)) == REPLAYED
    assert (await stage.exchange(agent.assertion(iat=now_s - 20))).status_code == 200
    assert (await stage.exchange(agent.assertion(iat=now_s), restored)).status_code == 200


async def test_the_limit_of_an_address_is_told(stage) -> None:
    replica = stage.make_replica(windows={RateLimit.TOKEN: Window(2, 60)})
    async with stage.stranger(replica) as client:
        answers = [await client.post("/v1/agents/token", json={}) for _ in range(3)]
    assert [told(answer)[0] for answer in answers] == [400, 400, 429]
    assert answers[2].json()["limit"] == {"name": "token", "max": 2, "windowSeconds": 60}


# ---------------------------------------------------------------- what is recorded, and where


async def test_nobody_writes_into_a_foreign_log_with_an_unproven_name(stage, signers) -> None:
    victim = await stage.make_agent(signers["ES256"], stage.elsewhere)
    count = "SELECT count(*) FROM l_audit_events WHERE workspace_id = %s"
    before = await stage.sql(count, stage.elsewhere.id)
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    payload = base64.urlsafe_b64encode(json.dumps(victim.claims()).encode()).rstrip(b"=").decode()
    stranger = type(signers["ES256"])("ES256")
    forged = victim.assertion().rpartition(".")[0] + "." + stranger.token().rpartition(".")[2]
    other = str(uuid4())
    tries = [
        (f"{header}.{payload}.", "malformed_assertion", victim.id),
        (f"{header}.{payload}.AAAA", "assertion_header_refused", victim.id),
        (victim.assertion({"kid": "x"}), "assertion_key_mismatch", victim.id),
        (forged, "assertion_signature_invalid", victim.id),
        (victim.assertion(iss=other, sub=other), "invalid_agent", other),
        (victim.assertion(iss="x", sub="not-a-uuid"), "malformed_assertion", None),
        ("nonsense", "malformed_assertion", None),
    ]
    async with stage.stranger() as client:
        for assertion, code, _ in tries:
            assert told(await stage.exchange(assertion, client)) == (401, code)
        ip = client._transport.client[0]  # type: ignore[attr-defined]
    assert await stage.sql(count, stage.elsewhere.id) == before
    rows = await stage.sql(
        "SELECT metadata, agent_id, workspace_id, actor, principal_id FROM l_audit_events WHERE ip = %s ORDER BY id", ip
    )
    assert {(row["agent_id"], row["workspace_id"], row["principal_id"]) for row in rows} == {(None, None, None)}
    assert {row["actor"] for row in rows} == {"anonymous"}
    claimed = [{} if name is None else {"claimedAgentId": name} for *_, name in tries]
    assert [row["metadata"] for row in rows] == [
        {"reason": code, "verified": False, **name} for (_, code, _), name in zip(tries, claimed, strict=True)
    ]


async def test_a_flood_of_forgeries_is_written_sixty_times(stage) -> None:
    async with stage.stranger() as client:
        answers = [await stage.exchange("nonsense", client) for _ in range(65)]
        ip = client._transport.client[0]  # type: ignore[attr-defined]
    assert {told(answer) for answer in answers} == {(401, "malformed_assertion")}
    named = [answer.json()["auditId"] for answer in answers if "auditId" in answer.json()]
    rows = await stage.sql("SELECT audit_id::text FROM l_audit_events WHERE ip = %s ORDER BY id", ip)
    assert [row["audit_id"] for row in rows] == named
    assert 60 <= len(named) <= 61, "61 when the minute turned in between"


# ---------------------------------------------------------------- readers


@given(st.text(max_size=60) | st.lists(st.text("abcXYZ019-_=", max_size=12), max_size=4).map(".".join))
def test_reading_who_is_claimed_never_fails(text: str) -> None:
    assert read_claimed_id(text) is None


@given(
    st.dictionaries(st.sampled_from(["grant_type", "client_assertion", "scope", "x"]), st.text(max_size=5) | st.none())
)
def test_reading_a_request_ends_in_a_400_or_a_request(parameters: dict) -> None:
    with pytest.raises(AppError) as caught:
        read_token_request(parameters)
    assert caught.value.status == 400


def test_every_scope_of_an_agent_can_be_asked_for_alone_and_no_other() -> None:
    for scope in Scope:
        if scope in AGENT_SCOPES:
            assert read_token_request(token_body("x", scope=str(scope))).scopes == (scope,)
        else:
            with pytest.raises(AppError, match="invalid_scope"):
                read_token_request(token_body("x", scope=str(scope)))
