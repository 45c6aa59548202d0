"""One reading of JSON at every door: what two readers could understand differently is no JSON here."""

import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agenthifive import strict_json
from agenthifive.strict_json import MAX_DEPTH, InvalidJson, dumps, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
PIECES = st.lists(
    st.sampled_from([b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b'"a"', b"1", b"-", b"1e999", b"NaN", b"Infinity",
                     b"true", b"null", b" ", b"\n", b"\\ud800", b"\\u0041", b"\xef\xbb\xbf", b"\xff", b"\x00",
                     b"\xc3\xa9", b"9" * 5000]),
    max_size=30,
).map(b"".join)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        b"", b" ", b"{", b'{"a":1,}', b"[1,]", b"'a'", b"{a:1}", b"01", b"+1", b".5", b"1.", b"// x\n1", b"\xff",
        b'{"a":1,"a":2}', b'[{"b":{"a":1,"a":1}}]', b'{"a":1,"\\u0061":2}', b"NaN", b"-Infinity", b"[Infinity]",
        b"1e999", b'"\\ud800"', b'{"\\udfff":1}', b'"\\ud83d"', b"\xef\xbb\xbf{}", b"{} {}", b"1 2", b"1\x00",
        b'"a\nb"', b'"\x1f"', b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), b"[" * 100_000, b"9" * 5000,
        b'"\xc0\xaf"', b'"\xed\xa0\x80"', b"tru", b"nul", b'"\\x41"', b'{"a" 1}', b"]" * 200, b"[{" * 40 + b"]}" * 40,
    ],
)  # fmt: skip
def test_what_is_not_strict_json_is_refused_without_being_quoted(text: bytes) -> None:
    with pytest.raises(InvalidJson) as refused:
        loads(text)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b" {\r\n\t\"a\" : [ 1 , 2.5 , \"\\u00e9\\ud83d\\ude00\" ] } \n", {"a": [1, 2.5, "é😀"]}),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b'["' + b"[{" * 500 + b'"]', ["[{" * 500]),
        (b'["\\"' + b"[" * 500 + b'"]', ['"' + "[" * 500]),
        (b"[" + b",".join([b"[{}]"] * 500) + b"]", [[{}]] * 500),
        (b'{"a":1,"A":2}', {"a": 1, "A": 2}),
    ],
)  # fmt: skip
def test_strict_json_is_read(text: bytes, value: Any) -> None:
    assert loads(text) == (json.loads(text) if value is None else value)


@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert loads(dumps(value)) == value
    assert loads(json.dumps(value, indent=1).encode()) == value


@given(st.binary(max_size=200) | PIECES)
@example(b'{"a":{"a":1}}')
@example(b'"' + b"[" * 70)
@example(b"[" * 65 + b'"')
def test_any_bytes_are_refused_in_our_way_or_read_as_every_reader_does(data: bytes) -> None:
    try:
        value = loads(data)
    except InvalidJson:
        return
    assert json.loads(data.decode("utf-8")) == value
    written = dumps(value)
    assert loads(written) == value


def test_many_brackets_are_counted_in_no_more_than_their_length() -> None:
    wide = b"[" + b",".join([b"[]"] * 1_000_000) + b"]"
    assert len(loads(wide)) == 1_000_000
    started = time.process_time()
    strict_json._check_depth(wide, MAX_DEPTH)
    with pytest.raises(InvalidJson):
        loads(b"[" * 3_000_000)
    assert time.process_time() - started < 1.0  # byte by byte it took longer than that alone
