"""Stopping somebody on two replicas at once: sessions, tokens, agents and open streams; and letting them go on.

Source: contract/http.md section 10 and acceptance 10, goals.md R9.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from agenthifive.people.model import Account
from agenthifive.words import Role
from application import Place, run_application
from databases import fresh_database
from fakes import Provider, Received, provider, respond
from listening import listening
from people.stage import ADAM, OLGA, PASSWORD

SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
KEY = "sk-the-secret-value-that-nobody-may-see-0123456789"


@dataclass
class Twins:
    """Two replicas over one database, Olga the superadmin, Adam an admin, and a provider that streams."""

    places: list[Place]
    bases: list[str]
    provider: Provider
    olga: Account
    adam: Account
    connection_id: str = ""

    async def client(self, email: str) -> httpx.AsyncClient:
        """Somebody who just signed in at the first replica; the cookie is good at both."""
        client = httpx.AsyncClient(timeout=30)
        answer = await client.post(
            f"{self.bases[0]}/api/auth/sign-in/email", json={"email": email, "password": PASSWORD}
        )
        assert answer.status_code == 200, answer.text
        client.headers["x-ah5-csrf"] = (await client.get(f"{self.bases[0]}/api/auth/csrf")).json()["token"]
        return client

    @contextlib.asynccontextmanager
    async def signed_in(self, email: str) -> AsyncIterator[httpx.AsyncClient]:
        """The same for the length of a block."""
        client = await self.client(email)
        try:
            yield client
        finally:
            await client.aclose()

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.provider.port}"

    def call(self, **members: Any) -> dict[str, Any]:
        return {"model": "B", "connectionId": self.connection_id, "method": "GET", "url": f"{self.origin}/v1/x",
                **members}  # fmt: skip


@pytest_asyncio.fixture(scope="module")
async def twins(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Twins]:
    home = tmp_path_factory.mktemp("home")
    settings = {"SSRF_ALLOWLIST_HOSTS": "localhost=127.0.0.0/8|::1/128", "RATE_LIMIT_SIGN_IN_PER_MINUTE": "1000"}
    with fresh_database(f"twins_{worker_id}") as made:
        async with (
            run_application(made.app_dsn, home, has_owner=False, **settings) as first,
            run_application(made.app_dsn, home, has_owner=False, **settings) as second,
            listening(first.app.gate) as one,
            listening(second.app.gate) as two,
            provider() as upstream,
        ):
            accounts = first.app.keeper.people.accounts
            async with first.app.unit() as unit:
                olga = await accounts.create_user(unit, OLGA, "Olga", PASSWORD)
            async with first.app.unit() as unit:
                adam = await accounts.create_user(unit, ADAM, "Adam", PASSWORD, olga.workspace_id, Role.ADMIN)
            bases = [f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}"]
            built = Twins([first, second], bases, upstream, olga, adam)
            first.workspace_id = olga.workspace_id
            async with built.signed_in(OLGA) as client:
                connected = await client.post(
                    f"{bases[0]}/v1/connections/http",
                    json={"label": "Provider", "baseUrl": built.origin, "authType": "bearer", "apiKey": KEY},
                )
                assert connected.status_code == 200, connected.text
                built.connection_id = connected.json()["connection"]["id"]
            yield built


@dataclass
class Held:
    """Everything Adam holds."""

    session: httpx.AsyncClient
    pat: str
    agent: str
    agent_id: str


async def arm(twins: Twins) -> Held:
    """Adam with a session, a token, and an agent of his that may call."""
    session, place = await twins.client(ADAM), twins.places[0]
    pat = (await session.post(f"{twins.bases[0]}/v1/tokens", json={"name": "script"})).json()["plainToken"]
    place.owner_id = twins.adam.user.id  # whoever creates the agent
    agent_id, agent = await place.add_agent(twins.olga.workspace_id)
    allowlists = [{"baseUrl": twins.origin, "methods": ["GET"], "pathPatterns": ["/v1/**"]}]
    made = await session.post(
        f"{twins.bases[0]}/v1/policies",
        json={"agentId": agent_id, "connectionId": twins.connection_id, "allowlists": allowlists},
    )
    assert made.status_code == 201, made.text
    return Held(session, pat, agent, agent_id)


async def statuses(twins: Twins, held: Held) -> list[int]:
    """What both replicas say to each credential: session, token, the agent's at a management and a broker route."""
    found = []
    for base in twins.bases:
        found.append((await held.session.get(f"{base}/v1/me")).status_code)
        async with httpx.AsyncClient(timeout=30) as program:
            for token, path in ((held.pat, "/v1/me"), (held.agent, "/v1/connections")):
                bearer = {"authorization": f"Bearer {token}"}
                found.append((await program.get(f"{base}{path}", headers=bearer)).status_code)
            called = await program.post(
                f"{base}/v1/vault/execute", json=twins.call(), headers={"authorization": f"Bearer {held.agent}"}
            )
            found.append(called.status_code)
    return found


