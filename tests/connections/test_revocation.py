"""Ending a connection: the local cut, the provider's part, who may, and what is left.

Source: contract/connections.md sections 10 and 18 (38, 39, 41 to 43).
"""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from agenthifive.broker.grants import Grants
from agenthifive.connections.jobs import connection_jobs
from agenthifive.connections.model import ConnectionOptions
from agenthifive.connections.revocation_store import RETRY_WAITS_S
from agenthifive.operations.jobs import Jobs
from agenthifive.words import ConnectionStatus, Scope
from connections.stage import AUTH_TEST, SLACK_TOKEN, TELEGRAM_TOKEN, Replica, Stage, says
from fakes import Received, respond

TRELLO_TOKEN, TRELLO_KEY = "ATTA" + "a" * 60, "0123456789abcdef" * 2


async def ticket(stage: Stage) -> dict[str, Any]:
    """The one credential of the workspace that waits for its provider."""
    [row] = await stage.sql("SELECT * FROM t_provider_revocations WHERE workspace_id = %s", stage.here.id)
    return row


async def run_job(stage: Stage, replica: Replica | None = None) -> None:
    [job] = connection_jobs((replica or stage.main).room.revocations)
    assert await Jobs([job], stage.unit).run_once(job)


async def make_due(stage: Stage) -> None:
    await stage.sql("UPDATE t_provider_revocations SET next_at = now() WHERE workspace_id = %s", stage.here.id)


async def results(stage: Stage, connection_id: str) -> list[tuple[str, str, str]]:
    """What the log says of the provider's part."""
    rows = [r for r in await stage.audit(connection_id) if r["action"] == "provider_revocation"]
    return [(r["metadata"]["outcome"], r["decision"], r["actor"]) for r in rows]


