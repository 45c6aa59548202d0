"""Sign-in elsewhere in the complete application: from the settings to a session, over two replicas.

Source: contract/http.md sections 14.2 and 16 (oauth_callback), goals.md S6.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from agenthifive.broker.egress import tls_context
from application import Place, run_application
from certificates import issue
from databases import fresh_database
from fakes import Provider
from people.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdServer, visit
from people.social_stage import error_of
from people.stage import ADAM


@dataclass
class Replicas:
    """Two processes' applications over one database, and the provider both know."""

    places: tuple[Place, Place]
    server: OpenIdServer
    tls: ssl.SSLContext

    async def reply(self, path: str = "/dashboard") -> tuple[str, str]:
        """The address the provider sends a fresh browser to, and the cookie of its flow."""
        body = {"provider": "oidc", "callbackURL": path}
        begun = await self.places[0].ask("POST", "/api/auth/sign-in/social", body=body)
        assert begun.status_code == 200, begun.text
        page = await visit(self.tls, self.server.server.port, begun.json()["url"])
        return page.headers["location"], f"ah5_flow={begun.cookies['ah5_flow']}"


@pytest_asyncio.fixture
async def replicas(worker_id: str, tmp_path: Path) -> AsyncIterator[Replicas]:
    bundle, chain, key = issue(tmp_path, "localhost")
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listening.load_cert_chain(chain, key)
    server = OpenIdServer(claims={"email": ADAM, "email_verified": True, "name": "Adam"})
    server.server = Provider(server.serve)
    await server.server.start(listening)
    server.base = f"https://localhost:{server.server.port}"
    environ = {
        "REGISTRATION": "domain:example.com",
        "OIDC_ISSUER": server.base,
        "OIDC_CLIENT_ID": CLIENT_ID,
        "OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "OIDC_NAME": "Acme",
        "EGRESS_CA_BUNDLE": str(bundle),
        "SSRF_ALLOWLIST_HOSTS": f"localhost:{server.server.port}",
    }
    with fresh_database(f"social_{worker_id}") as made:
        async with (
            run_application(made.app_dsn, tmp_path, **environ) as one,
            run_application(made.app_dsn, tmp_path, has_owner=False, **environ) as two,
        ):
            yield Replicas((one, two), server, tls_context(bundle))
    await server.server.stop()


async def test_a_reply_replayed_over_two_replicas_opens_one_session(replicas: Replicas) -> None:
    one, two = replicas.places
    assert (await two.ask("GET", "/api/auth/providers")).json()["social"] == [{"id": "oidc", "name": "Acme"}]
    location, cookie = await replicas.reply()
    answers = await asyncio.gather(
        *((one, two)[n % 2].ask("GET", location, headers={"cookie": cookie}) for n in range(50))
    )
    [landed] = [answer for answer in answers if answer.headers["location"] == "/dashboard"]
    assert {error_of(answer) for answer in answers if answer is not landed} == {"state_mismatch"}
    assert await one.execute("SELECT count(*) FROM t_sessions", []) == [(1,)]
    assert len(replicas.server.requests("/token")) == 1
    session = {"cookie": f"ah5_session={landed.cookies['ah5_session']}"}
    assert (await two.ask("GET", "/v1/me", headers=session)).json()["user"]["email"] == ADAM


async def test_callbacks_of_one_address_are_limited(replicas: Replicas) -> None:
    place = replicas.places[0]
    answers = [await place.ask("GET", "/api/auth/callback/oidc?state=x&code=y") for _ in range(61)]
    assert {error_of(answer) for answer in answers[:60]} == {"state_mismatch"}
    assert (answers[60].status_code, answers[60].json()["limit"]["name"]) == (429, "oauth_callback")


@pytest.mark.parametrize("issuer", ["https://169.254.169.254", "https://127.0.0.1:1"])
async def test_an_issuer_inside_is_not_called(worker_id: str, tmp_path: Path, issuer: str) -> None:
    environ = {"OIDC_ISSUER": issuer, "OIDC_CLIENT_ID": CLIENT_ID, "OIDC_CLIENT_SECRET": CLIENT_SECRET}
    with fresh_database(f"inside_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path, **environ) as place:
            body = {"provider": "oidc", "callbackURL": "/"}
            answer: httpx.Response = await place.ask("POST", "/api/auth/sign-in/social", body=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert issuer not in answer.text
