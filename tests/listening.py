"""An ASGI application behind its real listener on a loopback port."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from agenthifive.edge.listener import BoundedProtocol


@contextlib.asynccontextmanager
async def listening(app: Any, listener: socket.socket | None = None) -> AsyncIterator[int]:
    """The port, for the length of a block."""
    listener = listener or socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=BoundedProtocol, ws="none", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.005)
    yield listener.getsockname()[1]
    server.should_exit = server.force_exit = True
    await task
