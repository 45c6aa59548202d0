"""A stream that breaks says so in words its reader knows; a stream we cannot filter is not passed."""

import gzip
import json
from typing import Any

import pytest

from agenthifive.broker.content import Kind
from agenthifive.broker.decompress import Decompressor
from agenthifive.broker.scrub import SecretScrubber
from agenthifive.broker.sse import event_splitter, read_event
from agenthifive.broker.streams import ends_at_border, open_filter, stream_error
from agenthifive.errors import AppError

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


def test_a_stream_that_a_response_rule_matches_is_refused() -> None:
    with pytest.raises(AppError) as error:
        open_filter(SecretScrubber([]), rule_matches=True)
    assert error.value.code == "response_not_filterable"


def test_a_stream_without_a_rule_passes_unchanged_but_for_the_scrub() -> None:
    filtered = open_filter(SecretScrubber(["secret-123"]), rule_matches=False)
    body = b"\xef\xbb\xbf: c\r\n\r\ndata:x\rdata: secret-123\r\rodd\n\ndata: [DONE]\n\n"
    passed = b"".join(filtered.feed(body[at : at + 5]) for at in range(0, len(body), 5)) + filtered.finish()
    assert passed == body.replace(b"secret-123", b"[REDACTED:credential]")


def test_a_compressed_stream_is_scrubbed_alike_at_every_border() -> None:
    body = b'data: {"t":"a"}\r\n\r\ndata:{"t":"sec\\u0072et-123"}\r\n\r\n' + b"event: ping\ndata: c2VjcmV0LTEyMw==\n\n"
    packed = gzip.compress(body)
    outputs = set()
    for cut in range(len(packed) + 1):
        decompressor = Decompressor("gzip", limit_bytes=1000)
        filtered = open_filter(SecretScrubber(["secret-123"]), rule_matches=False)
        passed = [filtered.feed(piece) for part in (packed[:cut], packed[cut:]) for piece in decompressor.feed(part)]
        decompressor.finish()
        outputs.add(b"".join([*passed, filtered.finish()]))
    assert len(outputs) == 1
    assert outputs.pop().count(b"[REDACTED:credential]") == 2
