"""A mail as it goes onto the wire: headers that cannot be broken out of, plain text and HTML of the same content.

Headers are set through `email.message` with the SMTP policy: a line break in a value is an error, never a new header.
Source: contract/notifications.md section 6.3, RFC 5322, RFC 3834 (Auto-Submitted).
"""

import re
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid, parseaddr
from typing import Final

from agenthifive.notify.mail import Mail

SUBJECT_MAX: Final = 200
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def read_sender(text: str) -> Address:
    """The sender in a setting, with or without a name. Raises: ValueError."""
    name, address = parseaddr(text)
    if not text.isprintable() or address.count("@") != 1:
        raise ValueError("no e-mail address")
    return _address(address, name)


def compose(mail: Mail, sender: Address, sent_at: datetime) -> EmailMessage:
    """The message of a mail. Raises: ValueError when a text of it cannot stand in a header."""
    if _BREAKS.search(mail.subject):
        raise ValueError("a subject is one line")
    message = EmailMessage(SMTP)
    message["From"] = sender
    message["To"] = _address(mail.to)
    message["Subject"] = f"[AgentHiFive] {mail.subject}"[:SUBJECT_MAX]
    message["Date"] = format_datetime(sent_at)
    message["Message-ID"] = make_msgid(domain=sender.domain)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message


def _address(text: str, name: str = "") -> Address:
    """An address whose domain is written as DNS writes it. Raises: ValueError."""
    local, _, domain = text.rpartition("@")
    if not local or not domain or not text.isprintable():
        raise ValueError("no e-mail address")
    return Address(name, local, domain.encode("idna").decode("ascii"))
