"""`oauth uris`: what to register at the providers people sign in with.

Source: contract/operations.md sections 6 and 15.
"""

import typer

from agenthifive.cli.console import begin, table


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Look at what providers must know of this instance.", rich_markup_mode=None)
    group.callback()(_about)
    group.command("uris")(show_uris)
    app.add_typer(group, name="oauth")


def _about() -> None:
    """A group keeps its word although it has one command."""


def show_uris(context: typer.Context) -> None:
    """Print the redirect URIs to register, byte for byte."""
    from agenthifive.people.providers import PROVIDERS, redirect_uri

    terminal = begin(context)
    settings = terminal.load().settings
    clients = {
        "google": settings.auth_google_client_id,
        "microsoft": settings.auth_microsoft_client_id,
        "apple": settings.auth_apple_client_id,
        "github": settings.auth_github_client_id,
        "oidc": settings.oidc_client_id,
    }
    uris = [
        {
            "provider": provider,
            "uri": redirect_uri(settings.web_url, provider),
            "configured": clients[provider] is not None,
        }
        for provider in PROVIDERS
    ]
    rows = [(each["provider"], each["uri"], "yes" if each["configured"] else "no") for each in uris]
    terminal.finish({"uris": uris}, table(("SIGN-IN WITH", "REGISTER EXACTLY", "SET UP"), rows))
