"""A mail server on loopback that keeps what it is given, and refuses what it is told to."""

import asyncio
import contextlib
import email
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

LOGIN = ("relay", "the relay's password")


@dataclass
class MailServer:
    """Shapes: refusals: answers to the next RCPT commands, before mails are taken again."""

    port: int = 0
    envelopes: list[Envelope] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    connections: int = 0

    @property
    def messages(self) -> list[EmailMessage]:
        """The mails, parsed."""
        return [_parse(envelope) for envelope in self.envelopes]

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, or not."""
        if self.refusals:
            return self.refusals.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep a mail."""
        self.envelopes.append(envelope)
        self.sessions.append(session)
        return "250 OK"


@contextlib.asynccontextmanager
async def mail_server(
    chain: Path | None = None, key: Path | None = None, *, is_implicit: bool = False, needs_login: bool = False
) -> AsyncIterator[MailServer]:
    """A server for the length of a block. With a certificate it speaks TLS: from the start, or by STARTTLS."""
    kept = MailServer()
    tls = None
    if chain is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(chain, key)

    def authenticate(*given: Any) -> AuthResult:
        login = given[-1]
        is_right = isinstance(login, LoginPassword) and (login.login.decode(), login.password.decode()) == LOGIN
        return AuthResult(success=is_right, handled=False)

    def make() -> SMTP:
        kept.connections += 1
        return SMTP(
            kept,
            hostname="mail.example.com",
            enable_SMTPUTF8=True,
            tls_context=None if is_implicit else tls,
            require_starttls=tls is not None and not is_implicit,
            auth_required=needs_login,
            authenticator=authenticate,
            loop=asyncio.get_running_loop(),
        )

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=tls if is_implicit else None)
    kept.port = server.sockets[0].getsockname()[1]
    try:
        yield kept
    finally:
        server.close()


def _parse(envelope: Envelope) -> EmailMessage:
    content = envelope.content
    assert isinstance(content, bytes)
    message = email.message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    return message
