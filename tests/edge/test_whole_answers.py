"""Answers on the wire: whole ones in one piece, streamed ones as they come, never a header that ends its line."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.edge.answers import StandardHeaders
from agenthifive.edge.context import TrustedProxies
from agenthifive.edge.gate import Gate
from agenthifive.operations.journal import Journal
from agenthifive.operations.metrics import Metrics
from listening import listening

Pairs = list[tuple[bytes, bytes]]


class Room:
    """What stands behind the gate: answers as it is told, and counts who came through."""

    def __init__(self) -> None:
        self.headers: Pairs = [(b"content-type", b"text/plain")]
        self.pieces: Sequence[bytes] = (b"hello",)
        self.has_length = True
        self.status = 200
        self.served = 0
        self.port = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.served += 1
        headers = list(self.headers)
        if self.has_length:
            headers.append((b"content-length", b"%d" % sum(map(len, self.pieces))))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for piece in self.pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": self.pieces[-1]})

    async def ask(self, request: bytes, answers: int = 1) -> bytes:
        """What comes back on one connection, until it closes or the answers are complete."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        said = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while said.count(b"HTTP/1.1 ") < answers or not _is_whole(said.rsplit(b"HTTP/1.1 ", 1)[1]):
                    piece = await reader.read(65536)
                    if not piece:
                        break
                    said += piece
        writer.close()
        return said


def _is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length: "):
            return len(body) >= int(line[16:])
    return bool(head)


def fields(answer: bytes) -> Mapping[str, str]:
    lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


@pytest_asyncio.fixture
async def room() -> AsyncIterator[Room]:
    made = Room()
    gate = Gate(
        broker=made, management=made, lifespan=made, proxies=TrustedProxies([]),
        headers=StandardHeaders("http://localhost:4000"), web_origin="http://localhost:4000",
        cors_origins=frozenset(), meter=Metrics("test", "test"), journal=Journal(is_on=False, is_readable=False),
    )  # fmt: skip
    async with listening(gate) as made.port:
        yield made


GET = b"GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def test_an_answer_of_known_length_carries_the_standard_headers_once(room: Room) -> None:
    answer = await room.ask(GET)
    seen = fields(answer)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhello")
    assert (seen["content-length"], seen["x-content-type-options"]) == ("5", "nosniff")
    assert {"date", "x-request-id"} <= seen.keys()
    assert answer.count(b"content-length") == 1


async def test_a_connection_carries_one_request_after_the_other(room: Room) -> None:
    answer = await room.ask(GET * 3, answers=3)
    assert answer.count(b"HTTP/1.1 200 OK") == room.served == 3
    assert len({line for line in answer.split(b"\r\n") if line.startswith(b"x-request-id")}) == 3


async def test_a_client_that_asks_for_it_gets_its_connection_closed(room: Room) -> None:
    answer = await room.ask(b"GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" + GET)
    assert fields(answer)["connection"] == "close"
    assert room.served == 1


async def test_head_answers_have_no_body(room: Room) -> None:
    answer = await room.ask(b"HEAD /x HTTP/1.1\r\nhost: localhost\r\n\r\n" + GET, answers=2)
    first, _, second = answer.partition(b"\r\n\r\n")
    assert fields(first)["content-length"] == "5"
    assert second.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("has_length", [True, False])
async def test_pieces_arrive_in_order(room: Room, has_length: bool) -> None:
    room.pieces, room.has_length = (b"a", b"bc", b"def"), has_length
    answer = await room.ask(GET)
    body = answer.partition(b"\r\n\r\n")[2]
    assert body == (b"abcdef" if has_length else b"1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x=1", b"a\nb", b"a\rb", b"a\0b"])
async def test_a_header_with_a_line_break_never_reaches_the_wire(room: Room, value: bytes) -> None:
    room.headers = [(b"x-text", value)]
    answer = await room.ask(GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer
    assert b"hello" not in answer
