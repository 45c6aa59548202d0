"""How the two programs end early: one sentence for a person, and an exit code."""

from typing import Final

FAILED: Final = 1
NOT_INSTALLED: Final = 2
INTERRUPTED: Final = 130


class BenchError(Exception):
    """The program cannot go on; the message says why."""

    exit_code = FAILED


class NotInstalled(BenchError):
    """A program of the operating system is missing."""

    exit_code = NOT_INSTALLED
