"""WEB_JWKS_URL in a whole application: our own key set over our own listener, and sources that fail.

Source: contract/http.md section 13 "WEB_JWKS_URL", acceptance 16.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from application import Place, run_application
from databases import TestDatabase, fresh_database
from fakes import Provider, provider, respond
from jwt_stage import JWKS, WIDE_LIMITS, enrol, sign_in, user_jwt
from listening import listening
from signing_keys import environ, signing_key


@pytest.fixture
def own(worker_id: str) -> Iterator[TestDatabase]:
    with fresh_database(f"jwt_remote_{worker_id}") as made:
        yield made


def source_of(name: str) -> bytes:
    key = signing_key(name)
    return json.dumps({"keys": [{**key.jwk, "kid": key.kid, "use": "sig", "alg": key.alg}]}).encode()


async def me(place: Place, token: str) -> tuple[int, str | None]:
    answer = await place.ask("GET", "/v1/me", token)
    return answer.status_code, answer.json().get("code")


def settings(made: Provider) -> dict[str, str]:
    return {**environ("a"), **WIDE_LIMITS, "WEB_JWKS_URL": f"http://127.0.0.1:{made.port}/jwks.json"}


async def test_an_instance_reads_its_own_keys_over_its_own_listener(own: TestDatabase, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://localhost:{listener.getsockname()[1]}{JWKS}"
    async with run_application(own.app_dsn, tmp_path, WEB_JWKS_URL=url, **environ("a"), **WIDE_LIMITS) as place:
        token = await user_jwt(place, await sign_in(place, place.owner_id))
        refused = await me(place, token)  # nobody listens yet: that is no reason to let anybody in
        assert refused == (503, "unavailable")
        place.app.jwt.signed_tokens._verifying._tried_at_s = float("-inf")  # type: ignore[attr-defined]
        async with listening(place.app.gate, listener):
            assert await me(place, token) == (200, None)
            bot = await enrol(place)
            assert (await place.ask("GET", "/v1/connections", await bot.jwt())).status_code == 200


async def test_the_source_decides_which_keys_count(own: TestDatabase, tmp_path: Path) -> None:
    async with (
        provider(respond(200, source_of("another"))) as made,
        run_application(own.app_dsn, tmp_path, **settings(made)) as place,
    ):
        token = await user_jwt(place, await sign_in(place, place.owner_id))
        assert await me(place, token) == (401, "invalid_token")
        assert len(made.received) == 1


@pytest.mark.parametrize(
    "script",
    [
        respond(302, b"", ("location", "/other.json")),
        respond(200, b" " * 1024 * 1024),
        respond(200, source_of("a"), ("content-type", "text/html")),
        respond(200, json.dumps({"keys": [{**signing_key("a").jwk, "kid": "a", "d": "AQAB"}]}).encode()),
        respond(500),
    ],
)
async def test_a_hostile_source_lets_nobody_in(own: TestDatabase, tmp_path: Path, script: Any) -> None:
    async with provider(script) as made:
        async with run_application(own.app_dsn, tmp_path, **settings(made)) as place:
            token = await user_jwt(place, await sign_in(place, place.owner_id))
            agent = await (await enrol(place)).jwt()
            for _ in range(3):
                answer = await place.ask("GET", "/v1/me", token)
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                assert int(answer.headers["retry-after"]) >= 1
                call = {"model": "B", "service": "openai", "method": "GET", "url": "https://api.openai.com/"}
                assert (await place.ask("POST", "/v1/vault/execute", agent, call)).status_code == 503
            _, opaque = await place.add_agent()
            assert (await place.ask("GET", "/v1/connections", opaque)).status_code == 200  # needs no source
        assert len(made.received) == 1
