"""How exported rows are written: CSV for people and spreadsheets, JSON without loss. Pure.

    head -> rows(batch) -> rows(batch) -> ... -> tail

Source: contract/audit.md section 8; RFC 4180.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from agenthifive.audit.record import Record

COLUMNS: Final = (
    "audit_id", "timestamp", "actor", "agent_id", "connection_id", "action", "decision", "metadata", "workspace_id",
    "principal_type", "principal_id", "ip", "user_agent", "request_id", "policy_id", "rule_id", "approval_id",
    "intent_id", "chain_id", "chain_seq", "prev_hash", "hash",
)  # fmt: skip
# what a spreadsheet takes for the beginning of a formula, full-width forms included
_FORMULA: Final = re.compile("[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_QUOTABLE: Final = re.compile('[,"\r\n]|^ | $')

_encode = msgspec.json.encode


class ExportFormat(StrEnum):
    """What `format` may be."""

    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Form:
    """One way of writing rows.

    Shapes:
        head: bytes before the first row. rows: the bytes of a batch, told whether it is the first. tail: bytes after
        the last row. nothing: the whole file when there is no row.
    """

    media_type: str
    file_name: str
    head: bytes
    rows: Callable[[Sequence[Record], bool], bytes]
    tail: bytes
    nothing: bytes


def cell(text: str) -> str:
    """One CSV field: quoted where it must be, harmless where a spreadsheet would calculate."""
    if _FORMULA.match(text):
        text = "'" + text
    elif not _QUOTABLE.search(text):
        return text
    return '"' + text.replace('"', '""') + '"'


def _csv_rows(records: Sequence[Record], is_first: bool) -> bytes:
    return "".join([_csv_row(record) for record in records]).encode("utf-8")


def _csv_row(record: Record) -> str:
    values = (
        record.audit_id,
        record.timestamp,
        record.actor,
        record.agent_id,
        record.connection_id,
        record.action,
        record.decision,
        _encode(record.metadata).decode("utf-8"),
        record.workspace_id,
        record.principal_type,
        record.principal_id,
        record.ip,
        record.user_agent,
        record.request_id,
        record.policy_id,
        record.rule_id,
        record.approval_id,
        record.intent_id,
        record.chain_id,
        str(record.chain_seq),
        record.prev_hash,
        record.hash,
    )
    return ",".join(["" if value is None else cell(value) for value in values]) + "\r\n"


def _json_rows(records: Sequence[Record], is_first: bool) -> bytes:
    rows = b",\n".join([_encode(record) for record in records])
    return rows if is_first else b",\n" + rows


_HEADER: Final = (",".join(COLUMNS) + "\r\n").encode("ascii")
FORMS: Final = {
    ExportFormat.CSV: Form(
        "text/csv; charset=utf-8; header=present", "audit-export.csv", _HEADER, _csv_rows, b"", _HEADER
    ),
    ExportFormat.JSON: Form("application/json", "audit-export.json", b"[\n", _json_rows, b"\n]\n", b"[]"),
}
