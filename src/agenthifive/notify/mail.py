"""Mail as every room sees it: write one, post it once what it speaks of is in force.

    unit.after_commit(partial(mailer.post, mail)) -> a queue of this process -> SMTP, or the log

Posting never waits and never fails: an answer must not tell by its timing or its status whether an address is known.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to one person.

    Shapes: to: an address that `people.model.read_email` accepted. subject: one line. text, html: the same content.
        link: the one thing to click, which the log shows where mail is not set up; None when that must not be.
    """

    to: str
    subject: str
    text: str
    html: str
    link: str | None = None

    def __repr__(self) -> str:
        return f"Mail({self.subject!r})"  # the texts hold links that are as good as passwords


class Mailer(Protocol):
    """Sends mail in the background. Close it after the last request."""

    @property
    def delivers(self) -> bool:
        """Whether mail leaves. False: the log shows it, and routes may show an administrator the link instead."""

    def post(self, mail: Mail) -> None:
        """Take a mail over. Never raises; a full queue or a dead server is logged."""

    async def close(self) -> None:
        """Send what is queued, for a few seconds at most."""
