"""The values of the agents room: what an agent is, what it may ask, what it is given.

Source: contract/agents.md sections 1, 4, 6 and 16.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from agenthifive.agents.public_key import PublicKey
from agenthifive.words import AGENT_SCOPES, AgentStatus, Scope

OPAQUE_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"
JWT_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
TokenForm = Literal["opaque", "jwt"]


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """The settings this room depends on.

    Shapes:
        web_url: bare origin. audiences: from `assertion.accepted_audiences`.
        restored_at_s: when this database was last restored from a dump; None when it never was.
    Units: seconds since the epoch (restored_at_s), else as named.
    """

    web_url: str
    audiences: frozenset[str]
    token_ttl_s: int = 7200
    max_active_tokens: int = 50
    assertion_max_lifetime_s: int = 60
    bootstrap_secret_ttl_hours: float = 1.0
    bootstrap_retry_minutes: int = 10
    max_agents_per_workspace: int = 500
    disabled_user_stops_agents: bool = True
    restored_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent as people see it. `active_tokens` counts those that have not expired."""

    id: str
    name: str
    description: str
    icon_url: str | None
    status: AgentStatus
    enrolled_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_seen_at: datetime | None
    public_key_thumbprint: str | None
    key_alg: str | None
    active_tokens: int
    created_by: str | None
    disabled_at: datetime | None
    disabled_reason: str | None


@dataclass(frozen=True, slots=True)
class AgentTexts:
    """What people write about an agent; None leaves a text as it is, `clears_icon` removes the icon."""

    name: str | None = None
    description: str | None = None
    icon_url: str | None = None
    clears_icon: bool = False

    @property
    def fields(self) -> list[str]:
        """The wire names of what changes."""
        wanted = {
            "name": self.name is not None,
            "description": self.description is not None,
            "iconUrl": self.icon_url is not None or self.clears_icon,
        }
        return [name for name, is_wanted in wanted.items() if is_wanted]


@dataclass(frozen=True, slots=True, repr=False)
class BootstrapSecret:
    """A fresh enrolment secret, told once. The text never reaches a log."""

    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent and the bootstrap secret that was presented for it, as they stand under the agent's row lock.

    Shapes: is_retry_open: the secret was consumed within the retry window.
    """

    secret_id: str
    agent_id: str
    workspace_id: str
    name: str
    status: AgentStatus
    thumbprint: str | None
    is_revoked: bool
    is_expired: bool
    is_consumed: bool
    is_retry_open: bool
    consumed_thumbprint: str | None
    creator_is_disabled: bool


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The answer to an enrolment."""

    agent_id: str
    name: str
    workspace_id: str
    thumbprint: str


@dataclass(frozen=True, slots=True)
class Registered:
    """What the token exchange needs to know of an agent that has a key.

    Units: now_s: seconds since the epoch by the database's clock, the one clock assertions are judged by.
    """

    agent_id: str
    workspace_id: str
    status: AgentStatus
    key: PublicKey
    creator_is_disabled: bool
    now_s: float


@dataclass(frozen=True, slots=True, repr=False)
class TokenRequest:
    """A token request whose form is right; what the assertion says is not known yet."""

    assertion: str
    client_id: object = None
    scopes: tuple[Scope, ...] = AGENT_SCOPES
    form: TokenForm = "opaque"


@dataclass(frozen=True, slots=True, repr=False)
class AccessToken:
    """A fresh access token, told once."""

    text: str
    ttl_s: int
    scopes: tuple[Scope, ...]
    form: TokenForm = "opaque"


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Who presents an access token that is in force."""

    agent_id: str
    workspace_id: str
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Holding:
    """An active policy of an agent and the connection it is about."""

    connection_id: str
    service: str
    variant: str
    provider: str
    status: str
    label: str
    policy_id: str
    action_template_id: str | None
    allowed_models: list[Literal["A", "B"]] | None
