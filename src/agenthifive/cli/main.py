"""`agenthifive ...`: from arguments to an exit code.

    arguments -> typer -> command(Terminal) -> result | CommandError -> exit code

Source: contract/operations.md sections 12 and 15.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from agenthifive import __version__
from agenthifive.cli.console import CommandError, Exit, Terminal

_GLOBAL_FLAGS: Final = frozenset({"--json", "--no-color", "--yes"})


def run(arguments: Sequence[str], environ: Mapping[str, str], cwd: Path) -> int:
    """Run one command; the exit code of contract/operations.md section 12."""
    flags, others = _split_global_flags(arguments)
    terminal = Terminal(environ, cwd, is_json="--json" in flags)
    if others in (["version"], ["--version"]):  # answered before the command tree costs half a second of imports
        terminal.command = "version"
        terminal.finish({"version": __version__}, __version__)
        return int(Exit.DONE)
    import typer

    from agenthifive.cli.commands import app

    try:
        result = app([*flags, *others], prog_name="agenthifive", obj=terminal, standalone_mode=False)
    except CommandError as error:
        return terminal.fail(error)
    except typer.TyperException as error:
        place = getattr(error, "ctx", None)
        path = "agenthifive" if place is None else place.command_path
        misuse = CommandError(error.format_message(), exit_code=Exit.USAGE, code="usage", hint=f"{path} --help")
        return terminal.fail(misuse)
    except (KeyboardInterrupt, typer.Abort):
        return int(Exit.INTERRUPTED)
    return result if isinstance(result, int) else int(Exit.DONE)


def _split_global_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """`agenthifive audit list --json` means the same as `agenthifive --json audit list`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = [argument for argument in arguments[:end] if argument in _GLOBAL_FLAGS]
    others = [argument for argument in arguments[:end] if argument not in _GLOBAL_FLAGS]
    return flags, [*others, *arguments[end:]]
