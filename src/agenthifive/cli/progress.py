"""How far a long command is: a bar for people, a line a step for logs, nothing for programs."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from agenthifive.cli.console import Terminal


@contextlib.contextmanager
def progress(terminal: Terminal) -> Iterator[Callable[[str, int, int], None]]:
    """Takes what is being done, how far it is, and of how much; for the length of a block."""
    if terminal.is_json or not sys.stderr.isatty():
        yield _lines(terminal)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, no_color=not terminal.has_color, highlight=False, emoji=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        steps = {}

        def watch(what: str, done: int, total: int) -> None:
            if what not in steps:
                steps[what] = bars.add_task(what, total=total)
            bars.update(steps[what], completed=done, total=total)

        yield watch


def _lines(terminal: Terminal) -> Callable[[str, int, int], None]:
    said: set[str] = set()

    def watch(what: str, done: int, total: int) -> None:
        if what not in said:
            said.add(what)
            terminal.say(what)

    return watch
