"""Canonical bytes and hashes: the vectors of the contract, and nothing a caller can send that would stop the writer."""

import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.audit.model import METADATA_BYTES_MAX, NO_CHECKPOINT, Chain, Event, genesis, open_chain, visible
from agenthifive.words import AuditAction, AuditDecision, PrincipalType

CHAIN_ID = "c9bf9e57-1685-4c89-bafb-ff5af830be8a"
INSTANCE = "1b4e28ba-2fa1-4d2b-883f-0016d3cca427"
OPENED_AT = "2026-11-23T15:00:00.000Z"
MEMBERS = [
    "action", "actor", "agentId", "approvalId", "auditId", "chainId", "chainSeq", "connectionId", "decision",
    "intentId", "ip", "metadata", "policyId", "principalId", "principalType", "requestId", "ruleId", "timestamp",
    "userAgent", "v", "workspaceId",
]  # fmt: skip

INTENT = Event(
    audit_id="11111111-1111-4111-8111-111111111111",
    timestamp="2026-11-23T15:00:01.250Z",
    action=AuditAction.EXECUTION_REQUESTED,
    decision=AuditDecision.ALLOWED,
    actor="agent:0f8fad5b-d9cb-469f-a165-70867728950e",
    principal_type=PrincipalType.AGENT,
    principal_id="0f8fad5b-d9cb-469f-a165-70867728950e",
    workspace_id="7a1f0c52-3b6e-4c19-9d2a-0e5b8f4c6d11",
    agent_id="0f8fad5b-d9cb-469f-a165-70867728950e",
    connection_id="5d0c2f9e-8a47-4f3b-b1c6-2e9d7a604f38",
    policy_id="9c858901-8a57-4791-81fe-4c455b099bc9",
    ip="203.0.113.7",
    user_agent="curl/8.5.0",
    request_id="req-7f3a9c01",
    metadata={
        "via": "execute", "model": "B", "provider": "google", "service": "google-gmail", "method": "GET",
        "host": "gmail.googleapis.com", "path": "/gmail/v1/users/me/messages", "queryNames": ["maxResults"],
    },
)  # fmt: skip
OUTCOME = msgspec.structs.replace(
    INTENT,
    audit_id="22222222-2222-4222-8222-222222222222",
    timestamp="2026-11-23T15:00:01.434Z",
    action=AuditAction.EXECUTION_COMPLETED,
    intent_id=INTENT.audit_id,
    metadata={"responseStatus": 200, "dataSize": 512, "durationMs": 184, "note": 'café "x"\n€'},
)
ROW_1 = (
    '{"action":"execution_requested","actor":"agent:0f8fad5b-d9cb-469f-a165-70867728950e",'
    '"agentId":"0f8fad5b-d9cb-469f-a165-70867728950e","approvalId":null,'
    '"auditId":"11111111-1111-4111-8111-111111111111","chainId":"c9bf9e57-1685-4c89-bafb-ff5af830be8a","chainSeq":1,'
    '"connectionId":"5d0c2f9e-8a47-4f3b-b1c6-2e9d7a604f38","decision":"allowed","intentId":null,"ip":"203.0.113.7",'
    '"metadata":{"host":"gmail.googleapis.com","method":"GET","model":"B","path":"/gmail/v1/users/me/messages",'
    '"provider":"google","queryNames":["maxResults"],"service":"google-gmail","via":"execute"},'
    '"policyId":"9c858901-8a57-4791-81fe-4c455b099bc9","principalId":"0f8fad5b-d9cb-469f-a165-70867728950e",'
    '"principalType":"agent","requestId":"req-7f3a9c01","ruleId":null,"timestamp":"2026-11-23T15:00:01.250Z",'
    '"userAgent":"curl/8.5.0","v":1,"workspaceId":"7a1f0c52-3b6e-4c19-9d2a-0e5b8f4c6d11"}'
)


def linked(*events: Event) -> list[dict[str, Any]]:
    """The rows of a fresh chain as they go to the database."""
    rows: list[dict[str, Any]] = json.loads(
        open_chain(CHAIN_ID, "broker", INSTANCE, 1, OPENED_AT).link(events)[0].decode("utf-8")
    )
    return rows


def content_of(row: dict[str, Any]) -> bytes:
    """C by another program's JSON: the members but prevHash and hash, sorted, compact."""
    members = {name: value for name, value in row.items() if name not in ("prevHash", "hash")}
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def test_the_vectors_of_the_contract_bit_for_bit() -> None:
    first, second = linked(INTENT, OUTCOME)
    assert first["prevHash"] == "e8d7e2acfab77dec86321b591792050e0a6441a15cfb82c42254c2bb9db23696"
    assert content_of(first) == ROW_1.encode("utf-8")
    assert content_hash(first) == "7a5ee0fd8e83741669952509372c3a07dadb4b5afae775450e008eebc77feaff"
    assert first["hash"] == "0d293874271340f4aa2fc6f76fb863d9b8226cfc1014050ffafb8a6102962690"
    assert second["prevHash"] == first["hash"]
    assert content_hash(second) == "994ceb809c6e1971829a7ee5807ed44a32dc9ae6fe47f004357c5c4d7edb974a"
    assert second["hash"] == "9ab33d2f8b4c759e9b5b6f07014ea7a265bd670f0593c66ca91955018c17bc77"


def content_hash(row: dict[str, Any]) -> str:
    return sha256(b"agenthifive-audit-row-v1\n" + content_of(row)).hexdigest()


