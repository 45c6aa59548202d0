"""Ctrl-C and SIGTERM, for commands that must clean up behind themselves: a database server, a temporary home."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the block with KeyboardInterrupt; none after it disturbs the cleaning up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        ignore_interrupts()
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in _INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def ignore_interrupts() -> None:
    """From now on Ctrl-C and SIGTERM do nothing."""
    for number in _INTERRUPTS:  # SIG_IGN would complain of a signal that is already on its way
        signal.signal(number, _do_nothing)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Take no notice."""
