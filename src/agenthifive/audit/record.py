"""A row of the log as it is shown. Source: contract/audit.md section 7 (members and their order)."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """One event with its place in its chain.

    Shapes:
        id: decimal text. timestamp: `2026-11-23T15:00:01.250Z`. prev_hash, hash: lower-case hex.
    """

    id: str
    audit_id: str
    timestamp: str
    actor: str
    agent_id: str | None
    connection_id: str | None
    action: str
    decision: str
    metadata: Mapping[str, Any]
    workspace_id: str | None
    principal_type: str
    principal_id: str | None
    ip: str | None
    user_agent: str | None
    request_id: str | None
    policy_id: str | None
    rule_id: str | None
    approval_id: str | None
    intent_id: str | None
    chain_id: str
    chain_seq: int
    prev_hash: str
    hash: str
