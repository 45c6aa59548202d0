"""Personal data: what this build can find, and the honest answer where it cannot.

    types of a rule -> PiiTypes(custom patterns, names of recognisers) -> find(text) -> findings | None

A build without the recognisers of contract/policy.md section 16 cannot tell whether a text holds personal
data of a named type. `find` then answers None; callers refuse what depends on the answer.
Source: contract/policy.md sections 6.1, 16.1 (steps 1 and 5, groups) and 16.3.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from agenthifive.policy.patterns import find_all

CUSTOM: Final = "custom"
MAX_DISGUISES: Final = 500_000
MAX_FINDINGS: Final = 100_000
_HIDDEN_BREAK: Final = re.compile(r"<wbr\s{0,8}/?>|&shy;|&#173;|&zwnj;|&zwj;|&#8203;|&#x200b;", re.IGNORECASE)
_FIRST_ASTRAL: Final = 0x10000
_ASTRAL: Final = "\U00010000-\U0010ffff"  # one range: listing their disguises one by one makes searching slow


@dataclass(frozen=True, slots=True)
class CustomType:
    """A kind of data the policy describes by a pattern of its own."""

    pattern: str
    replacement: str | None


@dataclass(frozen=True, slots=True)
class PiiTypes:
    """What a rule looks for. `named` needs recognisers this build does not have."""

    custom: tuple[CustomType, ...]
    named: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A span of a text, its type and the placeholder the policy chose for it."""

    start: int
    end: int
    type: str
    replacement: str | None


def compile_types(types: Sequence[Mapping[str, Any]]) -> PiiTypes:
    """Compile the types of a valid rule."""
    return PiiTypes(
        tuple(CustomType(t["pattern"], t.get("replacement")) for t in types if t["type"] == CUSTOM),
        tuple(t["type"] for t in types if t["type"] != CUSTOM),
    )


def find(text: str, types: PiiTypes) -> tuple[Finding, ...] | None:
    """Findings in order, overlapping ones as one; None when this build cannot tell."""
    if not text:
        return ()
    if types.named:
        return None
    form = _scan_form(text)
    if form is None:
        return None
    found: list[Finding] = []
    for custom in types.custom:
        for start, end in find_all(custom.pattern, form.text):
            if len(found) == MAX_FINDINGS:
                return None
            found.append(Finding(form.place(start), form.place(end - 1) + 1, CUSTOM, custom.replacement))
    return _merge(found)


def replace(text: str, findings: Iterable[Finding], placeholder: str) -> str:
    """The text with every finding replaced; `{type}` in the placeholder stands for the finding's type."""
    pieces, at = [], 0
    for finding in findings:
        mark = finding.replacement
        pieces += [text[at : finding.start], placeholder.format(type=finding.type) if mark is None else mark]
        at = finding.end
    return "".join(pieces) + text[at:]


@dataclass(frozen=True, slots=True)
class _ScanForm:
    """A text without disguises, and where its characters come from.

    Shapes: the part of `text` from scanned[i] on stands at original[i] of the original, character by
        character, or, where is_flat[i], all of it stands for the single character there.
    """

    text: str
    scanned: list[int]
    original: list[int]
    is_flat: list[bool]

    def place(self, position: int) -> int:
        """Where a character of the scanned text stands in the original."""
        if not self.scanned:
            return position
        part = bisect_right(self.scanned, position) - 1
        return self.original[part] + (0 if self.is_flat[part] else position - self.scanned[part])


def _scan_form(text: str) -> _ScanForm | None:
    """NFKC, format characters and hidden breaks removed; None when too much of the text is disguised."""
    form = _ScanForm("", [], [], [])
    if text.isascii() and "&" not in text and "<" not in text:
        return _ScanForm(text, [], [], [])
    pieces: list[str] = []
    length = at = 0
    for number, suspect in enumerate(_suspects().finditer(text)):
        if number > MAX_DISGUISES:
            return None
        start = suspect.start()
        hidden = _HIDDEN_BREAK.match(text, start) if text[start] in "<&" else None
        if start < at or (text[start] in "<&" and hidden is None):
            continue
        plain = "" if hidden is not None else _undisguised(text[start])
        if plain == text[start]:
            continue
        for piece, source, is_flat in ((text[at:start], at, False), (plain, start, True)):
            if piece:
                pieces.append(piece)
                form.scanned.append(length)
                form.original.append(source)
                form.is_flat.append(is_flat)
                length += len(piece)
        at = start + 1 if hidden is None else hidden.end()
    if not at:
        return _ScanForm(text, [], [], [])
    form.scanned.append(length)
    form.original.append(at)
    form.is_flat.append(False)
    pieces.append(text[at:])
    return _ScanForm("".join(pieces), form.scanned, form.original, form.is_flat)


@lru_cache(maxsize=1)
def _suspects() -> re.Pattern[str]:
    """Every character with a compatibility form, format characters, and what a hidden break begins with."""
    chars = map(chr, range(_FIRST_ASTRAL))
    disguised = "".join(char for char in chars if _undisguised(char) != char)
    return re.compile(f"[<&{_ASTRAL}{re.escape(disguised)}]")


def _undisguised(char: str) -> str:
    return "" if unicodedata.category(char) == "Cf" else unicodedata.normalize("NFKC", char)


def _merge(found: list[Finding]) -> tuple[Finding, ...]:
    """Overlapping findings as one span with the type and placeholder of the longest."""
    found.sort(key=lambda finding: (finding.start, -finding.end))
    merged: list[Finding] = []
    for finding in found:
        if merged and finding.start < merged[-1].end:
            last = merged[-1]
            best = max(last, finding, key=lambda each: each.end - each.start)
            end = max(last.end, finding.end)
            merged[-1] = Finding(last.start, end, best.type, best.replacement)
        else:
            merged.append(finding)
    return tuple(merged)
