"""What load generators and providers say and hear."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest
from bench.failures import NOT_INSTALLED, NotInstalled
from bench.kill_load import Seen
from bench.nginx import make_document
from bench.provider import EVENTS_PATH, Provider
from bench.streams import watch
from bench.wrk import Load, read_load

from bench import programs


def test_the_document_is_json_of_exactly_the_size_asked_for() -> None:
    for size_bytes in (200, 1024, 5000):
        text = make_document(size_bytes)
        assert len(text.encode()) == size_bytes
        assert json.loads(text)["object"] == "list"


def test_a_line_of_the_load_generator_becomes_rates_and_milliseconds() -> None:
    line = '{"requests": 500, "duration_us": 2000000, "p50_us": 1500.0, "p99_us": 9000.0, "errors": 1}'
    assert read_load(line) == Load(requests=500, rps=250.0, p50_ms=1.5, p99_ms=9.0, errors=1)


def test_missing_programs_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_find", lambda name: None)
    with pytest.raises(NotInstalled, match=re.escape("apt-get install nginx-light wrk")) as caught:
        programs.require_programs()
    assert caught.value.exit_code == NOT_INSTALLED


def test_answers_and_refusals_are_kept_apart() -> None:
    seen = Seen()
    seen.note("/v1/k/0", 200, {"auditId": "a"})
    seen.note("/v1/k/1", 503, {"code": "audit_unavailable"})
    seen.note("/v1/k/2", 403, {"code": "policy_denied", "auditId": "b"})
    assert seen.answered == {"/v1/k/0": "a"}
    assert seen.refused == {"503 audit_unavailable": 1, "403 policy_denied": 1}
    assert seen.refused_ids == ["b"]


async def test_a_stream_is_watched_to_its_last_event_and_the_connection_is_kept() -> None:
    server = await asyncio.start_server(Provider(None).serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    request = f"GET {EVENTS_PATH}?count=7&pauseMs=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    for _ in range(2):
        seen = await watch(reader, writer, request)
        assert seen.events == 7
        assert seen.first_ms > 0
    writer.close()
    await writer.wait_closed()
    server.close()


async def test_an_answer_that_is_no_stream_is_not_counted() -> None:
    server = await asyncio.start_server(Provider(None).serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    with pytest.raises(ConnectionError, match="no stream"):
        await watch(reader, writer, b"GET /v1/other HTTP/1.1\r\nHost: x\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    server.close()


async def test_a_recording_provider_writes_the_path_before_it_answers(tmp_path: Path) -> None:
    log = tmp_path / "hits.log"
    hits = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = await asyncio.start_server(Provider(hits).serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    writer.write(b"GET /v1/k/41 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    written_ns, path = log.read_text().split()
    assert path == "/v1/k/41"
    assert int(written_ns) > 0
    writer.close()
    await writer.wait_closed()
    server.close()
    os.close(hits)
