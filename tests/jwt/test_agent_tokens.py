"""An agent's access token in JWT form: verified offline by anybody, revoked like any other here.

Source: contract/agents.md section 8, acceptance 23.
"""

from collections.abc import AsyncIterator
from hashlib import sha256

import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import KeySet

from agenthifive.agents.model import JWT_TOKEN_TYPE, OPAQUE_TOKEN_TYPE
from agenthifive.ids import new_id
from agenthifive.words import AGENT_SCOPES
from application import WEB_URL, Place, run_application
from databases import fresh_database
from jwt_stage import JWKS, WIDE_LIMITS, Bot, enrol, sign_in, user_jwt
from signing_keys import environ, forge, signing_key, taken_apart

KEY = signing_key("a")
UNKNOWN = "00000000-0000-4000-8000-000000000000"
CALL = {"model": "B", "connectionId": UNKNOWN, "method": "GET", "url": "https://api.example.com/"}


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with fresh_database(f"jwt_agents_{worker_id}") as made:
        home = tmp_path_factory.mktemp("home")
        async with run_application(made.app_dsn, home, **environ("a"), **WIDE_LIMITS) as running:
            yield running


@pytest_asyncio.fixture
async def bot(place: Place) -> Bot:
    return await enrol(place)


async def shown(place: Place, token: str, header: str = "authorization") -> tuple[int, str | None]:
    """What a management route and the broker answer to a token; both must agree about the token itself."""
    sent = {header: f"Bearer {token}" if header == "authorization" else token}
    managed = await place.ask("GET", "/v1/connections", headers=sent)
    called = await place.ask("POST", "/v1/vault/execute", body=CALL, headers=sent)
    assert (managed.status_code == 401) == (called.status_code == 401), (managed.text, called.text)
    return managed.status_code, managed.json().get("code")


async def test_a_jwt_is_issued_where_it_is_asked_for(place: Place, bot: Bot) -> None:
    answer = await bot.trade(requested_token_type=JWT_TOKEN_TYPE)
    body = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (body["issued_token_type"], body["token_type"], body["expires_in"]) == (JWT_TOKEN_TYPE, "Bearer", 7200)
    header, claims = taken_apart(body["access_token"])
    assert header == {"alg": "RS256", "kid": "a", "typ": "at+jwt"}
    assert claims.pop("exp") == claims.pop("iat") + 7200
    assert claims.pop("nbf")
    assert claims.pop("jti")
    assert claims == {
        "iss": WEB_URL, "aud": "api", "sub": f"agent:{bot.id}", "agentId": bot.id, "client_id": bot.id,
        "wid": place.workspace_id, "roles": ["agent"], "scp": list(AGENT_SCOPES),
    }  # fmt: skip
    digest = sha256(body["access_token"].encode()).hexdigest()
    rows = await place.execute("SELECT form, scopes FROM t_agent_access_tokens WHERE token_hash = %s", [digest])
    assert rows == [("jwt", list(AGENT_SCOPES))]
    [(row,)] = await place.execute(
        "SELECT metadata->>'form' FROM l_audit_events WHERE action = 'agent_token_issued' AND agent_id = %s", [bot.id]
    )
    assert row == "jwt"


@pytest.mark.parametrize("wanted", [None, OPAQUE_TOKEN_TYPE])
async def test_otherwise_the_token_stays_opaque(bot: Bot, wanted: str | None) -> None:
    answer = await bot.trade(requested_token_type=wanted)
    assert answer.json()["issued_token_type"] == OPAQUE_TOKEN_TYPE
    assert answer.json()["access_token"].startswith("ah5t_")


async def test_a_gateway_verifies_it_with_the_published_keys(place: Place, bot: Bot) -> None:
    published = await place.ask("GET", JWKS)
    token = jwt.decode(await bot.jwt(), KeySet.import_key_set(published.json()), algorithms=["RS256"])
    assert (token.header["typ"], token.claims["agentId"]) == ("at+jwt", bot.id)


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-goog-api-key"])
async def test_it_works_wherever_an_opaque_token_does(place: Place, bot: Bot, header: str) -> None:
    token = await bot.jwt()
    for _ in range(2):
        assert await shown(place, token, header) == (200, None)
    answer = await place.ask("POST", "/v1/agents", headers={"x-api-key": token}, body={"name": "x"})
    assert (answer.status_code, answer.json()["code"]) == (403, "agent_not_allowed")


