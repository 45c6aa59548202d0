"""The values of the connections room: what a connection is, and what is known of its credential.

Source: contract/connections.md sections 1, 2, 7, 10 and 12.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from agenthifive.catalog.fields import Fields
from agenthifive.catalog.service import Service, Variant
from agenthifive.words import ConnectionStatus

LABEL_MAX: Final = 100
EXPIRING_DAYS: Final = 14
# control characters, and those that turn the reading direction: a label must not pose as another
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

STATIC_KINDS: Final = frozenset({"api_key", "bot_token", "token_pair", "http"})
"""Kinds whose credential a person enters and replaces; OAuth tokens come from their provider."""

RevocationState = Literal["done", "pending", "unsupported", "failed"]


def visible_line(text: str, limit: int = LABEL_MAX) -> str:
    """A text as one line that shows everything it holds, cut to the limit."""
    return " ".join(_UNSEEN.sub(" ", text).split())[:limit].rstrip()


def is_label(text: str) -> bool:
    """Whether a text may name a connection. Source: contract/connections.md section 5."""
    return 1 <= len(text) <= LABEL_MAX and _UNSEEN.search(text) is None


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """The settings this room depends on.

    Shapes:
        listed_hosts: names of SSRF_ALLOWLIST_HOSTS in canonical form.
    """

    max_connections: int = 500
    agents_may_revoke: bool = True
    listed_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection as it is read; the credential itself is not among the members.

    Shapes:
        preview: masks computed when the credential was written. read_at: the database's clock at the reading.
    """

    id: str
    provider: str
    service: str
    variant: str
    label: str
    status: ConnectionStatus
    status_reason: str | None
    preview: Mapping[str, str] | None
    granted_scopes: Sequence[str]
    missing_scopes: Sequence[str]
    account_id: str | None
    account_name: str | None
    account_tenant: str | None
    metadata: Mapping[str, Any]
    access_expires_at: datetime | None
    refresh_expires_at: datetime | None
    credential_expires_at: datetime | None
    verified: bool
    last_verified_at: datetime | None
    last_used_at: datetime | None
    version: int
    created_by: str | None
    is_singleton: bool
    created_at: datetime
    updated_at: datetime
    read_at: datetime

    @property
    def expiry_state(self) -> str:
        """`ok`, `expiring`, `expired` or `unknown`, by the known end of the credential."""
        if self.credential_expires_at is None:
            return "unknown"
        if self.credential_expires_at <= self.read_at:
            return "expired"
        is_near = self.credential_expires_at - self.read_at <= timedelta(days=EXPIRING_DAYS)
        return "expiring" if is_near else "ok"


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """An active policy on a connection. `document` has the members of the wire."""

    id: str
    connection_id: str
    agent_id: str
    agent_name: str
    action_template_id: str | None
    security_preset: str | None
    version: int
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which connections a list shows. `after` is where the page before ended."""

    service: str | None = None
    provider: str | None = None
    status: ConnectionStatus | None = None
    text: str | None = None
    limit: int = 500
    after: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Held:
    """A connection and its sealed credential, as the room works with it.

    Shapes:
        has_policies: whether a live policy names the connection. generation: grows with every replaced credential;
        what was learnt of one generation says nothing of the next.
    """

    id: str
    workspace_id: str
    provider: str
    service: str
    variant: str
    label: str
    status: ConnectionStatus
    metadata: Mapping[str, Any]
    account_id: str | None
    sealed: str | None
    generation: int
    has_policies: bool

    @property
    def params(self) -> Mapping[str, Any]:
        """The fields of the connection that are no secret."""
        params: Mapping[str, Any] = self.metadata.get("params") or {}
        return params


@dataclass(frozen=True, slots=True)
class OpenCredential:
    """An unsealed credential and whose it is. Lives for one task; shows nothing of itself.

    Shapes:
        payload: contract/connections.md section 2. params: what is no secret.
    """

    service: Service
    variant: Variant
    payload: Mapping[str, Any]
    params: Mapping[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """Everything an address template may name."""
        return {**self.params, **self.payload}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not come back in a reply, injected or not."""
        named = {spec.name for spec in self.variant.fields if spec.is_sealed}
        texts = [self.payload[name] for name in named if name in self.payload]
        texts += (self.payload.get("secrets") or {}).values()
        return tuple(text for text in texts if isinstance(text, str))

    def __repr__(self) -> str:
        return "OpenCredential(***)"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a person entered for a new connection, read and in one spelling.

    Shapes:
        label: None where the account will name it. skips_check: stored without asking the provider.
    """

    service: Service
    variant: Variant
    fields: Fields
    label: str | None = None
    expires_at: datetime | None = None
    skips_check: bool = False

    @property
    def credential(self) -> OpenCredential:
        """The entered credential."""
        return OpenCredential(self.service, self.variant, self.fields.payload, self.fields.params)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a provider said about a credential.

    Shapes:
        outcome: `ok`, `limited`, `bad` or `unknown`. facts: members of `metadata` that clients read.
        scopes: as the reply's header named them, None without one.
    """

    outcome: str
    status: int
    account_id: str | None = None
    account_name: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    scopes: tuple[str, ...] | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the credential itself works."""
        return self.outcome in ("ok", "limited")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A credential ready to be written, with what is shown of it."""

    text: str
    kid: str
    preview: Mapping[str, str] | None
    metadata: Mapping[str, Any]
    finding: Finding | None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A written connection, as its entry is answered."""

    id: str
    provider: str
    service: str
    label: str
    verified: bool
    metadata: Mapping[str, Any]
    warnings: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """A credential that waits for its revocation at the provider. `is_over`: nobody tries any more."""

    id: str
    workspace_id: str
    connection_id: str
    provider: str
    sealed: str | None
    is_over: bool


@dataclass(frozen=True, slots=True)
class ProviderRevocation:
    """What became of a credential at its provider."""

    state: RevocationState
    manage_url: str | None = None


@dataclass(frozen=True, slots=True)
class Revoked:
    """The result of a revocation. `vended_at`: when a copy that may still work was last handed to an agent."""

    id: str
    provider: str
    service: str
    label: str
    audit_id: str
    at_provider: ProviderRevocation
    vended_at: datetime | None = None
