"""Receiving a body: bounded in size and time, counted while it streams in. Source: contract/http.md section 5."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from agenthifive.edge.context import header
from agenthifive.errors import AppError

Receive = Callable[[], Awaitable[Any]]
BODY_TOTAL_S: Final = 60.0


class ClientGone(Exception):
    """The client closed the connection before its request was complete; there is nobody to answer."""


async def read_body(scope: Any, receive: Receive, limit_bytes: int, total_s: float = BODY_TOTAL_S) -> bytes:
    """The whole body. Raises: AppError (413, 408), ClientGone."""
    declared = header(scope["headers"], b"content-length")
    if declared is not None and int(declared) > limit_bytes:
        raise too_large(limit_bytes)
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _read_rest(receive, body, limit_bytes, total_s)
    if len(body) > limit_bytes:
        raise too_large(limit_bytes)
    return body


def too_large(limit_bytes: int) -> AppError:
    """The refusal that names the limit."""
    return AppError("payload_too_large", f"The body is larger than {limit_bytes} bytes.", hint=str(limit_bytes))


async def _read_rest(receive: Receive, first: bytes, limit_bytes: int, total_s: float) -> bytes:
    pieces, size = [first], len(first)
    deadline = asyncio.get_running_loop().time() + total_s
    while size <= limit_bytes:
        message = await _next(receive)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if not message.get("more_body"):
            return b"".join(pieces)
        if asyncio.get_running_loop().time() > deadline:
            raise AppError("request_timeout", "The request did not arrive in time. Send it again.", retry_after_s=1)
    raise too_large(limit_bytes)


async def _next(receive: Receive) -> Any:
    """The next piece. A client that sends nothing is ended by the listener (edge/listener.py)."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message
