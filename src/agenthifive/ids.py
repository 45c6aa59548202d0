"""Identifiers and instants as they are written: UUID version 7 (RFC 9562) and RFC 3339 with milliseconds."""

import os
import re
import time
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    """A fresh time-ordered UUID as canonical text; index pages fill from one side, so the log stays fast."""
    value = int.from_bytes((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10), "big")
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


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


def wire_time_of(unix_s: float) -> str:
    """The same for seconds since 1970; the broker stamps rows with this."""
    milliseconds = int(unix_s * 1000)
    moment = time.gmtime(milliseconds // 1000)
    return (
        f"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}"
        f"T{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}.{milliseconds % 1000:03d}Z"
    )
