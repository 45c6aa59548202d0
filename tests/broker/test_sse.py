"""Events are cut where their readers cut them, and no byte is changed that need not be."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.broker.sse import Event, event_splitter, read_event, with_data, with_others, write_event
from agenthifive.broker.streams import RECORD_MAX_BYTES, RecordTooLarge


def cut(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = event_splitter()
    return [record for chunk in chunks for record in splitter.feed(chunk)], splitter.finish()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_conversation_with_each_line_ending(end: bytes) -> None:
    lines = [
        b": hello",
        b"",
        b"event: delta",
        b"data: a",
        b"data:b",
        b"id: 7",
        b"odd: x",
        b"",
        b"data: [DONE]",
        b"",
        b"",
    ]
    records, rest = cut([end.join(lines)])
    assert rest == b""
    assert [read_event(record) for record in records] == [
        Event(None, None, None),
        Event("delta", "a\nb", "7"),
        Event(None, "[DONE]", None),
    ]
    assert read_event(records[2]).is_done
    assert not read_event(records[1]).is_done
    assert b"".join(records) == end.join(lines)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([b"data: x", b"\r", b"\n", b"\r\n", b":c", b"\xef\xbb\xbf"]), max_size=12).map(b"".join),
    st.data(),
)
def test_the_records_are_the_stream_and_do_not_depend_on_the_chunks(data: bytes, source: st.DataObject) -> None:
    whole = cut([data])
    assert b"".join(whole[0]) + whole[1] == data
    assert cut([bytes((byte,)) for byte in data]) == whole
    at = source.draw(st.integers(0, len(data)))
    assert cut([data[:at], data[at:]]) == whole


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["data: x", "data:y", "\r", "\n", "\r\n", "event: e", "id:1"]), max_size=12).map("".join)
)
def test_what_is_read_is_what_the_standard_says(text: str) -> None:
    """Against a reading of the whole, line by line: normalise the ends, an empty line dispatches."""
    expected, name, data, event_id = [], None, [], None
    for line in [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "id":
            event_id = value
        elif not line and data:
            expected.append((name, "\n".join(data), event_id))
        if not line:
            name, data, event_id = None, [], None
    records, rest = cut([text.encode()])
    events = [read_event(record) for record in [*records, rest]]
    assert [(event.name, event.data, event.id) for event in events if event.data is not None] == expected


def test_an_event_is_cut_as_soon_as_it_is_complete() -> None:
    splitter = event_splitter()
    assert splitter.feed(b"data: 1\r\n\r") == []
    assert splitter.feed(b"\ndata: 2") == [b"data: 1\r\n\r\n"]
    assert splitter.feed(b"\n\n") == [b"data: 2\n\n"]
    assert splitter.feed(b"data: 3\r\r") == [b"data: 3\r\r"]
    assert splitter.feed(b"\n") == [b"\n"]


def test_a_byte_order_mark_does_not_hide_the_first_line() -> None:
    record = b"\xef\xbb\xbfdata: x\n\n"
    assert read_event(record).data == "x"
    assert with_data(record, "y") == b"\xef\xbb\xbfdata: y\n\n"


def test_other_data_leaves_the_rest_as_it_was() -> None:
    record = b": note\r\nevent:e\r\ndata: 1\r\nretry: 5\r\ndata: 2\r\nodd\r\n\r\n"
    assert with_data(record, "a\nb") == b": note\r\nevent:e\r\ndata: a\r\ndata: b\r\nretry: 5\r\nodd\r\n\r\n"
    assert with_data(b": ping\n\n", "x") == b": ping\n\n"
    assert with_data(b"data", "x") == b"data: x\n"


@given(st.text(st.characters(codec="utf-8")))
def test_written_data_is_read_again(data: str) -> None:
    record = with_data(b"data: old\n\n", data)
    assert read_event(record).data == data.replace("\r\n", "\n").replace("\r", "\n")
    assert cut([record]) == ([record], b"")


def test_an_event_of_more_than_a_mebibyte_ends_the_stream_after_those_before_it() -> None:
    largest = b"data: " + b"x" * (RECORD_MAX_BYTES - 8) + b"\n\n"
    assert cut([largest]) == ([largest], b"")
    for body in ([b"data: 1\n\nx" + largest], [b"data: 1\n\n" + b"x" * 10, b"y" * RECORD_MAX_BYTES]):
        with pytest.raises(RecordTooLarge) as error:
            cut(body)
        if len(body) == 1:
            assert error.value.complete == [b"data: 1\n\n"]


def test_an_event_in_many_small_chunks_is_not_copied_each_time() -> None:
    """Half a mebibyte in pieces of 16 bytes: quadratic work would take minutes."""
    splitter = event_splitter()
    assert all(splitter.feed(b"data: 0123456789") == [] for _ in range(RECORD_MAX_BYTES // 32))
    assert len(splitter.feed(b"\n\n")) == 1


def test_lines_without_data_can_be_changed_and_data_and_empty_lines_are_not() -> None:
    record = b"\xef\xbb\xbf: hi\r\nevent: e\rdata: d\ndata\nodd\n\n"
    assert with_others(record, bytes.upper) == b"\xef\xbb\xbf: HI\r\nEVENT: E\rdata: d\ndata\nODD\n\n"
    assert with_others(b"data: a\n\n", lambda _: b"x") == b"data: a\n\n"


@pytest.mark.parametrize("name", [None, "delta"])
def test_an_event_of_our_own_is_one_record(name: str | None) -> None:
    [record] = event_splitter().feed(write_event(name, '{"a":1}'))
    assert read_event(record) == Event(name, '{"a":1}', None)
