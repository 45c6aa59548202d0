"""Values on the command line that need reading."""

from typing import Any

from agenthifive.cli.console import CommandError, Exit


def read_json(option: str, text: str) -> Any:
    """The JSON an option was given. Raises: CommandError."""
    from agenthifive import strict_json

    try:
        return strict_json.loads(text.encode("utf-8", "surrogateescape"))
    except strict_json.InvalidJson as error:
        raise misused(f"{option} is not JSON: {error}.") from None


def read_id(option: str, text: str) -> str:
    """The id an option was given. Raises: CommandError."""
    from agenthifive.ids import is_id

    if not is_id(text):
        raise misused(f"{option} {text} is no id; ids look like 0192f0c1-7e3a-7b52-9d1e-3f6a0c5b8d11.")
    return text


def misused(message: str, hint: str = "Add --help to the command.") -> CommandError:
    """The failure of a command that was called wrongly."""
    return CommandError(message, exit_code=Exit.USAGE, code="usage", hint=hint)
