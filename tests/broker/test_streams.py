"""A stream that breaks says so in words its reader knows."""

import json
from typing import Any

import pytest

from agenthifive.broker.content import Kind
from agenthifive.broker.sse import event_splitter, read_event
from agenthifive.broker.streams import ends_at_border, stream_error

CODE = "upstream_timeout"
TEXT = 'The provider stopped sending.\nAsk "again".'

SSE: dict[str | None, tuple[str | None, Any]] = {
    None: ("agenthifive-error", {"code": CODE}),
    "cohere": ("agenthifive-error", {"code": CODE}),
    "raw": ("agenthifive-error", {"code": CODE}),
    "anthropic-messages": ("error", {"type": "error", "error": {"type": "api_error", "message": TEXT}}),
    "openai-chat": (None, {"error": {"message": TEXT, "type": "server_error", "param": None, "code": CODE}}),
    "openrouter": (None, {"error": {"code": 504, "message": TEXT, "metadata": {"code": CODE}}}),
    "openai-responses": (
        "error",
        {"type": "error", "code": CODE, "message": TEXT, "param": None, "sequence_number": 12},
    ),
    "gemini": (None, {"error": {"code": 504, "message": TEXT, "status": "DEADLINE_EXCEEDED", "details": []}}),
}


@pytest.mark.parametrize(("dialect", "expected"), SSE.items())
def test_an_event_stream_ends_with_one_error_event(dialect: str | None, expected: tuple[str | None, Any]) -> None:
    event = stream_error(Kind.EVENT_STREAM, dialect, CODE, TEXT, sequence_number=12)
    records = event_splitter().feed(event)
    assert records == [event]
    read = read_event(event)
    assert (read.name, json.loads(read.data or "")) == expected


@pytest.mark.parametrize("passed", [b"data: {", b"data: 1\n", b"data: 1\r", b"\ndata: 1\r\n"])
def test_a_broken_event_is_ended_before_the_error(passed: bytes) -> None:
    assert not ends_at_border(Kind.EVENT_STREAM, passed)
    stream = passed + stream_error(Kind.EVENT_STREAM, None, CODE, TEXT, is_at_border=False)
    names = [read_event(record).name for record in event_splitter().feed(stream)]
    assert names[-1] == "agenthifive-error"
    assert names.count("agenthifive-error") == 1


@pytest.mark.parametrize("passed", [b"", b"data: 1\n\n", b"data: 1\r\n\r\n", b"data: 1\r\r"])
def test_the_border_of_events_is_known(passed: bytes) -> None:
    assert ends_at_border(Kind.EVENT_STREAM, passed)


def test_a_line_stream_ends_with_one_line() -> None:
    line = b'{"_agenthifiveError":{"code":"upstream_timeout"}}\n'
    assert stream_error(Kind.LINE_STREAM, None, CODE, TEXT) == line
    assert stream_error(Kind.LINE_STREAM, None, CODE, TEXT, is_at_border=False) == b"\n" + line
    assert stream_error(Kind.LINE_STREAM, None, CODE, TEXT, is_json_seq=True) == b"\x1e" + line
    assert ends_at_border(Kind.LINE_STREAM, b"{}\n")
    assert not ends_at_border(Kind.LINE_STREAM, b"{}")


@pytest.mark.parametrize("kind", [Kind.JSON, Kind.TEXT, Kind.BINARY])
def test_nothing_is_added_to_what_is_no_stream_of_records(kind: Kind) -> None:
    assert stream_error(kind, "openai-chat", CODE, TEXT) == b""
