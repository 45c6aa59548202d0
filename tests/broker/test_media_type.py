"""Content types: one reading, and no charset that UTF-8 bytes could be misread in.

Source: contract/broker.md section 6.
"""

import time

import pytest

from agenthifive.broker.media_type import read_media_type


@pytest.mark.parametrize(
    ("text", "essence"),
    [
        ("application/json", "application/json"),
        ("Application/JSON ; charset=UTF-8", "application/json"),
        ('text/plain;charset="utf-8" ; x=y;', "text/plain"),
        ("multipart/form-data; boundary=----x'y", "multipart/form-data"),
        ("application/vnd.api+json;v=1", "application/vnd.api+json"),
    ],
)
def test_a_content_type_is_read(text, essence):
    media_type = read_media_type(text)
    assert media_type is not None
    assert media_type.essence == essence
    assert media_type.is_utf8


# fmt: off
UNREADABLE = [
    "", "json", "a/", "/b", "a/b/c", "a b/c", "application/json, text/plain", "application/json,a/b; q=1", " a/b",
    "a/b; x", "a/b; x=", "a/b; =y", 'a/b; x="y', 'a/b; x="\\""', "a/b\r\nx: y", "ä/b", "a/b x", "*/*,",
    "a/b ", "a/b; ", "a/b;x=y\t",
]
OTHER_CHARSETS = [
    "charset=utf-16", "charset=UTF-7", 'charset="iso-2022-jp"', "charset=utf-8;charset=utf-16", "CharSet=latin-1",
    "charset=utf-16;charset=utf-8", "charset*=utf-8''utf-16", "charset*0=utf-16", 'x="; charset=utf-16"',
]
# fmt: on


@pytest.mark.parametrize("text", UNREADABLE)
def test_text_with_no_or_several_readings_is_none(text):
    assert read_media_type(text) is None


@pytest.mark.parametrize("parameters", OTHER_CHARSETS)
def test_another_charset_is_seen(parameters):
    media_type = read_media_type(f"text/plain; {parameters}")
    assert media_type is not None
    assert not media_type.is_utf8


def test_kinds():
    kinds = {
        "application/json": "is_json",
        "text/json": "is_json",
        "application/problem+json": "is_json",
        "application/x-www-form-urlencoded": "is_form",
        "multipart/related": "is_multipart",
        "text/csv": "is_text",
    }
    for text, kind in kinds.items():
        assert getattr(read_media_type(text), kind)
    assert not read_media_type("application/jsonl").is_json
    assert not read_media_type("application/x-ndjson").is_json


@pytest.mark.parametrize("text", ["a/b" + " ; " * 2700 + "=", "a/b;" + " " * 8000 + "=", 'a/b;x="' + ";charset=" * 900])
def test_no_text_takes_long(text):
    started = time.process_time()
    assert read_media_type(text) is None
    assert time.process_time() - started < 0.2
