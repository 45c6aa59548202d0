"""Redaction of a text that comes in pieces: what may still belong to a finding waits for more text.

    pieces -> HeldText.feed: [ context | held: the last 256 characters ]    all before the held part is decided
           -> HeldText.finish: the text has ended, the rest is decided

The joined output is the result on the whole text, however the text was cut, as long as no finding is longer than what
is held. Text that is encoded as a whole is looked into only when all of it could be held.
Source: contract/policy.md section 12 "Streams".
"""

import re
from collections.abc import Sequence
from dataclasses import replace as with_parts
from typing import Final

from msgspec.structs import replace as changed

from agenthifive.policy.pii import Finding, PiiTypes, find
from agenthifive.policy.replies import PLACEHOLDER, NotFilterable, filter_text
from agenthifive.policy.rules import ReplyRule
from agenthifive.strict_json import dumps

HELD_CHARS_MAX: Final = 256
_CONTEXT_CHARS: Final = 256
_CONTEXT_CHARS_MAX: Final = 1024  # when a finding reaches from the context into what is not decided
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_JSON_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|([^u]))", re.DOTALL)
_JSON_STRING_PARTS: Final = re.compile(r'[^"\\]+')
_JSON_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PART_OF_NUMBER: Final = re.compile(r"[0-9.eE+-]+")
_OF_NUMBERS: Final = frozenset("0123456789.eE+-")
_NUMBER_CHARS_MAX: Final = 64
_State = tuple[bool, bool]  # a string is open, a backslash in it is
_OUTSIDE: Final[_State] = (False, False)
_SHORT_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def redacting(rules: Sequence[ReplyRule]) -> tuple[ReplyRule, ...]:
    """The rules that redact, without what they say about members."""
    return tuple(with_parts(rule, allow=None, deny=None) for rule in rules if rule.redact is not None)


class HeldText:
    """One text under all rules that redact, in their order; each rule holds text of its own.

    Shapes:
        rules: as `redacting` gives them. is_json: the text is JSON, as the arguments of a tool call are: escapes are
        seen through, and what replaces a finding outside of a string is quoted.
    Raises: NotFilterable, from both methods.
    """

    __slots__ = ("_stages",)

    def __init__(self, rules: Sequence[ReplyRule], *, is_json: bool = False) -> None:
        self._stages = [_JsonStage(rule) if is_json else _Stage(rule) for rule in rules]

    def feed(self, piece: str) -> str:
        """Take the next piece, give what is decided."""
        for stage in self._stages:
            piece = stage.feed(piece)
        return piece

    def finish(self) -> str:
        """The text has ended: give the rest. Should it go on all the same, what was given still counts as context."""
        rest = ""
        for stage in self._stages:
            rest = stage.feed(rest) + stage.finish()
        return rest


def redact_json_text(text: str, rules: Sequence[ReplyRule]) -> str:
    """A whole text that is JSON, redacted as if it came in pieces. Raises: NotFilterable."""
    held = HeldText(rules, is_json=True)
    return held.feed(text) + held.finish()


class _Stage:
    """One rule over one text.

    `_window` is the end of the text: context that is decided, up to `_decided`, then what is held. It never begins
    inside a finding, so that searching it finds what searching the whole text would find.
    """

    __slots__ = ("_decided", "_has_begun", "_is_inside", "_rule", "_types", "_window")

    def __init__(self, rule: ReplyRule) -> None:
        assert rule.redact is not None
        self._rule = rule
        self._types: PiiTypes = rule.redact
        self._window = ""
        self._decided = 0
        self._is_inside = False  # the placeholder of the finding at `_decided` is given already
        self._has_begun = False

    def feed(self, piece: str) -> str:
        self._window += piece
        cut = len(self._window) - HELD_CHARS_MAX
        return self._decide(cut) if cut > self._decided else ""

    def finish(self) -> str:
        end = len(self._window)
        if self._has_begun or _LONE_SURROGATE.search(self._window):
            return self._decide(end) if end > self._decided else ""
        shown = self._whole(self._window)
        self._move_to(end, ())
        return shown

    def _whole(self, text: str) -> str:
        """A text that was held from its beginning to its end."""
        return filter_text(text, (self._rule,))

    def _find(self, text: str) -> Sequence[Finding]:
        findings = find(_searchable(text), self._types)
        if findings is None:
            raise NotFilterable("pii")
        return findings

    def _mark(self, finding: Finding) -> str:
        """What stands for a finding."""
        return PLACEHOLDER if finding.replacement is None else finding.replacement

    def _decide(self, cut: int) -> str:
        """Everything before `cut`, a position in the window."""
        findings = self._find(self._window)
        pieces: list[str] = []
        at = self._decided
        is_inside = False
        for finding in findings:
            if finding.end <= self._decided:
                continue
            if finding.start >= cut:
                break
            pieces.append(self._window[at : finding.start])
            if finding.start >= self._decided or not self._is_inside:
                pieces.append(self._mark(finding))
            at = finding.end
            is_inside = at > cut
        pieces.append(self._window[at:cut])
        self._is_inside = is_inside
        self._move_to(cut, findings)
        return "".join(pieces)

    def _move_to(self, cut: int, findings: Sequence[Finding]) -> None:
        """Forget what is no longer needed."""
        self._has_begun = True
        start = max(0, cut - _CONTEXT_CHARS)
        for finding in findings:
            if finding.start < start < finding.end and cut - finding.start <= _CONTEXT_CHARS_MAX:
                start = finding.start
        self._window = self._window[start:]
        self._decided = cut - start


