"""Mail through the operator's relay: one connection a mail, certificates always verified, retried for a while.

    post -> a task of its own -> dial a checked address -> TLS for the name -> login -> one message
                  ^ waits 2, 15, 60 seconds after what may pass <- time-out, refusal of the moment

Posting never waits. What cannot be sent in the end is logged, without its text. Source: contract/notifications.md
section 6.3, contract/operations.md section 13 (SMTP_*).
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from typing import Any, Final, Literal

import structlog
from aiosmtplib import (
    SMTP,
    SMTPConnectError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from agenthifive.broker.egress import Egress, EgressError
from agenthifive.notify.mail import Mail
from agenthifive.notify.message import compose

COMMAND_TIMEOUT_S: Final = 10.0
TOTAL_TIMEOUT_S: Final = 30.0
CLOSE_S: Final = 5.0
WAITING_MAX: Final = 1000
AT_A_TIME: Final = 4
DELAYS_S: Final = (2.0, 15.0, 60.0)

log = structlog.get_logger(__name__)


class NotDelivered(Exception):
    """The relay did not take a mail.

    Shapes: reason: for logs and operators, without the server's words. is_final: whether another try is pointless.
    """

    def __init__(self, reason: str, *, is_final: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """The operator's mail server.

    Shapes: tls: of SMTP_TLS. sender: of EMAIL_FROM. tls_context: verifies certificates, whatever the mode.
    """

    host: str
    port: int
    tls: Literal["starttls", "implicit", "none"]
    tls_context: Any
    sender: Address
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"RelayOptions({self.host!r}, {self.port})"


class Relay:
    """Hands single mails to the relay. Close it last."""

    def __init__(self, options: RelayOptions, egress: Egress) -> None:
        self._options = options
        self._egress = egress

    async def close(self) -> None:
        """End the threads that resolve its name."""
        await self._egress.close()

    async def deliver(self, mail: Mail) -> None:
        """Return once the relay has taken the mail. Raises: NotDelivered."""
        try:
            message = compose(mail, self._options.sender, datetime.now(UTC))
        except ValueError:
            raise NotDelivered("a header of the mail is not possible", is_final=True) from None
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                client = await self._connect()
                try:
                    await client.send_message(
                        message,
                        sender=self._options.sender.addr_spec,
                        recipients=[message["To"].addresses[0].addr_spec],
                    )
                    with contextlib.suppress(SMTPException):
                        await client.quit()
                finally:
                    client.close()
        except EgressError as error:
            raise NotDelivered(f"{error.code} ({error.detail})", is_final=error.code == "egress_blocked") from None
        except (SMTPException, OSError) as error:
            raise NotDelivered(_reason(error), is_final=_is_final(error)) from None

    async def _connect(self) -> SMTP:
        """A connection past TLS and login. Raises: EgressError, SMTPException, OSError."""
        options = self._options
        client = SMTP(
            hostname=options.host,
            use_tls=options.tls == "implicit",
            start_tls=options.tls == "starttls",  # True: a server that does not offer it gets no mail
            tls_context=options.tls_context,
            username=options.username,
            password=options.password,
            local_hostname=options.sender.domain,
            timeout=COMMAND_TIMEOUT_S,
        )
        sock = await self._egress.connect(options.host, options.port)
        await client.connect(sock=sock)  # from here on the socket is the client's, who closes it whatever happens
        return client


class SmtpMailer:
    """Implements `notify.mail.Mailer`.

    Units: delays_s: seconds before each further try.
    """

    def __init__(self, relay: Relay, delays_s: Sequence[float] = DELAYS_S) -> None:
        self._relay = relay
        self._delays_s = delays_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_A_TIME)
        self._closing = asyncio.Event()

    @property
    def delivers(self) -> bool:
        """Mail leaves."""
        return True

    def post(self, mail: Mail) -> None:
        """Take a mail over; beyond the bound it is dropped and logged."""
        if self._closing.is_set() or len(self._tasks) >= WAITING_MAX:
            log.error("mail_lost", subject=mail.subject, reason="too many mails wait, or the server stops")
            return
        task = asyncio.create_task(self._send(mail))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Let what is under way finish, for a few seconds; what waits for another try gets its last one now."""
        self._closing.set()
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in unfinished:
                task.cancel()
            if unfinished:
                log.error("mail_lost", count=len(unfinished), reason="the server stopped")
                await asyncio.wait(unfinished)
        await self._relay.close()

    async def _send(self, mail: Mail) -> None:
        for delay_s in (*self._delays_s, None):
            try:
                async with self._slots:
                    await self._relay.deliver(mail)
            except NotDelivered as failure:
                if failure.is_final or delay_s is None or self._closing.is_set():
                    log.error("mail_not_sent", subject=mail.subject, reason=failure.reason)
                    return
                log.warning("mail_delayed", subject=mail.subject, reason=failure.reason, retryInSeconds=delay_s)
            else:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._closing.wait()


def _codes(error: Exception) -> Sequence[int]:
    """The SMTP answers behind a refusal."""
    if isinstance(error, SMTPRecipientsRefused):
        return [refused.code for refused in error.recipients]
    return [error.code] if isinstance(error, SMTPResponseException) else []


def _reason(error: Exception) -> str:
    return " ".join([type(error).__name__, *map(str, _codes(error))])


def _is_final(error: Exception) -> bool:
    """5xx and what the server cannot do stay so; 4xx, time-outs and broken connections may pass."""
    codes = _codes(error)
    if codes:
        return min(codes) >= 500
    passing = (SMTPConnectError, SMTPServerDisconnected, SMTPTimeoutError, OSError)
    return not isinstance(error, passing)
