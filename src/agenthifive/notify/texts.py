"""The words of every mail we send about accounts: plain text and HTML of the same content.

Nothing is loaded from anywhere when a mail is opened. A name somebody chose stands in a mail only when the reader knows
that person or is that person: a stranger who registers your address cannot make us say things to you.
Source: contract/notifications.md section 6.3, contract/http.md sections 14.1 and 15.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from agenthifive.notify.mail import Mail

_frame: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("mail.html")
_NOT_YOU: Final = "If it was not you, you need not do anything: without this link nothing happens."


@dataclass(frozen=True, slots=True)
class _Letter:
    """A mail before it has its two forms. Shapes: link: where the button leads, and what it says."""

    subject: str
    paragraphs: Sequence[str]
    link: tuple[str, str] | None = None
    note: str = ""

    def to(self, address: str, *, shows_link: bool = True) -> Mail:
        parts = [*self.paragraphs, *([f"{self.link[1]}:\n{self.link[0]}"] if self.link else []), self.note]
        text = "\n\n".join(part for part in parts if part) + "\n"
        html = _frame.render(subject=self.subject, paragraphs=self.paragraphs, link=self.link, note=self.note)
        return Mail(address, self.subject, text, html, self.link[0] if self.link and shows_link else None)


def verify_address(address: str, link: str) -> Mail:
    """To somebody who registered: is the address theirs? Says no name, because anybody may have typed it."""
    return _Letter(
        "Confirm your e-mail address",
        ["An account was registered with this e-mail address. Confirm the address to be able to sign in."],
        (link, "Confirm the address"),
        f"The link works for 24 hours. {_NOT_YOU}",
    ).to(address)


def reset_password(address: str, link: str) -> Mail:
    """To somebody who forgot their password."""
    return _Letter(
        "Choose a new password",
        ["Somebody asked for a new password for your account. Choose it here; every session ends when you do."],
        (link, "Choose a new password"),
        f"The link works once, for 1 hour. {_NOT_YOU}",
    ).to(address)


def set_password(address: str, link: str) -> Mail:
    """To somebody who got an account and has no password yet."""
    return _Letter(
        "Choose the password of your account",
        ["An account was made for you. Choose its password to sign in."],
        (link, "Choose the password"),
        "The link works once, for 24 hours.",
    ).to(address)


def address_in_use(address: str, sign_in_url: str, forgotten_url: str) -> Mail:
    """To the owner of an account whose address somebody tried to register."""
    return _Letter(
        "You have an account already",
        [
            "Somebody tried to register with your e-mail address. You have an account, and nothing was changed.",
            f"If it was you, sign in with it. Forgotten the password? {forgotten_url}",
        ],
        (sign_in_url, "Sign in"),
        "If it was not you, you need not do anything.",
    ).to(address, shows_link=False)


def finish_registration(address: str, link: str) -> Mail:
    """To an address that was registered before and never confirmed: whoever reads its mail chooses the password."""
    return _Letter(
        "Finish your registration",
        [
            "Somebody tried to register with this e-mail address again. It was registered before and never confirmed.",
            "If it was you, choose a password; that confirms the address and replaces whatever was typed before.",
        ],
        (link, "Choose a password"),
        f"The link works once, for 1 hour. {_NOT_YOU}",
    ).to(address)


def password_changed(address: str, forgotten_url: str) -> Mail:
    """To somebody whose password is another one now."""
    return _Letter(
        "Your password was changed",
        ["The password of your account was changed, and your other sessions were ended."],
        (forgotten_url, "It was not me: choose another password"),
        "If it was you, you need not do anything.",
    ).to(address, shows_link=False)


def sign_in_method_added(address: str, method: str, settings_url: str) -> Mail:
    """To somebody whose account got another way in. Shapes: method: as in "a passkey"."""
    return _Letter(
        "A new way to sign in was added",
        [f"Your account can now be signed in to with {method}."],
        (settings_url, "See how you can sign in"),
        "If it was not you, remove it there, change your password and end your other sessions.",
    ).to(address, shows_link=False)


def invitation(address: str, workspace: str, inviter: str, role: str, link: str) -> Mail:
    """To somebody who is invited to a workspace."""
    return _Letter(
        f"Invitation to {workspace}",
        [f"{inviter} invites you to the workspace “{workspace}” as {role}."],
        (link, "See the invitation"),
        "The link works once, for 7 days. If you do not know them, ignore this mail.",
    ).to(address)


def trial(address: str, web_url: str) -> Mail:
    """To whoever tries the mail server out."""
    return _Letter("Mail works", [f"This is the mail that `agenthifive mail test` sends. {web_url} can send mail."]).to(
        address
    )
