"""The page of the command line, from the commands themselves."""

from collections.abc import Iterator
from typing import Any, Final

from typer.main import get_command

from agenthifive.cli.commands import app
from agenthifive.cli.console import Exit
from tools.markdown import code, one_line, table

_HEADING: Final = """\
# Command line

`agenthifive [GLOBAL OPTIONS] COMMAND`. Commands read the same [settings](settings.md) as the server and, but for
`agent` and `healthcheck`, work on the database directly; what they change is recorded under `cli:<account>`. With
`--json` a command answers with one object on standard output: `{"ok":true,"command","data","warnings"}` or
`{"ok":false,"command","error","code","hint"}`. A secret is shown once.

This page is generated (`python -m tools.reference`).
"""
_EXITS: Final = {
    Exit.DONE: "done",
    Exit.SAID_NO: "the answer is no, or the command could not do it",
    Exit.USAGE: "the command was called wrongly",
    Exit.REFUSED: "settings, schema or another server forbid it; nothing was started",
    Exit.UNREACHABLE: "the database or the server cannot be reached",
    Exit.NOT_PERMITTED: "the database role lacks a right, or a confirmation is missing",
    Exit.INTEGRITY: "the log is not what was written, or the keys do not fit the database",
    Exit.INTERRUPTED: "interrupted",
}


def render_cli() -> str:
    """The Markdown of docs/reference/cli.md."""
    root = get_command(app)
    exits = table(("code", "means"), [(str(int(each)), _EXITS[each]) for each in Exit])
    parts = [_HEADING, "\n## Exit codes\n\n", exits, "\n## Global options\n\n", _parameters(root)]
    for name, command in _commands(root, "agenthifive"):
        parts.append(f"\n## `{name}`\n\n{one_line(command.help or '')}\n")
        parts.append(f"\n```\n{_usage(name, command)}\n```\n")
        if command.params:
            parts.append("\n" + _parameters(command))
    return "".join(parts)


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    for short, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {short}")
        else:
            yield f"{name} {short}", command


def _usage(name: str, command: Any) -> str:
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    required = [_spelling(command, option) for option in options if option.required]
    more = ["[OPTIONS]"] if len(required) < len(options) else []
    arguments = [str(each.metavar) for each in command.params if each.param_type_name == "argument"]
    return " ".join([name, *arguments, *required, *more])


def _parameters(command: Any) -> str:
    rows = [
        (code(_spelling(command, each)), each.help or "", "required" if each.required else _default(each))
        for each in command.params
    ]
    return table(("parameter", "meaning", "default"), rows)


def _spelling(command: Any, parameter: Any) -> str:
    """An option with what stands for its value, or the name of an argument."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    spelling, _ = parameter.get_help_record(command.context_class(command))
    return str(spelling)


def _default(parameter: Any) -> str:
    return "" if parameter.default in (None, False) or parameter.multiple else code(str(parameter.default))
