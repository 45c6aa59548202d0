"""The values of the people room: who somebody is, and the texts they are known by.

Source: contract/http.md sections 12 and 14.1.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agenthifive.words import Role

NAME_MAX: Final = 100
EMAIL_MAX: Final = 254
_LOCAL_MAX: Final = 64
# control characters, and those that turn the reading direction: a name must not pose as another
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LABEL: Final = r"[^\W_](?:[^\W_]|-){0,62}"
_EMAIL: Final = re.compile(rf"[^\s@\"(),:;<>\[\]\\]+@{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose tokens, in which workspace."""

    user_id: str
    workspace_id: str


@dataclass(frozen=True, slots=True)
class Email:
    """An e-mail address as it was written, and the text it is compared by."""

    text: str
    key: str


def read_email(text: str) -> Email | None:
    """The address in a text, None when it is none. Letters compare equal in either case."""
    written = unicodedata.normalize("NFC", text.strip())
    if len(written) > EMAIL_MAX or not written.isprintable() or _EMAIL.fullmatch(written) is None:
        return None
    if len(written.partition("@")[0]) > _LOCAL_MAX:
        return None
    return Email(written, written.casefold())


def read_name(text: str) -> str | None:
    """A name without the spaces around it; None when nothing is left, it is too long, or parts of it cannot be seen."""
    name = text.strip()
    return name if 1 <= len(name) <= NAME_MAX and _UNSEEN.search(name) is None else None


@dataclass(frozen=True, slots=True)
class User:
    """A person's account."""

    id: str
    email: str
    name: str
    platform_role: str
    email_verified_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """A new person and the workspace they came with."""

    user: User
    workspace_id: str
    role: Role


@dataclass(frozen=True, slots=True)
class PasswordAccount:
    """What a sign-in must know before it compares a password. Never shown."""

    user_id: str
    password_hash: str | None
    is_disabled: bool


@dataclass(frozen=True, slots=True)
class Membership:
    """A workspace as one of its members sees it."""

    id: str
    name: str
    owner_id: str
    role: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that is in force.

    Shapes:
        role: None when the session names no workspace, or one its user is no member of.
        ends_at: when it ends unless it is used again.
        lacks_factor: whether the instance demands a second factor that the user has not set up.
    """

    id: str
    user: User
    workspace_id: str | None
    role: Role | None
    auth_time: datetime
    created_at: datetime
    last_seen_at: datetime
    ends_at: datetime
    ip: str | None
    user_agent: str | None
    lacks_factor: bool = False


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey as its owner sees it."""

    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A personal access token as its owner sees it: everything but the token."""

    id: str
    name: str
    scopes: Sequence[str]
    hint_suffix: str
    expires_at: datetime
    last_used_at: datetime | None
    created_at: datetime
    is_expired: bool
