"""Undo a reply's `Content-Encoding` in small steps, so that no bomb is ever held in memory.

    chunk -> feed -> pieces of at most 64 KiB -> ... -> finish (the body must be complete)

gzip and deflate (zlib or raw) are understood, one layer. A gzip body may consist of several members, as RFC 1952
section 2.2 allows; anything else after the end is refused. Source: contract/broker.md sections 10.2 and 11.
"""

import zlib
from collections.abc import Iterator
from typing import Final

PIECE_BYTES: Final = 64 * 1024
EXPANSION_MAX: Final = 200
EXPANSION_FREE_BYTES: Final = 1024 * 1024

# Compressed data may be this much longer than its content; more is a body that costs work and yields nothing.
_OVERHEAD_BYTES: Final = 64 * 1024

_MEMBERS_MAX: Final = 4096
_WINDOW: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS}
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


class BadEncoding(Exception):
    """The body is not what its `Content-Encoding` says, or that is none we understand (`encoding`)."""


class TooLarge(Exception):
    """The content exceeds its limit, or expands like a bomb (`response_too_large`)."""


class Decompressor:
    """Decodes one body and counts what comes out, identity included.

    Shapes:
        encoding: the `Content-Encoding` value or None. limit_bytes: content of exactly this size is allowed.
    Raises: BadEncoding for an encoding other than these.
    """

    __slots__ = ("_engine", "_head", "_limit_bytes", "_members", "_name", "received_bytes", "released_bytes")

    def __init__(self, encoding: str | None, *, limit_bytes: int) -> None:
        self._name = (encoding or "").strip(" \t").lower() or "identity"
        if self._name not in ("identity", "gzip", "x-gzip", "deflate"):
            raise BadEncoding("the content encoding is not gzip, deflate or identity")
        window = _WINDOW.get(self._name)
        self._engine = zlib.decompressobj(window) if window else None
        self._head = b""  # of a deflate body, until the two bytes that tell zlib from raw are there
        self._members = 1
        self._limit_bytes = limit_bytes
        self.received_bytes = 0
        self.released_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The content of the next bytes, piece by piece; take every piece before you feed again.

        Raises: BadEncoding, TooLarge. Nothing may be fed after either.
        """
        self.received_bytes += len(chunk)
        if self._name == "identity":
            self._count(len(chunk), 0)
            if chunk:
                yield chunk
            return
        if self.received_bytes > self._limit_bytes + _OVERHEAD_BYTES:
            raise TooLarge("the compressed body alone exceeds the limit")
        if self._engine is None:
            self._head += chunk
            if len(self._head) < 2:
                return
            chunk = self._head
            self._engine = zlib.decompressobj(_ZLIB if _has_zlib_header(chunk) else _RAW)
        is_full = False
        while chunk or is_full:
            if self._engine.eof:
                self._engine = self._next_member()
            step = min(PIECE_BYTES, self._limit_bytes - self.released_bytes + 1)
            try:
                piece = self._engine.decompress(chunk, step)
            except zlib.error:
                raise BadEncoding("the compressed body is damaged") from None
            chunk = self._engine.unused_data or self._engine.unconsumed_tail
            is_full = len(piece) == step and not self._engine.eof  # the engine may hold more than it was asked for
            self._count(len(piece), len(chunk))
            if piece:
                yield piece

    def finish(self) -> None:
        """The body has ended. An empty one is empty in every encoding.

        Raises: BadEncoding when it broke off.
        """
        if self._name != "identity" and self.received_bytes and (self._engine is None or not self._engine.eof):
            raise BadEncoding("the compressed body broke off")

    def _next_member(self) -> "zlib._Decompress":
        """Data stands after the end: in gzip the next member, which its own header must prove."""
        self._members += 1
        if self._name == "deflate" or self._members > _MEMBERS_MAX:
            raise BadEncoding("data stands after the end of the compressed body")
        return zlib.decompressobj(_WINDOW[self._name])

    def _count(self, piece_bytes: int, waiting_bytes: int) -> None:
        self.released_bytes += piece_bytes
        if self.released_bytes > self._limit_bytes:
            raise TooLarge("the reply exceeds its limit")
        consumed = self.received_bytes - waiting_bytes
        if self.released_bytes > max(EXPANSION_FREE_BYTES, EXPANSION_MAX * consumed):
            raise TooLarge("the reply expands more than 200 to 1")


def _has_zlib_header(data: bytes) -> bool:
    """RFC 1950 section 2.2: method 8, and the first two bytes are a multiple of 31."""
    return data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
