"""The one GET of WEB_JWKS_URL on real sockets: bounded, without redirects, and in production to internal addresses."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from unittest import mock

import pytest

from agenthifive.jwt import fetch as fetching
from agenthifive.jwt.source import Fetch, SourceFailed
from fakes import Provider, Script, provider, raw, respond

JWKS = json.dumps({"keys": [{"kty": "RSA"}]}).encode()
PATH = "/.well-known/jwks.json"


@contextlib.asynccontextmanager
async def source(script: Script, *, internal_only: bool = True) -> AsyncIterator[tuple[Provider, Fetch]]:
    async with provider(script) as made:
        fetch, close = fetching.make_fetch(f"http://127.0.0.1:{made.port}{PATH}?v=1", None, internal_only=internal_only)
        yield made, fetch
        await close()


async def test_the_document_of_this_machine_is_fetched_with_one_plain_get() -> None:
    async with source(respond(200, JWKS)) as (made, fetch):
        assert await fetch() == JWKS
        (request,) = made.received
        assert (request.method, request.target, request.body) == ("GET", f"{PATH}?v=1", b"")
        assert request.header("host") == f"127.0.0.1:{made.port}"
        assert request.header("authorization") is None


async def test_chunks_are_a_document_too() -> None:
    chunked = b"HTTP/1.1 200 OK\r\ncontent-type: application/jwk-set+json\r\ntransfer-encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%s\r\n0\r\n\r\n" % (len(JWKS), JWKS)
    async with source(raw(chunked)) as (_, fetch):
        assert await fetch() == JWKS


@pytest.mark.parametrize(
    "script",
    [
        respond(302, b"", ("location", "http://127.0.0.1:1/jwks.json")),
        respond(301, JWKS, ("location", PATH)),
        respond(404, JWKS),
        respond(500, JWKS),
        respond(204, b"", ("content-length", "0")),
        respond(200, JWKS, ("content-type", "text/html")),
        respond(200, JWKS, ("content-type", "application/json"), ("content-encoding", "gzip")),
        respond(200, b" " * 1024 * 1024),
        respond(200, b" " * (64 * 1024 + 1)),
        raw(b"not http at all\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{}"),
        raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}"),
        raw(b""),
    ],
)
async def test_any_other_answer_is_a_failure(script: Script) -> None:
    async with source(script) as (made, fetch):
        with pytest.raises(SourceFailed):
            await fetch()
        assert len(made.received) == 1


async def test_64_kibibytes_are_enough_and_the_most() -> None:
    async with source(respond(200, b" " * 64 * 1024)) as (_, fetch):
        assert len(await fetch()) == 64 * 1024


async def _drip(_: object, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n")
    await writer.drain()
    await asyncio.Event().wait()


async def _silent(_: object, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("script", [_drip, _silent])
async def test_a_slow_source_is_given_up(script: Script) -> None:
    with mock.patch.object(fetching, "TOTAL_S", 0.05):
        async with source(script) as (_, fetch):
            with pytest.raises(SourceFailed, match="time"):
                await fetch()


async def test_nobody_listening_is_a_failure() -> None:
    async with provider(respond()) as made:
        port = made.port
    fetch, close = fetching.make_fetch(f"http://127.0.0.1:{port}{PATH}", None, internal_only=True)
    with pytest.raises(SourceFailed):
        await fetch()
    await close()


async def test_a_name_with_a_public_address_is_not_dialled_in_production() -> None:
    async with source(respond(200, JWKS)) as (made, _):
        with mock.patch.object(fetching, "ask_system", return_value=["127.0.0.1", "8.8.8.8"]):
            fetch, close = fetching.make_fetch(f"http://keys.internal:{made.port}{PATH}", None, internal_only=True)
            with pytest.raises(SourceFailed):
                await fetch()
            await close()
        assert made.received == []


async def test_a_name_on_this_machine_is_dialled() -> None:
    async with source(respond(200, JWKS)) as (made, _):
        with mock.patch.object(fetching, "ask_system", return_value=["127.0.0.1"]):
            fetch, close = fetching.make_fetch(f"http://keys.local:{made.port}{PATH}", None, internal_only=True)
            assert await fetch() == JWKS
            await close()


async def test_metadata_services_are_never_asked() -> None:
    fetch, close = fetching.make_fetch("http://169.254.169.254/latest", None, internal_only=False)
    with pytest.raises(SourceFailed, match="metadata"):
        await fetch()
    await close()
