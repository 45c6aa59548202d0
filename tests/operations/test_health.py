"""What a balancer is told: the truth, at most a second old, without causes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from unittest import mock

import psycopg
import pytest_asyncio

from application import Place, run_application
from databases import TestDatabase, fresh_database


@pytest_asyncio.fixture
async def database_and_place(worker_id: str, tmp_path: Path) -> AsyncIterator[tuple[TestDatabase, Place]]:
    with fresh_database(f"health_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path) as place:
            yield made, place


async def ask(place: Place, path: str) -> tuple[int, dict[str, object]]:
    """The answer as of now."""
    with mock.patch.object(place.app.health, "_checked_at", -10.0):
        answer = await place.ask("GET", path)
    return answer.status_code, answer.json()


async def test_what_is_well_says_so(database_and_place: tuple[TestDatabase, Place]) -> None:
    _, place = database_and_place
    for path in ("/health", "/v1/health"):
        assert await ask(place, path) == (200, {"status": "ok"})
    status, body = await ask(place, "/health/ready")
    assert (status, body["status"]) == (200, "ok")
    expected = {"database", "keys", "audit", "migrations", "grants", "clock", "policies"}
    assert set(body["checks"]) == expected  # type: ignore[call-overload]


async def test_without_the_database_health_is_red_liveness_is_not_and_tokens_are_503(
    database_and_place: tuple[TestDatabase, Place],
) -> None:
    made, place = database_and_place
    with psycopg.connect(made.admin_dsn, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'agenthifive_app'"
            )
            status, body = await ask(place, "/health")
            assert (status, body["code"]) == (503, "unavailable")
            assert body["checks"]["database"] == "fail"  # type: ignore[index]
            assert "psycopg" not in str(body)
            assert (await ask(place, "/health/live"))[0] == 200
            answer = await place.ask(
                "POST", "/v1/agents/token", body={"grant_type": "client_assertion", "client_assertion": "a.b.c"}
            )
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        finally:
            admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")


async def test_another_key_than_the_one_that_sealed_is_never_green(
    database_and_place: tuple[TestDatabase, Place],
) -> None:
    made, place = database_and_place
    with psycopg.connect(made.admin_dsn, autocommit=True) as admin:
        admin.execute('UPDATE t_key_canaries SET envelope = replace(envelope, \'"iv":"\', \'"iv":"A\')')
    status, body = await ask(place, "/health")
    assert (status, body["checks"]["keys"]) == (503, "fail")  # type: ignore[index]


async def test_an_older_schema_is_not_served(database_and_place: tuple[TestDatabase, Place]) -> None:
    made, place = database_and_place
    with psycopg.connect(made.admin_dsn, autocommit=True) as admin:
        admin.execute("UPDATE alembic_version SET version_num = '0000'")
    status, body = await ask(place, "/health/ready")
    assert (status, body["checks"]["migrations"]) == (503, "fail")  # type: ignore[index]


async def test_a_policy_that_does_not_compile_stops_its_calls_only_and_is_seen(
    database_and_place: tuple[TestDatabase, Place],
) -> None:
    """Such a row was written past the API: it is never read as "no rules" or "everything"."""
    made, place = database_and_place
    owner = await place.add_pat(place.owner_id)
    agents = [await place.add_agent() for _ in range(2)]
    added = await place.ask("POST", "/v1/connections/http", owner, {
        "label": "Test", "baseUrl": "https://api.example.com", "authType": "bearer", "apiKey": "k" * 20,
    })  # fmt: skip
    connection_id = added.json()["connection"]["id"]
    policies = [
        await place.ask("POST", "/v1/policies", owner, {"agentId": agent_id, "connectionId": connection_id})
        for agent_id, _ in agents
    ]
    call = {"model": "B", "connectionId": connection_id, "method": "DELETE", "url": "https://api.example.com/v1/x"}
    with psycopg.connect(made.admin_dsn, autocommit=True) as admin:
        admin.execute(
            "UPDATE t_policies SET version = 2, document = jsonb_set(document, '{rules,request}',"
            """ '[{"id":"r1","match":{"urlPattern":"("},"action":"allow"}]') WHERE id = %s""",
            [policies[0].json()["policy"]["id"]],
        )
        async with asyncio.timeout(5):
            while (answer := await place.ask("POST", "/v1/vault/execute", agents[0][1], call)).status_code != 503:
                pass
        assert answer.json()["code"] == "unavailable"
        other = await place.ask("POST", "/v1/vault/execute", agents[1][1], call)
        assert (other.status_code, other.json()["code"]) == (403, "read_only")
        status, body = await ask(place, "/health/ready")
        assert (status, body["checks"]["policies"]) == (503, "fail")  # type: ignore[index]
        assert (await ask(place, "/health"))[0] == 200, "the process itself is well"
        repaired = {"rules": {"request": [], "response": []}}
        path = f"/v1/policies/{policies[0].json()['policy']['id']}"
        assert (await place.ask("PUT", path, owner, repaired)).status_code == 200
        async with asyncio.timeout(5):
            while (await ask(place, "/health/ready"))[0] != 200:
                pass


async def test_a_server_that_drains_is_not_ready_and_takes_nothing_new(
    database_and_place: tuple[TestDatabase, Place],
) -> None:
    _, place = database_and_place
    token = await place.add_pat(place.owner_id)
    place.app.health.is_draining = True
    assert (await ask(place, "/health/ready"))[1]["status"] == "draining"
    assert (await place.ask("GET", "/v1/agents", token)).status_code == 200, "balancers need time to notice"
    place.app.gate.is_draining = True
    for method, path in (("GET", "/v1/agents"), ("POST", "/v1/vault/execute")):
        answer = await place.ask(method, path, token)
        assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
        assert answer.headers["retry-after"] == "1"
    assert (await ask(place, "/health/live"))[0] == 200


async def test_metrics_are_for_the_holder_of_the_token(worker_id: str, tmp_path: Path) -> None:
    token = "a-metrics-token-of-some-length-0123"
    with fresh_database(f"metrics_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path, METRICS_TOKEN=token) as place:
            for sent in (None, "wrong", token[:-1]):
                assert (await place.ask("GET", "/metrics", sent)).status_code == 404
            answer = await place.ask("GET", "/metrics", token)
            assert answer.status_code == 200
            assert "agenthifive_http_requests_total" in answer.text
            assert token not in answer.text
