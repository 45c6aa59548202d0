"""Keys are replaced without anybody noticing, and taken away at once when they leak.

Source: contract/http.md section 13 "Keys", acceptance 15.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agenthifive.jwt.keys import KeyRegistrationRefused
from application import Place, run_application
from databases import TestDatabase, fresh_database
from jwt_stage import JWKS, WIDE_LIMITS, enrol, exchange, sign_in, user_jwt
from signing_keys import environ, forge, signing_key, taken_apart

OVERLAP = "7200 + 3600"


@pytest.fixture
def own(worker_id: str) -> Iterator[TestDatabase]:
    with fresh_database(f"jwt_keys_{worker_id}") as made:
        yield made


@contextlib.asynccontextmanager
async def replica(
    own: TestDatabase, home: Path, name: str, kid: str | None = None, **settings: str
) -> AsyncIterator[Place]:
    """A process that signs with the key of this name."""
    has_owner = settings.pop("first", "") != ""
    async with run_application(
        own.app_dsn, home, has_owner=has_owner, **environ(name, kid=kid), **WIDE_LIMITS, **settings
    ) as place:
        if not has_owner:
            rows = await place.execute("SELECT id::text, owner_id::text FROM t_workspaces LIMIT 1", [])
            place.workspace_id, place.owner_id = rows[0] if rows else ("", "")
        yield place


async def kids(place: Place) -> list[str]:
    """What the JWKS of a process lists, asked of the database anew."""
    place.app.jwt.signed_tokens.keys._snapshot = type(place.app.jwt.signed_tokens.keys._snapshot)()
    answer = await place.ask("GET", JWKS)
    return [each["kid"] for each in answer.json()["keys"]]


async def status(place: Place, token: str) -> int:
    return (await place.ask("GET", "/v1/me", token)).status_code


async def events(place: Place, action: str) -> list[Any]:
    rows = await place.execute("SELECT metadata FROM l_audit_events WHERE action = %s ORDER BY id", [action])
    return [row[0] for row in rows]


async def test_a_restart_with_another_key_keeps_what_the_old_one_signed(own: TestDatabase, tmp_path: Path) -> None:
    async with replica(own, tmp_path, "k1", "a", first="yes") as place:
        cookie = await sign_in(place, place.owner_id)
        old = await user_jwt(place, cookie)
        assert await kids(place) == ["a"]
    async with replica(own, tmp_path, "k2", "b") as place:
        assert await kids(place) == ["b", "a"]
        assert await status(place, old) == 200
        new = await user_jwt(place, cookie)
        assert (taken_apart(old)[0]["kid"], taken_apart(new)[0]["kid"]) == ("a", "b")
        assert await status(place, new) == 200
        shift = f"UPDATE t_jwt_keys SET last_signed_at = now() - make_interval(secs => {OVERLAP} + %s) WHERE kid = 'a'"
        await place.execute(shift, [-5])
        assert await kids(place) == ["b", "a"]
        await place.execute(shift, [5])
        assert await kids(place) == ["b"]
        assert await status(place, old) == 401
        assert await events(place, "jwt_key_activated") == [{"kid": "a"}, {"kid": "b"}]


async def test_a_name_that_means_another_key_stops_the_start(own: TestDatabase, tmp_path: Path) -> None:
    async with replica(own, tmp_path, "k1", "a"):
        pass
    with pytest.raises(KeyRegistrationRefused) as refused:
        async with replica(own, tmp_path, "k2", "a"):
            pass
    assert str(refused.value).startswith("JWT_KID: a already names another key; choose a new JWT_KID when you rotate")
    assert isinstance(refused.value, ValueError)  # how the command line knows a refused setting
    async with replica(own, tmp_path, "k1", "a") as place:
        assert await kids(place) == ["a"]


async def test_two_replicas_with_two_keys_accept_each_others_tokens_at_once(own: TestDatabase, tmp_path: Path) -> None:
    """As during a rolling restart: nothing waits for a cache to end."""
    async with replica(own, tmp_path, "k1", "a", first="yes") as first:
        cookie = await sign_in(first, first.owner_id)
        old = await user_jwt(first, cookie)
        bot = await enrol(first)
        async with replica(own, tmp_path, "k2", "b") as second:
            new = await user_jwt(second, cookie)
            agents = [await bot.jwt(first), await bot.jwt(second)]
            for place in (first, second):
                assert [await status(place, token) for token in (old, new)] == [200, 200]
                for token in agents:
                    assert (await place.ask("GET", "/v1/connections", token)).status_code == 200
            assert set(await kids(first)) == set(await kids(second)) == {"a", "b"}


async def test_a_key_that_signs_on_anywhere_stays_published(own: TestDatabase, tmp_path: Path) -> None:
    async with replica(own, tmp_path, "k1", "a", first="yes") as first:
        cookie = await sign_in(first, first.owner_id)
        async with replica(own, tmp_path, "k2", "b") as second:
            stale = f"UPDATE t_jwt_keys SET first_seen_at = now() - make_interval(secs => {OVERLAP} + 5)"
            await first.execute(f"{stale}, last_signed_at = NULL WHERE kid = 'a'", [])
            assert await kids(second) == ["b"]
            assert await kids(first) == ["a", "b"]
            token = await user_jwt(first, cookie)
            assert await kids(second) == ["b", "a"]
            assert await status(second, token) == 200


async def test_a_longer_life_of_agent_tokens_keeps_keys_longer(own: TestDatabase, tmp_path: Path) -> None:
    async with replica(own, tmp_path, "k1", "a"):
        pass
    async with replica(own, tmp_path, "k2", "b", AGENT_TOKEN_TTL_SECONDS="86400") as place:
        await place.execute("UPDATE t_jwt_keys SET first_seen_at = now() - interval '24 hours 59 minutes'", [])
        assert await kids(place) == ["b", "a"]
        await place.execute("UPDATE t_jwt_keys SET first_seen_at = now() - interval '25 hours 1 minute'", [])
        assert await kids(place) == ["b"]


async def superadmin(place: Place) -> dict[str, str]:
    """The headers of somebody who may retire keys, freshly signed in."""
    await place.execute("UPDATE t_users SET platform_role = 'superadmin' WHERE id = %s", [place.owner_id])
    cookie = await sign_in(place, place.owner_id)
    answer = await place.ask("GET", "/api/auth/csrf", headers={"cookie": cookie})
    return {"cookie": cookie, "x-ah5-csrf": answer.json()["token"]}


async def test_a_leaked_key_is_dead_everywhere_at_once(own: TestDatabase, tmp_path: Path) -> None:
    async with replica(own, tmp_path, "k1", "a", first="yes") as old, replica(own, tmp_path, "k2", "b") as new:
        cookie = await sign_in(old, old.owner_id)
        bot = await enrol(old)
        person, agent = await user_jwt(old, cookie), await bot.jwt(old)
        kept = await user_jwt(new, cookie)
        headers = await superadmin(new)
        for place in (old, new):
            assert await status(place, person) == 200
            assert (await place.ask("GET", "/v1/connections", agent)).status_code == 200
        answer = await new.ask("POST", "/v1/admin/jwt-keys/a/retire", body={"now": True}, headers=headers)
        assert answer.status_code == 200, answer.text
        for place in (old, new):
            assert "a" not in await kids(place)  # what either had in memory is a second old at most
            assert await status(place, person) == 401
            assert (await place.ask("GET", "/v1/connections", agent)).status_code == 401
            call = {"model": "B", "service": "openai", "method": "GET", "url": "https://api.openai.com/"}
            assert (await place.ask("POST", "/v1/vault/execute", agent, call)).status_code == 401
            forged = forge(*taken_apart(person), signing_key("k1", kid="a"))
            assert await status(place, forged) == 401
            assert await status(place, kept) == 200
        refused = await exchange(old, cookie)
        assert (refused.status_code, refused.json()["code"]) == (503, "UNAVAILABLE")
        assert (await bot.trade(old)).status_code == 200  # opaque tokens need no key
        assert await events(new, "jwt_key_retired") == [{"kid": "a"}]


@pytest.mark.parametrize("kid", ["a", "other"])
async def test_a_retired_key_starts_no_process_whatever_it_is_called(
    own: TestDatabase, tmp_path: Path, kid: str
) -> None:
    async with replica(own, tmp_path, "k1", "a", first="yes"):
        pass
    async with replica(own, tmp_path, "k2", "b") as place:
        answer = await place.ask("POST", "/v1/admin/jwt-keys/a/retire", headers=await superadmin(place))
        assert answer.status_code == 200
    with pytest.raises(KeyRegistrationRefused, match="JWT_PRIVATE_KEY: this key was retired"):
        async with replica(own, tmp_path, "k1", kid):
            pass


async def test_a_retired_key_signs_no_more_but_its_tokens_end_in_their_time(own: TestDatabase, tmp_path: Path) -> None:
    async with replica(own, tmp_path, "k1", "a", first="yes") as old, replica(own, tmp_path, "k2", "b") as new:
        cookie = await sign_in(old, old.owner_id)
        token = await user_jwt(old, cookie)
        await new.ask("POST", "/v1/admin/jwt-keys/a/retire", headers=await superadmin(new))
        for place in (old, new):
            assert "a" in await kids(place)
            assert await status(place, token) == 200
        assert (await exchange(old, cookie)).status_code == 503
        assert (await exchange(new, cookie)).status_code == 200


async def test_the_key_that_signs_cannot_be_retired(own: TestDatabase, tmp_path: Path) -> None:
    async with replica(own, tmp_path, "k1", "a", first="yes") as old, replica(own, tmp_path, "k2", "b") as new:
        headers = await superadmin(new)
        for place, kid in ((new, "b"), (old, "b"), (old, "a")):
            answer = await place.ask("POST", f"/v1/admin/jwt-keys/{kid}/retire", body={"now": True}, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (409, "conflict"), kid
        answer = await new.ask("POST", "/v1/admin/jwt-keys/c/retire", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert set(await kids(new)) == {"a", "b"}
        assert await events(new, "jwt_key_retired") == []


async def test_the_same_key_elsewhere_is_said(own: TestDatabase, tmp_path: Path) -> None:
    async with replica(own, tmp_path, "k1", "a") as place:
        await place.execute("UPDATE t_jwt_keys SET first_web_url = 'https://staging.example.com'", [])
        async with place.app.unit() as unit:
            warning = await place.app.jwt.signed_tokens.keys.register(unit, "http://localhost:4000", "development")
    assert warning is not None
    assert "https://staging.example.com" in warning
    assert "do not share keys across environments" in warning


async def test_without_a_key_development_signs_with_one_of_its_own(own: TestDatabase, tmp_path: Path) -> None:
    async with run_application(own.app_dsn, tmp_path) as place:
        (key,) = (await place.ask("GET", JWKS)).json()["keys"]
        assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
        token = await user_jwt(place, await sign_in(place, place.owner_id))
        assert taken_apart(token)[0]["kid"] == key["kid"]
        assert await status(place, token) == 200


@pytest.mark.parametrize(("kind", "alg"), [("EC", "ES256"), ("Ed25519", "EdDSA")])
async def test_other_kinds_of_keys_sign_with_their_own_algorithm(
    own: TestDatabase, tmp_path: Path, kind: str, alg: str
) -> None:
    async with run_application(own.app_dsn, tmp_path, **environ("other", kind)) as place:
        token = await user_jwt(place, await sign_in(place, place.owner_id))
        header, claims = taken_apart(token)
        assert header["alg"] == alg
        assert await status(place, token) == 200
        for claimed in ("RS256", "ES256", "EdDSA"):
            forged = forge({**header, "alg": claimed}, claims, signing_key("other", kind))
            assert await status(place, forged) == (200 if claimed == alg else 401)
