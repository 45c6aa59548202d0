"""What every command shares: where it reads its settings, how it speaks, how it fails.

    human:  aligned tables, secrets once in a frame, errors as `error: ...` and `hint: ...` on standard error
    --json: exactly one object on standard output

Nothing heavy is imported here: `agenthifive version` answers at once.
Source: contract/operations.md sections 12 and 15.
"""

import json
import os
import pwd
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import typer
    from rich.console import RenderableType
    from rich.table import Table

    from agenthifive.settings import LoadedSettings

_WIDTH_OF_A_PIPE: Final = 100_000  # nothing is folded for a program
_FRAME_MIN: Final = 40
# what could steer a terminal: control characters but line feed and tab, and marks that turn the reading direction
_STEERING: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    SAID_NO = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    NOT_PERMITTED = 5
    INTEGRITY = 6
    INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot go on.

    Shapes:
        hint: what to do. data: what was found all the same, for `--json`.
        shows_code: whether people are told the code too, because they may look it up.
    """

    def __init__(
        self,
        message: str,
        *,
        exit_code: Exit = Exit.SAID_NO,
        code: str = "failed",
        hint: str = "",
        data: Mapping[str, Any] | None = None,
        shows_code: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code
        self.code = code
        self.hint = hint
        self.data = data
        self.shows_code = shows_code


@dataclass
class Terminal:
    """The world of one invocation: environment, options, and the way to speak."""

    environ: Mapping[str, str]
    cwd: Path
    command: str = ""
    env_file: Path | None = None
    is_json: bool = False
    has_color: bool = True
    assumes_yes: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def is_watched(self) -> bool:
        """Whether a person looks at what is said."""
        return sys.stdout.isatty()

    def load(self) -> "LoadedSettings":
        """The settings of this invocation. Raises: CommandError naming every problem."""
        from agenthifive.settings import SettingsRefused, load_settings

        try:
            return load_settings(self.environ, self.env_file, self.cwd)
        except SettingsRefused as refused:
            raise refused_settings(refused.problems) from None

    def say(self, line: str) -> None:
        """A line of progress."""
        if not self.is_json:
            _write(line, is_error=True)

    def warn(self, line: str) -> None:
        """Something that is not as it should be, and does not stop the command."""
        if self.is_json:
            self.warnings.append(line)
        else:
            _write(f"warning: {line}", is_error=True)

    def show(self, human: "str | RenderableType") -> None:
        """A part of the result, for people."""
        if self.is_json:
            return
        if isinstance(human, str):
            _write(human)
            return
        from rich.console import Console

        width = None if self.is_watched else _WIDTH_OF_A_PIPE
        console = Console(no_color=not self.has_color, highlight=False, emoji=False, width=width)
        with console.capture() as captured:
            console.print(human)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()), flush=True)

    def finish(self, data: Mapping[str, Any], human: "str | RenderableType | None" = None) -> None:
        """The command's result."""
        if self.is_json:
            _write_json({"ok": True, "command": self.command, "data": data, "warnings": self.warnings})
        elif human is not None:
            self.show(human)

    def fail(self, error: CommandError) -> int:
        """The command's failure; the exit code."""
        if self.is_json:
            body = {"ok": False, "command": self.command, "error": error.message, "code": error.code}
            _write_json({**body, "hint": error.hint, **({} if error.data is None else {"data": error.data})})
        else:
            _write(f"error: {error.message}", is_error=True)
            if error.hint:
                _write(f"hint: {error.hint}", is_error=True)
            if error.shows_code:
                _write(f"code: {error.code}", is_error=True)
        return int(error.exit_code)


def begin(context: "typer.Context") -> Terminal:
    """The terminal of a command that starts now."""
    terminal: Terminal = context.obj
    terminal.command = context.command_path.partition(" ")[2]
    return terminal


def refused_settings(problems: Sequence[str]) -> CommandError:
    """The failure that names every setting to correct."""
    return CommandError(
        "\n       ".join(problems),
        exit_code=Exit.REFUSED,
        code="settings_refused",
        hint="Correct the settings named above; docs/reference/settings.md lists them.",
        data={"problems": list(problems)},
    )


def os_user() -> str:
    """The account this process runs as, which the environment cannot change."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> "Table":
    """An aligned table without lines; cells are shown as they are, whatever they hold."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text("" if value is None else tame(str(value))) for value in row))
    return made


def framed(title: str, secret: str, note: str) -> str:
    """A secret, shown once. The frame has no sides, so that the secret can be copied in one piece."""
    head = f"── {title} "
    width = max(_FRAME_MIN, len(secret), len(note), len(head))
    return f"{head}{'─' * (width - len(head))}\n{secret}\n{note}\n{'─' * width}"


def tame(text: str) -> str:
    """Foreign text as a terminal may see it: what could steer it is spelled out."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def pretty_json(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _write(text: str, *, is_error: bool = False) -> None:
    print(tame(text), file=sys.stderr if is_error else sys.stdout, flush=True)


def _write_json(body: Mapping[str, Any]) -> None:
    print(json.dumps(body, ensure_ascii=False, separators=(",", ":")), flush=True)
