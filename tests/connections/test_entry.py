"""Entering a static credential: what is refused before anything is sent, what the provider says, what is stored.

Source: contract/connections.md sections 5, 9, 13 and 18 (17 to 25).
"""

import asyncio
from typing import Any

import pytest

from agenthifive.broker.address import Guard, parse_allowlist
from agenthifive.connections.model import ConnectionOptions
from connections.stage import (
    AUTH_TEST,
    GET_ME,
    OPENAI_KEY,
    SLACK_TOKEN,
    TELEGRAM_TOKEN,
    Stage,
    openai,
    says,
    telegram,
)
from fakes import Received, respond


class TestBotTokens:
    async def test_an_accepted_telegram_token_is_stored_with_what_clients_read(self, stage: Stage) -> None:
        stage.world["api.telegram.org"].script = says(GET_ME)
        answer = await stage.post("bot-token", telegram())
        body = answer.json()
        assert answer.status_code == 200
        facts = {"botId": 123456789, "botUsername": "helper_bot", "botFirstName": "Helper"}
        assert body == {
            "connection": {
                "id": body["connection"]["id"],
                "provider": "telegram",
                "service": "telegram",
                "label": "Telegram Bot – helper_bot",
                "status": "healthy",
                "verified": True,
                "metadata": {**facts, "params": {}},
            },
            "message": "Telegram Bot is connected.",
            "botInfo": facts,
            "label": "Telegram Bot – helper_bot",
        }
        assert [r.target for r in stage.world["api.telegram.org"].received] == [f"/bot{TELEGRAM_TOKEN}/getMe"]
        row = await stage.row(body["connection"]["id"])
        assert stage.secret_of(row) == {"botToken": TELEGRAM_TOKEN, "tokenType": "bot"}
        assert row["encrypted_tokens_kid"] == stage.keyring.active_kid
        assert TELEGRAM_TOKEN not in str(row)
        assert (row["account_id"], row["account_name"], row["verified"]) == ("123456789", "helper_bot", True)
        assert (row["created_by"], row["singleton_key"]) != (None, None)

    async def test_one_row_says_what_was_created(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        assert [(r["action"], r["decision"], r["metadata"]) for r in await stage.audit(connection_id)] == [
            (
                "connection_created",
                "allowed",
                {
                    "provider": "telegram",
                    "service": "telegram",
                    "label": "Telegram Bot – helper_bot",
                    "scopes": [],
                    "account": "helper_bot",
                },
            )
        ]

    @pytest.mark.parametrize("status", [401, 404])
    async def test_a_refused_token_is_not_stored(self, stage: Stage, status: int) -> None:
        stage.world["api.telegram.org"].script = says({"ok": False, "error_code": status}, status)
        answer = await stage.post("bot-token", telegram())
        assert (answer.status_code, answer.json()["code"]) == (400, "credential_rejected")
        assert await stage.stored() == 0
        assert len(stage.world.received) == 1

    @pytest.mark.parametrize("token", ["", "123:short", f"{TELEGRAM_TOKEN}/../x", f"{TELEGRAM_TOKEN}\n"])
    async def test_a_malformed_token_reaches_nobody_and_is_not_echoed(self, stage: Stage, token: str) -> None:
        answer = await stage.post("bot-token", telegram(token))
        body = answer.json()
        assert (answer.status_code, body["code"], body["fields"][0]["path"]) == (400, "invalid_request", "botToken")
        assert "short" not in answer.text
        assert "AAH-" not in answer.text
        assert stage.world.received == []

    async def test_slack_scopes_and_names_come_from_the_reply(self, stage: Stage) -> None:
        stage.world["slack.com"].script = says(AUTH_TEST, 200, ("x-oauth-scopes", "chat:write,channels:read"))
        answer = await stage.post("bot-token", {"service": "slack", "botToken": SLACK_TOKEN, "label": " Team bot "})
        body = answer.json()
        assert answer.status_code == 200
        assert body["label"] == "Team bot"
        assert body["botInfo"] == {
            "botId": "B1",
            "botUserId": "U1",
            "botUsername": "helper",
            "teamId": "T1",
            "teamName": "Acme",
            "teamUrl": "https://acme.slack.com/",
        }
        row = await stage.row(body["connection"]["id"])
        assert row["granted_scopes"] == ["chat:write", "channels:read"]
        assert row["account_name"] == "helper in Acme"
        [request] = stage.world["slack.com"].received
        assert (request.method, request.target) == ("POST", "/api/auth.test")
        assert request.header("authorization") == f"Bearer {SLACK_TOKEN}"

    async def test_slack_says_no_with_status_200(self, stage: Stage) -> None:
        stage.world["slack.com"].script = says({"ok": False, "error": "invalid_auth"})
        answer = await stage.post("bot-token", {"service": "slack", "botToken": SLACK_TOKEN})
        assert (answer.status_code, answer.json()["code"]) == (400, "credential_rejected")
        assert await stage.stored() == 0

    async def test_a_user_token_of_slack_is_no_bot_token(self, stage: Stage) -> None:
        answer = await stage.post("bot-token", {"service": "slack", "botToken": "xoxp-1111111111-2222222222"})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert stage.world.received == []

    async def test_a_provider_that_echoes_the_token_cannot_plant_it_in_our_answers(self, stage: Stage) -> None:
        echo = {"ok": True, "result": {"id": 1, "username": f"x{TELEGRAM_TOKEN}", "first_name": TELEGRAM_TOKEN}}
        stage.world["api.telegram.org"].script = says(echo)
        answer = await stage.post("bot-token", telegram())
        assert answer.status_code == 200
        assert TELEGRAM_TOKEN not in answer.text
        assert TELEGRAM_TOKEN not in str(await stage.audit())

    async def test_names_from_a_provider_cannot_hide_what_they_hold(self, stage: Stage) -> None:
        result = {"id": 1, "username": "a\u202eb\nc" + "x" * 500, "first_name": "F"}
        stage.world["api.telegram.org"].script = says({"ok": True, "result": result})
        label = (await stage.post("bot-token", telegram())).json()["label"]
        assert label.startswith("Telegram Bot – a b c")
        assert len(label) == 100


class TestKeys:
    async def test_a_key_is_checked_and_stored(self, stage: Stage) -> None:
        stage.world["api.openai.com"].script = says({"data": []})
        answer = await stage.post("api-key", openai(label="Work", expiresAt="2099-01-31"))
        connection = answer.json()["connection"]
        assert (answer.status_code, connection["label"], connection["verified"]) == (200, "Work", True)
        row = await stage.row(connection["id"])
        assert stage.secret_of(row) == {"apiKey": OPENAI_KEY}
        assert row["credential_expires_at"].isoformat() == "2099-01-31T00:00:00+00:00"
        [request] = stage.world["api.openai.com"].received
        assert request.header("authorization") == f"Bearer {OPENAI_KEY}"

    async def test_a_key_that_lacks_a_permission_is_stored_with_a_warning(self, stage: Stage) -> None:
        stage.world["api.openai.com"].script = says({}, 403)
        connection = (await stage.post("api-key", openai())).json()["connection"]
        assert (connection["status"], connection["verified"], connection["warnings"]) == ("healthy", True, ["limited"])

    async def test_the_key_endpoint_decides_not_the_public_model_list(self, stage: Stage) -> None:
        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            status = 401 if request.target == "/api/v1/key" else 200
            await says({"data": []}, status)(request, writer)

        stage.world["openrouter.ai"].script = script
        key = "sk-or-v1-" + "a" * 64
        answer = await stage.post("api-key", {"service": "openrouter", "apiKey": key})
        assert (answer.status_code, answer.json()["code"]) == (400, "credential_rejected")
        assert await stage.stored() == 0

    @pytest.mark.parametrize(
        "site", ["127.0.0.1:4999/x.atlassian.net", "a@b.atlassian.net", "evil.com", "x.y.atlassian.net", "a%2eb.net"]
    )
    async def test_a_site_outside_the_catalog_is_refused_before_anything_is_sent(self, stage: Stage, site: str) -> None:
        answer = await stage.post("api-key", jira(siteUrl=site))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert answer.json()["fields"][0]["path"] == "siteUrl"
        assert stage.world.received == []

    async def test_a_site_is_read_as_people_paste_it(self, stage: Stage) -> None:
        stage.world["acme.atlassian.net"].script = says({"accountId": "a1", "displayName": "Ada"})
        answer = await stage.post("api-key", jira(siteUrl=" https://acme.atlassian.net/ "))
        metadata = answer.json()["connection"]["metadata"]
        assert answer.status_code == 200, answer.text
        assert metadata["siteUrl"] == metadata["params"]["siteUrl"] == "acme.atlassian.net"
        assert metadata["email"] == "ada@example.com"

    async def test_fields_may_stand_in_fields_but_not_twice(self, stage: Stage) -> None:
        stage.world["api.openai.com"].script = says({"data": []})
        twice = await stage.post("api-key", openai(fields={"apiKey": OPENAI_KEY}))
        assert (twice.status_code, twice.json()["fields"][0]["path"]) == (400, "apiKey")
        assert stage.world.received == []
        once = await stage.post("api-key", {"service": "openai", "fields": {"apiKey": OPENAI_KEY}})
        assert once.status_code == 200

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"service": "gemini", "provider": "openai", "apiKey": "x"}, "provider_mismatch"),
            ({"service": "nosuch", "apiKey": "x"}, "unknown_service"),
            ({"service": "openai", "apiKey": OPENAI_KEY, "bogus": 1}, "unknown_field"),
            ({"service": "openai"}, "invalid_request"),
            ({"service": "openai", "apiKey": 7}, "invalid_request"),
            ({"service": "openai", "apiKey": OPENAI_KEY, "variant": "nosuch"}, "invalid_request"),
            ({"service": "openai", "apiKey": OPENAI_KEY, "label": "a\u202eb"}, "invalid_request"),
            ({"service": "openai", "apiKey": OPENAI_KEY, "label": "x" * 101}, "invalid_request"),
            ({"service": "openai", "apiKey": OPENAI_KEY, "expiresAt": "soon"}, "invalid_request"),
            ({"service": "telegram", "apiKey": TELEGRAM_TOKEN}, "invalid_request"),
            ({"service": "google-gmail", "apiKey": "x"}, "invalid_request"),
        ],
    )
    async def test_what_cannot_be_read_is_refused_and_reaches_nobody(
        self, stage: Stage, body: dict[str, Any], code: str
    ) -> None:
        answer = await stage.post("api-key", body)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
        assert OPENAI_KEY not in answer.text
        assert stage.world.received == []
        assert await stage.stored() == 0

    async def test_a_subscription_token_becomes_its_own_variant(self, stage: Stage) -> None:
        token = "sk-ant-oat01-" + "a" * 40
        body = {"service": "anthropic-messages", "apiKey": token, "skipValidation": True}
        answer = await stage.post("api-key", body)
        row = await stage.row(answer.json()["connection"]["id"])
        assert (row["variant"], stage.secret_of(row)) == ("token_pair", {"accessToken": token})


