"""HTTP/1.1 to a provider over one socket: an asyncio protocol around llhttp, strict and bounded.

    connect (egress) -> Wire.exchange(request bytes) -> head -> body in chunks -> idle, or closed

Framing that could be read in two ways ends the connection: Content-Length with Transfer-Encoding, unequal or odd
lengths, bare line feeds, early ends, bytes after the end. What is not read yet is bounded: reading pauses at
256 KiB. Source: contract/broker.md sections 10.3 and 11, RFC 9112.
"""

import asyncio
from typing import Final

import httptools

HEAD_FIELDS_MAX: Final = 200
HEAD_BYTES_MAX: Final = 64 * 1024
INTERIM_MAX: Final = 8
_BUFFER_HIGH: Final = 256 * 1024
_JOINED_BODY_MAX: Final = 64 * 1024
_NO_BODY: Final = frozenset({204, 304})


class WireError(Exception):
    """The provider's side broke. `detail` is a sub-code; `kind` is `invalid`, `timeout` or `closed`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Wire(asyncio.Protocol):
    """One connection to a provider; carries one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.created_at = self.idle_since = loop.time()
        self.is_reused = False
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: WireError | None = None
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.has_bytes = False
        self._head_bytes = 0
        self._interim = 0
        self._head_done = False
        self._body_done = False
        self._until_close = False
        self._may_stay = False
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._is_paused = False

    # ------------------------------------------------------------------ what the broker calls

    @property
    def is_usable(self) -> bool:
        """Whether a further exchange may begin on this connection."""
        return self.transport is not None and not self.transport.is_closing() and self._error is None

    @property
    def is_complete(self) -> bool:
        """Whether the whole reply has arrived (it may still wait to be read)."""
        return self._body_done

    async def exchange(self, head: bytes, body: bytes | None, timeout_s: float) -> None:
        """Send a request and wait for the final head. Raises: WireError."""
        assert self.transport is not None
        self._reset()
        self._parser = httptools.HttpResponseParser(self)
        if body is not None and len(body) <= _JOINED_BODY_MAX:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            if body is not None:
                self.transport.write(body)
        timer = self._loop.call_later(timeout_s, self._expire, "head")
        try:
            while not self._head_done:
                await self._wait()
        finally:
            timer.cancel()

    async def read(self, idle_s: float) -> bytes:
        """The next piece of the body, b"" at its end. Raises: WireError."""
        if not self._chunks and not self._body_done:
            timer = self._loop.call_later(idle_s, self._expire, "idle")
            try:
                while not self._chunks and not self._body_done:
                    await self._wait()
            finally:
                timer.cancel()
        if self._error is not None and self._body_done:
            raise self._error  # bytes came after the end
        if not self._chunks:
            return b""
        piece = b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._is_paused and self.is_usable and self.transport is not None:
            self._is_paused = False
            self.transport.resume_reading()
        return piece

    def release(self) -> bool:
        """End the exchange; True when the connection may carry another one."""
        keep = self._body_done and self._error is None and not self._until_close and self._may_stay
        self._parser = None
        self.idle_since = self._loop.time()
        if not keep:
            self.close()
        return keep and self.is_usable

    def close(self) -> None:
        """Drop the connection at once."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.abort()

    # ------------------------------------------------------------------ what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports share no base class

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._body_done:
            self._fail(WireError("invalid", "framing"))  # bytes nobody asked for
            return
        self.has_bytes = True
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(WireError("invalid", "framing"))
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, WireError) else WireError("invalid", "framing"))
            return
        except httptools.HttpParserError:
            self._fail(WireError("invalid", "framing"))
            return
        if not self._head_done and self._head_bytes > HEAD_BYTES_MAX:
            self._fail(WireError("invalid", "headers"))
            return
        self._wake()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._head_done and not self._body_done and self._until_close and error is None:
            self._body_done = True
            self._wake()
        elif self._parser is not None and not self._body_done:
            self._fail(WireError("invalid", "framing") if self.has_bytes else WireError("closed", "connect"))

    # ------------------------------------------------------------------ what the parser calls

    def on_message_begin(self) -> None:
        if self._body_done:
            raise WireError("invalid", "framing")
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # a trailer: its fields are of no use to anyone here
        if len(self.headers) >= HEAD_FIELDS_MAX:
            raise WireError("invalid", "headers")
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._interim += 1
            if self._interim > INTERIM_MAX or status == 101:
                raise WireError("invalid", "framing")
            return
        self.status = status
        self._head_done = True
        self._until_close = _check_framing(self.headers, status)
        self._may_stay = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > _BUFFER_HIGH and not self._is_paused and self.transport is not None:
            self._is_paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._head_done:
            self._body_done = True

    # ------------------------------------------------------------------ waiting

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None and not self._chunks:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _expire(self, detail: str) -> None:
        self._fail(WireError("timeout", detail))

    def _fail(self, error: WireError) -> None:
        if self._error is None:
            self._error = error
        self.close()
        self._wake()


def _check_framing(headers: list[tuple[str, str]], status: int) -> bool:
    """Refuse heads that two readers could frame differently; True when the body ends with the connection."""
    lengths = [value for name, value in headers if name == "content-length"]
    codings = [value for name, value in headers if name == "transfer-encoding"]
    if lengths and codings:
        raise WireError("invalid", "framing")
    if len(set(lengths)) > 1 or any(not (value.isascii() and value.isdigit()) for value in lengths):
        raise WireError("invalid", "framing")
    if codings and (len(codings) > 1 or codings[0].strip().lower() != "chunked"):
        raise WireError("invalid", "framing")
    return not lengths and not codings and status not in _NO_BODY
