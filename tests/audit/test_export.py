"""Exported files: CSV that a spreadsheet cannot execute, JSON that loses nothing."""

import csv
import io
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.audit.export import COLUMNS, FORMS, ExportFormat, cell
from agenthifive.audit.record import Record

RECORD = Record(
    id="7", audit_id="a", timestamp="2026-11-23T15:00:01.250Z", actor="system", agent_id=None, connection_id=None,
    action="execution_denied", decision="denied", metadata={"reason": "read_only", "n": 1}, workspace_id="w",
    principal_type="agent", principal_id="p", ip="203.0.113.7", user_agent=None, request_id="r", policy_id=None,
    rule_id=None, approval_id=None, intent_id=None, chain_id="c", chain_seq=3, prev_hash="00", hash="ff",
)  # fmt: skip
CSV, JSON = FORMS[ExportFormat.CSV], FORMS[ExportFormat.JSON]
DANGEROUS = ['=HYPERLINK("http://x")', "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x"]


def changed(**members: Any) -> Record:
    return msgspec.structs.replace(RECORD, **members)


def read_csv(*records: Record) -> list[dict[str, str]]:
    text = (CSV.head + CSV.rows(records, True) + CSV.tail).decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_csv_has_a_header_crlf_and_the_columns_of_the_contract() -> None:
    assert CSV.head == (
        b"audit_id,timestamp,actor,agent_id,connection_id,action,decision,metadata,workspace_id,principal_type,"
        b"principal_id,ip,user_agent,request_id,policy_id,rule_id,approval_id,intent_id,chain_id,chain_seq,prev_hash,"
        b"hash\r\n"
    )
    assert CSV.rows([RECORD], True) == (
        b'a,2026-11-23T15:00:01.250Z,system,,,execution_denied,denied,"{""reason"":""read_only"",""n"":1}",w,agent,p,'
        b"203.0.113.7,,r,,,,,c,3,00,ff\r\n"
    )
    assert CSV.nothing == CSV.head


@pytest.mark.parametrize("text", DANGEROUS)
def test_a_cell_that_would_be_a_formula_starts_with_an_apostrophe_and_is_quoted(text: str) -> None:
    assert cell(text).startswith("\"'")
    (row,) = read_csv(changed(user_agent=text))
    assert row["user_agent"] == "'" + text


@pytest.mark.parametrize(("text", "quoted"), [(" x", True), ("x ", True), ("a,b", True), ('"', True), ("a\nb", True),
                                              ("a\rb", True), ("x", False), ("a=b", False), ("", False)])  # fmt: skip
def test_cells_are_quoted_where_rfc_4180_or_a_space_at_the_edge_needs_it(text: str, quoted: bool) -> None:
    assert cell(text).startswith('"') is quoted


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=5, max_size=5))
def test_a_standard_reader_gets_every_cell_back(texts: list[str]) -> None:
    names = ("actor", "ip", "user_agent", "request_id", "rule_id")
    (row,) = read_csv(changed(**dict(zip(names, texts, strict=True))))
    for name, text in zip(names, texts, strict=True):
        assert row[name] in (text, "'" + text)
        assert row[name][:1] not in tuple("=+-@\t\r\n＝＋－＠")
    assert list(row) == list(COLUMNS)


def test_json_is_one_array_with_an_object_a_line_and_nothing_altered() -> None:
    text = JSON.head + JSON.rows([RECORD, changed(user_agent=DANGEROUS[0])], True)
    text += JSON.rows([changed(ip="-1")], False) + JSON.tail
    assert [entry["userAgent"] for entry in json.loads(text)] == [None, DANGEROUS[0], None]
    assert [line[:7] for line in text.decode().splitlines()] == ["[", '{"id":"', '{"id":"', '{"id":"', "]"]
    assert json.loads(text)[0] == {
        "id": "7", "auditId": "a", "timestamp": "2026-11-23T15:00:01.250Z", "actor": "system", "agentId": None,
        "connectionId": None, "action": "execution_denied", "decision": "denied",
        "metadata": {"reason": "read_only", "n": 1}, "workspaceId": "w", "principalType": "agent", "principalId": "p",
        "ip": "203.0.113.7", "userAgent": None, "requestId": "r", "policyId": None, "ruleId": None, "approvalId": None,
        "intentId": None, "chainId": "c", "chainSeq": 3, "prevHash": "00", "hash": "ff",
    }  # fmt: skip
    assert JSON.nothing == b"[]"


def test_csv_columns_are_the_members_of_the_json_in_another_spelling() -> None:
    assert {name for name in Record.__struct_fields__ if name != "id"} == set(COLUMNS)
