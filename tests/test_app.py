"""The whole application in each key mode: the key service is asked at start and never for a call."""

import asyncio
import os
from pathlib import Path

import pytest

from agenthifive.ids import new_id
from application import run_application
from databases import fresh_database
from fakes import provider
from vault.kms.stage import staged

KEY = "sk-the-secret-value-that-nobody-may-see-0123456789"
AT_ONCE = 20


@pytest.mark.parametrize(
    ("mode", "count"), [("azure-kv", 100), ("aws-kms", 1000), ("gcp-kms", 100), ("vault-transit", 100)]
)
async def test_calls_ask_the_key_service_nothing(mode: str, count: int, worker_id: str, tmp_path: Path) -> None:
    with staged(mode, tmp_path) as stage, fresh_database(f"app_{worker_id}") as made:
        stage.ring = stage.fake.ring([os.urandom(32), os.urandom(32)])
        settings = {"SSRF_ALLOWLIST_HOSTS": "localhost=127.0.0.0/8|::1/128", **stage.environ()}
        async with run_application(made.app_dsn, tmp_path, **settings) as place, provider() as upstream:
            asked = len(stage.server.asked)
            olga = await place.add_pat(place.owner_id)
            origin = f"http://localhost:{upstream.port}"
            connected = await place.ask(
                "POST", "/v1/connections/http", olga,
                {"label": new_id(), "baseUrl": origin, "authType": "bearer", "apiKey": KEY},
            )  # fmt: skip
            connection_id = connected.json()["connection"]["id"]
            agent_id, bot = await place.add_agent()
            allowed = [{"baseUrl": origin, "methods": ["GET"], "pathPatterns": ["/v1/**"]}]
            granted = await place.ask(
                "POST", "/v1/policies", olga,
                {"agentId": agent_id, "connectionId": connection_id, "allowlists": allowed},
            )  # fmt: skip
            assert granted.status_code == 201, granted.text
            call = {"model": "B", "connectionId": connection_id, "method": "GET", "url": f"{origin}/v1/x"}
            upstream.received.clear()
            for _ in range(count // AT_ONCE):
                answers = await asyncio.gather(
                    *(place.ask("POST", "/v1/vault/execute", bot, call) for _ in range(AT_ONCE))
                )
                assert [answer.status_code for answer in answers] == [200] * AT_ONCE
            assert len(upstream.received) == count
            assert upstream.received[-1].header("authorization") == f"Bearer {KEY}"
            assert len(stage.server.asked) == asked
            details = await place.execute(
                "SELECT metadata FROM l_audit_events WHERE action = 'encryption_key_activated'", []
            )
            assert details == [({"kid": place.app.keyring.active_kid, "mode": mode},)]
