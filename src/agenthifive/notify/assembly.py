"""How the mailer is put together from the settings.

The relay is the operator's own choice, so its name may lead to a private or loopback address; nothing else of the
address table is lifted for it. See docs/decisions/0016-mail-through-the-operators-relay.md.
"""

from agenthifive.broker.address import AllowedHost, Guard, parse_nat64_prefixes
from agenthifive.broker.egress import Egress, tls_context
from agenthifive.notify.console import ConsoleMailer
from agenthifive.notify.mail import Mailer
from agenthifive.notify.message import read_sender
from agenthifive.notify.smtp import Relay, RelayOptions, SmtpMailer
from agenthifive.settings import Settings
from agenthifive.settings_values import is_loopback_host


def make_mailer(settings: Settings) -> Mailer:
    """The mailer of these settings. Raises: ValueError naming the variable."""
    return ConsoleMailer() if settings.email_provider == "noop" else SmtpMailer(make_relay(settings))


def make_relay(settings: Settings) -> Relay:
    """The mail server of these settings. Raises: ValueError naming the variable, OSError."""
    host, port = settings.smtp_host, settings.smtp_port
    if host is None:
        raise ValueError("SMTP_HOST: not set; expected the name of a mail server; SMTP_HOST=smtp.example.com")
    if settings.smtp_tls == "none" and settings.smtp_username is not None and not is_loopback_host(host):
        raise ValueError("SMTP_TLS: none would send the password in the clear; expected starttls or implicit")
    try:
        sender = read_sender(settings.email_from or "")
    except ValueError:
        example = "EMAIL_FROM=AgentHiFive <no-reply@example.com>"
        raise ValueError(f"EMAIL_FROM: no e-mail address; expected one, with or without a name; {example}") from None
    guard = Guard(
        allowlist=(AllowedHost(host.lower(), port, ()),),
        nat64_prefixes=parse_nat64_prefixes(settings.egress_nat64_prefixes),
    )
    tls = tls_context(settings.egress_ca_bundle, ())
    password = settings.smtp_password
    options = RelayOptions(
        host,
        port,
        settings.smtp_tls,
        tls,
        sender,
        settings.smtp_username,
        None if password is None else password.get_secret_value(),
    )
    return Relay(options, Egress(guard, tls))
