"""What event streams and line streams share: cutting into records, and the end after a fault.

Source: contract/broker.md sections 10.3 and 14.4.
"""

from collections.abc import Callable
from typing import Any, Final

from agenthifive import strict_json
from agenthifive.broker.content import Kind
from agenthifive.broker.llm_errors import ANTHROPIC, OPENAI_RESPONSES, vendor_error
from agenthifive.errors import STATUS

RECORD_MAX_BYTES: Final = 1024 * 1024

FindEnd = Callable[[bytes | bytearray, int, int], int]
"""(data, start of the record, what was searched before) -> end of the record, or -1 while it is not there."""


class RecordTooLarge(Exception):
    """An event or record exceeds 1 MiB; the stream ends with an error. `complete`: the records before it."""

    def __init__(self, complete: list[bytes]) -> None:
        super().__init__("an event or record exceeds 1 MiB")
        self.complete = complete


class Splitter:
    """Cuts a stream into its records, byte for byte: joined together they are the stream again."""

    __slots__ = ("_find_end", "_pending", "_searched")

    def __init__(self, find_end: FindEnd) -> None:
        self._find_end = find_end
        self._pending = bytearray()
        self._searched = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The records that are complete now.

        Raises: RecordTooLarge.
        """
        data: bytes | bytearray = chunk
        if self._pending:
            self._pending += chunk
            data = self._pending
        records: list[bytes] = []
        start, searched = 0, self._searched
        while start < len(data) and (end := self._find_end(data, start, searched)) >= 0:
            if end - start > RECORD_MAX_BYTES:
                raise RecordTooLarge(records)
            records.append(bytes(data[start:end]))
            start = searched = end
        self._searched = len(data) - start
        if self._searched > RECORD_MAX_BYTES:
            raise RecordTooLarge(records)
        if data is self._pending:
            del self._pending[:start]
        else:
            self._pending += data[start:]
        return records

    def finish(self) -> bytes:
        """The last record, which nothing ended. It is judged like any other: some clients read it."""
        return bytes(self._pending)


def ends_at_border(kind: Kind, passed: bytes) -> bool:
    """Whether the bytes passed so far end between two records, so that the next one is read as one.

    Shapes:
        passed: the whole, or at least the last four bytes.
    """
    if not passed:
        return True
    if kind is Kind.EVENT_STREAM:
        return passed.endswith((b"\n\n", b"\r\r", b"\n\r\n", b"\n\r"))
    return passed.endswith(b"\n")


def stream_error(
    kind: Kind,
    dialect: str | None,
    code: str,
    message: str,
    *,
    is_at_border: bool = True,
    is_json_seq: bool = False,
    sequence_number: int = 0,
) -> bytes:
    """The last bytes of a stream that broke: an error its reader understands. The connection then ends without the
    final chunk, so that a cut never looks like an end. Empty for replies that are no stream of records.

    Shapes:
        dialect: the LLM `format` or `openrouter`; None: not the LLM proxy. is_at_border: see `ends_at_border`; when
        False the broken record is ended first. sequence_number: of a Responses stream, the one after the last passed.
    """
    if kind is Kind.LINE_STREAM:
        line = strict_json.dumps({"_agenthifiveError": {"code": code}}) + b"\n"
        return (b"" if is_at_border else b"\n") + (b"\x1e" if is_json_seq else b"") + line
    if kind is not Kind.EVENT_STREAM:
        return b""
    name, data = _error_event(dialect, code, message, sequence_number)
    event = (b"event: " + name + b"\n" if name else b"") + b"data: " + strict_json.dumps(data) + b"\n\n"
    return event if is_at_border else b"\n\n" + event


def _error_event(
    dialect: str | None, code: str, message: str, sequence_number: int
) -> tuple[bytes | None, dict[str, Any]]:
    if dialect == OPENAI_RESPONSES:
        event = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": sequence_number}
        return b"error", event
    body = vendor_error(dialect, STATUS[code], code, message) if dialect else None
    if body is None:
        return b"agenthifive-error", {"code": code}
    return b"error" if dialect == ANTHROPIC else None, body
