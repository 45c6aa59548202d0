"""What is no HTTP/1.1 that everybody reads alike is answered once, closed, and never handed to a route."""

import asyncio

import pytest

from agenthifive.edge import listener
from application import Place
from edge.conftest import converse

GET = b"GET /health HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /v1/agents/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
SECOND = b"GET /v1/version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

MALFORMED = {
    "length and coding": POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "coding and length": POST + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two lengths": POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "one length twice": POST + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "length with a sign": POST + b"content-length: +2\r\n\r\n{}",
    "length of letters": POST + b"content-length: 0x2\r\n\r\n{}",
    "list of lengths": POST + b"content-length: 2, 2\r\n\r\n{}",
    "unknown coding": POST + b"transfer-encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "bad chunk size": POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunk size that overflows": POST + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "blank before colon": GET + b"x-a : b\r\n\r\n",
    "folded line": GET + b"x-a: b\r\n c\r\n\r\n",
    "bare line feed": b"GET /health HTTP/1.1\nhost: x\n\n",
    "NUL in a header": GET + b"x-a: b\x00c\r\n\r\n",
    "no version": b"GET /health\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "blank in the target": b"GET /hea lth HTTP/1.1\r\nhost: x\r\n\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
async def test_ambiguous_framing_is_refused_and_closed_and_nothing_behind_it_is_read(port: int, sent: bytes) -> None:
    said = await converse(port, sent + SECOND)
    assert said.startswith(b"HTTP/1.1 400 "), said
    assert b'"code":"malformed_request"' in said
    assert b"x-agenthifive-error: malformed_request" in said
    assert said.count(b"\r\n\r\n") == 1
    assert b"buildNumber" not in said


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414, "uri_too_long"),
        (b"GET /health?" + b"a" * 17_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414, "uri_too_long"),
        (GET + b"".join(b"x-%d: 1\r\n" % n for n in range(101)) + b"\r\n", 431, "headers_too_large"),
        (GET + b"x-a: " + b"b" * 33_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (GET + b"x-a: " + b"b" * 120_000, 431, "headers_too_large"),
        (b"TRACE /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", 405, "method_not_allowed"),
    ],
    ids=["path", "query", "fields", "one field", "a head without end", "TRACE"],
)
async def test_what_is_too_large_or_never_served_has_its_status(port: int, sent: bytes, status: int, code: str) -> None:
    said = await converse(port, sent.replace(b"host: x\r\n", b"host: x\r\nconnection: close\r\n", 1))
    assert said.startswith(b"HTTP/1.1 %d " % status), said[:200]
    assert b'"code":"%b"' % code.encode() in said


async def test_bodies_are_counted_while_they_stream_in(port: int) -> None:
    head = b"POST /v1/agents/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
    declared = await converse(port, head + b"content-length: 70000\r\n\r\n")
    assert declared.startswith(b"HTTP/1.1 413 "), "the declared length is enough to refuse"
    chunk = b"%x\r\n%b\r\n" % (35_000, b"x" * 35_000)
    streamed = await converse(port, head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 2)
    assert streamed.startswith(b"HTTP/1.1 413 "), "it is refused before its end"
    assert b'"code":"payload_too_large"' in streamed


async def test_a_call_of_26_mebibytes_is_refused_before_it_arrives(place: Place, port: int) -> None:
    _, token = await place.add_agent()
    head = (
        f"POST /v1/vault/execute HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {token}\r\ncontent-length: {26 * 1024 * 1024 + 1}\r\n\r\n"
    )
    said = await converse(port, head.encode())
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"payload_too_large"' in said
    assert b"26214400" in said


@pytest.mark.parametrize(
    ("constant", "sent"),
    [("HEAD_TIMEOUT_S", b"GET /health HT"), ("BODY_IDLE_S", POST + b"content-length: 5\r\n\r\n{")],
    ids=["head", "body"],
)
async def test_a_client_that_stops_sending_is_told_and_closed(
    port: int, monkeypatch: pytest.MonkeyPatch, constant: str, sent: bytes
) -> None:
    monkeypatch.setattr(listener, constant, 0.05)
    said = await converse(port, sent)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in said
    assert b'"retryAfter":1' in said


async def test_requests_follow_each_other_on_one_connection(port: int) -> None:
    said = await converse(port, GET + b"\r\n", SECOND)
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert b'{"status":"ok"}' in said


async def test_silent_connections_leave_room_for_others(port: int) -> None:
    silent = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", port) for _ in range(200)))
    for _, writer in silent:
        writer.write(b"GET /health HTTP/1.1\r\nx-")
    said = await converse(port, SECOND)
    assert said.startswith(b"HTTP/1.1 200 ")
    for _, writer in silent:
        writer.close()


async def test_a_client_that_leaves_in_the_middle_is_no_defect_of_ours(
    port: int, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(place.app.gate._journal, "write", lambda *line: seen.append(line[2]))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"content-length: 5\r\n\r\n{")
    await writer.drain()
    await converse(port, SECOND)  # by then the request has been seen
    writer.close()
    async with asyncio.timeout(5):
        while len(seen) < 2:
            await asyncio.sleep(0)
    assert seen == [200, 499]
