"""Take our own secrets out of what a provider answers.

    SecretScrubber(secrets)  -> scrub_text, scrub_bytes, scrub_header(s), scrub_json   whole replies
                             -> contains                                              binary replies
                             -> stream() -> StreamScrubber.feed, finish               streams

What is covered: every place where a form of a secret (secret_forms.py) begins, wherever that is; forms that overlap
become one placeholder together, so no rest of a second secret stays behind. The result depends on the bytes alone and
never on how they were cut into chunks. Source: contract/broker.md section 10.5.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from agenthifive import strict_json
from agenthifive.broker.secret_forms import (
    ESCAPE_BYTES_MAX,
    FORM_ALPHABET,
    LINK,
    LINK_BYTES_MAX,
    LINK_CORE,
    LINK_OPENINGS,
    LINK_PROBES,
    escaped_core,
    escaped_pattern,
    hex_forms,
    is_odd,
    readable_forms,
    without_escapes,
)

PLACEHOLDER: Final = b"[REDACTED:credential]"
SHORT_SECRET_CHARS: Final = 8
"""Shorter secrets are replaced in plain form only, and only where they stand as a token of their own."""

_PLACEHOLDER_TEXT: Final = PLACEHOLDER.decode()
_PROBE_CHARS: Final = 32  # a longer needle costs more to prepare than it saves
_TOKEN_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
_CONTEXT_BYTES: Final = 6
# A letter or digit before a short secret is part of its token, unless it ends an escape (`\n`, `%3D`, `\u003d`).
_ENDS_ESCAPE: Final = re.compile(rb"(?:\\[bfnrt]|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4})\Z")

_LINK_PROBES: Final = [probe.decode("latin-1") for probe in LINK_PROBES]

Span = tuple[int, int]


class SecretScrubber:
    """Knows the secrets of one call; cheap to build, looks first and locates only what it has seen.

    Shapes:
        secrets: as injected or received; empty ones are ignored.
    """

    __slots__ = ("_cores", "_hex", "_patterns", "_probes", "_readable", "_short", "_unfinished")

    def __init__(self, secrets: Iterable[str]) -> None:
        readable: list[bytes] = []
        hexes: list[bytes] = []
        short: list[bytes] = []
        for secret in dict.fromkeys(secrets):
            if len(secret) >= SHORT_SECRET_CHARS:
                readable += readable_forms(secret)
                hexes += hex_forms(secret.encode("utf-8", "surrogatepass"))
            elif secret:
                short.append(secret.encode("utf-8", "surrogatepass"))
        self._readable = readable
        self._hex = hexes
        self._short = short
        self._probes = [form[:_PROBE_CHARS].decode("latin-1") for form in (*readable, *hexes, *short)]
        self._probes += _LINK_PROBES
        self._cores: list[tuple[bytes, bytes | None]] | None = None
        self._patterns: dict[bytes, re.Pattern[bytes]] = {}
        self._unfinished: frozenset[bytes] | None = None

    def scrub_bytes(self, data: bytes) -> bytes:
        """A whole reply in UTF-8 or another encoding that keeps ASCII."""
        return data if self.looks_clean(data) else _replace(data, self.spans(data))

    def scrub_text(self, text: str) -> str:
        """A decoded text."""
        if text.isascii() and self._is_clean(text):
            return text
        data = text.encode("utf-8", "surrogatepass")
        scrubbed = self.scrub_bytes(data)
        return text if scrubbed is data else scrubbed.decode("utf-8", "surrogatepass")

    def scrub_header(self, value: str) -> str:
        """One header value, each character standing for one byte where it can (RFC 9110 section 5.5)."""
        if value.isascii():
            return self.scrub_text(value)
        try:
            return self.scrub_text(self.scrub_bytes(value.encode("latin-1")).decode("latin-1"))
        except UnicodeEncodeError:
            return self.scrub_text(value)

    def scrub_headers(self, headers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """The values of a reply's headers; one look for all of them when they are clean."""
        joined = "\n".join([value for _, value in headers])
        if joined.isascii() and self._is_clean(joined):
            return list(headers)
        return [(name, self.scrub_header(value)) for name, value in headers]

    def scrub_json(self, value: Any) -> Any:
        """Strings, member names and numbers of a value as `strict_json.loads` reads it.

        The value itself is returned when it is clean, else a copy. Two names that become equal keep the later value.
        """
        written = strict_json.dumps(value)
        if b"\\" in written:
            if any(map(is_odd, (*self._readable, *self._short))):
                return self._walk(value)
            written = written.replace(b"\\\\", b"\\")  # what JSON text inside a string looks like to its reader
        return value if self.looks_clean(written) else self._walk(value)

    def contains(self, data: bytes) -> bool:
        """Whether a form of a secret, or one of our links, stands in a whole binary reply."""
        return not self.looks_clean(data) and bool(self.spans(data))

    def stream(self) -> "StreamScrubber":
        """A scrubber for one streamed reply."""
        return StreamScrubber(self)

    def looks_clean(self, data: bytes) -> bool:
        """True when nothing can be in it. False means: look closer (`spans`)."""
        return self._is_clean(data.decode("latin-1"))

    def spans(self, data: bytes, before: bytes = b"") -> list[Span]:
        """Every place a form occupies, by start; they may overlap. `before` are the bytes that preceded the data."""
        spans: list[Span] = []
        for form in (*self._readable, *self._hex):
            _add_plain(spans, data, form)
        for secret in self._short:
            _add_tokens(spans, data, secret, before)
        bare = data
        if b"%" in data or b"\\" in data:
            bare = without_escapes(data)
            for form, core in self._escaped_cores():
                if core is None or core in bare:
                    _add_matches(spans, data, self._pattern(form))
        if LINK_CORE in bare or any(probe in data for probe in LINK_PROBES):
            _add_matches(spans, data, LINK)
        spans.sort()
        return spans

    def openings(self) -> tuple[bytes, ...]:
        """What a form can begin with, unescaped; NUL after a short secret stands for the byte that ends its token."""
        return (*self._readable, *self._hex, *[secret + b"\0" for secret in self._short], *LINK_OPENINGS)

    def unfinished_ends(self) -> frozenset[bytes]:
        """The last byte, or the last two, of everything that could become an unescaped form."""
        if self._unfinished is None:
            openings = self.openings()
            pairs = {opening[at : at + 2] for opening in openings for at in range(len(opening) - 2)}
            self._unfinished = frozenset({opening[:1] for opening in openings} | pairs)
        return self._unfinished

    def alphabet(self) -> bytes:
        """Every byte that can occur in a form."""
        own = b"".join((*self._readable, *self._short))
        return FORM_ALPHABET + own.translate(None, FORM_ALPHABET)

    def longest_form_bytes(self) -> int:
        """No form is longer, however it is escaped."""
        longest = max(map(len, (*self._readable, *self._short)), default=0)
        return max(ESCAPE_BYTES_MAX * longest, LINK_BYTES_MAX)

    @property
    def has_short_secrets(self) -> bool:
        """Whether the bytes before a chunk matter."""
        return bool(self._short)

    def _is_clean(self, text: str) -> bool:
        """`looks_clean` with a character for each byte: searching text costs a quarter of searching bytes."""
        for probe in self._probes:
            if probe in text:
                return False
        return ("%" not in text and "\\" not in text) or not self._may_hide(text.encode("latin-1"))

    def _may_hide(self, data: bytes) -> bool:
        """Whether a form may stand in the data with escapes in it."""
        bare = without_escapes(data)
        if bare is data:
            return any(core is None for _, core in self._escaped_cores())
        return LINK_CORE in bare or any(core is None or core in bare for _, core in self._escaped_cores())

    def _escaped_cores(self) -> list[tuple[bytes, bytes | None]]:
        if self._cores is None:
            self._cores = [(form, escaped_core(form)) for form in self._readable]
        return self._cores

    def _pattern(self, form: bytes) -> re.Pattern[bytes]:
        pattern = self._patterns.get(form)
        if pattern is None:
            pattern = self._patterns[form] = escaped_pattern(form)
        return pattern

    def _walk(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.scrub_text(value)
        if isinstance(value, dict):
            return {self.scrub_text(name): self._walk(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _PLACEHOLDER_TEXT if self.contains(strict_json.dumps(value)) else value
        return value


class StreamScrubber:
    """Scrubs a stream chunk by chunk; what could still become a form waits for the next chunk.

        chunk -> held tail + chunk -> where could an unfinished form begin? -> all before it is decided and released

    The output over all chunks equals `SecretScrubber.scrub_bytes` of the whole. At most the longest form less one byte
    waits, and only while the end of the data looks like the beginning of a form: a server-sent event that ends in an
    empty line leaves at once. `found` says whether anything was replaced so far: a binary stream ends then.
    """

    __slots__ = ("_alphabet", "_before", "_covered", "_hold_max", "_openings", "_secrets", "_tail", "found")

    def __init__(self, secrets: SecretScrubber) -> None:
        self._secrets = secrets
        self._alphabet = secrets.alphabet()
        self._openings = secrets.openings()
        self._hold_max = secrets.longest_form_bytes() - 1
        self._tail = b""
        self._covered = 0  # bytes of the tail that a placeholder already stands for
        self._before = b""  # the last bytes before the tail, as received
        self.found = False

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes, give what is decided."""
        data = self._tail + chunk if self._tail else chunk
        if not data:
            return b""
        cut = len(data) if data[-1] not in self._alphabet else self._undecided_from(data)
        return self._release(data, cut)

    def finish(self) -> bytes:
        """The stream has ended: give the rest."""
        return self._release(self._tail, len(self._tail))

    def _release(self, data: bytes, cut: int) -> bytes:
        if self._secrets.looks_clean(data):
            released = data[self._covered : cut]
            self._covered = max(0, self._covered - cut)
        else:
            spans = [span for span in self._secrets.spans(data, self._before) if span[0] < cut]
            self.found = self.found or bool(spans)
            released, self._covered = _replace_until(data, spans, self._covered, cut)
        self._tail = data[cut:]
        if self._secrets.has_short_secrets:
            self._before = (self._before + data[:cut])[-_CONTEXT_BYTES:]
        return released

    def _undecided_from(self, data: bytes) -> int:
        """The first place where a form may begin that the data does not finish."""
        end = data[-self._hold_max :]
        run = end[len(end.rstrip(self._alphabet)) :]
        escapes = [at for at in (run.find(b"%"), run.find(b"\\")) if at >= 0]
        if not escapes and not self._may_go_on(run):
            return len(data)
        plain_bytes = min(escapes, default=len(run))  # from the first escape on everything waits
        plain = run[:plain_bytes]
        start = min(_opening_at(plain, opening) for opening in self._openings)
        link = LINK.search(run)
        while link is not None and link.start() < start:
            if link.end() >= plain_bytes:
                start = link.start()
            link = LINK.search(run, link.start() + 1)
        return len(data) - len(run) + start

    def _may_go_on(self, run: bytes) -> bool:
        """A quick look at the end of a run without escapes: whether a form or a link may reach beyond it."""
        ends = self._secrets.unfinished_ends()
        return run[-2:] in ends or run[-1:] in ends or any(probe in run for probe in LINK_PROBES)


def _replace(data: bytes, spans: Sequence[Span]) -> bytes:
    return _replace_until(data, spans, 0, len(data))[0]


def _replace_until(data: bytes, spans: Sequence[Span], covered: int, cut: int) -> tuple[bytes, int]:
    """Write the data up to `cut`, one placeholder for each group of overlapping spans.

    The first `covered` bytes have their placeholder already. Returns the bytes and how many after `cut` are covered.
    """
    pieces: list[bytes] = []
    for start, end in spans:
        if start >= covered:
            pieces += (data[covered:start], PLACEHOLDER)
        covered = max(covered, end)
    pieces.append(data[covered:cut])
    return b"".join(pieces), max(0, covered - cut)


def _opening_at(tail: bytes, opening: bytes) -> int:
    """The first place from which `tail` is a beginning of `opening` but not all of it, else its length."""
    length = len(tail)
    at = max(0, length - len(opening) + 1)
    seed = opening[:4]
    while (at := tail.find(seed, at)) >= 0:
        if opening.startswith(tail[at:]):
            return at
        at += 1
    for at in range(max(0, length - min(3, len(opening) - 1)), length):
        if opening.startswith(tail[at:]):
            return at
    return length


def _add_plain(spans: list[Span], data: bytes, form: bytes) -> None:
    at = data.find(form)
    while at >= 0:
        spans.append((at, at + len(form)))
        at = data.find(form, at + 1)


def _add_matches(spans: list[Span], data: bytes, pattern: re.Pattern[bytes]) -> None:
    match = pattern.search(data)
    while match is not None:
        spans.append(match.span())
        match = pattern.search(data, match.start() + 1)


def _add_tokens(spans: list[Span], data: bytes, secret: bytes, before: bytes) -> None:
    at = data.find(secret)
    while at >= 0:
        end = at + len(secret)
        goes_on = end < len(data) and secret[-1] in _TOKEN_BYTES and data[end] in _TOKEN_BYTES
        if not goes_on and (secret[0] not in _TOKEN_BYTES or _is_border(data, at, before)):
            spans.append((at, end))
        at = data.find(secret, at + 1)


def _is_border(data: bytes, at: int, before: bytes) -> bool:
    """Whether a token can begin here."""
    context = data[max(0, at - _CONTEXT_BYTES) : at]
    if len(context) < _CONTEXT_BYTES:
        context = (before + context)[-_CONTEXT_BYTES:]
    return not context or context[-1] not in _TOKEN_BYTES or _ENDS_ESCAPE.search(context) is not None
