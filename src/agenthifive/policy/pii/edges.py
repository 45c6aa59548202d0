"""Where a finding may begin and end: not in the middle of a word or a number.

    word    no letter, digit or "_" touches it; three letters or more in a row are a word of their own ("...6789ITIN")
    number  in addition no digit stands beyond a ".", ",", "-" or "/", and no minus sign before it

Source: contract/policy.md section 16.1 step 3.
"""

import re
from typing import Final

_LETTERS: Final = re.compile(r"[^\W\d_]*")
_BEGINNING: Final = re.compile(r"(?<!\w)|(?<=[^\W\d_]{3})")
_JOINTS: Final = ".,-/"
_WORD_LENGTH: Final = 3


def may_begin(text: str, at: int) -> bool:
    """Whether no word or number goes on from before `at`."""
    if at == 0:
        return True
    before = text[at - 1]
    if not before.isalnum():
        return before != "_"
    if at < _WORD_LENGTH or not text[at - _WORD_LENGTH : at].isalpha():
        return False
    start = _start_of_letters(text, at)
    return not (start and text[start - 1].isdigit())


def may_end(text: str, at: int) -> bool:
    """Whether no word or number goes on at `at`."""
    after = text[at : at + _WORD_LENGTH]
    if not after[:1].isalnum():
        return after[:1] != "_"
    if len(after) < _WORD_LENGTH or not after.isalpha():
        return False
    end = _end_of_letters(text, at)
    return not (end < len(text) and text[end].isdigit())


def is_whole_number(text: str, start: int, end: int) -> bool:
    """Whether the span is not a part of a longer number, date or range, nor a negative number."""
    if start:
        before, beyond = text[start - 1], text[start - 2 : start - 1]
        if before in _JOINTS and beyond.isdigit():
            return False
        if before == "-" and text[start].isdigit() and not beyond.isalnum():
            return False
    return not (end + 1 < len(text) and text[end] in _JOINTS and text[end + 1].isdigit())


def next_beginning(text: str, at: int) -> int:
    """The first place from `at` on where a finding may begin; the end of the text when there is none."""
    while at < len(text) and (found := _BEGINNING.search(text, at)) is not None:
        if may_begin(text, found.start()):
            return found.start()
        at = _end_of_letters(text, found.start()) + 1
    return len(text)


def _start_of_letters(text: str, at: int) -> int:
    """Where the run of letters that ends at `at` begins."""
    reach = 8
    while at and text[max(0, at - reach) : at].isalpha():
        at = max(0, at - reach)
        reach *= 2
    while reach > 1:
        reach //= 2
        if at >= reach and text[at - reach : at].isalpha():
            at -= reach
    return at


def _end_of_letters(text: str, at: int) -> int:
    found = _LETTERS.match(text, at)
    assert found is not None  # it may be empty
    return found.end()