class TestWithoutAnAnswer:
    async def test_silence_is_504_and_skip_validation_stores_unverified(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def silent(request: Received, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(3600)

        monkeypatch.setattr("agenthifive.connections.calls.CALL_S", 0.1)
        stage.world["api.openai.com"].script = silent
        answer = await stage.post("api-key", openai())
        assert (answer.status_code, answer.json()["code"]) == (504, "upstream_timeout")
        assert await stage.stored() == 0
        stored = (await stage.post("api-key", openai(skipValidation=True))).json()["connection"]
        assert (stored["verified"], stored["warnings"]) == (False, ["unverified"])
        assert len(stage.world.received) == 1

    @pytest.mark.parametrize("status", [302, 429, 500])
    async def test_an_answer_that_says_nothing_is_502(self, stage: Stage, status: int) -> None:
        stage.world["api.openai.com"].script = respond(status, b"", ("location", "https://evil.example.net/"))
        answer = await stage.post("api-key", openai())
        assert (answer.status_code, answer.json()["code"]) == (502, "upstream_unreachable")
        assert await stage.stored() == 0
        assert len(stage.world.received) == 1, "a redirect is not followed"

    async def test_an_endless_reply_is_cut_and_its_status_still_counts(self, stage: Stage) -> None:
        stage.world["api.openai.com"].script = respond(200, b"[" + b"1," * 1_000_000)
        assert (await stage.post("api-key", openai())).status_code == 200

    async def test_no_transaction_is_open_while_the_provider_is_asked(self, stage: Stage) -> None:
        idle: list[int] = []

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            rows = await stage.sql(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'agenthifive_app' AND state LIKE 'idle in transaction%%'"
            )
            idle.append(rows[0]["n"])
            await says(GET_ME)(request, writer)

        stage.world["api.telegram.org"].script = script
        connection_id = (await stage.post("bot-token", telegram())).json()["connection"]["id"]
        await stage.post(f"{connection_id}/test")
        await stage.put(f"{connection_id}/credentials", {"botToken": TELEGRAM_TOKEN})
        assert idle == [0, 0, 0]


class TestGenericHttp:
    async def test_a_base_address_inside_the_house_is_refused(self, stage: Stage) -> None:
        strict = stage.replica(Guard()).client
        body = {"label": "x", "baseUrl": "https://10.0.0.5", "authType": "bearer", "apiKey": "s" * 20}
        answer = await strict.post("/v1/connections/http", json=body, headers=stage.here.headers())
        assert (answer.status_code, answer.json()["code"]) == (403, "egress_blocked")
        assert await stage.stored() == 0

    async def test_an_operator_may_list_it(self, stage: Stage) -> None:
        guard = Guard(allowlist=parse_allowlist("10.0.0.5"))
        options = ConnectionOptions(listed_hosts=guard.http_hosts)
        listed = stage.replica(guard, options=options).client
        body = {"label": "x", "baseUrl": "https://10.0.0.5", "authType": "bearer", "apiKey": "s" * 20}
        answer = await listed.post("/v1/connections/http", json=body, headers=stage.here.headers())
        assert (answer.status_code, answer.json()["connection"]["verified"]) == (200, False)

    async def test_every_address_that_own_servers_may_have_is_judged(self, stage: Stage) -> None:
        strict = stage.replica(Guard()).client
        body = {
            "service": "gitlab",
            "variant": "pat",
            "apiKey": "glpat-" + "a" * 20,
            "baseUrl": "https://192.168.1.4",
            "skipValidation": True,
        }
        answer = await strict.post("/v1/connections/api-key", json=body, headers=stage.here.headers())
        assert (answer.status_code, answer.json()["code"]) == (403, "egress_blocked")

    async def test_an_undefined_placeholder_is_refused(self, stage: Stage) -> None:
        body = {
            "label": "x",
            "baseUrl": "https://api.example.com",
            "authType": "custom",
            "headers": [{"name": "x-a", "value": "{NOSUCH}"}],
            "secrets": {"KEY": "s" * 20},
        }
        answer = await stage.post("http", body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert stage.world.received == []

    async def test_its_own_probe_decides(self, stage: Stage) -> None:
        provider = stage.world["api.example.com"]
        body = {
            "label": "Things",
            "baseUrl": "https://api.example.com/v1",
            "authType": "header",
            "headerName": "x-key",
            "apiKey": "generic-secret-0123456789",
            "probe": {"method": "GET", "path": "/v1/me", "okStatus": [204]},
        }
        provider.script = says({}, 401)
        assert (await stage.post("http", body)).json()["code"] == "credential_rejected"
        provider.script = respond(204, b"", ("content-length", "0"))
        answer = await stage.post("http", body)
        assert (answer.status_code, answer.json()["connection"]["verified"]) == (200, True)
        assert provider.received[-1].target == "/v1/me"
        assert provider.received[-1].header("x-key") == "generic-secret-0123456789"

    async def test_a_head_probe_waits_for_no_body(self, stage: Stage) -> None:
        stage.world["api.example.com"].script = respond(200, b"", ("content-length", "512"))
        await stage.connect_http(probe={"method": "HEAD", "path": "/"})

    async def test_as_many_as_wanted(self, stage: Stage) -> None:
        assert await stage.connect_http() != await stage.connect_http()


def jira(**members: Any) -> dict[str, Any]:
    return {"service": "jira", "apiKey": "ATATT" + "a" * 30, "email": "ada@example.com", **members}
