"""Bodies: each row of the contract's table, and that what is judged is what is sent.

Source: contract/broker.md sections 6, 14.2 and 19 (cases 16 and 17).
"""

import base64

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from agenthifive import strict_json
from agenthifive.broker.body import (
    InvalidBody,
    OutgoingBody,
    read_body,
    read_raw_body,
    rewrite_body,
)

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
PNG = base64.b64encode(b"\x89PNG\r\n").decode()


def read(body, content_type=None):
    return read_body(body, content_type, boundary="BOUNDARY")


def refused(body, content_type=None):
    with pytest.raises(InvalidBody) as caught:
        read(body, content_type)
    return caught.value.code


def binary(data, **members):
    return {"_binary": True, "data": base64.b64encode(data).decode(), **members}


TWICE = '{"a":1,"a":2}'
UTF_16 = "text/html;charset=utf-16"

# fmt: off
BODIES = [
    (None, None, ("none", "none", None, None, None)),
    (None, JSON, ("none", "none", None, None, JSON)),
    ({"b": 1, "a": "é"}, None, ("json", "json", {"b": 1, "a": "é"}, '{"b":1,"a":"é"}'.encode(), JSON)),
    ([], None, ("json", "json", [], b"[]", JSON)),
    ({}, "application/merge-patch+json", ("json", "json", {}, b"{}", "application/merge-patch+json")),
    ({}, "text/plain", ("json", "json", {}, b"{}", "text/plain")),
    ({"n": 10**30}, None, ("json", "json", {"n": 10**30}, b'{"n":1' + b"0" * 30 + b"}", JSON)),
    (' {"a" : 1}\n', None, ("json", "json", {"a": 1}, b'{"a":1}', JSON)),
    ("[1]", "text/json; charset=utf-8", ("json", "json", [1], b"[1]", "text/json; charset=utf-8")),
    (TWICE, None, ("text", "text", TWICE, TWICE.encode(), "text/plain")),
    (TWICE, JSON, ("text", "text", TWICE, TWICE.encode(), JSON)),
    ('{"a":1}', "text/plain", ("text", "text", '{"a":1}', b'{"a":1}', "text/plain")),
    ("[NaN]", None, ("text", "text", "[NaN]", b"[NaN]", "text/plain")),
    ("5", None, ("text", "text", "5", b"5", "text/plain")),
    ("é", None, ("text", "text", "é", "é".encode(), "text/plain")),
    ("", None, ("text", "text", "", b"", "text/plain")),
    ("<a/>", "application/xml", ("text", "text", "<a/>", b"<a/>", "application/xml")),
    ("chat_id=5&%63=+", FORM, ("form", "form", "chat_id=5&%63=+", b"chat_id=5&%63=+", FORM)),
    ('{"a":1}', FORM, ("form", "form", '{"a":1}', b'{"a":1}', FORM)),
    (binary(b"\0\1"), None, ("binary", "opaque", None, b"\0\1", "application/octet-stream")),
    (binary(b"\0\1"), "image/png", ("binary", "opaque", None, b"\0\1", "image/png")),
    (binary(b"\0", contentType="image/gif"), "image/png", ("binary", "opaque", None, b"\0", "image/gif")),
    (binary(b"\0", contentType=None), "image/png", ("binary", "opaque", None, b"\0", "image/png")),
    (binary(b" [1] "), JSON, ("binary", "json", [1], b" [1] ", JSON)),
    (binary(TWICE.encode(), contentType=JSON), None, ("binary", "text", TWICE, TWICE.encode(), JSON)),
    (binary(b"a=b", contentType=FORM), None, ("binary", "form", "a=b", b"a=b", FORM)),
    (binary(b"hi", contentType="text/html"), None, ("binary", "text", "hi", b"hi", "text/html")),
    (binary(b"\xff", contentType="text/html"), None, ("binary", "opaque", None, b"\xff", "text/html")),
    (binary(b"h\0", contentType=UTF_16), None, ("binary", "opaque", None, b"h\0", UTF_16)),
    (binary(b""), None, ("binary", "opaque", None, b"", "application/octet-stream")),
    ({"_binary": "true"}, None, ("json", "json", {"_binary": "true"}, b'{"_binary":"true"}', JSON)),
    ({"_multipart": 1}, None, ("json", "json", {"_multipart": 1}, b'{"_multipart":1}', JSON)),
    ({"a": {"_binary": True}}, None, ("json", "json", {"a": {"_binary": True}}, b'{"a":{"_binary":true}}', JSON)),
]
# fmt: on


