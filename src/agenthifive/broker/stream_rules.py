"""Response rules on replies that are read piece by piece: event streams, line streams and texts.

    bytes -> EventRules | LineRules -> record -> JSON: SpreadText    the rules, and texts that go on in later records
                                              -> else: text rules    with field rules the stream ends
          -> TextRules              -> HeldText
    provider bytes -> Decompressor -> open_filter: rules, then the secret scrub -> agent

What a filter has given does not depend on how its input was cut. A fault does not raise: `fault` names it, what came
before it has been given, and nothing comes after it. Source: contract/broker.md section 10.3.
"""

import re
from collections.abc import Iterable
from typing import Final, Protocol

from agenthifive.broker import client_json
from agenthifive.broker.content import Kind, Utf8Stream, charset_of, has_known_charset, media_type_of
from agenthifive.broker.filters import Filters, unfilterable
from agenthifive.broker.ndjson import RECORD_SEPARATOR, record_splitter, value_text, with_value
from agenthifive.broker.scrub import SecretScrubber
from agenthifive.broker.spread_text import Shown, SpreadText
from agenthifive.broker.sse import event_splitter, read_event, with_data, with_others, write_event
from agenthifive.broker.streams import RecordTooLarge, Splitter
from agenthifive.policy.held_text import HeldText
from agenthifive.policy.replies import NotFilterable, filter_text

JSON_SEQ: Final = "application/json-seq"
_LINES_KEPT_MAX: Final = 64
_DATA_ONLY: Final = re.compile(rb"data:[^\r\n]*(?:\r\n|\n|\r){2}")
_MARK_BYTES: Final = 3
_PROBE: Final = "-"


class Rules(Protocol):
    """A filter of one reply. `fault`: the code of what ended it early, "" while nothing has."""

    fault: str

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes, give what is decided."""
        ...

    def finish(self) -> bytes:
        """The reply has ended: give the rest."""
        ...


def open_rules(kind: Kind, content_type: str | None, filters: Filters, secrets: SecretScrubber) -> Rules:
    """The filter of a textual reply of this kind that is not JSON.

    Raises: NotFilterable, when it is known beforehand that the rules cannot be carried out.
    """
    filter_text(_PROBE, filters.redacts)
    if kind is Kind.EVENT_STREAM:
        return EventRules(filters, secrets)
    if kind is Kind.LINE_STREAM:
        return LineRules(filters, secrets, is_json_seq=media_type_of(content_type) == JSON_SEQ)
    check_charset(content_type)
    filters.text(_PROBE)
    return TextRules(filters, content_type)


def check_charset(content_type: str | None) -> None:
    """Raises: NotFilterable, when nobody can say which characters a text of this type holds."""
    if not has_known_charset(content_type):
        raise NotFilterable("unparsable")


class FilteredStream:
    """The rules and then the scrub, which sees what the rules have moved over a border."""

    __slots__ = ("_rules", "_scrub")

    def __init__(self, rules: Rules, secrets: SecretScrubber) -> None:
        self._rules = rules
        self._scrub = secrets.stream()

    @property
    def fault(self) -> str:
        """The code of what ended the reply early, else ""."""
        return self._rules.fault

    @property
    def found(self) -> bool:
        """Whether a secret was replaced so far."""
        return self._scrub.found

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes, give what is decided; after a fault all that came before it."""
        shown = self._scrub.feed(self._rules.feed(chunk))
        return shown + self._scrub.finish() if self._rules.fault else shown

    def finish(self) -> bytes:
        """The reply has ended: give the rest."""
        return self._scrub.feed(self._rules.finish()) + self._scrub.finish()


def open_filter(kind: Kind, content_type: str | None, filters: Filters, secrets: SecretScrubber) -> FilteredStream:
    """What every byte of a streamed reply goes through where rules apply.

    Raises: AppError (response_not_filterable), when it is known beforehand that the rules cannot be carried out.
    """
    try:
        return FilteredStream(open_rules(kind, content_type, filters, secrets), secrets)
    except NotFilterable as error:
        raise unfilterable(error.detail) from None


def apply_rules(
    kind: Kind, content_type: str | None, filters: Filters, secrets: SecretScrubber, body: bytes
) -> tuple[bytes, str]:
    """A whole reply under the same rules, and the code of what ended it early, else "". Raises: NotFilterable."""
    rules = open_rules(kind, content_type, filters, secrets)
    shown = rules.feed(body) + rules.finish()
    return shown, rules.fault


