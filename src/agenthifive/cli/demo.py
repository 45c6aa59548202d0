"""`demo`: the whole story in the terminal, on a temporary instance, in under twenty seconds.

What is shown is the product: a real `agenthifive serve`, spoken to over HTTP, and the facts it leaves behind.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Final

import typer

from agenthifive.cli.console import CommandError, Terminal, begin, table

_INDENT: Final = "   "


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command()(demo)


def demo(context: typer.Context) -> None:
    """Show what AgentHiFive does, on a temporary instance that is removed afterwards."""
    from agenthifive.cli.demo_instance import starting_instance
    from agenthifive.cli.demo_provider import running_provider
    from agenthifive.cli.interrupts import interrupted_once

    terminal, started = begin(context), time.monotonic()
    with interrupted_once(), running_provider() as provider:
        terminal.say("Starting a temporary instance with a database of its own")
        settings = {"SSRF_ALLOWLIST_HOSTS": f"localhost:{provider.port}=127.0.0.0/8|::1/128", "LOG_FORMAT": "json"}
        with starting_instance(terminal.environ, settings) as instance:
            from agenthifive.cli.demo_story import Story  # the server starts while this is read

            instance.wait_until_ready()
            facts = Story(instance, provider, f"wx_live_{secrets.token_hex(20)}", _Narrator(terminal)).tell()
    facts.seconds = time.monotonic() - started
    if facts.broken_promises:
        raise CommandError(
            "Not everything turned out as promised: " + "; ".join(facts.broken_promises) + ".",
            code="demo_failed",
            data=facts.wire(),
        )
    terminal.finish(facts.wire(), f"\n{facts.seconds:.1f} s. The temporary instance is gone. Your own: agenthifive up")


class _Narrator:
    """Tells the story to people."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._steps = 0

    def step(self, title: str) -> None:
        """Begin a step."""
        from rich.text import Text

        self._steps += 1
        self._terminal.show(Text(f"\n{self._steps}. {title}", style="bold"))

    def say(self, line: str) -> None:
        """A sentence of it."""
        self._terminal.show(_INDENT + line)

    def lay_out(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table of it."""
        from rich.padding import Padding

        self._terminal.show(Padding(table(columns, rows), (0, 0, 0, len(_INDENT))))
