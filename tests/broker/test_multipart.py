"""The `_multipart` envelope: what rules see by name is what the provider will read.

Source: contract/broker.md section 6, rows of `_multipart` and the sentence on envelopes.
"""

import base64
from email import message_from_bytes

import pytest

from agenthifive.broker.multipart import InvalidBody, Part, decode_base64, read_parts, write_multipart


def b64(data):
    return base64.b64encode(data).decode()


def envelope(*parts, **members):
    return {"_multipart": True, "parts": list(parts), **members}


def refused(value):
    with pytest.raises(InvalidBody) as caught:
        read_parts(value)
    return caught.value.code


def test_parts_are_read_and_written():
    subtype, parts = read_parts(
        envelope(
            {"name": "chat_id", "value": "5"},
            {
                "name": "document",
                "filename": "a.pdf",
                "contentType": "application/pdf",
                "data": b64(b"\x00\xff\r\n--x"),
            },
            {
                "name": "ü",
                "filename": "Bob's plan.txt",
                "contentType": "text/plain",
                "data": b64("é".encode()),
            },
        )
    )
    assert subtype == "form-data"
    assert parts == (
        Part("chat_id", None, None, "5", None),
        Part("document", "a.pdf", "application/pdf", None, b"\x00\xff\r\n--x"),
        Part("ü", "Bob's plan.txt", "text/plain", "é", None),
    )
    assert write_multipart(parts, subtype, "BOUND") == (
        b'--BOUND\r\nContent-Disposition: form-data; name="chat_id"\r\n\r\n5\r\n'
        b'--BOUND\r\nContent-Disposition: form-data; name="document"; filename="a.pdf"\r\n'
        b"Content-Type: application/pdf\r\n\r\n\x00\xff\r\n--x\r\n"
        b'--BOUND\r\nContent-Disposition: form-data; name="\xc3\xbc"; filename="Bob\'s plan.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n\xc3\xa9\r\n"
        b"--BOUND--\r\n"
    )


def test_related_parts_have_types_and_no_names_on_the_wire():
    subtype, parts = read_parts(
        envelope(
            {"contentType": "application/json", "value": '{"name":"x"}'},
            {"name": "media", "contentType": "image/png", "data": "AAEC"},
            subtype="related",
        )
    )
    written = write_multipart(parts, subtype, "B")
    message = message_from_bytes(b"Content-Type: multipart/related; boundary=B\r\n\r\n" + written)
    assert [part.get_content_type() for part in message.get_payload()] == ["application/json", "image/png"]
    assert b"media" not in written


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ({"name": "chat_id", "data": b64(b"2")}, "2"),
        ({"name": "chat_id", "contentType": "image/png", "data": b64(b"2")}, "2"),
        (
            {"name": "f", "filename": "f", "contentType": "application/json", "data": b64(b'{"a":1,"a":2}')},
            '{"a":1,"a":2}',
        ),
        ({"name": "f", "filename": "f", "contentType": "text/csv", "data": b64(b"a,b")}, "a,b"),
        ({"name": "f", "filename": "f", "data": b64(b"2")}, None),
        ({"name": "chat_id", "data": b64(b"\xff")}, None),
        (
            {"name": "f", "filename": "f", "contentType": "text/plain; charset=utf-16", "data": b64(b"ab")},
            None,
        ),
    ],
)
def test_bytes_are_shown_to_rules_wherever_the_provider_would_read_text(part, value):
    _, (read,) = read_parts(envelope(part))
    assert read.value == value
    assert (read.data is None) == (value is not None)


OK = {"name": "a", "value": "b"}


@pytest.mark.parametrize(
    "value",
    [
        envelope(OK, extra=1),
        envelope(OK, subtype="mixed"),
        envelope(OK, subtype=""),
        envelope(OK, subtype=["form-data"]),
        envelope(),
        {"_multipart": True},
        {"_multipart": True, "parts": {"name": "a"}},
        {"_multipart": True, "parts": None},
        envelope(*[OK] * 101),
        envelope("a"),
        envelope({**OK, "headers": {}}),
        envelope({"value": "b"}),
        envelope({"name": None, "value": "b"}),
        envelope({"name": "", "value": "b"}),
        envelope({"name": 1, "value": "b"}),
        envelope({"name": "a"}),
        envelope({"name": "a", "value": None}),
        envelope({"name": "a", "value": "b", "data": ""}),
        envelope({"name": "a", "value": 5}),
        envelope({"name": "a", "value": {"b": 1}}),
        envelope({"name": "a", "value": "\ud800"}),
        envelope({"name": "a", "data": "!"}),
        envelope({**OK, "contentType": "nonsense"}),
        envelope({**OK, "contentType": "text/plain\r\nX: y"}),
        envelope({**OK, "contentType": 5}),
        envelope({**OK, "contentType": "text/plain; charset=utf-16"}),
        envelope({**OK, "contentType": "multipart/mixed; boundary=x"}),
        envelope({**OK, "contentType": "Message/RFC822"}),
        *(
            envelope({**OK, member: f"a{char}b"})
            for member in ("name", "filename")
            for char in '\r\n\0\t"/\\\x7f\x85\u2028\ud800'
        ),
        envelope({**OK, "filename": ".."}),
        envelope({**OK, "filename": "n" * 256}),
    ],
    ids=lambda value: ascii(value)[:80],
)
def test_everything_else_is_refused(value):
    assert refused(value) == "invalid_binary_body"


@pytest.mark.parametrize("text", ['{"a":1,"a":2}', "{", "[NaN]"])
@pytest.mark.parametrize(("subtype", "member"), [("form-data", None), ("related", None), ("related", "filename")])
def test_a_json_field_must_be_strict(text, subtype, member):
    part = {"name": "a", "contentType": "application/json; charset=utf-8", "data": b64(text.encode())}
    if member:
        part[member] = "x.json"
    assert refused(envelope(part, subtype=subtype)) == "invalid_json"


def test_a_hundred_parts_are_allowed():
    assert len(read_parts(envelope(*[OK] * 100))[1]) == 100


# fmt: off
BAD_BASE64 = [
    "A", "AA=", "AAA==", "AA==AA==", "=", "A=A=", "AA\n==", " AA==", "AA ==", "+_8=", "-/8=", "ä", "A*==", "*", "====",
    "AAAA=", "AAAA====", "AAA=A", "\ud800", None, 5, b"AA==", ["AA=="],
]
# fmt: on


class TestBase64:
    @pytest.mark.parametrize(
        ("text", "data"),
        [
            ("", b""),
            ("AA==", b"\0"),
            ("AA", b"\0"),
            ("-_8=", b"\xfb\xff"),
            ("-_8", b"\xfb\xff"),
            ("+/8=", b"\xfb\xff"),
        ],
    )
    def test_both_alphabets_padded_or_not(self, text, data):
        assert decode_base64(text, "x") == data

    @pytest.mark.parametrize("text", BAD_BASE64, ids=ascii)
    def test_anything_else_is_refused(self, text):
        with pytest.raises(InvalidBody) as caught:
            decode_base64(text, "x")
        assert caught.value.code == "invalid_binary_body"
