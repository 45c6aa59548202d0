"""Records of line streams are cut and rewritten without touching what stands around the value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.broker.ndjson import record_splitter, value_text, with_value
from agenthifive.broker.streams import RECORD_MAX_BYTES, RecordTooLarge


def cut(chunks: list[bytes], *, is_json_seq: bool) -> tuple[list[bytes], bytes]:
    splitter = record_splitter(is_json_seq=is_json_seq)
    return [record for chunk in chunks for record in splitter.feed(chunk)], splitter.finish()


def test_lines() -> None:
    records, rest = cut([b'{"a":1}\r\n\n {"b":2}\n{"c"'], is_json_seq=False)
    assert records == [b'{"a":1}\r\n', b"\n", b' {"b":2}\n']
    assert [value_text(record) for record in records] == [b'{"a":1}', b"", b'{"b":2}']
    assert rest == b'{"c"'


def test_a_text_sequence_may_break_lines_inside_a_value() -> None:
    records, rest = cut([b'\x1e{"a":\n1}\n\x1e\x1e[2]\n'], is_json_seq=True)
    assert records == [b'\x1e{"a":\n1}\n', b"\x1e"]
    assert value_text(records[0]) == b'{"a":\n1}'
    assert value_text(rest) == b"[2]"


@given(
    st.lists(st.sampled_from([b"{}", b"\n", b"\r\n", b"\x1e", b" "]), max_size=12).map(b"".join),
    st.booleans(),
    st.data(),
)
def test_the_records_do_not_depend_on_the_chunks(data: bytes, is_json_seq: bool, source: st.DataObject) -> None:
    whole = cut([data], is_json_seq=is_json_seq)
    assert b"".join(whole[0]) + whole[1] == data
    assert cut([bytes((byte,)) for byte in data], is_json_seq=is_json_seq) == whole
    at = source.draw(st.integers(0, len(data)))
    assert cut([data[:at], data[at:]], is_json_seq=is_json_seq) == whole


def test_a_rewritten_record_keeps_its_frame() -> None:
    assert with_value(b'\x1e {"a":1}\r\n', b"{}") == b"\x1e {}\r\n"
    assert with_value(b'{"a":1}', b"{}") == b"{}"


def test_a_record_of_more_than_a_mebibyte_ends_the_stream() -> None:
    with pytest.raises(RecordTooLarge) as error:
        cut([b"1\n" + b"x" * (RECORD_MAX_BYTES + 1)], is_json_seq=False)
    assert error.value.complete == [b"1\n"]
    assert cut([b"x" * (RECORD_MAX_BYTES - 1) + b"\n"], is_json_seq=False)[1] == b""
