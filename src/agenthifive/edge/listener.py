"""The server's HTTP protocol with our refusals: bad framing gets the standard body, endless heads end early.

Source: contract/http.md sections 1 (message framing) and 5 (receive limits). llhttp refuses ambiguous framing by
itself; the bounds and the answer are ours.
"""

from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from agenthifive import strict_json
from agenthifive.edge.gate import HEADER_FIELDS_MAX, HEADERS_MAX, TARGET_MAX
from agenthifive.errors import AppError

HEAD_TIMEOUT_S: Final = 10.0
_MALFORMED: Final = AppError("malformed_request", "The request is not well-formed HTTP/1.1 and was not read further.")


class _Refused(Exception):
    """Raised inside a parser callback to stop reading."""

    def __init__(self, error: AppError) -> None:
        super().__init__(error.code)
        self.error = error


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bounded head."""

    _head_bytes = 0
    _head_timer: Any = None

    def on_message_begin(self) -> None:
        """A head begins: it has ten seconds and 48 KiB to end."""
        super().on_message_begin()
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._expire)

    def on_url(self, url: bytes) -> None:
        """Collect the target, up to its limit."""
        super().on_url(url)
        if len(self.url) > TARGET_MAX + 1024:
            raise _Refused(AppError("uri_too_long", f"The request target is longer than {TARGET_MAX} bytes."))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, up to the limits."""
        super().on_header(name, value)
        if len(self.headers) > HEADER_FIELDS_MAX + 1:
            raise _Refused(AppError("headers_too_large", f"Send at most {HEADER_FIELDS_MAX} header fields."))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._head_bytes = -1
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what it cannot accept is refused in our words."""
        if self._head_bytes >= 0:
            self._head_bytes += len(data)
            if self._head_bytes > HEADERS_MAX + TARGET_MAX + 64 * 1024 and self._head_timer is not None:
                self._refuse(AppError("headers_too_large", f"Send at most {HEADERS_MAX} bytes of headers."))
                return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(cause.error if isinstance(cause, _Refused) else _MALFORMED)
        except httptools.HttpParserUpgrade:
            self._refuse(_MALFORMED)
        except httptools.HttpParserError:
            self._refuse(_MALFORMED)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock of a head that never ended."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().connection_lost(exc)

    def _expire(self) -> None:
        self._refuse(AppError("request_timeout", "The request head did not arrive in time.", retry_after_s=1))

    def _refuse(self, error: AppError) -> None:
        """Answer and close; nothing after the fault is looked at."""
        if self.transport.is_closing():
            return
        body = strict_json.dumps(error.body())
        self.transport.write(
            b"HTTP/1.1 %d Refused\r\ncontent-type: application/json\r\ncache-control: no-store\r\n"
            b"x-agenthifive-error: %b\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (error.status, error.code.encode("ascii"), len(body), body)
        )
        self.transport.close()
