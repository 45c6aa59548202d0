"""Every door of the room: who may knock, and what never passes.

Source: contract/http.md sections 1, 12 and 15.6; connections.md section 3; catalog/SCHEMA.md section 12.
"""

from typing import Any

import pytest

from agenthifive.operations.ratelimit import Window
from agenthifive.words import Role, Scope
from connections.stage import (
    OPENAI_KEY,
    OTHER_TELEGRAM_TOKEN,
    SLACK_TOKEN,
    TELEGRAM_TOKEN,
    Replica,
    Stage,
    openai,
    says,
    telegram,
)

NOBODY = "00000000-0000-7000-8000-000000000000"


class TestOutsiders:
    async def test_foreign_malformed_and_unknown_ids_are_the_same(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        stage.world.reset()
        before = await stage.row(connection_id)
        bodies: set[bytes] = set()
        for path in (connection_id, NOBODY, connection_id.upper(), "x"):
            for method, tail, body in (
                ("GET", "", None),
                ("DELETE", "", None),
                ("POST", "/test", {}),
                ("POST", "/revoke", {}),
                ("POST", "/lookup", {"type": "channels"}),
                ("POST", "/reauth", {"botToken": TELEGRAM_TOKEN}),
                ("PUT", "/label", {"label": "x"}),
                ("PUT", "/credentials", {"botToken": TELEGRAM_TOKEN}),
            ):
                headers = stage.elsewhere.headers()
                answer = await stage.client.request(method, f"/v1/connections/{path}{tail}", json=body, headers=headers)
                assert answer.status_code == 404, (path, tail)
                bodies.add(answer.content)
        assert len(bodies) == 1
        assert await stage.row(connection_id) == before
        assert stage.world.received == []

    async def test_writing_needs_an_admin(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        stage.world.reset()
        for headers, code in (
            (stage.here.headers(Role.APPROVER), "insufficient_role"),
            (stage.pat(Scope.CONNECTIONS_READ), "insufficient_scope"),
            (stage.pat(role=Role.VIEWER), "insufficient_role"),
        ):
            for method, tail in (
                ("DELETE", ""),
                ("POST", "/test"),
                ("POST", "/revoke"),
                ("POST", "/lookup"),
                ("POST", "/reauth"),
                ("PUT", "/label"),
                ("PUT", "/credentials"),
            ):
                answer = await stage.client.request(
                    method, f"/v1/connections/{connection_id}{tail}", json={}, headers=headers
                )
                assert (answer.status_code, answer.json()["code"]) == (403, code), tail
        assert stage.world.received == []


class TestWhoMayEnter:
    @pytest.mark.parametrize("role", [Role.APPROVER, Role.VIEWER])
    async def test_not_others_than_admins(self, stage: Stage, role: Role) -> None:
        answer = await stage.post("bot-token", telegram(), stage.here.headers(role))
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role")
        assert stage.world.received == []

    async def test_not_agents_and_not_a_token_without_the_scope(self, stage: Stage) -> None:
        for path, body in (("bot-token", telegram()), ("api-key", openai()), ("http", {})):
            by_agent = await stage.post(path, body, stage.here.agent)
            assert (by_agent.status_code, by_agent.json()["code"]) == (403, "agent_not_allowed")
            by_token = await stage.post(path, body, stage.pat(Scope.CONNECTIONS_READ))
            assert (by_token.status_code, by_token.json()["code"]) == (403, "insufficient_scope")
        assert stage.world.received == []

    async def test_tries_are_counted_per_workspace_malformed_ones_too(self, stage: Stage) -> None:
        few = stage.replica(limit=Window(2, 60)).client
        stage.world["api.telegram.org"].script = says({}, 401)
        malformed = {"service": "telegram", "botToken": 7}
        for body in (malformed, telegram()):
            answer = await few.post("/v1/connections/bot-token", json=body, headers=stage.here.headers())
            assert answer.status_code == 400
        refused = await few.post("/v1/connections/bot-token", json=telegram(), headers=stage.here.headers(Role.ADMIN))
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert len(stage.world.received) == 1
        elsewhere = await few.post("/v1/connections/bot-token", json=telegram(), headers=stage.elsewhere.headers())
        assert elsewhere.status_code == 400


class TestCatalog:
    async def test_people_read_it(self, stage: Stage) -> None:
        headers = stage.here.headers(Role.VIEWER)
        services = (await stage.client.get("/v1/catalog", headers=headers)).json()["services"]
        telegram = (await stage.client.get("/v1/catalog/telegram", headers=headers)).json()
        assert len(services) == len(stage.catalog.services)
        assert telegram in services
        assert telegram["variants"][0]["fields"][0]["name"] == "botToken"
        unknown = await stage.client.get("/v1/catalog/nosuch", headers=headers)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")

    async def test_agents_do_not(self, stage: Stage) -> None:
        for path in ("/v1/catalog", "/v1/catalog/telegram"):
            answer = await stage.client.get(path, headers=stage.here.agent)
            assert (answer.status_code, answer.json()["code"]) == (403, "agent_not_allowed")


async def test_no_secret_leaves_by_any_door(stage: Stage, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    """No answer, no audit row, no plain column and no log line holds a secret, whatever happens to it."""
    replica: Replica = stage.main
    answers = []
    telegram = await stage.connect_telegram()
    slack = await stage.connect_slack()
    stage.world["api.telegram.org"].script = says({"ok": False, "echo": TELEGRAM_TOKEN}, 401)
    stage.world["slack.com"].script = says({"ok": False, "error": SLACK_TOKEN})
    answers += [await stage.get(), await stage.get(f"/{telegram}")]
    answers += [await stage.post(f"{telegram}/test"), await stage.post(f"{slack}/lookup", {"type": "users"})]
    answers += [await stage.put(f"{telegram}/credentials", {"botToken": OTHER_TELEGRAM_TOKEN})]
    answers += [await stage.post("api-key", {"service": "openai", "apiKey": OPENAI_KEY})]
    answers += [await stage.post(f"{slack}/revoke"), await stage.client.delete(
        f"/v1/connections/{telegram}", headers=stage.here.headers()
    )]  # fmt: skip
    await replica.watch.close()
    assert {answer.status_code for answer in answers} >= {200, 400, 502}
    shown = "".join(answer.text + str(answer.headers) for answer in answers)
    written = str(await stage.audit()) + str(await stage.sql("SELECT * FROM t_connections"))
    logged = caplog.text + "".join(capfd.readouterr())
    for secret in (TELEGRAM_TOKEN, OTHER_TELEGRAM_TOKEN, SLACK_TOKEN, OPENAI_KEY):
        for text in (shown, written, logged):
            assert secret not in text