class TestTheLocalCut:
    async def test_the_answer_and_what_is_left(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        policy_id = await stage.give_policy(connection_id)
        changes = "SELECT n FROM t_changes WHERE workspace_id = %s"
        [before] = await stage.sql(changes, stage.here.id)
        answer = await stage.post(f"{connection_id}/revoke")
        body = answer.json()
        assert answer.status_code == 200
        assert body == {
            "revoked": True,
            "connection": {
                "id": connection_id,
                "provider": "telegram",
                "service": "telegram",
                "label": "Telegram Bot – helper_bot",
                "status": "revoked",
            },
            "auditId": body["auditId"],
            "providerRevocation": {
                "status": "unsupported",
                "manageUrl": "https://t.me/BotFather",
                "message": "The credential itself keeps working at the provider until a person removes it there.",
            },
        }
        row = await stage.row(connection_id)
        assert (row["status"], row["status_reason"]) == ("revoked", "revoked_by_user")
        assert (row["encrypted_tokens"], row["encrypted_tokens_kid"]) == (None, None)
        [policy] = await stage.sql("SELECT status FROM t_policies WHERE id = %s", policy_id)
        assert policy["status"] == "revoked"
        [after] = await stage.sql(changes, stage.here.id)
        assert after["n"] > before["n"], "other replicas hear of it"
        rows = (await stage.audit(connection_id))[1:]
        assert [(r["action"], r["metadata"]) for r in rows] == [
            (
                "connection_revoked",
                {
                    "provider": "telegram",
                    "label": "Telegram Bot – helper_bot",
                    "previousStatus": "healthy",
                    "policiesRevoked": 1,
                    "providerRevoke": "unsupported",
                },
            ),
            ("provider_revocation", {"provider": "telegram", "outcome": "unsupported"}),
        ]
        assert rows[0]["audit_id"] == body["auditId"]

    async def test_calls_find_it_revoked(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.give_policy(connection_id)
        await stage.post(f"{connection_id}/revoke")
        grants = Grants(stage.database, stage.catalog, creator_stops=True)
        grant = await grants.resolve(stage.here.id, stage.here.agent_id, connection_id, None)
        assert grant is not None
        assert (grant.status, grant.sealed, grant.policy) == (ConnectionStatus.REVOKED, None, None)

    async def test_the_second_time_is_409(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.post(f"{connection_id}/revoke")
        answer = await stage.post(f"{connection_id}/revoke")
        assert (answer.status_code, answer.json()["code"]) == (409, "connection_revoked")

    async def test_of_many_at_once_one_revokes(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        other = stage.replica().client
        answers = await asyncio.gather(
            *(
                client.post(f"/v1/connections/{connection_id}/revoke", headers=stage.here.headers())
                for client in (stage.client, other) * 3
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]

    async def test_the_service_can_be_connected_again(self, stage: Stage) -> None:
        await stage.post(f"{await stage.connect_telegram()}/revoke")
        assert await stage.connect_telegram()

    async def test_nothing_wrong_with_the_credential_keeps_it_alive(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        await stage.sql("UPDATE t_connections SET encrypted_tokens = '{}' WHERE id = %s", connection_id)
        stage.world.reset()
        body = (await stage.post(f"{connection_id}/revoke")).json()
        assert body["providerRevocation"]["status"] == "failed"
        assert (await stage.row(connection_id))["status"] == "revoked"
        assert stage.world.received == []
        assert [(outcome, decision) for outcome, decision, _ in await results(stage, connection_id)] == [
            ("failed", "error")
        ]


class TestAtTheProvider:
    async def test_the_catalogs_call_ends_the_credential(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world.reset()
        seen: list[Any] = []

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            seen.append((await stage.row(connection_id))["status"])
            await says({"ok": True, "revoked": True})(request, writer)

        stage.world["slack.com"].script = script
        body = (await stage.post(f"{connection_id}/revoke")).json()
        assert body["providerRevocation"] == {"status": "done", "manageUrl": "https://api.slack.com/apps"}
        assert seen == ["revoked"], "the local cut was in force before the provider heard of it"
        [request] = stage.world["slack.com"].received
        assert (request.method, request.target) == ("POST", "/api/auth.revoke")
        assert request.header("authorization") == f"Bearer {SLACK_TOKEN}"
        row = await ticket(stage)
        assert (row["state"], row["sealed_token"], row["sealed_token_kid"]) == ("done", None, None)
        outcome = await results(stage, connection_id)
        assert [(word, decision) for word, decision, _ in outcome] == [("done", "allowed")]

    async def test_a_key_in_the_address_is_sent_and_never_written(self, stage: Stage) -> None:
        stage.world["api.trello.com"].script = says({"id": "m1", "username": "ada"})
        key = {"service": "trello", "apiKey": TRELLO_TOKEN, "appKey": TRELLO_KEY}
        connection_id = (await stage.post("api-key", key)).json()["connection"]["id"]
        stage.world["api.trello.com"].received.clear()
        body = (await stage.post(f"{connection_id}/revoke")).json()
        assert body["providerRevocation"]["status"] == "done"
        [request] = stage.world["api.trello.com"].received
        assert request.method == "DELETE"
        assert request.target == f"/1/tokens/{TRELLO_TOKEN}?key={TRELLO_KEY}&token={TRELLO_TOKEN}"
        assert TRELLO_TOKEN not in str(await stage.audit())

    @pytest.mark.parametrize(
        ("reply", "status"),
        [
            ({"ok": False, "error": "token_revoked"}, "done"),
            ({"ok": False, "error": "ratelimited"}, "pending"),
            ("no JSON of ours", "pending"),
        ],
    )
    async def test_a_provider_that_answers_everything_with_200_is_read(
        self, stage: Stage, reply: Any, status: str
    ) -> None:
        connection_id = await stage.connect_slack()
        stage.world["slack.com"].script = says(reply)
        body = (await stage.post(f"{connection_id}/revoke")).json()
        assert body["providerRevocation"]["status"] == status

    async def test_a_provider_that_is_down_is_asked_again_until_a_day_has_passed(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world.reset()
        body = (await stage.post(f"{connection_id}/revoke")).json()
        assert body["providerRevocation"]["status"] == "pending"
        row = await ticket(stage)
        assert SLACK_TOKEN not in str(row)
        assert (row["state"], row["attempts"], row["sealed_token_kid"]) == ("pending", 1, stage.keyring.active_kid)
        waits = []
        for attempt in range(1, 6):
            [due] = await stage.sql(
                "SELECT round(extract(epoch FROM next_at - now()))::int AS s FROM t_provider_revocations WHERE id = %s",
                row["id"],
            )
            waits.append(due["s"])
            await run_job(stage)
            assert len(stage.world.received) == attempt, "nothing is sent before it is due"
            await make_due(stage)
            await run_job(stage)
            assert len(stage.world.received) == attempt + 1
        assert all(abs(wait - planned) <= 5 for wait, planned in zip(waits, RETRY_WAITS_S, strict=True))
        [last] = await stage.sql(
            "SELECT next_at = created_at + interval '24 hours' AS ok FROM t_provider_revocations WHERE id = %s",
            row["id"],
        )
        assert last["ok"], "then only the end is left"
        await stage.sql(
            "UPDATE t_provider_revocations SET created_at = created_at - interval '1 day', next_at = now()"
            " WHERE id = %s",
            row["id"],
        )
        await run_job(stage)
        row = await ticket(stage)
        assert (row["state"], row["sealed_token"], row["sealed_token_kid"]) == ("failed", None, None)
        assert len(stage.world.received) == 6, "a day later nobody is asked"
        assert await results(stage, connection_id) == [
            ("pending", "error", stage.callers[stage.here.headers()["authorization"][7:]].actor),
            ("failed", "error", "system"),
        ]

    async def test_a_later_try_that_works_is_recorded(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world.reset()
        await stage.post(f"{connection_id}/revoke")
        stage.world["slack.com"].script = says({"ok": True, "revoked": True})
        await make_due(stage)
        await run_job(stage)
        row = await ticket(stage)
        assert (row["state"], row["sealed_token"]) == ("done", None)
        assert [word for word, _, _ in await results(stage, connection_id)] == ["pending", "done"]

    async def test_two_replicas_ask_once(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world.reset()
        await stage.post(f"{connection_id}/revoke")
        stage.world["slack.com"].received.clear()
        await make_due(stage)
        await asyncio.gather(*(run_job(stage, stage.replica()) for _ in range(3)))
        assert len(stage.world.received) == 1

    async def test_a_waiting_credential_belongs_to_its_row(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world.reset()
        await stage.post(f"{connection_id}/revoke")
        stage.world["slack.com"].received.clear()
        await stage.sql(
            "UPDATE t_provider_revocations SET id = %s, next_at = now() WHERE workspace_id = %s",
            str(uuid4()),
            stage.here.id,
        )
        await run_job(stage)
        assert stage.world.received == []
        assert (await ticket(stage))["state"] == "failed"

    async def test_no_transaction_is_open_while_the_provider_is_asked(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        idle: list[int] = []

        async def script(request: Received, writer: asyncio.StreamWriter) -> None:
            rows = await stage.sql(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database()"
                " AND usename = 'agenthifive_app' AND state LIKE 'idle in transaction%%'"
            )
            idle.append(rows[0]["n"])
            await respond(500)(request, writer)

        stage.world["slack.com"].script = script
        await stage.post(f"{connection_id}/revoke")
        await make_due(stage)
        await run_job(stage)
        assert idle == [0, 0]


class TestAgents:
    async def test_an_agent_ends_what_it_holds(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.give_policy(connection_id)
        answer = await stage.post(f"{connection_id}/revoke", headers=stage.here.agent)
        assert (answer.status_code, answer.json()["revoked"]) == (200, True)
        assert (await stage.row(connection_id))["status_reason"] == "revoked_by_agent"
        row = next(r for r in await stage.audit(connection_id) if r["action"] == "connection_revoked")
        assert (row["metadata"]["agentId"], row["agent_id"]) == (stage.here.agent_id, stage.here.agent_id)
        again = await stage.post(f"{connection_id}/revoke", headers=stage.here.agent)
        assert (again.status_code, again.json()["code"]) == (409, "connection_revoked")

    async def test_of_everything_else_it_learns_nothing(self, stage: Stage) -> None:
        without, ended, revoked = (
            await stage.connect_telegram(),
            await stage.connect_slack(),
            await stage.connect_http(),
        )
        policy_id = await stage.give_policy(ended)
        await stage.sql("UPDATE t_policies SET status = 'revoked' WHERE id = %s", policy_id)
        await stage.post(f"{revoked}/revoke")
        answers = [
            await stage.post(f"{connection_id}/revoke", headers=headers)
            for connection_id, headers in (
                (without, stage.here.agent),
                (ended, stage.here.agent),
                (revoked, stage.here.agent),
                (without, stage.elsewhere.agent),
                (str(uuid4()), stage.here.agent),
            )
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.content for answer in answers}) == 1
        assert {(await stage.row(c))["status"] for c in (without, ended)} == {"healthy"}

    async def test_the_operator_may_forbid_it(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.give_policy(connection_id)
        strict = stage.replica(options=ConnectionOptions(agents_may_revoke=False)).client
        for path in (connection_id, str(uuid4())):
            answer = await strict.post(f"/v1/connections/{path}/revoke", headers=stage.here.agent)
            assert (answer.status_code, answer.json()["code"]) == (403, "agent_not_allowed")
        assert (await stage.row(connection_id))["status"] == "healthy"
        denied = [r for r in await stage.audit() if r["action"] == "access_denied"]
        assert denied[0]["metadata"]["code"] == "agent_not_allowed"
        by_person = await strict.post(f"/v1/connections/{connection_id}/revoke", headers=stage.here.headers())
        assert by_person.status_code == 200

    async def test_scopes_are_asked_for_by_kind_of_caller(self, stage: Stage) -> None:
        connection_id = await stage.connect_telegram()
        await stage.give_policy(connection_id)
        narrow = stage.agent_token(stage.here.id, stage.here.agent_id, [Scope.CONNECTIONS_READ])
        for headers in ({"authorization": f"Bearer {narrow}"}, stage.pat(Scope.CONNECTIONS_READ)):
            answer = await stage.post(f"{connection_id}/revoke", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
        assert (await stage.row(connection_id))["status"] == "healthy"
        by_token = await stage.post(f"{connection_id}/revoke", headers=stage.pat(Scope.CONNECTIONS_WRITE))
        assert by_token.status_code == 200


class TestDeleting:
    async def delete(self, stage: Stage, connection_id: str) -> Any:
        return await stage.client.delete(f"/v1/connections/{connection_id}", headers=stage.here.headers())

    async def test_a_live_connection_is_revoked_and_hidden(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        policy_id = await stage.give_policy(connection_id)
        stage.world["slack.com"].script = says({"ok": True, "revoked": True})
        answer = await self.delete(stage, connection_id)
        body = answer.json()
        assert body == {
            "deleted": True,
            "auditId": body["auditId"],
            "providerRevocation": {"status": "done", "manageUrl": "https://api.slack.com/apps"},
        }
        assert (await stage.get(f"/{connection_id}")).status_code == 404
        for query in ("", "?status=revoked"):
            assert (await stage.get(query)).json()["connections"] == []
        row = await stage.row(connection_id)
        assert (row["status"], row["status_reason"], row["encrypted_tokens"]) == ("revoked", "deleted", None)
        [policy] = await stage.sql("SELECT status FROM t_policies WHERE id = %s", policy_id)
        assert policy["status"] == "revoked"
        rows = [(r["action"], r["metadata"].get("label")) for r in await stage.audit(connection_id)]
        assert rows[1:] == [("connection_deleted", "Slack Bot – helper in Acme"), ("provider_revocation", None)]
        assert (await self.delete(stage, connection_id)).status_code == 404

    async def test_a_revoked_one_is_only_hidden(self, stage: Stage) -> None:
        connection_id = await stage.connect_slack()
        stage.world.reset()
        await stage.post(f"{connection_id}/revoke")
        stage.world["slack.com"].received.clear()
        body = (await self.delete(stage, connection_id)).json()
        assert body["providerRevocation"]["status"] == "pending"
        assert stage.world.received == []
        assert (await stage.row(connection_id))["status_reason"] == "revoked_by_user"
        stage.world["slack.com"].script = says(AUTH_TEST)
        await make_due(stage)
        await run_job(stage)
        assert (await ticket(stage))["state"] == "done", "what waits for the provider does not need the connection"


async def test_what_was_handed_out_is_named(stage: Stage) -> None:
    """A copy that an agent got through model A works on when the provider was not told."""
    connection_id, slack = await stage.connect_telegram(), await stage.connect_slack()
    async with stage.unit() as unit:
        for one in (connection_id, slack):
            unit.record("token_vended", {"model": "A"}, workspace_id=stage.here.id, connection_id=one)  # type: ignore[arg-type]
    vended = (await stage.post(f"{connection_id}/revoke")).json()["vended"]
    assert (vended["lastAt"] is not None, vended["validUntil"]) == (True, None)
    stage.world["slack.com"].script = says({"ok": True, "revoked": True})
    assert "vended" not in (await stage.post(f"{slack}/revoke")).json()
    assert TELEGRAM_TOKEN not in str(vended)