@pytest.mark.parametrize(("body", "content_type", "expected"), BODIES, ids=lambda value: ascii(value)[:60])
def test_each_kind_of_body_is_read_and_sent(body, content_type, expected):
    assert read(body, content_type) == OutgoingBody(*expected)


def test_exactly_the_decoded_bytes_are_sent_with_the_callers_type():
    body = read({"_binary": True, "data": PNG}, "image/png")
    assert (body.data, body.content_type) == (b"\x89PNG\r\n", "image/png")


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (5, None, "invalid_request"),
        (0.5, None, "invalid_request"),
        (True, None, "invalid_request"),
        ({"chat_id": "1", "a&chat_id=2&x": 1}, FORM, "invalid_request"),
        ([], "multipart/form-data; boundary=x", "invalid_request"),
        ({}, "application/json, " + FORM, "invalid_request"),
        ({}, "nonsense", "invalid_request"),
        ({}, "application/json; charset=utf-16", "invalid_request"),
        ("\0a", "text/plain; charset=utf-16", "invalid_request"),
        ("a", "text/plain, text/html", "invalid_request"),
        ("+ADw-", "text/html; charset=utf-7", "invalid_request"),
        ("\ud800", None, "invalid_json"),
        ({"a": "\ud800"}, None, "invalid_json"),
        ({"_binary": True}, None, "invalid_binary_body"),
        ({"_binary": True, "data": "*"}, None, "invalid_binary_body"),
        ({"_binary": True, "data": 5}, None, "invalid_binary_body"),
        (binary(b"", filename="x"), None, "invalid_binary_body"),
        (binary(b"", _multipart=True), None, "invalid_binary_body"),
        (binary(b"", contentType="x"), None, "invalid_binary_body"),
        (binary(b"", contentType="image/png\r\nX: y"), None, "invalid_binary_body"),
        (binary(b"", contentType=5), None, "invalid_binary_body"),
        (binary(b""), "nonsense", "invalid_binary_body"),
        ({"_multipart": True, "parts": []}, None, "invalid_binary_body"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_what_could_be_read_in_two_ways_is_refused(body, content_type, code):
    assert refused(body, content_type) == code


def test_a_multipart_body_gets_our_boundary_whatever_the_caller_said():
    body = read({"_multipart": True, "parts": [{"name": "a", "value": "b"}]}, "multipart/form-data; boundary=theirs")
    assert body.content_type == "multipart/form-data; boundary=BOUNDARY"
    assert body.data.startswith(b"--BOUNDARY\r\n")
    assert [part.name for part in body.value] == ["a"]


class TestRaw:
    @pytest.mark.parametrize(
        ("data", "content_type", "kind"),
        [
            (b"", "application/json", "none"),
            (b' {"b":1, "a":[1.50]}\n', "application/json", "json"),
            (b"[]", None, "json"),
            (b"{}", "text/plain;charset=UTF-8", "json"),
            (b"--x\r\n", "multipart/form-data; boundary=x", "binary"),
            (b"RIFF", "audio/wav", "binary"),
        ],
    )
    def test_bytes_are_sent_as_they_came(self, data, content_type, kind):
        body = read_raw_body(data, content_type)
        assert (body.kind, body.data, body.content_type) == (kind, data or None, content_type)
        assert body.reading == ("opaque" if kind == "binary" else kind)

    @pytest.mark.parametrize(
        "data", [b'{"a":1,"a":2}', b"[NaN]", b"{", b"\xff", b"\xef\xbb\xbf{}", b"{}x", b"a=b", b"[" * 65]
    )
    @pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", FORM])
    def test_what_is_not_strict_json_is_refused_whatever_its_label(self, data, content_type):
        with pytest.raises(InvalidBody) as caught:
            read_raw_body(data, content_type)
        assert caught.value.code == "invalid_json"

    @pytest.mark.parametrize(
        ("data", "content_type"),
        [
            (b"5", None),
            (b'"a"', None),
            (b"null", None),
            (b"{}", "application/json; charset=utf-16"),
            (b"{}", "x"),
        ],
    )
    def test_what_is_no_request_is_refused(self, data, content_type):
        with pytest.raises(InvalidBody) as caught:
            read_raw_body(data, content_type)
        assert caught.value.code == "invalid_request"


class TestRewrite:
    @pytest.mark.parametrize(
        ("body", "content_type", "value", "data"),
        [
            ({"a": "secret"}, None, {"a": "[x]"}, b'{"a":"[x]"}'),
            ("a=secret", FORM, "a=x", b"a=x"),
            ("secret", None, "é", "é".encode()),
            (binary(b'{"a":1}', contentType="text/json"), None, {"a": 2}, b'{"a":2}'),
        ],
    )
    def test_the_bytes_follow_the_value(self, body, content_type, value, data):
        before = read(body, content_type)
        after = rewrite_body(before, value, boundary="B")
        assert (after.value, after.data) == (value, data)
        assert (after.kind, after.reading, after.content_type) == (
            before.kind,
            before.reading,
            before.content_type,
        )

    @pytest.mark.parametrize("subtype", ["form-data", "related"])
    def test_parts_are_written_anew_in_their_subtype(self, subtype):
        before = read({"_multipart": True, "subtype": subtype, "parts": [{"name": "a", "value": "b"}]})
        after = rewrite_body(before, list(before.value), boundary="OTHER")
        assert after.content_type == f"multipart/{subtype}; boundary=OTHER"
        assert after.data == before.data.replace(b"BOUNDARY", b"OTHER")

    @pytest.mark.parametrize("body", [None, binary(b"\0")])
    def test_nothing_else_can_be_rewritten(self, body):
        with pytest.raises(ValueError, match="no value"):
            rewrite_body(read(body), "x", boundary="B")


KEYS = st.text(max_size=4) | st.sampled_from(
    ["_binary", "_multipart", "data", "parts", "name", "value", "contentType", "subtype"]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
JSON_VALUES = st.recursive(
    LEAVES | st.just(PNG),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
TYPES = (
    st.none()
    | st.sampled_from(["application/json", FORM, "text/plain", "image/png", "multipart/form-data", "x"])
    | st.text(max_size=12)
)


@settings(max_examples=250, deadline=None, database=None)
@given(
    JSON_VALUES
    | st.builds(lambda body, key: {**body, key: True}, st.dictionaries(KEYS, JSON_VALUES, max_size=3), KEYS),
    TYPES,
)
def test_any_json_value_is_refused_or_sent_as_judged(body, content_type):
    try:
        outgoing = read(body, content_type)
    except InvalidBody as error:
        event(error.code)
        return
    event(outgoing.kind)
    if outgoing.reading == "json":
        assert strict_json.loads(outgoing.data) == outgoing.value
    if outgoing.reading in ("text", "form"):
        assert outgoing.data.decode() == outgoing.value
    if outgoing.kind == "json" and not isinstance(body, str):
        assert outgoing.value == body
    assert (outgoing.data is None) == (outgoing.kind == "none")
    assert outgoing.kind == "none" or "\n" not in outgoing.content_type


@settings(max_examples=200, deadline=None, database=None)
@given(
    st.binary(max_size=40)
    | st.text(max_size=40).map(lambda text: f'{{"a":"{text}"}}'.encode("utf-8", "surrogatepass")),
    TYPES,
)
def test_any_raw_bytes_are_refused_or_sent_as_they_came(data, content_type):
    try:
        outgoing = read_raw_body(data, content_type)
    except InvalidBody as error:
        event(error.code)
        return
    assert (outgoing.data or b"") == data