def test_what_is_stored_is_byte_for_byte_what_is_hashed() -> None:
    stored = open_chain(CHAIN_ID, "broker", INSTANCE, 1, OPENED_AT).link([INTENT])[0]
    assert stored.startswith(b"[" + ROW_1.encode("utf-8")[:-1] + b',"hash":"')


def test_a_row_has_exactly_the_21_members() -> None:
    (row,) = linked(Event(**{name: getattr(INTENT, name) for name in REQUIRED}))
    assert sorted(set(row) - {"prevHash", "hash"}) == MEMBERS
    assert len(MEMBERS) == 21


REQUIRED = ("audit_id", "timestamp", "action", "decision", "actor", "principal_type")


@pytest.mark.parametrize(
    "changed",
    [
        {"chain_id": INSTANCE}, {"kind": "admin"}, {"instance": CHAIN_ID}, {"epoch": 2},
        {"opened_at": "2026-11-23T15:00:00.001Z"}, {"prev_checkpoint": "1" * 64},
    ],
)  # fmt: skip
def test_the_genesis_depends_on_every_member_of_the_chain_record(changed: dict[str, Any]) -> None:
    record = {
        "chain_id": CHAIN_ID, "kind": "broker", "instance": INSTANCE, "epoch": 1, "opened_at": OPENED_AT,
        "prev_checkpoint": NO_CHECKPOINT,
    }  # fmt: skip
    assert genesis(**(record | changed)) != genesis(**record)


def test_linking_leaves_the_chain_as_it_was() -> None:
    """A failed transaction uses no number: the head moves only when the caller takes the successor."""
    chain = open_chain(CHAIN_ID, "broker", INSTANCE, 1, OPENED_AT)
    rows, successor = chain.link([INTENT, OUTCOME])
    assert chain.link([INTENT, OUTCOME])[0] == rows
    assert (chain.seq, successor.seq) == (0, 2)
    assert successor.head.hex() == json.loads(rows)[1]["hash"]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_canonical_bytes_are_those_of_any_sorted_compact_json_writer(metadata: dict[str, Any]) -> None:
    row = open_chain(CHAIN_ID, "broker", INSTANCE, 1, OPENED_AT).link([with_metadata(metadata)])[0]
    (read,) = json.loads(row.decode("utf-8"))
    assert read["metadata"] == metadata
    assert content_of(read)[:-1] in row


hostile = st.recursive(
    st.floats() | st.integers() | st.text(max_size=700) | st.binary(max_size=3) | st.just(object()) | st.just("\udc80"),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(texts, hostile, max_size=4), st.text(max_size=4))
def test_no_event_stops_the_writer(metadata: dict[str, Any], ip: str) -> None:
    """One row that cannot be written would refuse the calls of everybody in its batch."""
    event = msgspec.structs.replace(with_metadata(metadata), ip=ip)
    (row,) = json.loads(Chain(CHAIN_ID, 7, b"\0" * 32).link([event])[0].decode("utf-8"))
    assert row["chainSeq"] == 8
    assert "\0" not in row["ip"] + json.dumps(row["metadata"], ensure_ascii=False)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**70, "0x400000000000000000"),
        (["x", 2**70, 1.5, float("inf")], ["x", "0x400000000000000000", 1, 0]),
        ("a\0b\ud800", "a\ufffdb\ufffd"),
        ({"deep\0": ["\0"]}, {"deep\ufffd": ["\ufffd"]}),
    ],
)
def test_what_json_or_the_database_cannot_hold_is_replaced(value: Any, written: Any) -> None:
    (row,) = linked(with_metadata({"value": value, "nul": "\0"}))
    assert row["metadata"]["value"] == written


def test_unwritable_characters_outside_the_metadata_are_replaced_too() -> None:
    (row,) = linked(msgspec.structs.replace(INTENT, request_id="a\0b\ud800", ip="\0"))
    assert (row["requestId"], row["ip"]) == ("a\ufffdb\ufffd", "\ufffd")
    assert row["metadata"] == dict(INTENT.metadata)


def test_long_metadata_is_cut_to_fit_and_says_so_but_keeps_who_and_where() -> None:
    """Whoever makes a row too long must not thereby hide what was asked."""
    metadata = {"host": "api.example.com", "method": "GET", "path": "/" + "p" * 20_000, "queryNames": ["ä" * 600] * 900}
    (row,) = linked(with_metadata(metadata))
    written = row["metadata"]
    assert written["_cut"] is True
    assert (written["host"], written["method"]) == ("api.example.com", "GET")
    assert written["path"].startswith("/ppp")
    assert written["queryNames"][0].startswith("ääää")
    assert len(content_of(row)) <= METADATA_BYTES_MAX


def test_metadata_that_fits_is_not_touched() -> None:
    metadata = {"path": "/" + "p" * 10_000, "queryNames": [f"q{number}" for number in range(100)]}
    assert linked(with_metadata(metadata))[0]["metadata"] == metadata


def test_a_literal_backslash_u0000_is_text_like_any_other() -> None:
    assert linked(with_metadata({"path": "a\\u0000b"}))[0]["metadata"] == {"path": "a\\u0000b"}


def with_metadata(metadata: dict[str, Any]) -> Event:
    return msgspec.structs.replace(INTENT, metadata=metadata)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, None),
        ("curl/8.5.0", "curl/8.5.0"),
        ("a\r\nb\x00c\x9bd\ud800", "abcd"),
        ("x" * 300, "x" * 256),
    ],
)
def test_a_clients_own_words_lose_control_characters_and_excess(text: str | None, shown: str | None) -> None:
    assert visible(text) == shown
