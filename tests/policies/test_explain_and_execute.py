"""The whole way: a running broker answers what explain said, and only the call leaves rows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest_asyncio

from agenthifive.audit.chains import Instance
from agenthifive.db.database import Database
from agenthifive.errors import AppError
from agenthifive.policies.explain import Explainer, Question
from world import HOST, World, make_world

RULES = {
    "request": [
        {"id": "r0", "label": "Deletion", "match": {"methods": ["DELETE"]}, "action": "deny"},
        {"id": "r1", "label": "Codes", "match": {}, "action": "redact",
         "redactConfig": {"types": [{"type": "custom", "pattern": "X-[0-9]+"}], "fields": ["$body"]}},
        {"id": "r2", "label": "Notes", "match": {"urlPattern": "^/notes"}, "action": "require_approval"},
        {"id": "r3", "label": "Mail", "match": {"urlPattern": "^/mail", "pii": {"types": [{"type": "email"}],
         "fields": ["$body"]}}, "action": "deny"},
    ],
    "response": [],
}  # fmt: skip
CALLS: list[dict[str, Any]] = [
    {"path": "/v1/x"},
    {"path": "/v1/x?force=1", "method": "POST", "body": {"text": "X-1"}},
    {"path": "/v1/x", "method": "DELETE"},
    {"path": "/notes/1"},
    {"path": "/notes%2F1"},
    {"path": "/mail", "method": "POST", "body": {"to": "a@b.example"}},
    {"path": "/a/../b"},
    {"path": "/v1/x", "method": "PUT", "headers": {"bad name": "x"}},
    {"url": "https://other.example.com/x"},
]


@pytest_asyncio.fixture(scope="module")
async def world(database: Database, instance: Instance, admin_dsn: str) -> AsyncIterator[World]:
    async with make_world(database, instance, admin_dsn) as made:
        yield made


async def test_both_name_the_same_decision_code_and_rule(world: World) -> None:
    bot = await world.ready(rules=RULES)
    explainer = Explainer(world.database, world.catalog, frozenset({HOST}))
    for call in CALLS:
        answer = await bot.execute(**call)
        request = {"method": "GET", **call, "url": call.get("url") or world.origin + call["path"]}
        question = Question(world.workspace_id, bot.agent_id, request, datetime.now(UTC), bot.connection_id)
        rows = await world.execute("SELECT count(*) FROM l_audit_events")
        told = await explain(explainer, question)
        assert await world.execute("SELECT count(*) FROM l_audit_events") == rows
        body = answer.json()
        code = body.get("detail") if body.get("code") == "approval_required" else body.get("code")
        if answer.status_code == 200:
            assert told["decision"] == "allow", call
            continue
        assert told["code"] == code, call
        if told.get("rule") is not None:
            ((rule_id,),) = await world.execute(
                "SELECT rule_id FROM l_audit_events WHERE audit_id = %s", [body["auditId"]]
            )
            assert told["rule"]["id"] == rule_id, call


async def explain(explainer: Explainer, question: Question) -> dict[str, Any]:
    try:
        return await explainer.explain(question)
    except AppError as error:
        return {"decision": "refused", "code": error.code}
