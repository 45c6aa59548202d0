"""Mail on an instance without a mail server: the operator finds the link in the log and hands it over.

Source: contract/notifications.md section 6, contract/http.md section 14.1 (EMAIL_PROVIDER=noop).
"""

import structlog

from agenthifive.notify.mail import Mail
from agenthifive.operations.logs import Readable

log = structlog.get_logger(__name__)


class ConsoleMailer:
    """Implements `notify.mail.Mailer`: sends nothing, and says so with the link."""

    @property
    def delivers(self) -> bool:
        """Nothing leaves."""
        return False

    def post(self, mail: Mail) -> None:
        """One line at WARNING: the one place where a link that is as good as a password is shown in full."""
        shown = {} if mail.link is None else {"link": Readable(mail.link)}
        log.warning(
            "mail_not_set_up",
            advice="nothing was sent: EMAIL_PROVIDER is noop; hand this over yourself, or set up SMTP",
            to=mail.to,
            subject=mail.subject,
            **shown,
        )

    async def close(self) -> None:
        """There is nothing to wait for."""
