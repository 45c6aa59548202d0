"""A 401 on an entered credential: one probe a minute, and only the probe can mark the connection.

Source: contract/connections.md sections 1, 12 and 18 (38); broker.md section 13.
"""

import asyncio
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from agenthifive.broker.grants import Grants
from agenthifive.broker.model import Grant
from agenthifive.connections.watch import CredentialWatch
from agenthifive.db.unit import Unit
from connections.stage import GET_ME, Replica, Stage, says
from fakes import Received


async def grant_on(stage: Stage, connection_id: str) -> Grant:
    """What the broker holds when it calls."""
    await stage.give_policy(connection_id)
    grants = Grants(stage.database, stage.catalog, creator_stops=True)
    grant = await grants.resolve(stage.here.id, stage.here.agent_id, connection_id, None)
    assert grant is not None
    stage.world.reset()
    return grant


async def settled(replica: Replica) -> None:
    """All probes that were scheduled have ended."""
    while replica.watch._tasks:
        await asyncio.gather(*replica.watch._tasks)


async def test_a_refused_probe_marks_the_connection(stage: Stage) -> None:
    connection_id = await stage.connect_telegram()
    grant = await grant_on(stage, connection_id)
    stage.world["api.telegram.org"].script = says({"ok": False}, 401)
    stage.main.watch.on_auth_failure(grant, 401, b"")
    assert stage.world.received == [], "the reply is not delayed"
    await settled(stage.main)
    row = await stage.row(connection_id)
    assert (row["status"], row["status_reason"]) == ("needs_reauth", "provider_401")
    last = (await stage.audit(connection_id))[-1]
    assert (last["action"], last["decision"], last["actor"]) == ("connection_needs_reauth", "allowed", "system")
    assert last["metadata"] == {"reason": "provider_401", "errorCode": "credential_rejected"}


@pytest.mark.parametrize("script", [says(GET_ME), says({}, 500), says({}, 403)], ids=["passes", "500", "403"])
async def test_any_other_probe_changes_nothing(stage: Stage, script: Any) -> None:
    connection_id = await stage.connect_telegram()
    grant = await grant_on(stage, connection_id)
    stage.world["api.telegram.org"].script = script
    stage.main.watch.on_auth_failure(grant, 401, b"")
    await settled(stage.main)
    assert len(stage.world.received) == 1
    assert (await stage.row(connection_id))["status"] == "healthy"


async def test_one_probe_a_minute_over_all_replicas(stage: Stage) -> None:
    connection_id = await stage.connect_telegram()
    grant = await grant_on(stage, connection_id)
    stage.world["api.telegram.org"].script = says(GET_ME)
    replicas = [stage.main, stage.replica(), stage.replica()]
    for replica in replicas * 20:
        replica.watch.on_auth_failure(grant, 401, b"")
    for replica in replicas:
        await settled(replica)
    assert len(stage.world.received) == 1
    await stage.sql("UPDATE t_connections SET last_probe_at = now() - interval '61 seconds'")
    later = stage.replica()
    later.watch.on_auth_failure(grant, 401, b"")
    await settled(later)
    assert len(stage.world.received) == 2


@pytest.mark.parametrize(
    ("status", "body", "probes"),
    [
        (200, b'{"ok":false,"error":"token_revoked"}', 1),
        (200, b'{"ok":false,"error":"channel_not_found"}', 0),
        (200, b'{"ok":true,"channels":[]}', 0),
        (200, b"<html>", 0),
        (200, None, 0),
        (500, b'{"ok":false,"error":"token_revoked"}', 0),
        (403, b'{"ok":false,"error":"token_revoked"}', 0),
    ],
)
async def test_a_provider_that_says_so_in_a_200(stage: Stage, status: int, body: bytes | None, probes: int) -> None:
    connection_id = await stage.connect_slack()
    grant = await grant_on(stage, connection_id)
    stage.world["slack.com"].script = says({"ok": False, "error": "token_revoked"})
    stage.main.watch.on_auth_failure(grant, status, body)
    await settled(stage.main)
    assert len(stage.world.received) == probes
    assert (await stage.row(connection_id))["status"] == ("needs_reauth" if probes else "healthy")


async def test_a_service_without_a_free_probe_is_never_marked(stage: Stage) -> None:
    for connection_id in (await stage.connect_http(), await connect_search(stage)):
        grant = await grant_on(stage, connection_id)
        stage.main.watch.on_auth_failure(grant, 401, b"")
        await settled(stage.main)
        assert stage.world.received == []
        row = await stage.row(connection_id)
        assert (row["status"], row["last_probe_at"]) == ("healthy", None)


async def test_a_replaced_credential_is_not_judged_by_an_old_reply(stage: Stage) -> None:
    connection_id = await stage.connect_telegram()
    grant = await grant_on(stage, connection_id)
    await stage.sql("UPDATE t_connections SET generation = generation + 1 WHERE id = %s", connection_id)
    stage.main.watch.on_auth_failure(grant, 401, b"")
    await settled(stage.main)
    assert stage.world.received == []


async def test_a_database_that_is_away_is_logged_and_hurts_nobody(stage: Stage) -> None:
    grant = await grant_on(stage, await stage.connect_telegram())

    def make_unit() -> Unit:
        raise psycopg.OperationalError("gone")

    watch = CredentialWatch(make_unit, stage.catalog, stage.keyring, stage.main.room.probes)
    with capture_logs() as lines:
        watch.on_auth_failure(grant, 401, b"")
        await asyncio.wait(list(watch._tasks))
    assert [(line["event"], line["error"]) for line in lines] == [("probe_failed", "OperationalError")]
    assert not watch._tasks
    assert stage.world.received == []


async def test_closing_ends_what_runs(stage: Stage) -> None:
    grant = await grant_on(stage, await stage.connect_telegram())
    asked = asyncio.Event()

    async def silent(request: Received, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.sleep(3600)

    stage.world["api.telegram.org"].script = silent
    stage.main.watch.on_auth_failure(grant, 401, b"")
    await asked.wait()
    await stage.main.watch.close()
    assert not stage.main.watch._tasks


async def connect_search(stage: Stage) -> str:
    """A connection whose probe costs quota."""
    key = {"service": "brave-search", "apiKey": "BSA" + "a" * 28, "skipValidation": True}
    answer = await stage.post("api-key", key)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["connection"]["id"])
