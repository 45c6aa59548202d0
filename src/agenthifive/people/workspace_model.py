"""The values of workspaces: members and invitations. Source: contract/http.md sections 12 and 15.2."""

from dataclasses import dataclass
from datetime import datetime

from agenthifive.words import Role


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member is in a workspace right now."""

    role: Role
    is_disabled: bool
    is_verified: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the others see one."""

    user_id: str
    name: str
    email: str
    role: str
    is_disabled: bool
    joined_at: datetime
    has_factor: bool
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation as the managers of its workspace see it: everything but the link."""

    id: str
    email: str
    role: str
    invited_by: str
    expires_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OpenInvitation:
    """What the holder of a link is invited to."""

    id: str
    workspace_id: str
    email: str
    email_key: str
    role: str
    expires_at: datetime
    workspace_name: str
    has_account: bool
