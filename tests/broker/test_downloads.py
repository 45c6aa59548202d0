"""A file leaves as its own bytes under a harmless name, and only when it was asked for."""

import base64
import json
import os
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.broker.downloads import (
    OCTET_STREAM,
    Attachment,
    attachment_header,
    attachment_payload,
    binary_summary,
    filename_of,
)

FILE = bytes(range(256))


@pytest.mark.parametrize("name", ["data", "content"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padding", ["=", ""])
@pytest.mark.parametrize("size", [254, 255, 256])
def test_base64_in_json_becomes_its_bytes(name: str, encode: object, padding: str, size: int) -> None:
    assert callable(encode)
    text = encode(FILE[:size]).decode().replace("=", padding)
    assert attachment_payload({"size": 3, name: text}) == Attachment(FILE[:size], OCTET_STREAM, None)


def test_line_breaks_inside_base64_are_no_obstacle() -> None:
    attachment = attachment_payload({"content": base64.encodebytes(FILE).decode(), "encoding": "base64"})
    assert attachment is not None
    assert attachment.data == FILE


def test_type_and_name_are_those_of_the_provider() -> None:
    text = base64.b64encode(FILE).decode()
    assert attachment_payload({"data": text, "mimeType": "image/png", "filename": "a.png"}) == Attachment(
        FILE, "image/png", "a.png"
    )
    assert attachment_payload(
        {"data": text, "contentType": "text/plain; charset=utf-8", "mimeType": "x/y"}
    ) == Attachment(FILE, "text/plain; charset=utf-8", None)
    for bad in ("text/html\r\nset-cookie: a=b", "html", 7, ""):
        attachment = attachment_payload({"data": text, "contentType": bad, "filename": 5})
        assert attachment == Attachment(FILE, OCTET_STREAM, None)


@pytest.mark.parametrize(
    "value",
    [
        {"data": base64.b64encode(b"x" * 75).decode()},  # exactly 100 characters
        {"data": "A" * 101},  # no base64 has this length
        {"data": "A" * 102 + "="},
        {"data": "-" * 80 + "+" * 80},
        {"data": "hello world " * 20},
        {"data": "é" * 200},
        {"data": None, "content": 5},
        {"other": "A" * 200},
        ["A" * 200],
        "A" * 200,
        None,
    ],
)
def test_other_json_is_no_file(value: object) -> None:
    assert attachment_payload(value) is None


def test_more_than_a_hundred_characters_are_a_file() -> None:
    assert attachment_payload({"data": "A" * 102}) == Attachment(b"\0" * 76, OCTET_STREAM, None)


def test_content_counts_when_data_is_no_file() -> None:
    assert attachment_payload({"data": {"x": 1}, "content": "A" * 200}) is not None


def test_the_summary_names_the_next_call() -> None:
    summary = binary_summary(
        "application/pdf", 48213, 'attachment; filename="q.pdf"', {"url": "https://x.test/q", "connectionId": "c1"}
    )
    assert summary == {
        "_binaryContent": True,
        "contentType": "application/pdf",
        "sizeBytes": 48213,
        "contentDisposition": 'attachment; filename="q.pdf"',
        "hint": "Send this call again with download:true, or use vault_download with "
        '{"url":"https://x.test/q","connectionId":"c1"}',
    }
    assert json.dumps(binary_summary(None, None, None, {"url": "u", "service": "slack"})).count("null") == 2


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="q.pdf"', "q.pdf"),
        ("inline; FILENAME=q.pdf; size=3", "q.pdf"),
        (r'attachment; filename="a\"b\\c.pdf"', r'a"b\c.pdf'),
        ("attachment; filename=\"plain.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt", "größe.txt"),
        ("attachment", None),
        (None, None),
    ],
)
def test_the_name_of_a_provider_is_read(disposition: str | None, name: str | None) -> None:
    assert filename_of(disposition) == name


def test_names_are_made_harmless() -> None:
    assert attachment_header("q.pdf") == "attachment; filename=\"q.pdf\"; filename*=UTF-8''q.pdf"
    assert attachment_header("größe 1.txt") == (
        "attachment; filename=\"gr__e 1.txt\"; filename*=UTF-8''gr%C3%B6%C3%9Fe%201.txt"
    )
    assert attachment_header("../../etc/pass\r\nwd") == "attachment; filename=\"etcpasswd\"; filename*=UTF-8''etcpasswd"
    assert attachment_header("gpj.\u202eexe.") == "attachment; filename=\"gpj.exe.\"; filename*=UTF-8''gpj.exe."
    for empty in (None, "", "/", "..", "\x00"):
        assert attachment_header(empty) == "attachment"


@given(st.text(max_size=400) | st.text(st.sampled_from("\"'/\\.\r\n\x00 ;=é\ud800"), max_size=20))
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    header = attachment_header(name)
    assert header.isascii()
    assert header.isprintable()
    assert header.startswith("attachment")
    if header != "attachment":
        start, plain, extended = header.split('"')
        assert start == "attachment; filename="
        assert extended.startswith("; filename*=UTF-8''")
        kept = unquote(extended[19:])
        assert not set(kept + plain) & set('"/\\\r\n\x00' + os.sep)
        assert len(kept) <= 200
        assert not kept.startswith(".")
