"""`init`, `config`, `healthcheck`, `openapi`: about the instance, without its database.

Source: contract/operations.md sections 8.1 and 15.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agenthifive.cli.console import CommandError, Exit, begin, pretty_json, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import APIRouter

    from agenthifive.settings import Settings


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(init)
    app.command()(healthcheck)
    app.command()(openapi)
    group = typer.Typer(help="Look at the settings.", rich_markup_mode=None)
    group.command("check")(check_config)
    group.command("show")(show_config)
    app.add_typer(group, name="config")


def init(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Directory of the instance (AGENTHIFIVE_HOME).")] = None,
) -> None:
    """Write the secrets that are missing; those that are there stay as they are."""
    from agenthifive.cli.database import failures_translated
    from agenthifive.secrets_env import init_secrets

    terminal = begin(context)
    if home is not None:
        terminal.environ = {**terminal.environ, "AGENTHIFIVE_HOME": str(terminal.cwd / home)}
    settings = terminal.load().settings
    place = settings.agenthifive_home
    with failures_translated():
        created = init_secrets(place, os.urandom, has_key_service=settings.encryption_key_mode != "env")
    path = place / "secrets.env"
    written = f"Wrote {', '.join(created)} to {path}." if created else f"Nothing is missing in {path}."
    terminal.finish(
        {"file": str(path), "created": list(created)},
        f"{written}\nKeep a copy of it apart from the database's backups. Next: agenthifive up",
    )


def healthcheck(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="Address of the server; without it, the one of the settings.")] = None,
) -> None:
    """Ask the server whether it can do its work."""
    from agenthifive.cli.client import Client

    terminal = begin(context)
    base = url or _own_address(terminal.load().settings)
    try:
        answer = Client(base, timeout_s=5).get("/health").json()
    except CommandError as error:
        raise CommandError(error.message, code="unhealthy", hint=error.hint) from None
    terminal.finish({"url": base, "status": answer.get("status")}, f"{base}: {answer.get('status')}")


def openapi(context: typer.Context) -> None:
    """Print the OpenAPI document of this version."""
    from agenthifive.edge.management import describe_api, make_management

    terminal = begin(context)
    document = describe_api(make_management(_routers()))
    terminal.finish(document, pretty_json(document))


def check_config(context: typer.Context) -> None:
    """Say whether a server would start with these settings."""
    from agenthifive.production import check_start, list_start_warnings

    terminal = begin(context)
    loaded = terminal.load()
    problems = [problem.line for problem in check_start(loaded)]
    for warning in (*loaded.warnings, *list_start_warnings(loaded)):
        terminal.warn(warning)
    if problems:
        raise CommandError(
            "\n       ".join(problems),
            exit_code=Exit.REFUSED,
            code="start_refused",
            hint="docs/reference/settings.md lists every setting.",
            data={"problems": problems},
        )
    terminal.finish({"mode": loaded.settings.ah5_env}, f"The settings are good for {loaded.settings.ah5_env}.")


def show_config(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Also what nobody set.")] = False,
) -> None:
    """Show the settings in force, secrets masked, and where each comes from."""
    terminal = begin(context)
    loaded = terminal.load()
    rows = [
        (name, _masked(getattr(loaded.settings, name.lower())), source)
        for name, source in loaded.sources.items()
        if every or source != "default"
    ]
    members = [{"name": name, "value": value, "source": source} for name, value, source in rows]
    terminal.finish({"settings": members}, table(("SETTING", "VALUE", "SOURCE"), rows) if rows else
                    "Every setting has its default; --all shows them.")  # fmt: skip


def _routers() -> "Sequence[APIRouter]":
    """The routes of every room, none of them behind a database."""
    from agenthifive.agents import api as agents
    from agenthifive.audit import api as audit
    from agenthifive.connections import api as connections
    from agenthifive.jwt import api as jwt
    from agenthifive.operations import api as operations
    from agenthifive.operations import freeze_api, keys_api
    from agenthifive.operations import pages as operations_pages
    from agenthifive.people import api as people
    from agenthifive.people import pages as people_pages
    from agenthifive.policies import api as policies

    rooms = (
        *(operations, operations_pages, keys_api, freeze_api, people, people_pages, agents, connections, policies),
        *(audit, jwt),
    )
    return [room.routes.router for room in rooms]


def _own_address(settings: "Settings") -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.api_bind_host, settings.api_bind_host)
    return f"http://[{host}]:{settings.api_port}" if ":" in host else f"http://{host}:{settings.api_port}"


def _masked(value: Any) -> str:
    """A setting as people may see it."""
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        return "(set, not shown)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)