async def test_scopes_narrow_it(place: Place, bot: Bot) -> None:
    token = await bot.jwt(scope="capabilities:read")
    assert taken_apart(token)[1]["scp"] == ["capabilities:read"]
    assert await shown(place, token) == (403, "insufficient_scope")
    called = await place.ask("POST", "/v1/vault/execute", token, CALL)
    assert (called.status_code, called.json()["code"]) == (403, "insufficient_scope")


async def test_revoking_ends_it_before_its_time(place: Place, bot: Bot) -> None:
    token = await bot.jwt()
    assert await shown(place, token) == (200, None)
    owner = await place.add_pat(place.owner_id)
    revoked = await place.ask("POST", f"/v1/agents/{bot.id}/revoke-tokens", owner)
    assert revoked.json()["tokensRevoked"] == 1
    while place.app.broker.grants._tokens.get(sha256(token.encode()).digest()) is not None:
        await place.execute("SELECT 1", [])  # the notice is on its way
    assert await shown(place, token) == (401, "invalid_token")


async def test_a_disabled_agent_is_stopped(place: Place, bot: Bot) -> None:
    token = await bot.jwt()
    owner = await place.add_pat(place.owner_id)
    assert (await place.ask("POST", f"/v1/agents/{bot.id}/disable", owner)).json()["tokensRevoked"] == 1
    assert await shown(place, token) == (401, "invalid_token")


async def test_a_changed_token_is_refused_although_its_signature_was(place: Place, bot: Bot) -> None:
    token = await bot.jwt()
    assert await shown(place, token) == (200, None)
    header, claims = taken_apart(token)
    head, _, signature = token.split(".")
    for changed in ({"scp": ["agents:write"]}, {"exp": claims["exp"] + 9000}, {"agentId": new_id()}):
        payload = forge(header, {**claims, **changed}, None).split(".")[1]
        assert await shown(place, f"{head}.{payload}.{signature}") == (401, "invalid_token")


async def test_a_signature_alone_opens_nothing(place: Place, bot: Bot) -> None:
    """Who holds a leaked signing key still lacks the row."""
    header, claims = taken_apart(await bot.jwt())
    assert await shown(place, forge(header, {**claims, "jti": new_id()}, KEY)) == (401, "invalid_token")


@pytest.mark.parametrize(
    "header",
    [{"typ": "JWT"}, {"alg": "none"}, {"alg": "HS256"}, {"kid": "z"}, {"jku": "https://evil.test"}, {"crit": ["exp"]}],
)
async def test_another_header_is_refused(place: Place, bot: Bot, header: dict[str, object]) -> None:
    """Even when the database holds the very text."""
    original, claims = taken_apart(await bot.jwt())
    token = forge({**original, **header}, claims, KEY)
    await place.execute(
        "UPDATE t_agent_access_tokens SET token_hash = %s WHERE agent_id = %s",
        [sha256(token.encode()).hexdigest(), bot.id],
    )
    assert await shown(place, token) == (401, "invalid_token")


async def test_it_expires_by_its_row_and_by_its_claims(place: Place, bot: Bot) -> None:
    token = await bot.jwt()
    await place.execute("UPDATE t_agent_access_tokens SET expires_at = now() WHERE agent_id = %s", [bot.id])
    assert await shown(place, token) == (401, "invalid_token")
    header, claims = taken_apart(token)
    expired = forge(header, {**claims, "iat": claims["iat"] - 9000, "nbf": claims["nbf"] - 9000,
                             "exp": claims["iat"] - 10}, KEY)  # fmt: skip
    await place.execute(
        "UPDATE t_agent_access_tokens SET token_hash = %s, expires_at = now() + interval '1 hour' WHERE agent_id = %s",
        [sha256(expired.encode()).hexdigest(), bot.id],
    )
    assert await shown(place, expired) == (401, "invalid_token")


async def test_a_person_cannot_pass_for_an_agent(place: Place, bot: Bot) -> None:
    header, claims = taken_apart(await user_jwt(place, await sign_in(place, place.owner_id)))
    assert await shown(place, forge({**header, "typ": "at+jwt"}, claims, KEY)) == (401, "invalid_token")
    agent_header, agent_claims = taken_apart(await bot.jwt())
    answer = await place.ask("GET", "/v1/me", forge({**agent_header, "typ": "JWT"}, agent_claims, KEY))
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
