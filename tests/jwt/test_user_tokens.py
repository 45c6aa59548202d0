"""A person's JWT: what it says, and every way in which it counts for nothing. Source: contract/http.md section 13."""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import KeySet

from agenthifive.ids import new_id
from agenthifive.vault import base64url
from application import WEB_URL, Place, run_application
from databases import TestDatabase, fresh_database
from jwt_stage import JWKS, WIDE_LIMITS, csrf, sign_in, user_jwt
from signing_keys import environ, forge, signing_key, taken_apart

KEY = signing_key("a")
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with fresh_database(f"jwt_users_{worker_id}") as made:
        home = tmp_path_factory.mktemp("home")
        async with run_application(made.app_dsn, home, **environ("a"), **WIDE_LIMITS) as running:
            yield running


@pytest.fixture
def own(worker_id: str) -> Iterator[TestDatabase]:
    with fresh_database(f"jwt_users_own_{worker_id}") as made:
        yield made


@pytest_asyncio.fixture
async def cookie(place: Place) -> str:
    """Olga's session."""
    return await sign_in(place, place.owner_id)


@pytest_asyncio.fixture
async def good(place: Place, cookie: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token that is accepted."""
    return taken_apart(await user_jwt(place, cookie))


async def me(place: Place, token: str) -> tuple[int, str | None]:
    answer = await place.ask("GET", "/v1/me", token)
    return answer.status_code, answer.json().get("code")


async def test_a_token_says_what_the_contract_says(place: Place, cookie: str) -> None:
    header, claims = taken_apart(await user_jwt(place, cookie))
    assert header == {"alg": "RS256", "kid": "a", "typ": "JWT"}
    assert {name: claims[name] for name in ("iss", "aud", "sub", "wid", "roles", "scp", "platformRole")} == {
        "iss": WEB_URL, "aud": "api", "sub": place.owner_id, "wid": place.workspace_id, "roles": ["owner"],
        "scp": ["*"], "platformRole": "user",
    }  # fmt: skip
    assert claims["nbf"] == claims["iat"]
    assert claims["exp"] == claims["iat"] + 300
    assert abs(claims["iat"] - time.time()) < 5
    assert abs(claims["auth_time"] - time.time()) < 60
    [(sessions,)] = await place.execute("SELECT count(*) FROM t_sessions WHERE id = %s", [claims["sid"]])
    assert sessions == 1
    assert claims.keys() == {"iss", "aud", "sub", "wid", "roles", "scp", "sid", "jti", "platformRole", "auth_time",
                             "iat", "nbf", "exp"}  # fmt: skip


async def test_a_client_library_verifies_it_with_the_published_keys(place: Place, cookie: str) -> None:
    published = await place.ask("GET", JWKS)
    token = jwt.decode(await user_jwt(place, cookie), KeySet.import_key_set(published.json()), algorithms=["RS256"])
    assert token.claims["sub"] == place.owner_id


async def test_it_stands_for_the_person_without_a_csrf_token(place: Place, cookie: str) -> None:
    token = await user_jwt(place, cookie)
    assert await me(place, token) == (200, None)
    created = await place.ask("POST", "/v1/agents", token, {"name": "Bot"})
    assert created.status_code == 200, created.text


async def test_a_forged_token_with_its_own_signature_passes(place: Place, good: Any) -> None:
    """The forgeries below differ from this one in one place each."""
    header, claims = good
    assert await me(place, forge(header, claims, KEY)) == (200, None)


HEADERS: dict[str, dict[str, Any]] = {
    "unknown kid": {"kid": "z"},
    "empty kid": {"kid": ""},
    "ES256": {"alg": "ES256"},
    "RS384": {"alg": "RS384"},
    "PS256": {"alg": "PS256"},
    "agent type": {"typ": "at+jwt"},
    "lower-case type": {"typ": "jwt"},
    "jku": {"jku": "https://evil.test/jwks.json"},
    "x5u": {"x5u": "https://evil.test/chain.pem"},
    "jwk": {"jwk": dict(signing_key("mallory").jwk)},
    "x5c": {"x5c": ["MIIB"]},
    "crit": {"crit": ["exp"]},
    "b64": {"b64": False, "crit": ["b64"]},
}
CLAIMS: dict[str, dict[str, Any]] = {
    "other issuer": {"iss": "https://evil.test"},
    "other audience": {"aud": "web"},
    "two audiences": {"aud": ["api", "web"]},
    "expired 10 s ago": {"iat": int(time.time()) - 310, "nbf": int(time.time()) - 310, "exp": int(time.time()) - 10},
    "not yet": {"nbf": int(time.time()) + 3600, "exp": int(time.time()) + 7200},
    "no wid": {"wid": ...},
    "no sid": {"sid": ...},
    "no exp": {"exp": ...},
    "roles a word": {"roles": "owner"},
    "exp a text": {"exp": "9999999999"},
    "other session": {"sid": new_id()},
    "other person": {"sub": new_id()},
    "other workspace": {"wid": new_id()},
}


@pytest.mark.parametrize("case", HEADERS)
async def test_another_header_is_refused(place: Place, good: Any, case: str) -> None:
    header, claims = good
    assert await me(place, forge({**header, **HEADERS[case]}, claims, KEY)) == (401, "invalid_token")


@pytest.mark.parametrize("case", CLAIMS)
async def test_other_claims_are_refused(place: Place, good: Any, case: str) -> None:
    header, claims = good
    spoilt = {name: value for name, value in {**claims, **CLAIMS[case]}.items() if value is not ...}
    assert await me(place, forge(header, spoilt, KEY)) == (401, "invalid_token")


async def test_without_a_signature_of_ours_nothing_is_believed(place: Place, good: Any) -> None:
    header, claims = good
    public = next(each for each in (await place.ask("GET", JWKS)).json()["keys"] if each["kid"] == "a")
    signed = forge({**header, "alg": "HS256"}, claims, KEY).rpartition(".")[0]
    for secret in (base64url.decode(public["n"]), public["n"].encode(), str(public).encode()):
        digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
        assert await me(place, f"{signed}.{base64url.encode(digest)}") == (401, "invalid_token")
    unsigned = forge({**header, "alg": "none"}, claims, None)
    for token in (unsigned, unsigned.rpartition(".")[0] + ".", forge(header, claims, signing_key("mallory", kid="a"))):
        assert await me(place, token) == (401, "invalid_token")
    head, _, signature = forge(header, claims, KEY).split(".")
    other = forge(header, {**claims, "platformRole": "superadmin"}, None).split(".")[1]
    assert await me(place, f"{head}.{other}.{signature}") == (401, "invalid_token")


async def test_a_token_of_nine_kibibytes_or_with_a_member_twice_is_refused(place: Place, good: Any) -> None:
    header, claims = good
    assert await me(place, forge(header, {**claims, "x": "x" * 9216}, KEY)) == (401, "invalid_token")
    twice = b'{"sub":"' + place.owner_id.encode() + b'",' + repr(claims).replace("'", '"').encode()[1:]
    assert await me(place, forge(header, twice, KEY)) == (401, "invalid_token")


async def test_claims_about_rights_are_not_believed(place: Place) -> None:
    """Role and platform role are those of this moment."""
    viewer = await place.add_person("viewer")
    header, claims = taken_apart(await user_jwt(place, await sign_in(place, viewer)))
    token = forge(header, {**claims, "roles": ["owner"], "platformRole": "superadmin"}, KEY)
    shown = await place.ask("GET", "/v1/me", token)
    assert (shown.json()["workspace"]["role"], shown.json()["user"]["platformRole"]) == ("viewer", "user")
    assert (await place.ask("POST", "/v1/agents", token, {"name": "x"})).json()["code"] == "insufficient_role"
    assert (await place.ask("GET", "/v1/admin/jwt-keys", token)).json()["code"] == "insufficient_role"


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM t_sessions WHERE user_id = %s",
        "UPDATE t_users SET disabled_at = now() WHERE id = %s",
        "DELETE FROM t_members WHERE user_id = %s",
        "UPDATE t_sessions SET expires_at = now() WHERE user_id = %s",
        "UPDATE t_sessions SET last_seen_at = now() - interval '13 hours' WHERE user_id = %s",
    ],
)
async def test_what_ends_a_token_before_its_time(place: Place, change: str) -> None:
    adam = await place.add_person("admin")
    token = await user_jwt(place, await sign_in(place, adam))
    assert await me(place, token) == (200, None)
    await place.execute(change, [adam])
    assert await me(place, token) == (401, "invalid_token")


async def test_a_person_who_owes_a_second_factor_owes_it_with_a_token_too(own: TestDatabase, tmp_path: Path) -> None:
    settings = {**environ("a"), **WIDE_LIMITS, "REQUIRE_TWO_FACTOR": "all"}
    async with run_application(own.app_dsn, tmp_path, **settings) as place:
        session = await sign_in(place, place.owner_id)
        token = await user_jwt(place, session)
        for headers in ({"cookie": session}, {"authorization": f"Bearer {token}"}):
            answer = await place.ask("GET", "/v1/agents", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "two_factor_required")


async def test_signing_out_ends_it(place: Place, cookie: str) -> None:
    token = await user_jwt(place, cookie)
    assert (await place.ask("POST", "/api/auth/sign-out", body={}, headers={"cookie": cookie})).status_code == 200
    assert await me(place, token) == (401, "invalid_token")


async def test_a_changed_role_counts_at_once(place: Place) -> None:
    adam = await place.add_person("admin")
    token = await user_jwt(place, await sign_in(place, adam))
    await place.execute("UPDATE t_members SET role = 'viewer' WHERE user_id = %s", [adam])
    assert (await place.ask("POST", "/v1/agents", token, {"name": "x"})).json()["code"] == "insufficient_role"


@pytest.mark.parametrize("name", ["x-api-key", "x-goog-api-key"])
async def test_it_is_no_api_key(place: Place, cookie: str, name: str) -> None:
    answer = await place.ask("GET", "/v1/me", headers={name: await user_jwt(place, cookie)})
    assert (answer.status_code, answer.json()["code"]) == (401, "wrong_credential_type")


async def test_what_needs_the_session_itself_refuses_it(place: Place, cookie: str) -> None:
    token = await user_jwt(place, cookie)
    body = {"userCode": "BBBB-BBBB", "approve": True}
    answer = await place.ask("POST", "/api/auth/device-code/decision", token, body)
    assert (answer.status_code, answer.json()["code"]) == (401, "WRONG_CREDENTIAL_TYPE")


async def test_the_token_decides_where_a_cookie_is_sent_too(place: Place, cookie: str) -> None:
    adam = await place.add_person("admin")
    token = await user_jwt(place, await sign_in(place, adam))
    shown = await place.ask("GET", "/v1/me", token, headers=await csrf(place, cookie))
    assert shown.json()["user"]["id"] == adam


async def test_a_person_calls_the_broker_with_it(place: Place, cookie: str) -> None:
    token = await user_jwt(place, cookie)
    call = {"model": "B", "connectionId": UNKNOWN, "method": "GET", "url": "https://api.example.com/"}
    answer = await place.ask("POST", "/v1/vault/execute", token, call)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    header, claims = taken_apart(token)
    answer = await place.ask("POST", "/v1/vault/execute", forge(header, {**claims, "aud": "web"}, KEY), call)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    viewer = await user_jwt(place, await sign_in(place, await place.add_person("viewer")))
    answer = await place.ask("POST", "/v1/vault/execute", viewer, call)
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")
