"""Reading and changing connections: who sees what, and what a new credential may and may not do.

Source: contract/connections.md sections 7, 8 and 18 (27 to 30, 32); http.md section 15.6; catalog/SCHEMA.md section 12.
"""

import asyncio
from typing import Any

import pytest

from agenthifive.broker.grants import Grants
from agenthifive.broker.target import parse_target
from agenthifive.words import Role, Scope
from connections.stage import (
    GET_ME,
    OPENAI_KEY,
    OTHER_TELEGRAM_TOKEN,
    SLACK_TOKEN,
    TELEGRAM_TOKEN,
    Replica,
    Stage,
    says,
)

MEMBERS = {
    "id", "provider", "service", "variant", "label", "status", "statusReason", "singleton", "credentialType",
    "category", "grantedScopes", "missingScopes", "metadata", "hosts", "allowedModels", "expiry", "verified", "lastVerifiedAt",
    "lastUsedAt", "createdAt", "updatedAt", "version", "policies",
}  # fmt: skip
OF_PEOPLE = {"credentialPreview", "account", "createdBy", "oauthAppId"}
NOBODY = "00000000-0000-7000-8000-000000000000"


class TestReading:
    async def test_an_item_is_complete(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        policy_id = await stage.give_policy(connection_id, rateLimits={"maxRequestsPerHour": 5})
        body = (await stage.get()).json()
        [item] = body["connections"]
        assert set(item) == MEMBERS | OF_PEOPLE
        assert body["nextCursor"] is None
        assert (item["singleton"], item["credentialType"], item["category"]) == (True, "bot_token", "communication")
        assert (item["hosts"], item["allowedModels"]) == (["api.telegram.org"], ["B"])
        assert item["account"] == {"id": "123456789", "name": "helper_bot", "tenant": None}
        assert item["credentialPreview"] == {"primaryLabel": "Bot token", "primaryMasked": "1234…0123"}
        assert item["expiry"] == {
            "accessExpiresAt": None,
            "refreshExpiresAt": None,
            "credentialExpiresAt": None,
            "state": "unknown",
            "reason": None,
        }
        assert item["policies"] == [
            {
                "id": policy_id,
                "agentId": stage.here.agent_id,
                "agentName": "Bot",
                "actionTemplateId": "telegram",
                "defaultMode": "read_write",
                "stepUpApproval": "risk_based",
                "allowedModels": ["B"],
                "allowlists": [],
                "rateLimits": {"maxRequestsPerHour": 5},
                "timeWindows": [],
                "providerConstraints": None,
                "securityPreset": None,
                "version": 1,
            }
        ]
        one = (await stage.get(f"/{connection_id}")).json()
        assert one == {"connection": item}

    async def test_reading_unseals_nothing(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        connection_id = await stage.connect_telegram()

        def refuse(*_: Any) -> None:
            raise AssertionError("a credential was unsealed")

        monkeypatch.setattr("agenthifive.vault.keyring.Keyring.open", refuse)
        for path in ("", f"/{connection_id}"):
            answer = await stage.get(path)
            assert answer.status_code == 200
            assert TELEGRAM_TOKEN not in answer.text

    @pytest.mark.parametrize(
        ("role", "sees"), [(Role.OWNER, True), (Role.ADMIN, True), (Role.APPROVER, False), (Role.VIEWER, False)]
    )
    async def test_masks_are_for_admins(self, stage: Stage, role: Role, sees: bool) -> None:
        connection_id = await stage.connect_telegram()
        for headers in (stage.here.headers(role), stage.pat(Scope.CONNECTIONS_READ, role=role)):
            [item] = (await stage.get("", headers)).json()["connections"]
            one = (await stage.get(f"/{connection_id}", headers)).json()["connection"]
            assert (item["credentialPreview"] is not None) is sees
            assert item == one

    async def test_an_agent_sees_what_it_holds_and_nothing_of_the_rest(self, stage: Stage) -> None:
        held = await stage.connect_telegram()
        foreign = await stage.connect_slack()
        await stage.give_policy(held)
        await stage.sql("UPDATE t_connections SET metadata = metadata || '{\"canary\": true}' WHERE id = %s", held)
        other_id = "00000000-0000-7000-8000-00000000000a"
        await stage.sql(
            "INSERT INTO t_agents (id, workspace_id, name, status) VALUES (%s, %s, 'Other', 'active')"
            " ON CONFLICT (id) DO UPDATE SET workspace_id = excluded.workspace_id",
            other_id,
            stage.here.id,
        )
        for connection_id in (held, foreign):
            await stage.sql(
                "INSERT INTO t_policies (id, workspace_id, agent_id, connection_id, document)"
                " VALUES (gen_random_uuid(), %s, %s, %s, '{}')",
                stage.here.id,
                other_id,
                connection_id,
            )
        [item] = (await stage.get("", stage.here.agent)).json()["connections"]
        assert item["id"] == held
        assert set(item) == MEMBERS
        assert [policy["agentId"] for policy in item["policies"]] == [stage.here.agent_id]
        assert item["metadata"] == {"params": {}, "botUsername": "helper_bot", "botFirstName": "Helper"}
        assert (await stage.get("?status=revoked", stage.here.agent)).json()["connections"] == []

    async def test_an_agent_whose_policy_ended_sees_nothing(self, stage: Stage) -> None:
        policy_id = await stage.give_policy(await stage.connect_telegram())
        await stage.sql("UPDATE t_policies SET status = 'revoked' WHERE id = %s", policy_id)
        assert (await stage.get("", stage.here.agent)).json()["connections"] == []

    async def test_an_agent_may_not_ask_for_one(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.give_policy(connection_id)
        answer = await stage.get(f"/{connection_id}", stage.here.agent)
        assert (answer.status_code, answer.json()["code"]) == (403, "agent_not_allowed")

    async def test_filters(self, stage: Stage) -> None:
        telegram, slack, http = await stage.connect_telegram(), await stage.connect_slack(), await stage.connect_http()
        await stage.post(f"{slack}/revoke")
        cases = {
            "": [telegram, http],
            "?status=revoked": [slack],
            "?status=healthy": [telegram, http],
            "?service=telegram": [telegram],
            "?provider=http": [http],
            "?q=TELE": [telegram],
            "?q=%25": [],
            "?q=_": [telegram],
        }
        for query, expected in cases.items():
            found = [item["id"] for item in (await stage.get(query)).json()["connections"]]
            assert found == expected, query

    async def test_pages_give_every_connection_once(self, stage: Stage) -> None:
        made = [await stage.connect_http() for _ in range(5)]
        found: list[str] = []
        query, pages = "?limit=2", 0
        while query:
            body = (await stage.get(query)).json()
            found += [item["id"] for item in body["connections"]]
            query, pages = f"?limit=2&cursor={body['nextCursor']}" if body["nextCursor"] else "", pages + 1
        assert (found, pages) == (made, 3)

    @pytest.mark.parametrize("query", ["?limit=0", "?limit=501", "?limit=x", "?status=nosuch"])
    async def test_bad_queries(self, stage: Stage, query: str) -> None:
        answer = await stage.get(query)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")

    @pytest.mark.parametrize("cursor", ["x", "AAAA", "MjAyNi0wMS0wMQ", "%00", "0" * 200])
    async def test_a_foreign_cursor_is_refused(self, stage: Stage, cursor: str) -> None:
        answer = await stage.get(f"?cursor={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")

    async def test_a_known_end_is_told_in_time(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        for interval, state in (("-1 minute", "expired"), ("13 days", "expiring"), ("15 days", "ok")):
            await stage.sql(
                "UPDATE t_connections SET credential_expires_at = now() + %s::interval WHERE id = %s",
                interval,
                connection_id,
            )
            expiry = (await stage.get(f"/{connection_id}")).json()["connection"]["expiry"]
            assert (expiry["state"], expiry["reason"]) == (state, "credential")

    async def test_a_service_that_left_the_catalog_is_still_shown(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.sql("UPDATE t_connections SET service = 'gone' WHERE id = %s", connection_id)
        item = (await stage.get(f"/{connection_id}")).json()["connection"]
        assert (item["service"], item["credentialType"], item["hosts"]) == ("gone", None, [])


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
