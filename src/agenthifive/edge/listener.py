"""The server's HTTP protocol with our refusals: bad framing gets the standard body, endless heads end early.

Source: contract/http.md sections 1 (message framing) and 5 (receive limits). llhttp refuses ambiguous framing by
itself; the bounds and the answer are ours.
"""

from collections.abc import Sequence
from enum import Enum, auto
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from agenthifive import strict_json
from agenthifive.edge.gate import HEADER_FIELDS_MAX, HEADERS_MAX, RESPOND_KEY, TARGET_MAX
from agenthifive.errors import AppError

HEAD_TIMEOUT_S: Final = 10.0
BODY_IDLE_S: Final = 30.0
_HEAD_BYTES_MAX: Final = HEADERS_MAX + TARGET_MAX + 64 * 1024  # one read may bring the body along
_VERSIONS: Final = frozenset({"1.1", "1.0"})
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES: Final = [b"HTTP/1.1 %d %b\r\n" % (code, _PHRASES.get(code, "").encode()) for code in range(1000)]
_MALFORMED: Final = AppError("malformed_request", "The request is not well-formed HTTP/1.1 and was not read further.")


class _Refused(Exception):
    """Raised inside a parser callback to stop reading."""

    def __init__(self, error: AppError) -> None:
        super().__init__(error.code)
        self.error = error


class _Phase(Enum):
    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bounded head and a clock for clients that stop sending.

    A request that arrives in one piece, as most do, starts no timer at all.
    """

    _phase = _Phase.IDLE
    _head_bytes = 0
    _timer: Any = None

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._phase = _Phase.HEAD
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Collect the target, up to its limit."""
        super().on_url(url)
        if len(self.url) > TARGET_MAX + 1024:
            raise _Refused(AppError("uri_too_long", f"The request target is longer than {TARGET_MAX} bytes."))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        if self.parser.get_http_version() not in _VERSIONS:
            raise _Refused(_MALFORMED)
        if len(self.headers) > HEADER_FIELDS_MAX + 1:
            raise _Refused(AppError("headers_too_large", f"Send at most {HEADER_FIELDS_MAX} header fields."))
        self._phase = _Phase.BODY
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is not None:
            cycle.scope[RESPOND_KEY] = partial(self._respond, cycle)  # type: ignore[typeddict-unknown-key]

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._phase = _Phase.IDLE
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what it cannot accept is refused in our words."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(cause.error if isinstance(cause, _Refused) else _MALFORMED)
        except (httptools.HttpParserUpgrade, httptools.HttpParserError):
            self._refuse(_MALFORMED)
        if self._phase is not _Phase.IDLE or self._timer is not None:
            self._watch(len(data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().connection_lost(exc)

    def _respond(
        self, cycle: RequestResponseCycle, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes
    ) -> bool:
        """Write a whole answer in one piece; False when it must take the ordinary way, and nothing was written."""
        if cycle.disconnected or cycle.response_started or self.flow.write_paused or not cycle.keep_alive:
            return False
        pairs = [*cycle.default_headers, *headers]
        block = b"".join([b"%b: %b\r\n" % pair for pair in pairs])
        if not block.count(b"\n") == block.count(b"\r") == len(pairs) or b"\0" in block:
            raise RuntimeError("a header of an answer holds a line break")
        self.transport.write(b"%b%b\r\n%b" % (_STATUS_LINES[status], block, body))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _watch(self, received_bytes: int) -> None:
        """A request is unfinished: give its head ten seconds in all, its body thirty for each piece."""
        if self._phase is _Phase.HEAD:
            self._head_bytes += received_bytes
            if self._head_bytes > _HEAD_BYTES_MAX:
                self._refuse(AppError("headers_too_large", f"Send at most {HEADERS_MAX} bytes of headers."))
            if self._timer is None:
                self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._expire)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._phase is _Phase.BODY:
            self._timer = self.loop.call_later(BODY_IDLE_S, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._refuse(AppError("request_timeout", "The request did not arrive in time. Send it again.", retry_after_s=1))

    def _refuse(self, error: AppError) -> None:
        """Answer and close; nothing after the fault is looked at."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # an answer is on its way already
            return
        body = strict_json.dumps(error.body())
        self.transport.write(
            b"HTTP/1.1 %d Refused\r\ncontent-type: application/json\r\ncache-control: no-store\r\n"
            b"x-agenthifive-error: %b\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (error.status, error.code.encode("ascii"), len(body), body)
        )
        self.transport.close()
