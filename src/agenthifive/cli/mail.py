"""`mail test`: does mail leave this instance? The answer is the server's own.

Source: contract/operations.md sections 13 (EMAIL_PROVIDER, SMTP_*) and 15.
"""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from agenthifive.cli.arguments import misused
from agenthifive.cli.console import CommandError, Exit, begin

if TYPE_CHECKING:
    from agenthifive.notify.smtp import Relay
    from agenthifive.settings import Settings


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Try the mail server.", rich_markup_mode=None)
    group.callback()(lambda: None)  # a group of one command keeps the command's name
    group.command("test")(send_trial)
    app.add_typer(group, name="mail")


def send_trial(
    context: typer.Context, address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Who gets the mail.")]
) -> None:
    """Send one mail through the configured server and wait for its answer."""
    from agenthifive.people.model import read_email

    terminal = begin(context)
    email = read_email(address)
    if email is None:
        raise misused("ADDRESS is no e-mail address.")
    settings = terminal.load().settings
    if settings.email_provider == "noop":
        raise CommandError(
            "EMAIL_PROVIDER is noop: this instance sends no mail and prints links in its log.",
            exit_code=Exit.SAID_NO,
            code="no_mailer",
            hint="Set EMAIL_PROVIDER=smtp, SMTP_HOST and EMAIL_FROM.",
        )
    asyncio.run(_deliver(_relay(settings), email.text, settings.web_url))
    server = f"{settings.smtp_host}:{settings.smtp_port}"
    terminal.finish({"delivered": True, "server": server}, f"{server} took the mail for {email.text}.")


def _relay(settings: "Settings") -> "Relay":
    from agenthifive.notify.assembly import make_relay

    try:
        return make_relay(settings)
    except (ValueError, OSError) as error:
        raise CommandError(str(error), exit_code=Exit.REFUSED, code="settings_refused") from None


async def _deliver(relay: "Relay", address: str, web_url: str) -> None:
    from agenthifive.notify import texts
    from agenthifive.notify.smtp import NotDelivered

    try:
        await relay.deliver(texts.trial(address, web_url))
    except NotDelivered as failure:
        raise CommandError(
            f"The mail was not delivered: {failure.reason}.",
            exit_code=Exit.SAID_NO,
            code="not_delivered",
            hint="Check SMTP_HOST, SMTP_PORT, SMTP_TLS, the login and EMAIL_FROM.",
        ) from None
    finally:
        await relay.close()
