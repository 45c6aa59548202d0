"""The export as its callers meet it: files, who may have them, what they leave in the log."""

import csv
import io
import json
from typing import Any

import pytest

from agenthifive.audit.model import Event
from agenthifive.edge.callers import Caller
from agenthifive.ids import new_id
from agenthifive.words import PrincipalType, Role, Scope
from audit.logs import Log
from audit.room import AUDIT_SCOPES, WORKSPACE, House, person, token


@pytest.mark.parametrize(
    ("caller", "code"),
    [
        (person(Role.APPROVER), "insufficient_role"),
        (token(Role.APPROVER, Scope.AUDIT_EXPORT), "insufficient_role"),
        (token(Role.OWNER, Scope.AUDIT_READ), "insufficient_scope"),
    ],
)
async def test_an_approver_does_not_export(house: House, log: Log, caller: Caller, code: str) -> None:
    before = exported(log)
    answer = await house.get("/v1/audit/export", caller, format="csv")
    assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert exported(log) == before


def exported(log: Log) -> list[tuple[Any, ...]]:
    """The rows that exports left, oldest first."""
    return log.ask(
        "SELECT metadata, principal_type, principal_id, actor, workspace_id::text FROM l_audit_events"
        " WHERE action = 'audit_exported' ORDER BY id"
    )


STRETCH = {"dateFrom": "2026-11-23T15:00:00Z", "dateTo": "2026-11-23T15:00:20Z"}


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.VIEWER])
async def test_an_export_is_a_csv_file_and_leaves_two_rows(
    house: House, log: Log, written: list[Event], role: Role
) -> None:
    caller = person(role)
    answer = await house.get("/v1/audit/export", caller, format="csv", **STRETCH)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit-export.csv"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-ratelimit-remaining"] == "5"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline=""), strict=True))
    assert [row["audit_id"] for row in rows] == [event.audit_id for event in reversed(written[:20])]
    assert rows[-1]["user_agent"] == '\'=HYPERLINK("http://x")'
    assert json.loads(rows[-1]["metadata"])["path"] == "/a,b"
    assert rows[-1]["rule_id"] == ""
    filters = {"dateFrom": "2026-11-23T15:00:00.000Z", "dateTo": "2026-11-23T15:00:20.000Z"}
    begun, ended = exported(log)[-2:]
    assert begun[0] == {"format": "csv", "filters": filters, "rows": None}
    assert ended[0] == {"format": "csv", "filters": filters, "rows": 20, "complete": True}
    assert begun[1:] == ended[1:] == ("user", caller.id, caller.user_id, WORKSPACE)


async def test_a_json_export_holds_the_objects_of_the_pages_unaltered(house: House, written: list[Event]) -> None:
    answer = await house.get("/v1/audit/export", token(Role.VIEWER, Scope.AUDIT_EXPORT), format="json", **STRETCH)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit-export.json"'
    assert answer.json() == await house.events(**STRETCH)
    assert answer.json()[-1]["userAgent"] == '=HYPERLINK("http://x")'


@pytest.mark.parametrize(("form", "body"), [("json", b"[]"), ("csv", b"audit_id,")])
async def test_an_empty_export_is_a_whole_file_too(house: House, log: Log, form: str, body: bytes) -> None:
    answer = await house.get("/v1/audit/export", format=form, agentId=new_id(), limit=5)
    assert answer.content.startswith(body)
    assert answer.content.count(b"\n") == (form == "csv")
    assert exported(log)[-1][0]["rows"] == 0


@pytest.mark.parametrize("query", [{}, {"format": "xml"}, {"format": "csv", "action": "x"}])
async def test_an_export_that_cannot_be_read_leaves_nothing(house: House, log: Log, query: dict[str, Any]) -> None:
    before = exported(log)
    assert (await house.get("/v1/audit/export", **query)).status_code == 400
    assert exported(log) == before


async def test_head_answers_like_get_and_changes_nothing(house: House, log: Log) -> None:
    before = exported(log)
    house.doorman.caller = person(Role.OWNER)
    answer = await house.client.head("/v1/audit/export", params={"format": "csv"})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="audit-export.csv"'
    assert "content-length" not in answer.headers
    assert exported(log) == before


async def test_a_user_exports_six_times_an_hour_whatever_the_credential(house: House, written: list[Event]) -> None:
    caller = person(Role.OWNER)
    pat = Caller(PrincipalType.PAT, new_id(), WORKSPACE, user_id=caller.user_id, role=Role.OWNER, scopes=AUDIT_SCOPES)
    query = {"format": "json", "agentId": new_id()}
    for credential in (caller, pat) * 3:
        assert (await house.get("/v1/audit/export", credential, **query)).status_code == 200
    refused = await house.get("/v1/audit/export", pat, **query)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.json()["limit"] == {"name": "export", "max": 6, "windowSeconds": 3600}
    assert int(refused.headers["retry-after"]) >= 1
    assert (await house.get("/v1/audit/export", person(Role.OWNER), **query)).status_code == 200


async def test_a_record_that_cannot_be_written_stops_the_export_before_the_first_byte(
    house: House, log: Log, written: list[Event]
) -> None:
    caller = person(Role.OWNER)
    log.do("REVOKE INSERT ON l_audit_events FROM agenthifive_app")
    try:
        answer = await house.get("/v1/audit/export", caller, format="csv", **STRETCH)
    finally:
        log.do("GRANT INSERT ON l_audit_events TO agenthifive_app")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert (await house.get("/v1/audit/export", caller, format="csv", **STRETCH)).status_code == 200


async def test_what_these_rows_say_is_in_a_chain_like_any_other(house: House, log: Log, written: list[Event]) -> None:
    await house.get("/v1/audit/export", format="csv")
    assert log.verify().ok
