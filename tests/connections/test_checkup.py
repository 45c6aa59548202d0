"""Testing a stored credential and looking things up with it.

Source: contract/connections.md section 9; catalog/SCHEMA.md sections 5 and 11.
"""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agenthifive.operations.ratelimit import Window
from connections.stage import GET_ME, SLACK_TOKEN, TELEGRAM_TOKEN, Stage, says
from fakes import Received, respond, respond_gzip


class TestTheTest:
    async def test_a_good_credential(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        answer = await stage.post(f"{connection_id}/test")
        body = answer.json()
        assert answer.status_code == 200
        assert body == {
            "ok": True,
            "provider": "telegram",
            "detail": "The provider accepts the credential (helper_bot).",
            "checkedAt": body["checkedAt"],
        }
        assert answer.headers["x-ratelimit-limit"] == "100000"
        last = (await stage.audit(connection_id))[-1]
        assert (last["action"], last["decision"], last["metadata"]) == ("connection_tested", "allowed", {"ok": True})

    async def test_a_refused_credential_needs_a_person(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        stage.world["api.telegram.org"].script = says({"ok": False}, 401)
        answer = await stage.post(f"{connection_id}/test")
        body = answer.json()
        assert (answer.status_code, body["ok"], body["code"]) == (400, False, "credential_rejected")
        assert body["hint"].startswith("https://core.telegram.org")
        row = await stage.row(connection_id)
        assert (row["status"], row["status_reason"], row["verified"]) == ("needs_reauth", "probe_rejected", False)
        rows = [(r["action"], r["decision"], r["metadata"]) for r in (await stage.audit(connection_id))[1:]]
        assert rows == [
            ("connection_tested", "error", {"ok": False, "errorCode": "credential_rejected"}),
            ("connection_needs_reauth", "allowed", {"reason": "probe_rejected", "errorCode": "credential_rejected"}),
        ]
        again = await stage.post(f"{connection_id}/test")
        assert again.status_code == 400
        actions = [r["action"] for r in await stage.audit(connection_id)]
        assert actions.count("connection_needs_reauth") == 1, "only the change is news"

    async def test_an_accepted_credential_heals(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        stage.world["api.telegram.org"].script = says({"ok": False}, 401)
        await stage.post(f"{connection_id}/test")
        stage.world["api.telegram.org"].script = says(GET_ME)
        assert (await stage.post(f"{connection_id}/test")).status_code == 200
        row = await stage.row(connection_id)
        assert (row["status"], row["status_reason"], row["verified"]) == ("healthy", None, True)

    @pytest.mark.parametrize("status", [302, 403, 429, 500])
    async def test_an_answer_that_says_nothing_changes_nothing(self, stage: Stage, status: int) -> None:
        connection_id = await stage.connect_telegram()
        stage.world["api.telegram.org"].script = respond(status)
        answer = await stage.post(f"{connection_id}/test")
        assert (answer.status_code, answer.json()["ok"]) == (502, False)
        row = await stage.row(connection_id)
        assert (row["status"], row["verified"]) == ("healthy", True)
        assert (await stage.audit(connection_id))[-1]["metadata"] == {
            "ok": False,
            "errorCode": "upstream_unreachable",
        }

    async def test_silence_is_504_and_changes_nothing(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        connection_id = await stage.connect_telegram()

        async def silent(request: Received, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(3600)

        monkeypatch.setattr("agenthifive.connections.calls.CALL_S", 0.1)
        stage.world["api.telegram.org"].script = silent
        answer = await stage.post(f"{connection_id}/test")
        assert (answer.status_code, answer.json()["ok"], answer.json()["code"]) == (504, False, "upstream_timeout")
        assert (await stage.row(connection_id))["status"] == "healthy"

    async def test_a_service_without_a_check(self, stage: Stage) -> None:
        body = (await stage.post(f"{await stage.connect_http()}/test")).json()
        assert (body["ok"], body["detail"], body["warnings"]) == (
            True,
            "no check exists for this service",
            ["unverified"],
        )
        assert stage.world.received == []

    async def test_a_credential_that_lacks_a_permission_is_healthy(self, stage: Stage) -> None:
        stage.world["api.openai.com"].script = says({})
        key = {"service": "openai", "apiKey": "sk-proj-abcdefghijklmnopqrstuvwxyz0123"}
        connection_id = (await stage.post("api-key", key)).json()["connection"]["id"]
        stage.world["api.openai.com"].script = says({}, 403)
        body = (await stage.post(f"{connection_id}/test")).json()
        assert (body["ok"], body["limited"], body["warnings"]) == (True, True, ["limited"])

    async def test_a_revoked_connection_is_not_tested(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.post(f"{connection_id}/revoke")
        stage.world.reset()
        answer = await stage.post(f"{connection_id}/test")
        assert (answer.status_code, answer.json()["code"]) == (409, "connection_revoked")
        assert stage.world.received == []

    async def test_an_old_verdict_does_not_touch_a_new_credential(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        new_token = TELEGRAM_TOKEN[:-1] + "9"

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            if new_token in request.target:
                await says(GET_ME)(request, writer)
                return
            assert (await stage.put(f"{connection_id}/credentials", {"botToken": new_token})).status_code == 200
            await says({"ok": False}, 401)(request, writer)

        stage.world["api.telegram.org"].script = script
        assert (await stage.post(f"{connection_id}/test")).status_code == 400
        row = await stage.row(connection_id)
        assert (row["status"], row["generation"]) == ("healthy", 2)

    async def test_an_unreadable_credential_says_so(self, stage: Stage) -> None:
        connection_id, other = await stage.connect_telegram(), await stage.connect_slack()
        await stage.sql(
            "UPDATE t_connections SET encrypted_tokens = (SELECT encrypted_tokens FROM t_connections WHERE id = %s)"
            " WHERE id = %s",
            other,
            connection_id,
        )
        stage.world.reset()
        answer = await stage.post(f"{connection_id}/test")
        assert (answer.status_code, answer.json()["code"]) == (500, "credential_unreadable")
        assert stage.world.received == []

    async def test_tests_and_look_ups_share_one_limit(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        few = stage.replica(limit=Window(3, 60)).client
        stage.world.reset()
        headers = stage.here.headers()
        assert (await few.post(f"/v1/connections/{connection_id}/test", headers=headers)).status_code == 502
        lookup = await few.post(f"/v1/connections/{connection_id}/lookup", json={"type": "users"}, headers=headers)
        assert lookup.status_code == 502
        answer = await few.post(f"/v1/connections/{connection_id}/test", headers=headers)
        assert (answer.status_code, answer.json()["limit"]["name"]) == (429, "connection_probe")
        assert len(stage.world.received) == 2


def channels(*names: str, cursor: str = "") -> dict[str, Any]:
    found = [{"id": f"C{n}", "name": n, "is_private": n.startswith("p"), "num_members": len(n)} for n in names]
    return {"ok": True, "channels": found, "response_metadata": {"next_cursor": cursor}}


class TestLookups:
    async def test_pages_are_followed_and_merged(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world["slack.com"].received.clear()
        pages = {"": channels("general", cursor="two"), "two": channels("private")}

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            query = parse_qs(urlsplit(request.target).query)
            await says(pages[query.get("cursor", [""])[0]])(request, writer)

        stage.world["slack.com"].script = script
        answer = await stage.post(f"{connection_id}/lookup", {"type": "channels"})
        assert answer.json() == {
            "items": [
                {"id": "Cgeneral", "name": "general", "isPrivate": False, "memberCount": 7},
                {"id": "Cprivate", "name": "private", "isPrivate": True, "memberCount": 7},
            ],
            "nextCursor": None,
        }
        first = stage.world["slack.com"].received[0]
        assert parse_qs(urlsplit(first.target).query) == {
            "types": ["public_channel,private_channel"],
            "exclude_archived": ["true"],
            "limit": ["200"],
        }
        assert first.header("authorization") == f"Bearer {SLACK_TOKEN}"

    async def test_an_endless_list_ends_with_a_cursor_to_go_on(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world["slack.com"].received.clear()
        stage.world["slack.com"].script = says(channels("general", cursor="a&limit=9"))
        body = (await stage.post(f"{connection_id}/lookup", {"type": "channels", "cursor": "x&token=y"})).json()
        assert (len(body["items"]), body["nextCursor"]) == (5, "a&limit=9")
        sent = [parse_qs(urlsplit(r.target).query) for r in stage.world["slack.com"].received]
        assert [query["cursor"] for query in sent] == [["x&token=y"], *[["a&limit=9"]] * 4]
        assert all("token" not in query for query in sent)

    async def test_names_are_searched_here(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        members = [
            {"id": "U1", "name": "ada", "profile": {"real_name": "Ada L."}, "is_bot": False},
            {"id": "U2", "name": "bob", "profile": {}, "is_bot": True},
            {"name": "nobody"},
        ]
        stage.world["slack.com"].script = respond_gzip(json.dumps({"ok": True, "members": members}).encode())
        body = (await stage.post(f"{connection_id}/lookup", {"type": "users", "q": "LOVE"})).json()
        assert body["items"] == []
        body = (await stage.post(f"{connection_id}/lookup", {"type": "users", "q": "ADA"})).json()
        assert body["items"] == [{"id": "U1", "name": "ada", "displayName": "Ada L.", "isBot": False}]

    @pytest.mark.parametrize(
        "reply", [{"ok": False, "error": "missing_scope"}, {"ok": True, "channels": "no"}, ["x"], "x"]
    )
    async def test_what_is_no_list_is_told_without_the_providers_words(self, stage: Stage, reply: Any) -> None:
        connection_id = await stage.connect_slack()
        stage.world["slack.com"].script = says(reply)
        answer = await stage.post(f"{connection_id}/lookup", {"type": "channels"})
        assert (answer.status_code, answer.json()["code"]) == (502, "upstream_invalid")
        assert "missing_scope" not in answer.text

    async def test_a_name_cannot_carry_the_secret_out(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world["slack.com"].script = says(channels(f"x{SLACK_TOKEN}"))
        answer = await stage.post(f"{connection_id}/lookup", {"type": "channels"})
        assert SLACK_TOKEN not in answer.text
        assert "[REDACTED:credential]" in answer.text

    async def test_unknown_types_name_the_known_ones(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world.reset()
        answer = await stage.post(f"{connection_id}/lookup", {"type": "guilds"})
        assert (answer.status_code, answer.json()["hint"]) == (400, "channels, users")
        assert (await stage.post(f"{connection_id}/lookup", {})).json()["fields"][0]["path"] == "type"
        assert (await stage.post(f"{connection_id}/lookup", {"type": "users", "x": 1})).json()[
            "code"
        ] == "unknown_field"
        assert stage.world.received == []

    async def test_a_refused_credential_looks_nothing_up(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        await stage.sql("UPDATE t_connections SET status = 'needs_reauth' WHERE id = %s", connection_id)
        stage.world.reset()
        answer = await stage.post(f"{connection_id}/lookup", {"type": "users"})
        assert (answer.status_code, answer.json()["code"]) == (409, "connection_needs_reauth")
        assert stage.world.received == []
