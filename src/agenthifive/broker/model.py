"""The values of a brokered call: Call -> Grant -> Outbound -> Reply. Frozen, no behaviour beyond derivation."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agenthifive.catalog.binding import Binding
from agenthifive.catalog.service import Service, Variant
from agenthifive.edge.context import Context
from agenthifive.policy.compile import Policy
from agenthifive.policy.model import ServiceFacts
from agenthifive.vault.envelope import Placed
from agenthifive.words import ConnectionStatus, PrincipalType, Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose authority a call uses, and who presented the credential.

    Shapes:
        agent_id: None for a person or PAT that named no agent yet.
        token_hash, expires_at_s: of an agent's token; SHA-256 in hex, seconds since 1970.
        session_id: of a person: the session that must not have ended.
    """

    kind: PrincipalType
    id: str
    actor: str
    workspace_id: str
    scopes: frozenset[Scope]
    agent_id: str | None = None
    agent_name: str | None = None
    org_domains: tuple[str, ...] = ()
    expires_at_s: float | None = None
    token_hash: str | None = None
    session_id: str | None = None


class Call(msgspec.Struct, frozen=True):
    """What a caller asks for, as it arrived and before anything is believed.

    Shapes:
        raw_body, llm_tail, raw_query: of an LLM proxy call: the bytes sent unchanged, the path behind the slug and
        the query; `body` and `url` then stay empty.
        via: "execute" or "llm_proxy".
    Source: contract/broker.md section 2.
    """

    principal: Principal
    context: Context
    model: str
    via: str
    method: str = "GET"
    url: str = ""
    connection_id: str | None = None
    service: str | None = None
    agent_id: str | None = None
    query: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()
    body: Any = None
    raw_body: bytes | None = None
    llm_tail: str | None = None
    raw_query: str = ""
    stream: bool = False
    download: bool = False
    approval_id: str | None = None
    wants_bypass: bool = False
    wants_full_fields: bool = False
    idempotency_key: str | None = None
    session_key: str | None = None
    received_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What the database says this agent holds on this connection, compiled and ready.

    Shapes:
        policy: None when the agent has no active policy on the connection.
        sealed: the envelope of the credential; opened for one call at a time.
    """

    workspace_id: str
    agent_id: str
    connection_id: str
    connection_label: str
    status: ConnectionStatus
    service: Service
    variant: Variant
    binding: Binding
    facts: ServiceFacts
    params: Mapping[str, str]
    tenant: str | None
    generation: int
    sealed: Placed | None
    policy_id: str | None = None
    policy_version: int = 0
    policy: Policy | None = None
    is_policy_broken: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there is no grant: a refusal of gate 4, before any policy could speak."""

    code: str
    message: str
    hint: str | None = None


class Reply(msgspec.Struct, frozen=True):
    """The answer to a call, ready for the wire.

    Shapes:
        body: the whole body; None when `chunks` streams it. headers: lower-case names, ours included.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes | None = None
    chunks: AsyncGenerator[bytes, None] | None = None
