"""Every route while PostgreSQL is away, and while the log cannot be written: 503 with a time to come back, never 401,
never a defect, never half a change."""

from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from application import Place, run_application
from contract.routes import BROKERED, walk
from databases import TestDatabase, fresh_database

UNKNOWN = "00000000-0000-4000-8000-000000000000"
WITHOUT_DATABASE = frozenset(
    {"/health/live", "/v1/version", "/openapi.json", "/docs", "/metrics", "/static/site.css",
     "/.well-known/oauth-authorization-server",
     # pages that hold nothing of anybody; without a cookie those of people lead to the sign-in
     "/", "/login", "/register", "/forgot-password", "/verify-email", "/dashboard", "/dashboard/members",
     "/dashboard/security", "/device"}
)  # fmt: skip
CHANGES = [
    ("POST", "/v1/agents", {"name": "Bot"}),
    ("PUT", "/v1/agents/{agent}", {"name": "Other"}),
    ("POST", "/v1/agents/{agent}/bootstrap-secret", {}),
    ("POST", "/v1/agents/{agent}/revoke-tokens", {}),
    ("POST", "/v1/agents/{agent}/disable", {}),
    ("DELETE", "/v1/agents/{agent}", {}),
    ("POST", "/v1/connections/api-key", {"service": "notion", "apiKey": "ntn_" + "1" * 46, "skipValidation": True}),
    ("POST", "/v1/connections/http", {"label": "x", "baseUrl": "https://api.example.com", "authType": "none"}),
    ("PUT", "/v1/connections/{connection}/label", {"label": "Other"}),
    ("POST", "/v1/connections/{connection}/revoke", {}),
    ("DELETE", "/v1/connections/{connection}", {}),
    ("PUT", "/v1/policies/{policy}", {"defaultMode": "read_write"}),
    ("DELETE", "/v1/policies/{policy}", {}),
    ("DELETE", "/v1/tokens/current", {}),
]


@pytest_asyncio.fixture(scope="module")
async def made_and_place(
    worker_id: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[TestDatabase, Place]]:
    with fresh_database(f"outage_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path_factory.mktemp("home"), DB_POOL_TIMEOUT_MS="60") as running:
            yield made, running


async def state(place: Place) -> list[tuple[object, ...]]:
    """Everything the changes above could have changed."""
    return await place.execute(
        "SELECT (SELECT jsonb_agg(to_jsonb(a) - 'last_seen_at' ORDER BY id) FROM t_agents a),"
        " (SELECT jsonb_agg(to_jsonb(c) - 'last_used_at' ORDER BY id) FROM t_connections c),"
        " (SELECT jsonb_agg(to_jsonb(p) ORDER BY id) FROM t_policies p),"
        " (SELECT count(*) FROM t_agent_access_tokens),"
        " (SELECT jsonb_agg(to_jsonb(s) ORDER BY id) FROM t_agent_bootstrap_secrets s),"
        " (SELECT count(*) FROM t_personal_tokens WHERE revoked_at IS NULL)", []
    )  # fmt: skip


async def test_a_change_that_cannot_be_recorded_is_not_made(made_and_place: tuple[TestDatabase, Place]) -> None:
    made, place = made_and_place
    token = await place.add_pat(place.owner_id)
    agent_id, _ = await place.add_agent()
    connection = await place.ask("POST", CHANGES[6][1], token, CHANGES[6][2])
    connection_id = connection.json()["connection"]["id"]
    policy = await place.ask("POST", "/v1/policies", token, {"agentId": agent_id, "connectionId": connection_id})
    ids = {"agent": agent_id, "connection": connection_id, "policy": policy.json()["policy"]["id"]}
    before = await state(place)
    with psycopg.connect(made.admin_dsn, autocommit=True) as admin:
        admin.execute("REVOKE INSERT ON l_audit_events FROM agenthifive_app")
        try:
            for method, path, body in CHANGES:
                answer = await place.ask(method, path.format(**ids), token, body)
                assert answer.status_code == 503, (method, path, answer.text)
                assert answer.json()["code"] in ("unavailable", "audit_unavailable")
                assert int(answer.headers["retry-after"]) >= 1
        finally:
            admin.execute("GRANT INSERT ON l_audit_events TO agenthifive_app")
    assert await state(place) == before
    assert (await place.ask("PUT", f"/v1/agents/{agent_id}", token, {"name": "Other"})).status_code == 200


async def test_without_the_database_every_route_says_so(made_and_place: tuple[TestDatabase, Place]) -> None:
    made, place = made_and_place
    token = await place.add_pat(place.owner_id)
    _, agent = await place.add_agent()
    with psycopg.connect(made.admin_dsn, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        try:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'agenthifive_app'"
            )
            routes = [(method, path) for _, method, path in walk(place) if path not in WITHOUT_DATABASE]
            for method, path in [*routes, *BROKERED]:
                for credential in (token, agent):
                    answer = await place.ask(method, path, credential, {} if method != "GET" else None)
                    if path.startswith("/api/auth/") and answer.status_code in (200, 400, 401):
                        continue  # what a cookie decides is decided without one
                    assert answer.status_code in (400, 503), (method, path, answer.status_code, answer.text)
                    assert "psycopg" not in answer.text
                    assert answer.headers["x-agenthifive-error"]
                    if answer.status_code == 503 and "health" not in path:
                        assert int(answer.headers["retry-after"]) >= 1
        finally:
            admin.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
