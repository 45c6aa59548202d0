"""Server-sent events, cut and read as their readers do.

    bytes -> event_splitter().feed -> records, each with the empty line that ends it, bytes unchanged
             read_event(record)    -> Event: what a client dispatches
             with_data(record, s)  -> the same record with other data; comments and unknown fields stay
             with_others(record, f)-> the same record with other values in every line but the data
             write_event(name, s)  -> an event of our own

LF, CRLF and CR end a line; an event whose lines end in a bare CR ends at once with its empty line, a line feed after it
is an empty line of its own. Source: contract/broker.md section 10.3; https://html.spec.whatwg.org/ section 9.2.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agenthifive.broker.streams import Splitter

_BOM: Final = b"\xef\xbb\xbf"
_EMPTY_LINE: Final = re.compile(rb"\n(?:\n|\r\n|\r(?=[^\n]))|\r\r")
_LINE: Final = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_LINE_BREAK: Final = re.compile(r"\r\n|\n|\r")
_PATTERN_BYTES: Final = 3


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `data` is None when the record has no data line: comments only, which no client dispatches."""

    name: str | None
    data: str | None
    id: str | None

    @property
    def is_done(self) -> bool:
        """Whether this is the end mark of OpenAI streams."""
        return self.data is not None and self.data.strip() == "[DONE]"


def event_splitter() -> Splitter:
    """Cuts an event stream into records."""
    return Splitter(_find_end)


def read_event(record: bytes) -> Event:
    """What the lines of a record say; of a field given twice the last counts, data lines are joined."""
    name = event_id = None
    data: list[str] = []
    for line, _ in _LINE.findall(record):
        field, value = _split_field(line)
        if field == b"data":
            data.append(_text(value))
        elif field == b"event":
            name = _text(value)
        elif field == b"id":
            event_id = _text(value)
    return Event(name, "\n".join(data) if data else None, event_id)


def with_data(record: bytes, data: str) -> bytes:
    """The record with its data lines replaced, at the place of the first one and with its line ending.

    A record without data lines stays as it is.
    """
    pieces: list[bytes] = []
    is_written = False
    for line, ending in _LINE.findall(record):
        if _split_field(line)[0] != b"data":
            pieces += (line, ending)
        elif not is_written:
            is_written = True
            pieces.append(_BOM if line.startswith(_BOM) else b"")
            pieces += [b"data: " + part.encode() + (ending or b"\n") for part in _LINE_BREAK.split(data)]
    return b"".join(pieces)


def with_others(record: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The record with every line changed that is neither data nor empty: comments, names, ids, unknown fields.

    Shapes:
        change: gives a line without line breaks for one.
    """
    pieces: list[bytes] = []
    for line, ending in _LINE.findall(record):
        is_other = line and _split_field(line)[0] != b"data"
        pieces += (change(line) if is_other else line, ending)
    return b"".join(pieces)


def write_event(name: str | None, data: str) -> bytes:
    """An event of our own.

    Shapes:
        name, data: without line breaks.
    """
    return (b"event: " + name.encode() + b"\n" if name is not None else b"") + b"data: " + data.encode() + b"\n\n"


def _split_field(line: bytes) -> tuple[bytes, bytes]:
    """Name and value. A byte order mark is dropped before every record: at worst we read a line clients ignore."""
    field, _, value = line.removeprefix(_BOM).partition(b":")
    return field, value.removeprefix(b" ")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _find_end(data: bytes | bytearray, start: int, searched: int) -> int:
    if data[start] in b"\r\n":  # an empty line that ends nothing, such as a keep-alive
        return start + 1
    match = _EMPTY_LINE.search(data, max(start, searched - _PATTERN_BYTES))
    return match.end() if match else -1
