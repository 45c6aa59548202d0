"""Reading connections: who sees what.

Source: contract/connections.md sections 7 and 18 (27, 28); http.md section 15.6.
"""

from typing import Any

import pytest

from agenthifive.words import Role, Scope
from connections.stage import TELEGRAM_TOKEN, Stage

MEMBERS = {
    "id", "provider", "service", "variant", "label", "status", "statusReason", "singleton", "credentialType",
    "category", "grantedScopes", "missingScopes", "metadata", "hosts", "allowedModels", "expiry", "verified",
    "lastVerifiedAt", "lastUsedAt", "createdAt", "updatedAt", "version", "policies",
}  # fmt: skip
OF_PEOPLE = {"credentialPreview", "account", "createdBy", "oauthAppId"}


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
