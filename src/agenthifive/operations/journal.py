"""One log line a request, cheap enough to be always on: encoded at once, written in batches.

No query, no body, no header: the route template, who knows the rest looks it up by the request id.
Source: contract/operations.md section 8.4.
"""

import asyncio
import contextlib
import os
import time
from typing import Final

import msgspec

from agenthifive.ids import wire_time_of

_FLUSH_S: Final = 0.1
_LINES_MAX: Final = 512


class _Line(msgspec.Struct):
    ts: str
    level: str
    msg: str
    route: str
    method: str
    status: int
    ms: float
    requestId: str  # noqa: N815 - the name on the wire
    code: str | None


class Journal:
    """Writes request lines to a file descriptor."""

    def __init__(self, *, is_on: bool, is_readable: bool, descriptor: int = 2) -> None:
        self._is_on = is_on
        self._is_readable = is_readable
        self._descriptor = descriptor
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def write(self, route: str, method: str, status: int, seconds: float, request_id: str, code: str | None) -> None:
        """Note a request; it is on its way within a tenth of a second."""
        if not self._is_on:
            return
        level = "warning" if status >= 500 else "info"
        if self._is_readable:
            said = f" {code}" if code else ""
            line = f"{time.strftime('%H:%M:%S')} {method} {route} {status}{said} {seconds * 1000:.1f} ms\n".encode()
        else:
            now = wire_time_of(time.time())
            entry = _Line(now, level, "request", route, method, status, round(seconds * 1000, 1), request_id, code)
            line = msgspec.json.encode(entry) + b"\n"
        self._lines.append(line)
        if len(self._lines) >= _LINES_MAX:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_S, self.flush)

    def flush(self) -> None:
        """Write what waits; a log that cannot be written stops nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        with contextlib.suppress(OSError):
            os.write(self._descriptor, b"".join(lines))