class Listener:
    """An endless stream, read until somebody ends it."""

    def __init__(self, client: httpx.AsyncClient, base: str, call: dict[str, Any], token: str | None = None) -> None:
        self.has_begun = asyncio.Event()
        self.received = b""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self.task = asyncio.create_task(self._read(client, f"{base}/v1/vault/execute", call, headers))

    async def _read(self, client: httpx.AsyncClient, url: str, call: dict[str, Any], headers: dict[str, str]) -> None:
        with contextlib.suppress(httpx.RemoteProtocolError):
            async with client.stream("POST", url, json={**call, "stream": True}, headers=headers) as answer:
                assert answer.status_code == 200, await answer.aread()
                async for piece in answer.aiter_raw():
                    self.received += piece
                    self.has_begun.set()


async def endless(request: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(SSE)
    while not (writer.transport.is_closing() or request.has_left):
        writer.write(b"9\r\ndata: x\n\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def test_a_disabled_user_is_out_on_every_replica_and_comes_back_as_they_were(twins: Twins) -> None:
    """Acceptance 10, and the streams of goal R9."""
    held = await arm(twins)
    twins.provider.script = respond(200, b'{"ok":true}')
    assert set(await statuses(twins, held)) == {200}
    twins.provider.script = endless
    async with twins.signed_in(OLGA) as olga, httpx.AsyncClient(timeout=30) as bot:
        listeners = [
            Listener(held.session, twins.bases[1], twins.call(agentId=held.agent_id)),
            Listener(bot, twins.bases[0], twins.call(), held.agent),
            Listener(bot, twins.bases[1], twins.call(), held.agent),
        ]
        await asyncio.gather(*(one.has_begun.wait() for one in listeners))
        user = f"{twins.bases[0]}/v1/admin/users/{twins.adam.user.id}"
        stopped = await olga.post(f"{user}/disable")
        assert stopped.status_code == 200, stopped.text
        started = time.monotonic()
        await asyncio.gather(*(one.task for one in listeners))
        assert time.monotonic() - started <= 2.0
        assert all(b"agenthifive-error" in one.received for one in listeners)
        twins.provider.received.clear()
        assert set(await statuses(twins, held)) == {401}
        assert twins.provider.received == []
        twins.provider.script = respond(200, b'{"ok":true}')
        assert (await olga.post(f"{user}/enable")).status_code == 200
        async with asyncio.timeout(10):
            while (after := await statuses(twins, held)) != [401, 200, 200, 200] * 2:  # the session has ended for good
                assert after[0] == after[4] == 401
    await held.session.aclose()


async def test_signing_out_ends_the_streams_of_that_session_and_no_other(twins: Twins) -> None:
    held = await arm(twins)
    twins.provider.script = endless
    async with twins.signed_in(ADAM) as other:
        call = twins.call(agentId=held.agent_id)
        leaving, staying = Listener(held.session, twins.bases[1], call), Listener(other, twins.bases[1], call)
        await asyncio.gather(leaving.has_begun.wait(), staying.has_begun.wait())
        out = httpx.AsyncClient(timeout=30, cookies=held.session.cookies)
        assert (await out.post(f"{twins.bases[0]}/api/auth/sign-out")).status_code == 200
        await out.aclose()
        async with asyncio.timeout(2):
            await leaving.task
        assert b"agenthifive-error" in leaving.received
        size = len(staying.received)
        async with asyncio.timeout(5):
            while len(staying.received) <= size + 100:
                await asyncio.sleep(0.01)
        staying.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await staying.task
    await held.session.aclose()


async def test_a_deleted_workspace_revokes_its_connections_and_stops_its_agents(twins: Twins) -> None:
    held = await arm(twins)
    place = twins.places[0]
    twins.provider.script = respond(200, b'{"ok":true}')
    async with twins.signed_in(OLGA) as olga:
        made = await olga.post(f"{twins.bases[0]}/v1/workspaces", json={"name": "Short-lived"})
        home = made.json()["workspace"]["id"]
        assert (await olga.post(f"{twins.bases[0]}/v1/workspaces/{home}/select")).status_code == 200
        keyed = await olga.post(
            f"{twins.bases[0]}/v1/connections/api-key",
            json={"service": "notion", "apiKey": "ntn_" + "1" * 46, "skipValidation": True},
        )
        connection_id = keyed.json()["connection"]["id"]
        place.owner_id = twins.olga.user.id
        _, agent = await place.add_agent(home)
        bearer = {"authorization": f"Bearer {agent}"}
        assert (await olga.get(f"{twins.bases[1]}/v1/workspaces/current")).json()["id"] == home
        async with httpx.AsyncClient(timeout=30) as bot:
            assert (await bot.get(f"{twins.bases[1]}/v1/connections", headers=bearer)).status_code == 200
            gone = await olga.request(
                "DELETE", f"{twins.bases[0]}/v1/workspaces/current", json={"confirmName": "Short-lived"}
            )
            assert gone.json() == {"deleted": True}
            assert (await bot.get(f"{twins.bases[1]}/v1/connections", headers=bearer)).status_code == 401
        assert await place.execute("SELECT count(*) FROM t_connections WHERE id = %s", [connection_id]) == [(0,)]
        rows = await place.execute(
            "SELECT action FROM l_audit_events WHERE workspace_id = %s AND (connection_id = %s OR action LIKE 'work%%')"
            " ORDER BY id",
            [home, connection_id],
        )
        assert [row[0] for row in rows] == [
            "workspace_created",
            "connection_created",
            "connection_revoked",
            "workspace_deleted",
        ]
    await held.session.aclose()


async def test_the_switch_over_http_stops_agents_and_programs_and_people_lift_it(twins: Twins) -> None:
    held = await arm(twins)
    twins.provider.received.clear()
    twins.provider.script = respond(200, b'{"ok":true}')
    async with twins.signed_in(OLGA) as olga, httpx.AsyncClient(timeout=30) as program:
        workspace = {"scope": "workspace", "targetId": twins.olga.workspace_id}
        frozen = await olga.post(f"{twins.bases[0]}/v1/admin/freeze", json={**workspace, "reason": "drill"})
        assert frozen.status_code == 200, frozen.text
        [one] = frozen.json()["freezes"]
        assert (one["scope"], one["targetId"], one["reason"], one["by"], one["source"]) == (
            "workspace", twins.olga.workspace_id, "drill", twins.olga.user.id, "database",
        )  # fmt: skip
        async with asyncio.timeout(1):
            while not all(place.app.frozen.is_any for place in twins.places):
                await asyncio.sleep(0.005)
        for base in twins.bases:
            pat, agent = ({"authorization": f"Bearer {token}"} for token in (held.pat, held.agent))
            assert (await program.get(f"{base}/v1/me", headers=pat)).status_code == 200
            for answer in (
                await program.get(f"{base}/v1/connections", headers=agent),
                await program.post(f"{base}/v1/vault/execute", json=twins.call(), headers=agent),
                await program.post(f"{base}/v1/vault/execute", json=twins.call(agentId=held.agent_id), headers=pat),
                await held.session.post(f"{base}/v1/vault/execute", json=twins.call(agentId=held.agent_id)),
                await program.post(f"{base}/v1/connections/{twins.connection_id}/test", headers=pat),
            ):
                assert (answer.status_code, answer.json()["code"]) == (403, "frozen"), answer.url
            assert (await held.session.get(f"{base}/v1/connections")).status_code == 200
            listed = await olga.get(f"{base}/v1/admin/freeze")
            assert len(listed.json()["freezes"]) == 1
        assert twins.provider.received == []
        twins.places[0].app.measure()
        metrics = twins.places[0].app.metrics.render().decode()
        assert 'agenthifive_frozen{scope="workspace"} 1.0' in metrics
        assert 'agenthifive_frozen{scope="instance"} 0.0' in metrics
        for wrong, expected in (
            ({"scope": "workspace"}, 400),
            ({"scope": "instance", "targetId": twins.olga.workspace_id}, 400),
            ({"scope": "galaxy"}, 400),
            ({"scope": "agent", "targetId": "x"}, 404),
            ({**workspace, "colour": 1}, 400),
        ):
            for verb in ("freeze", "unfreeze"):
                assert (await olga.post(f"{twins.bases[0]}/v1/admin/{verb}", json=wrong)).status_code == expected
        assert (await held.session.get(f"{twins.bases[0]}/v1/admin/freeze")).status_code == 403
        lifted = await olga.post(f"{twins.bases[0]}/v1/admin/unfreeze", json=workspace)
        assert lifted.json() == {"freezes": []}
        assert (await olga.post(f"{twins.bases[0]}/v1/admin/unfreeze", json=workspace)).status_code == 409
        async with asyncio.timeout(1):
            while any(place.app.frozen.is_any for place in twins.places):
                await asyncio.sleep(0.005)
        assert set(await statuses(twins, held)) == {200}
    await held.session.aclose()


async def test_the_log_of_the_instance_and_its_proof_are_for_superadmins(twins: Twins) -> None:
    async with twins.signed_in(OLGA) as olga, twins.signed_in(ADAM) as adam:
        shown = await olga.get(f"{twins.bases[0]}/v1/admin/audit", params={"limit": 2})
        assert shown.status_code == 200
        assert {event["workspaceId"] for event in shown.json()["events"]} == {None}
        assert len(shown.json()["events"]) == 2
        following = await olga.get(
            f"{twins.bases[0]}/v1/admin/audit", params={"limit": 2, "cursor": shown.json()["nextCursor"]}
        )
        assert {event["id"] for event in following.json()["events"]}.isdisjoint(
            {event["id"] for event in shown.json()["events"]}
        )
        proven = await olga.post(f"{twins.bases[0]}/v1/admin/audit/verify")
        assert proven.status_code == 200, proven.text
        assert proven.json()["ok"] is True
        assert {tuple(chain) for chain in proven.json()["chains"]} == {("id", "from", "to", "checkpoints")}
        refused = await olga.post(f"{twins.bases[0]}/v1/admin/audit/verify", json={"from": 3})
        assert (refused.status_code, refused.json()["code"]) == (400, "unknown_field")
        for answer in (
            await adam.get(f"{twins.bases[0]}/v1/admin/audit"),
            await adam.post(f"{twins.bases[0]}/v1/admin/audit/verify"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")
