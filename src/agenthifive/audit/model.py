"""An audit event, its canonical bytes and its place in a hash chain. Pure.

    Event + chain position -> Row -> C (canonical JSON) -> content hash -> link hash

Source: contract/audit.md sections 2 and 5 (canonical form is RFC 8785 restricted to integers).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from typing import Any, Final

import msgspec

from agenthifive.words import AuditAction, AuditDecision, PrincipalType

METADATA_BYTES_MAX: Final = 16 * 1024
NO_CHECKPOINT: Final = "0" * 64
_INTEGER_MAX: Final = 2**53 - 1
_DEPTH_MAX: Final = 16
# how long a string and a list may be, tried in this order until the row is small enough
_CUTS: Final = ((512, 20), (64, 8), (16, 1))
_ROW_PREFIX: Final = b"agenthifive-audit-row-v1\n"
_LINK_PREFIX: Final = b"agenthifive-audit-link-v1\n"
_CHAIN_PREFIX: Final = b"agenthifive-audit-chain-v1\n"
_USER_AGENT_MAX: Final = 256
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNWRITABLE: Final = re.compile("[\x00\ud800-\udfff]")

_UNENCODABLE: Final = (msgspec.EncodeError, TypeError, ValueError, OverflowError, RecursionError)

_encode = msgspec.json.Encoder(order="deterministic").encode


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, before it has a place in a chain.

    Shapes:
        audit_id: UUID text, unique. timestamp: `2026-11-23T15:00:01.250Z`.
        actor: user id, `agent:<id>`, `system`, `cli:<os user>` or `anonymous`.
        metadata: names `[A-Za-z0-9_.:-]{1,64}`, integers instead of fractions, never a secret.
    """

    audit_id: str
    timestamp: str
    action: AuditAction
    decision: AuditDecision
    actor: str
    principal_type: PrincipalType
    principal_id: str | None = None
    workspace_id: str | None = None
    agent_id: str | None = None
    connection_id: str | None = None
    policy_id: str | None = None
    rule_id: str | None = None
    approval_id: str | None = None
    intent_id: str | None = None
    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    metadata: Mapping[str, Any] = {}


class Content(msgspec.Struct, frozen=True, rename="camel"):
    """C of the contract: exactly these 21 members, in the order of their wire names."""

    action: str
    actor: str
    agent_id: str | None
    approval_id: str | None
    audit_id: str
    chain_id: str
    chain_seq: int
    connection_id: str | None
    decision: str
    intent_id: str | None
    ip: str | None
    metadata: Mapping[str, Any]
    policy_id: str | None
    principal_id: str | None
    principal_type: str
    request_id: str | None
    rule_id: str | None
    timestamp: str
    user_agent: str | None
    v: int
    workspace_id: str | None


@dataclass(frozen=True, slots=True)
class Chain:
    """The head of one chain: rows link to it, and a confirmed batch replaces it by its successor."""

    chain_id: str
    seq: int
    head: bytes

    def link(self, events: Sequence[Event]) -> tuple[bytes, "Chain"]:
        """The events as a JSON array for `audit_append`, and the chain as it will be once they are written."""
        seq, head, rows = self.seq, self.head, []
        for event in events:
            seq += 1
            content = _content(event, self.chain_id, seq)
            previous, head = head, link_hash(head, content)
            rows.append(content[:-1] + b',"hash":"%b","prevHash":"%b"}' % (_hex(head), _hex(previous)))
        return b"[" + b",".join(rows) + b"]", Chain(self.chain_id, seq, head)


def open_chain(chain_id: str, kind: str, instance: str, epoch: int, opened_at: str) -> Chain:
    """The chain before its first row: its head is the genesis hash."""
    return Chain(chain_id, 0, genesis(chain_id, kind, instance, epoch, opened_at, NO_CHECKPOINT))


def genesis(chain_id: str, kind: str, instance: str, epoch: int, opened_at: str, prev_checkpoint: str) -> bytes:
    """The hash before row 1. Source: contract/audit.md section 5."""
    record = {
        "chainId": chain_id,
        "epoch": epoch,
        "instance": instance,
        "kind": kind,
        "openedAt": opened_at,
        "prevCheckpoint": prev_checkpoint,
        "v": 1,
    }
    return sha256(_CHAIN_PREFIX + _encode(record)).digest()


def link_hash(previous: bytes, content: bytes) -> bytes:
    """The hash of a row whose canonical bytes are `content`, after a row whose hash is `previous`."""
    return sha256(_LINK_PREFIX + previous + sha256(_ROW_PREFIX + content).digest()).digest()


def canonical(content: Content) -> bytes:
    """C of a row that was read back: RFC 8785, whose numbers are integers here."""
    return _encode(content)


def visible(text: str | None, limit: int = _USER_AGENT_MAX) -> str | None:
    """A client's own words for a row: control characters dropped, cut to the limit."""
    return None if text is None else _CONTROLS.sub("", text[: limit * 2])[:limit]


def _content(event: Event, chain_id: str, seq: int) -> bytes:
    """The canonical bytes of any event: what cannot be stored is replaced or cut, never refused."""
    try:
        content = _encode(_row(event, chain_id, seq))
        if len(content) <= METADATA_BYTES_MAX and b"\\u0000" not in content:
            return content
    except _UNENCODABLE:
        pass
    event = _with_writable_texts(event)
    for string_max, list_max in _CUTS:
        metadata = _writable(event.metadata, string_max, list_max)
        content = _encode(_row(msgspec.structs.replace(event, metadata=metadata), chain_id, seq))
        if len(content) <= METADATA_BYTES_MAX:
            break
    return content


def _row(event: Event, chain_id: str, seq: int) -> Content:
    return Content(
        event.action,
        event.actor,
        event.agent_id,
        event.approval_id,
        event.audit_id,
        chain_id,
        seq,
        event.connection_id,
        event.decision,
        event.intent_id,
        event.ip,
        event.metadata,
        event.policy_id,
        event.principal_id,
        event.principal_type,
        event.request_id,
        event.rule_id,
        event.timestamp,
        event.user_agent,
        1,
        event.workspace_id,
    )


def _with_writable_texts(event: Event) -> Event:
    texts = {name: getattr(event, name) for name in event.__struct_fields__}
    bad = {
        name: _UNWRITABLE.sub("\ufffd", text)
        for name, text in texts.items()
        if isinstance(text, str) and _UNWRITABLE.search(text)
    }
    return msgspec.structs.replace(event, **bad)


def _writable(metadata: Mapping[str, Any], string_max: int, list_max: int) -> Mapping[str, Any]:
    """The metadata with unwritable values replaced and long strings and lists cut, marked `_cut`."""
    cut = False

    def clean(value: Any, depth: int) -> Any:
        nonlocal cut
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, float):
            value = int(value) if isfinite(value) else 0
        if isinstance(value, int):
            return value if -_INTEGER_MAX <= value <= _INTEGER_MAX else f"{value:#x}"[:string_max]
        if isinstance(value, str):
            cut = cut or len(value) > string_max
            return _UNWRITABLE.sub("\ufffd", value[:string_max])
        if depth > _DEPTH_MAX or not isinstance(value, Mapping | list | tuple):
            cut = True
            return None
        if isinstance(value, Mapping):
            return {clean(str(name), depth): clean(item, depth + 1) for name, item in value.items()}
        cut = cut or len(value) > list_max
        return [clean(item, depth + 1) for item in value[:list_max]]

    cleaned = clean(metadata, 0)
    return {**cleaned, "_cut": True} if cut else cleaned


def _hex(digest: bytes) -> bytes:
    return digest.hex().encode("ascii")
