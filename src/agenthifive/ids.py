"""Identifiers and instants as they are written: UUID version 7 (RFC 9562) and RFC 3339 with milliseconds."""

import os
import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

_VARIANT: Final = {digit: "89ab"[number % 4] for number, digit in enumerate("0123456789abcdef")}
_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class _Pool:
    """Random hex digits of the operating system, drawn a page at a time: a system call an id costs more than the id."""

    __slots__ = ("_at", "_digits")

    def __init__(self) -> None:
        self._digits = ""
        self._at = 0

    def take(self) -> str:
        """Nineteen digits that are used nowhere else."""
        at = self._at
        if at + 19 > len(self._digits):
            self._digits, at = os.urandom(4000).hex(), 0
        self._at = at + 19
        return self._digits[at : at + 19]


_pool: Final = _Pool()


def new_id() -> str:
    """A fresh time-ordered UUID as canonical text; index pages fill from one side, so the log stays fast."""
    when = "%012x" % (time.time_ns() // 1_000_000)
    noise = _pool.take()
    return f"{when[:8]}-{when[8:]}-7{noise[:3]}-{_VARIANT[noise[3]]}{noise[4:7]}-{noise[7:]}"


def is_id(text: object) -> bool:
    """Whether this is a UUID in canonical lower-case text. Source: contract/http.md section 1."""
    return isinstance(text, str) and _CANONICAL.fullmatch(text) is not None


def as_text(value: UUID | None) -> str | None:
    """A UUID from the database as text; None stays None."""
    return None if value is None else str(value)


def wire_time(at: datetime | None) -> str | None:
    """RFC 3339, UTC, exactly three digits, `Z`. Source: contract/http.md section 1."""
    if at is None:
        return None
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


@lru_cache(maxsize=4)
def _second(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


def wire_time_of(unix_s: float) -> str:
    """The same for seconds since 1970; the broker stamps rows with this."""
    milliseconds = int(unix_s * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"
