"""The provider's content type decides what a reply is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.broker.content import (
    Kind,
    Utf8Stream,
    charset_of,
    decode_text,
    has_known_charset,
    in_utf8,
    kind_of,
    media_type_of,
)

KINDS = {
    "application/json": Kind.JSON,
    "Application/JSON; charset=utf-8": Kind.JSON,
    "application/problem+json": Kind.JSON,
    "application/vnd.github.v3+json": Kind.JSON,
    "text/event-stream": Kind.EVENT_STREAM,
    "text/event-stream;charset=utf-8": Kind.EVENT_STREAM,
    "application/x-ndjson": Kind.LINE_STREAM,
    "application/jsonl": Kind.LINE_STREAM,
    "application/json-seq": Kind.LINE_STREAM,
    "text/plain": Kind.TEXT,
    "text/html; charset=iso-8859-1": Kind.TEXT,
    "text/json": Kind.TEXT,
    "application/xml": Kind.TEXT,
    "application/atom+xml": Kind.TEXT,
    "image/svg+xml": Kind.TEXT,
    "application/javascript": Kind.TEXT,
    "application/x-www-form-urlencoded": Kind.TEXT,
    "application/octet-stream": Kind.BINARY,
    "application/pdf": Kind.BINARY,
    "application/zip": Kind.BINARY,
    "application/vnd.ms-excel": Kind.BINARY,
    "image/png": Kind.BINARY,
    "audio/mpeg": Kind.BINARY,
    "video/mp4": Kind.BINARY,
    "multipart/form-data; boundary=x": Kind.BINARY,
    "message/rfc822": Kind.BINARY,
    "application/jsonx": Kind.BINARY,
}


@pytest.mark.parametrize(("content_type", "kind"), KINDS.items())
def test_the_type_decides_whatever_the_bytes_are(content_type: str, kind: Kind) -> None:
    for sample in (None, b"", b"{}", b"\xff\xfe\x00"):
        assert kind_of(content_type, sample) is kind


@pytest.mark.parametrize(
    "content_type", [None, "", "json", "text/", "/plain", "text/html, application/json", "a/b c", "*"]
)
def test_without_a_readable_type_utf8_is_text(content_type: str | None) -> None:
    assert media_type_of(content_type) is None
    assert kind_of(content_type, b"hello") is Kind.TEXT
    assert kind_of(content_type, "größe €".encode()[:-1]) is Kind.TEXT
    assert kind_of(content_type, b"") is Kind.TEXT
    assert kind_of(content_type, b"\x89PNG\r\n") is Kind.BINARY
    assert kind_of(content_type, None) is Kind.BINARY


@given(st.text(max_size=60))
def test_any_type_has_a_kind(content_type: str) -> None:
    assert kind_of(content_type, b"x") in Kind


TEXT = "größe 1 €"


@pytest.mark.parametrize(
    ("data", "content_type", "text"),
    [
        (TEXT.encode(), None, TEXT),
        (TEXT.encode(), "text/plain", TEXT),
        (TEXT.encode(), "text/plain; charset=UTF-8", TEXT),
        (TEXT.encode("utf-8-sig"), "text/plain", TEXT),
        ("größe".encode("latin-1"), "text/plain; charset=ISO-8859-1", "größe"),
        (TEXT.encode("cp1252"), 'text/plain; a=b; charset="windows-1252"', TEXT),
        (TEXT.encode("utf-16"), "text/plain; charset=utf-16", TEXT),
        (TEXT.encode("utf-16-le"), "text/plain; charset=utf-16le", TEXT),
        (TEXT.encode("utf-16-be"), "text/plain;charset=UTF-16BE", TEXT),
        (TEXT.encode("utf-16"), "text/plain", TEXT),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "text/plain; charset=utf-8", TEXT),
        (b"a\xffb", "text/plain; charset=no-such-thing", "a\ufffdb"),
        (b"a\xffb", "text/plain; charset=rot13", "a\ufffdb"),
    ],
)
def test_text_is_read_in_its_charset(data: bytes, content_type: str | None, text: str) -> None:
    assert decode_text(data, content_type) == text


@pytest.mark.parametrize("charset", ["utf-16", "utf-16-be", "latin-1", "utf-8-sig"])
def test_a_stream_becomes_utf8_at_every_border(charset: str) -> None:
    text = TEXT if charset != "latin-1" else "größe"
    data = text.encode(charset)
    for cut in range(len(data) + 1):
        stream = Utf8Stream(charset)
        assert stream.feed(data[:cut]) + stream.feed(data[cut:]) + stream.finish() == text.encode()


def test_the_byte_order_mark_wins() -> None:
    assert charset_of("text/plain; charset=latin1", b"\xff\xfea\x00") == "utf-16"
    assert charset_of("text/plain; charset=latin1", b"abc") == "latin-1"
    assert charset_of(None) == "utf-8"


@pytest.mark.parametrize(
    ("content_type", "is_known", "shown"),
    [
        (None, True, None),
        ("text/plain", True, "text/plain"),
        ("text/plain; charset=UTF-8", True, "text/plain; charset=UTF-8"),
        ("text/plain; charset=us-ascii", True, "text/plain; charset=us-ascii"),
        ("Text/CSV; header=present; charset=ISO-8859-1", True, "text/csv; charset=utf-8"),
        ('text/plain; charset="utf-16"', True, "text/plain; charset=utf-8"),
        ("text/plain; charset=utf-32", False, "text/plain; charset=utf-32"),
        ("text/plain; charset=utf-7", False, "text/plain; charset=utf-7"),
    ],
)
def test_a_filtered_text_says_that_it_is_in_utf8(content_type: str | None, is_known: bool, shown: str | None) -> None:
    assert has_known_charset(content_type) is is_known
    assert in_utf8(content_type) == shown
