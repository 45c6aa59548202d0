"""Changing connections: what a new credential may and may not do, and how many there may be.

Source: contract/connections.md sections 8, 13 and 18 (23, 29, 30, 32).
"""

import asyncio
from typing import Any

import pytest

from agenthifive.broker.grants import Grants
from agenthifive.broker.target import parse_target
from agenthifive.connections.model import ConnectionOptions
from connections.stage import GET_ME, OPENAI_KEY, OTHER_TELEGRAM_TOKEN, TELEGRAM_TOKEN, Stage, openai, says
from fakes import Received

NOBODY = "00000000-0000-7000-8000-000000000000"


class TestLabel:
    async def test_a_label_is_changed_and_recorded(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        answer = await stage.put(f"{connection_id}/label", {"label": " Ops bot ", "version": 1})
        assert answer.json() == {"connection": {"id": connection_id, "label": "Ops bot"}}
        assert (await stage.audit(connection_id))[-1]["metadata"] == {"fields": ["label"]}

    async def test_of_two_editors_the_second_is_told(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        answers = [
            await stage.put(f"{connection_id}/label", {"label": label, "version": 1}) for label in ("One", "Two")
        ]
        assert [answer.status_code for answer in answers] == [200, 409]
        assert answers[1].json()["code"] == "version_conflict"
        assert (await stage.row(connection_id))["label"] == "One"

    @pytest.mark.parametrize(
        "body", [{}, {"label": ""}, {"label": "x\x07"}, {"label": 1}, {"label": "x", "version": 0}]
    )
    async def test_bad_labels(self, stage: Stage, body: dict[str, Any]) -> None:
        answer = await stage.put(f"{NOBODY}/label", body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    async def test_unknown_members(self, stage: Stage) -> None:
        answer = await stage.put(f"{NOBODY}/label", {"label": "x", "status": "healthy"})
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")


class TestCredentials:
    async def test_a_token_of_the_same_bot_takes_over(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        before = await stage.row(connection_id)
        token = TELEGRAM_TOKEN[:-1] + "9"
        answer = await stage.put(f"{connection_id}/credentials", {"botToken": token})
        assert answer.status_code == 200
        assert answer.json()["message"] == "Telegram Bot has its new credential."
        row = await stage.row(connection_id)
        assert stage.secret_of(row)["botToken"] == token
        assert (row["generation"], row["version"]) == (before["generation"] + 1, before["version"] + 1)
        assert row["preview"]["primaryMasked"] == "1234…0129"
        [change] = [r for r in await stage.audit(connection_id) if r["action"] == "connection_credentials_updated"]
        assert change["metadata"] == {"provider": "telegram", "members": ["botToken"]}

    async def test_a_token_of_another_bot_needs_a_word(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        other = {**GET_ME, "result": {**GET_ME["result"], "id": 987654321}}
        stage.world["api.telegram.org"].script = says(other)
        answer = await stage.put(f"{connection_id}/credentials", {"botToken": OTHER_TELEGRAM_TOKEN})
        assert (answer.status_code, answer.json()["code"]) == (409, "account_mismatch")
        row = await stage.row(connection_id)
        assert (stage.secret_of(row)["botToken"], row["generation"]) == (TELEGRAM_TOKEN, 1)
        answer = await stage.put(
            f"{connection_id}/credentials", {"botToken": OTHER_TELEGRAM_TOKEN, "allowAccountChange": True}
        )
        assert answer.status_code == 200
        row = await stage.row(connection_id)
        assert (row["account_id"], row["generation"]) == ("987654321", 2)

    async def test_a_refused_key_changes_nothing(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        before = await stage.row(connection_id)
        stage.world["api.telegram.org"].script = says({"ok": False}, 401)
        answer = await stage.put(f"{connection_id}/credentials", {"botToken": OTHER_TELEGRAM_TOKEN})
        assert (answer.status_code, answer.json()["code"]) == (400, "credential_rejected")
        assert await stage.row(connection_id) == before
        assert [r["action"] for r in await stage.audit(connection_id)] == ["connection_created"]

    async def test_reauth_of_an_entered_credential_heals(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.sql(
            "UPDATE t_connections SET status = 'needs_reauth', status_reason = 'provider_401' WHERE id = %s",
            connection_id,
        )
        answer = await stage.post(f"{connection_id}/reauth", {"botToken": TELEGRAM_TOKEN})
        assert answer.status_code == 200
        row = await stage.row(connection_id)
        assert (row["status"], row["status_reason"]) == ("healthy", None)

    async def test_members_that_are_not_sent_keep_their_value(self, stage: Stage) -> None:
        stage.world["acme.atlassian.net"].script = says({"accountId": "a1"})
        entered = {
            "service": "jira",
            "apiKey": "ATATT" + "a" * 30,
            "email": "ada@example.com",
            "siteUrl": "acme.atlassian.net",
        }
        connection_id = (await stage.post("api-key", entered)).json()["connection"]["id"]
        answer = await stage.put(f"{connection_id}/credentials", {"apiKey": "ATATT" + "b" * 30})
        assert answer.status_code == 200, answer.text
        secret = stage.secret_of(await stage.row(connection_id))
        assert (secret["apiKey"], secret["email"]) == ("ATATT" + "b" * 30, "ada@example.com")

    async def test_what_is_set_beside_the_credential_stays(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.sql("UPDATE t_connections SET metadata = metadata || '{\"canary\": true}'")
        await stage.put(f"{connection_id}/credentials", {"botToken": TELEGRAM_TOKEN})
        assert (await stage.row(connection_id))["metadata"]["canary"] is True

    @pytest.mark.parametrize("body", [{}, {"botToken": None}])
    async def test_nothing_to_change(self, stage: Stage, body: dict[str, Any]) -> None:
        answer = await stage.put(f"{await stage.connect_telegram()}/credentials", body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    async def test_unknown_members(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        stage.world.reset()
        answer = await stage.put(f"{connection_id}/credentials", {"apiKey": OPENAI_KEY})
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")
        assert OPENAI_KEY not in answer.text
        assert stage.world.received == []

    async def test_a_revoked_connection_takes_no_credential(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.post(f"{connection_id}/revoke")
        stage.world.reset()
        for path, send in (("credentials", stage.put), ("reauth", stage.post)):
            answer = await send(f"{connection_id}/{path}", {"botToken": TELEGRAM_TOKEN})
            assert (answer.status_code, answer.json()["code"]) == (409, "connection_revoked")
        assert stage.world.received == []
        assert (await stage.row(connection_id))["encrypted_tokens"] is None

    async def test_a_revocation_during_the_check_wins(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()

        async def script(request: Any, writer: asyncio.StreamWriter) -> None:
            await stage.post(f"{connection_id}/revoke")
            await says(GET_ME)(request, writer)

        stage.world["api.telegram.org"].script = script
        answer = await stage.put(f"{connection_id}/credentials", {"botToken": TELEGRAM_TOKEN})
        assert (answer.status_code, answer.json()["code"]) == (409, "connection_revoked")
        row = await stage.row(connection_id)
        assert (row["status"], row["encrypted_tokens"]) == ("revoked", None)

    async def test_of_two_replacements_at_once_one_is_stored(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        both = asyncio.Barrier(2)

        async def script(request: Any, writer: asyncio.StreamWriter) -> None:
            await both.wait()
            await says(GET_ME)(request, writer)

        stage.world["api.telegram.org"].script = script
        tokens = [TELEGRAM_TOKEN[:-1] + digit for digit in "78"]
        answers = await asyncio.gather(
            *(stage.put(f"{connection_id}/credentials", {"botToken": token}) for token in tokens)
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        winner = next(t for t, answer in zip(tokens, answers, strict=True) if answer.status_code == 200)
        assert stage.secret_of(await stage.row(connection_id))["botToken"] == winner


class TestHosts:
    """A stored secret goes only where it was entered for."""

    async def test_a_stored_secret_is_never_sent_to_a_new_host(self, stage: Stage) -> None:
        connection_id = await stage.connect_http()
        move = {"baseUrl": "https://evil.example.net/v1", "probe": {"method": "GET", "path": "/v1/me"}}
        answer = await stage.put(f"{connection_id}/credentials", move)
        assert (answer.status_code, answer.json()["fields"][0]["path"]) == (400, "apiKey")
        assert stage.world["evil.example.net"].received == []
        assert (await stage.row(connection_id))["metadata"]["params"]["baseUrl"] == "https://api.example.com/v1"

    async def test_a_host_moves_with_a_new_secret_and_without_policies(self, stage: Stage) -> None:
        connection_id = await stage.connect_http(paths=["/items/**"])
        move = {"baseUrl": "https://evil.example.net/v2", "apiKey": "another-secret-0123456789"}
        policy_id = await stage.give_policy(connection_id)
        answer = await stage.put(f"{connection_id}/credentials", move)
        assert (answer.status_code, answer.json()["detail"]) == (409, "host_in_use")
        await stage.sql("UPDATE t_policies SET status = 'revoked' WHERE id = %s", policy_id)
        answer = await stage.put(f"{connection_id}/credentials", move)
        assert answer.status_code == 200, answer.text
        params = (await stage.row(connection_id))["metadata"]["params"]
        assert (params["baseUrl"], params["paths"]) == ("https://evil.example.net/v2", ["/items/**"])
        assert stage.world.received == []

    async def test_a_policy_made_during_the_check_keeps_the_host(self, stage: Stage) -> None:
        connection_id = await stage.connect_http()

        async def script(request: Any, writer: asyncio.StreamWriter) -> None:
            await stage.give_policy(connection_id)
            await says({})(request, writer)

        stage.world["evil.example.net"].script = script
        move = {
            "baseUrl": "https://evil.example.net/v2",
            "apiKey": "another-secret-0123456789",
            "probe": {"method": "GET", "path": "/v2/me"},
        }
        answer = await stage.put(f"{connection_id}/credentials", move)
        assert (answer.status_code, answer.json()["detail"]) == (409, "host_in_use")
        assert (await stage.row(connection_id))["metadata"]["params"]["baseUrl"] == "https://api.example.com/v1"

    async def test_other_members_change_under_policies(self, stage: Stage) -> None:
        connection_id = await stage.connect_http(paths=["/items/**"])
        await stage.give_policy(connection_id)
        answer = await stage.put(f"{connection_id}/credentials", {"authType": "bearer", "apiKey": "b" * 24})
        assert answer.status_code == 200, answer.text
        row = await stage.row(connection_id)
        assert stage.secret_of(row) == {"authType": "bearer", "apiKey": "b" * 24}
        assert (row["metadata"]["params"]["paths"], row["metadata"]["params"]["injectedHeaders"]) == (
            ["/items/**"],
            ["authorization"],
        )

    async def test_a_stored_generic_connection_reaches_its_prefix_and_nothing_else(self, stage: Stage) -> None:
        connection_id = await stage.connect_http()
        await stage.give_policy(connection_id)
        grants = Grants(stage.database, stage.catalog, creator_stops=True)
        grant = await grants.resolve(stage.here.id, stage.here.agent_id, connection_id, None)
        assert grant is not None
        checks = {
            url: grant.binding.check(parse_target(url).target)
            for url in (
                "https://api.example.com/v1/items",
                "https://api.example.com/v2/items",
                "https://evil.example.net/v1/items",
            )
        }
        assert list(checks.values()) == [None, "path_not_in_catalog", "host_not_in_connection"]
        assert "x-key" in grant.binding.stripped_headers


class TestOnePerWorkspace:
    async def test_a_second_connection_is_refused_before_its_key_is_sent(self, stage: Stage) -> None:
        stage.world["api.openai.com"].script = says({"data": []})
        first = (await stage.post("api-key", openai())).json()["connection"]["id"]
        again = await stage.post("api-key", openai())
        assert (again.status_code, again.json()["code"]) == (409, "singleton_exists")
        assert again.json()["connectionId"] == first
        assert len(stage.world.received) == 1

    async def test_of_two_at_once_one_is_stored(self, stage: Stage) -> None:
        both = asyncio.Barrier(2)

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            await both.wait()
            await says({"data": []})(request, writer)

        stage.world["api.openai.com"].script = script
        other = stage.replica().client
        answers = await asyncio.gather(
            *(
                client.post("/v1/connections/api-key", json=openai(), headers=stage.here.headers())
                for client in (stage.client, other)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        winner = next(a for a in answers if a.status_code == 200).json()["connection"]["id"]
        assert next(a for a in answers if a.status_code == 409).json()["connectionId"] == winner
        assert await stage.stored() == 1

    async def test_another_workspace_has_its_own(self, stage: Stage) -> None:
        stage.world["api.openai.com"].script = says({"data": []})
        for workspace in (stage.here, stage.elsewhere):
            answer = await stage.post("api-key", openai(), workspace.headers())
            assert answer.status_code == 200

    async def test_a_full_workspace_takes_no_more(self, stage: Stage) -> None:
        small = stage.replica(options=ConnectionOptions(max_connections=1)).client
        await stage.connect_telegram()
        answer = await small.post("/v1/connections/api-key", json=openai(), headers=stage.here.headers())
        assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (
            409,
            "conflict",
            "connection_limit",
        )
