"""The tree of commands. Each group registers its own; what they need is imported when one of them runs.

Source: contract/operations.md section 15.
"""

from pathlib import Path
from typing import Annotated, Final

import typer

from agenthifive import __version__
from agenthifive.cli import (
    agent,
    audit,
    backup,
    demo,
    freeze,
    instance,
    jwt,
    keys,
    mail,
    oauth,
    people,
    policy,
    serving,
    users,
)
from agenthifive.cli.console import Exit, Terminal, begin

app = typer.Typer(
    name="agenthifive",
    help="Delegate authority to AI agents without handing over credentials.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _globals(
    context: typer.Context,
    env_file: Annotated[Path | None, typer.Option(help="Read settings from this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer confirmations with yes.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    terminal: Terminal = context.obj
    terminal.env_file, terminal.is_json, terminal.assumes_yes = env_file, json, yes
    terminal.has_color = not no_color and "NO_COLOR" not in terminal.environ
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(int(Exit.USAGE))


@app.command("version")
def show_version(context: typer.Context) -> None:
    """Print the version."""
    begin(context).finish({"version": __version__}, __version__)


GROUPS: Final = (
    serving,
    people,
    users,
    freeze,
    mail,
    oauth,
    agent,
    audit,
    policy,
    keys,
    jwt,
    instance,
    backup,
    demo,
)
for group in GROUPS:
    group.register(app)
