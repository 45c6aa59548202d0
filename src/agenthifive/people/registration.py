"""Who may get an account of their own accord.

    REGISTRATION = closed | invite | open | domain:a.example,b.example

The rule covers every way to register: by password, by a social account, by an invitation. Source: contract/http.md
section 14.1.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from agenthifive.db.database import Connection
from agenthifive.errors import AppError
from agenthifive.people.model import Email

CLOSED: Final = "closed"
INVITE: Final = "invite"
OPEN: Final = "open"
DOMAIN_PREFIX: Final = "domain:"


@dataclass(frozen=True, slots=True)
class Registration:
    """The rule of this instance. Shapes: rule: closed, invite, open or domain. domains: lower case."""

    rule: str
    domains: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> "Registration":
        """The rule of a setting that was read already."""
        if text.startswith(DOMAIN_PREFIX):
            return cls("domain", frozenset(text.removeprefix(DOMAIN_PREFIX).lower().split(",")))
        return cls(text)

    @property
    def gives_workspace(self) -> bool:
        """Whether a verified person without a workspace gets one of their own."""
        return self.rule in (OPEN, "domain")

    def check(self, email: Email, *, is_invited: bool = False) -> None:
        """Refuse who may not register. Raises: AppError (403 REGISTRATION_CLOSED, EMAIL_DOMAIN_NOT_ALLOWED)."""
        if self.rule == OPEN or (is_invited and self.rule != CLOSED):
            return
        if self.rule != "domain":
            raise AppError(
                "REGISTRATION_CLOSED", "Nobody can register on this instance. Ask an administrator for an invitation."
            )
        if email.key.rpartition("@")[2] not in self.domains:
            raise AppError(
                "EMAIL_DOMAIN_NOT_ALLOWED",
                "Addresses of this domain cannot register here. Use your work address, or ask for an invitation.",
            )


NOBODY: Final = Registration(CLOSED)


class Invitations(Protocol):
    """What registration must know of invitations to workspaces; they themselves live with the workspaces."""

    async def invites(self, connection: Connection, token: str, email: Email) -> bool:
        """Whether the token of an invitation is for this address and can be used. Changes nothing."""

    async def awaits(self, connection: Connection, email: Email) -> bool:
        """Whether an invitation to this address can be used: whoever is invited gets no workspace of their own."""
