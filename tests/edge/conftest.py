"""The whole application behind its own listener, and a socket to write any bytes to it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from application import Place, run_application
from databases import fresh_database
from listening import listening


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """An application on a database of its own."""
    with fresh_database(f"edge_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path_factory.mktemp("home")) as running:
            yield running


@pytest_asyncio.fixture(scope="module")
async def port(place: Place) -> AsyncIterator[int]:
    """Where the application listens."""
    async with listening(place.app.gate) as opened:
        yield opened


async def converse(port: int, *pieces: bytes) -> bytes:
    """Everything the server says to these bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()