class _JsonStage(_Stage):
    """A rule over JSON text. `_state` says what is open at `_decided`, `_seen` what is at the place looked at last."""

    __slots__ = ("_seen", "_state")

    def __init__(self, rule: ReplyRule) -> None:
        super().__init__(rule)
        self._state = _OUTSIDE
        self._seen = (0, _OUTSIDE)

    def _whole(self, text: str) -> str:
        return self._decide(len(text)) if text else ""

    def _find(self, text: str) -> Sequence[Finding]:
        if "\\" not in text:
            findings = super()._find(text)
        else:
            plain, places = _without_escapes(text)
            findings = [changed(f, start=places[f.start], end=places[f.end]) for f in super()._find(plain)]
        whole: list[Finding] = []
        for finding in findings:
            widened = self._widen(text, finding)
            if whole and widened.start < whole[-1].end:
                whole[-1] = changed(whole[-1], end=max(whole[-1].end, widened.end))
            else:
                whole.append(widened)
        return whole

    def _widen(self, text: str, finding: Finding) -> Finding:
        """A finding in a number outside of a string as the whole number: no sign or digit may stay beside a string."""
        start, end = finding.start, finding.end
        if not _PART_OF_NUMBER.fullmatch(text, start, end) or self._state_at(max(start, self._decided))[0]:
            return finding
        first = max(0, start - _NUMBER_CHARS_MAX)
        while start > first and text[start - 1] in _OF_NUMBERS:
            start -= 1
        number = _JSON_NUMBER.match(text, start, end + _NUMBER_CHARS_MAX)
        return finding if number is None or number.end() < end else changed(finding, start=start, end=number.end())

    def _mark(self, finding: Finding) -> str:
        """The placeholder as JSON text, with the quotes that keep strings whole at both of its ends."""
        is_in_string, _ = self._state_at(max(finding.start, self._decided))
        ends_in_string, _ = self._state_at(finding.end)
        text = dumps(super()._mark(finding)).decode()
        return text[is_in_string : len(text) - ends_in_string]

    def _state_at(self, position: int) -> _State:
        """What is open at a place from `_decided` on; looking from left to right costs the way only once."""
        seen, state = self._seen
        if seen < self._decided or position < seen:
            seen, state = self._decided, self._state
        state = _advance(self._window[seen:position], state)
        self._seen = (position, state)
        return state

    def _move_to(self, cut: int, findings: Sequence[Finding]) -> None:
        self._state = self._state_at(cut)
        super()._move_to(cut, findings)
        self._seen = (self._decided, self._state)


def _searchable(text: str) -> str:
    """The text for a search; halves of a pair that a provider cut in two are no characters."""
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def _advance(text: str, state: _State) -> _State:
    """What is open after a part of JSON text."""
    is_in_string, is_escaped = state
    for char in _JSON_STRING_PARTS.sub("_", text):
        if is_escaped:
            is_escaped = False
        elif char == '"':
            is_in_string = not is_in_string
        else:
            is_escaped = char == "\\"
    return is_in_string, is_escaped


def _without_escapes(text: str) -> tuple[str, list[int]]:
    """JSON text as its reader sees the strings, and for each character, and the end, its place in the original."""
    pieces: list[str] = []
    places: list[int] = []
    at = 0
    for escape in _JSON_ESCAPE.finditer(text):
        pieces.append(text[at : escape.start()])
        places += range(at, escape.start() + 1)
        code, short = escape.groups()
        pieces.append(chr(int(code, 16)) if code else _SHORT_ESCAPES.get(short, short))
        at = escape.end()
    pieces.append(text[at:])
    places += range(at, len(text) + 1)
    return "".join(pieces), places
