"""The form in which a text is scanned: disguises undone, and where each character stands in the original.

    "anna@exam<wbr>ple.org"  ->  scan_form  ->  "anna@example.org"  ->  place(9) = 14

Source: contract/policy.md section 16.1 step 1.
"""

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_DISGUISES: Final = 500_000
_HIDDEN_BREAK: Final = re.compile(r"<wbr\s{0,8}/?>|&shy;|&#173;|&zwnj;|&zwj;|&#8203;|&#x200b;", re.IGNORECASE)
_FIRST_ASTRAL: Final = 0x10000
_ASTRAL: Final = "\U00010000-\U0010ffff"  # one range: listing their disguises one by one makes searching slow


@dataclass(frozen=True, slots=True)
class ScanForm:
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


def is_plain(text: str) -> bool:
    """Whether a text certainly has no disguises; then it is its own form."""
    return text.isascii() and "&" not in text and "<" not in text


def scan_form(text: str) -> ScanForm | None:
    """NFKC, format characters and hidden breaks removed; None when too much of the text is disguised."""
    form = ScanForm("", [], [], [])
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
        return ScanForm(text, [], [], [])
    form.scanned.append(length)
    form.original.append(at)
    form.is_flat.append(False)
    pieces.append(text[at:])
    return ScanForm("".join(pieces), form.scanned, form.original, form.is_flat)


@lru_cache(maxsize=1)
def _suspects() -> re.Pattern[str]:
    """Every character with a compatibility form, format characters, and what a hidden break begins with."""
    chars = map(chr, range(_FIRST_ASTRAL))
    disguised = "".join(char for char in chars if _undisguised(char) != char)
    return re.compile(f"[<&{_ASTRAL}{re.escape(disguised)}]")


def _undisguised(char: str) -> str:
    return "" if unicodedata.category(char) == "Cf" else unicodedata.normalize("NFKC", char)
