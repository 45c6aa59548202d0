"""Line streams: NDJSON and JSONL (a value a line), JSON text sequences (a record separator before each value).

    bytes -> record_splitter(...).feed -> records, bytes unchanged
             value_text(record)        -> the JSON text in it
             with_value(record, text)  -> the same record with another text

A JSON text sequence may break lines inside a value, so a record is complete only with the next separator.
Source: contract/broker.md section 10.3; RFC 7464 section 2.
"""

from typing import Final

from agenthifive.broker.streams import Splitter

RECORD_SEPARATOR: Final = b"\x1e"


def record_splitter(*, is_json_seq: bool) -> Splitter:
    """Cuts a line stream into records; empty lines are records too."""
    return Splitter(_find_separator if is_json_seq else _find_line_end)


def value_text(record: bytes) -> bytes:
    """The JSON text of a record, without separator and line end; empty for an empty line."""
    return record.lstrip(RECORD_SEPARATOR).strip(b" \t\r\n")


def with_value(record: bytes, text: bytes) -> bytes:
    """The record with its JSON text replaced; what stands around it stays.

    Shapes:
        text: without line breaks.
    """
    old = value_text(record)
    start = record.index(old)
    return record[:start] + text + record[start + len(old) :]


def _find_line_end(data: bytes | bytearray, start: int, searched: int) -> int:
    end = data.find(b"\n", max(start, searched))
    return end + 1 if end >= 0 else -1


def _find_separator(data: bytes | bytearray, start: int, searched: int) -> int:
    return data.find(RECORD_SEPARATOR, max(start + 1, searched))