class _RecordRules:
    """What event streams and line streams have in common."""

    def __init__(self, splitter: Splitter, filters: Filters, secrets: SecretScrubber) -> None:
        self._splitter = splitter
        self._filters = filters
        self._spread = SpreadText(filters, secrets)
        self.fault = ""

    def feed(self, chunk: bytes) -> bytes:
        if self.fault:
            return b""
        fault = ""
        try:
            records = self._splitter.feed(chunk)
        except RecordTooLarge as error:
            records, fault = error.complete, "response_too_large"
        pieces: list[bytes] = []
        for record in records:
            if not self._add(pieces, record):
                break
        self.fault = self.fault or fault
        return b"".join(pieces)

    def finish(self) -> bytes:
        pieces: list[bytes] = []
        last = b"" if self.fault else self._splitter.finish()
        if not self.fault and (not last or self._add(pieces, last)):
            try:
                rests = self._write(self._spread.finish())
            except NotFilterable:
                self.fault = "response_not_filterable"
            else:
                pieces += [self._end_of(last), *rests] if rests else []
        return b"".join(pieces)

    def _add(self, pieces: list[bytes], record: bytes) -> bool:
        try:
            pieces += self._judge(record)
        except (NotFilterable, RecursionError):
            self.fault = "response_not_filterable"
        return not self.fault

    def _judge(self, record: bytes) -> list[bytes]:
        """What stands for a record. Raises: NotFilterable."""
        raise NotImplementedError

    def _judge_text(self, record: bytes, text: str) -> list[bytes]:
        """What stands for a record that carries this text, JSON as a rule. Raises: NotFilterable."""
        try:
            value, is_strict = client_json.loads(text)
        except client_json.NotJson:
            redacted = self._filters.broken_json(text)
            return [record if redacted == text else self._rewrite(record, redacted)]
        *own, shown = self._spread.take(value, is_strict=is_strict)
        last = record if shown.is_same else self._rewrite(record, client_json.dumps(shown.value).decode())
        return [*self._write(own), last]

    def _rewrite(self, record: bytes, text: str) -> bytes:
        """The record with another text."""
        raise NotImplementedError

    def _write(self, own: Iterable[Shown]) -> list[bytes]:
        """Records of our own."""
        raise NotImplementedError

    def _end_of(self, record: bytes) -> bytes:
        """What ends a last record that nothing ended, so that another may follow."""
        raise NotImplementedError


class EventRules(_RecordRules):
    """Server-sent events."""

    def __init__(self, filters: Filters, secrets: SecretScrubber) -> None:
        super().__init__(event_splitter(), filters, secrets)
        self._redacts = filters.redacts
        self._lines: dict[bytes, bytes] = {}

    def _judge(self, record: bytes) -> list[bytes]:
        if record in (b"\n", b"\r", b"\r\n"):
            return [record]
        event = read_event(record)
        if self._redacts and not _DATA_ONLY.fullmatch(record):
            record = with_others(record, self._other_line)
        if event.data is None or not event.data.strip():
            return [record]
        if event.is_done:
            return [*self._write(self._spread.finish()), record]
        return self._judge_text(record, event.data)

    def _rewrite(self, record: bytes, text: str) -> bytes:
        return with_data(record, text)

    def _write(self, own: Iterable[Shown]) -> list[bytes]:
        return [write_event(shown.name, client_json.dumps(shown.value).decode()) for shown in own]

    def _end_of(self, record: bytes) -> bytes:
        return b"\n\n" if record else b""

    def _other_line(self, line: bytes) -> bytes:
        """A line of a record that is not data; most of them occur again and again."""
        shown = self._lines.get(line)
        if shown is None:
            text = line.decode("utf-8", "replace")
            redacted = filter_text(text, self._redacts)
            shown = line if redacted == text else " ".join(redacted.splitlines()).encode()
            if len(self._lines) == _LINES_KEPT_MAX:
                self._lines.clear()
            self._lines[line] = shown
        return shown


class LineRules(_RecordRules):
    """Lines of JSON, and JSON text sequences."""

    def __init__(self, filters: Filters, secrets: SecretScrubber, *, is_json_seq: bool) -> None:
        super().__init__(record_splitter(is_json_seq=is_json_seq), filters, secrets)
        self._before = RECORD_SEPARATOR if is_json_seq else b""

    def _judge(self, record: bytes) -> list[bytes]:
        text = value_text(record)
        return self._judge_text(record, text.decode("utf-8", "replace")) if text else [record]

    def _rewrite(self, record: bytes, text: str) -> bytes:
        return with_value(record, " ".join(text.splitlines()).encode())

    def _write(self, own: Iterable[Shown]) -> list[bytes]:
        return [self._before + client_json.dumps(shown.value) + b"\n" for shown in own]

    def _end_of(self, record: bytes) -> bytes:
        return b"" if not record or record.endswith(b"\n") else b"\n"


class TextRules:
    """A text in whatever charset it declares; it leaves in UTF-8."""

    def __init__(self, filters: Filters, content_type: str | None) -> None:
        self._content_type = content_type
        self._beginning = b""
        self._decoder: Utf8Stream | None = None
        self._held = HeldText(filters.redacts)
        self.fault = ""

    def feed(self, chunk: bytes) -> bytes:
        if self._decoder is None:
            self._beginning += chunk
            if len(self._beginning) < _MARK_BYTES:
                return b""
            return self._begin()
        return self._shown(self._decoder.feed(chunk))

    def finish(self) -> bytes:
        shown = b"" if self._decoder is not None else self._begin()
        assert self._decoder is not None
        shown += self._shown(self._decoder.finish())
        try:
            return shown if self.fault else shown + self._held.finish().encode()
        except NotFilterable:
            self.fault = "response_not_filterable"
            return shown

    def _begin(self) -> bytes:
        """The first bytes tell the charset."""
        self._decoder = Utf8Stream(charset_of(self._content_type, self._beginning))
        return self._shown(self._decoder.feed(self._beginning))

    def _shown(self, data: bytes) -> bytes:
        if self.fault:
            return b""
        try:
            return self._held.feed(data.decode()).encode()
        except NotFilterable:
            self.fault = "response_not_filterable"
            return b""
