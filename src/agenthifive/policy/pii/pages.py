"""Texts joined into pages, so that a pattern reads many short texts in one go.

    text 0, text 1, ...  ->  Page "text 0 | text 1 | ..."  ->  Reader.search(regex, at) -> span inside one text

No finding may reach from one text into the next: a match across the border is searched again inside its text.
Positions are characters; RE2 reads UTF-8, so a page that is not ASCII translates them as it goes along.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

# Between two texts: a line end, at which values end, and a character that is no blank, at which gaps end. Words and
# numbers end at both.
_BORDER: Final = "\n\x00"
_PAGE_LENGTH: Final = 4096


class Page:
    """Some texts, one behind the other.

    Shapes: numbers: of the texts. starts: where each begins in `text`; one more for the end of the page.
    """

    __slots__ = ("data", "is_ascii", "numbers", "starts", "text")

    def __init__(self, texts: Sequence[str], numbers: range) -> None:
        self.numbers = numbers
        held = texts[numbers.start : numbers.stop]
        self.text = _BORDER.join(held)
        self.starts = list(accumulate([len(text) + len(_BORDER) for text in held], initial=0))
        self.data = self.text.encode("utf-8", "replace")
        self.is_ascii = len(self.data) == len(self.text)

    def place(self, position: int) -> int:
        """Which of the texts of the page a position lies in."""
        return bisect_right(self.starts, position) - 1


def make_pages(texts: Sequence[str]) -> Iterator[Page]:
    """The texts in their order; a page ends when it is long enough."""
    first = length = 0
    for number, text in enumerate(texts):
        length += len(text)
        if length >= _PAGE_LENGTH:
            yield Page(texts, range(first, number + 1))
            first, length = number + 1, 0
    if length:
        yield Page(texts, range(first, len(texts)))


class Reader:
    """One pattern's way through a page, forwards only."""

    __slots__ = ("_byte", "_char", "_matches", "_page", "_regex", "_resumes_at")

    def __init__(self, page: Page, regex: Any) -> None:
        self._page = page
        self._regex = regex
        self._char = self._byte = 0
        self._matches: Iterator[Any] = iter(())
        self._resumes_at = -1

    def search(self, at: int) -> tuple[int, int] | None:
        """The first match that begins at `at` or later and lies inside one text."""
        page = self._page
        while (span := self._next(at)) is not None:
            if len(page.numbers) == 1 or page.text.find(_BORDER, *span) < 0:
                return span
            end = page.starts[page.place(span[0]) + 1] - len(_BORDER)
            if span[1] <= end:
                return span  # the text itself holds the characters of a border
            inside = self._within(span[0], end)
            if inside is not None:
                return inside
            at = end
        return None

    def _next(self, at: int) -> tuple[int, int] | None:
        """The first match from `at` on; where the last one ended, the same scan goes on."""
        page = self._page
        if not page.is_ascii:
            return self._within(at, len(page.text))
        if at != self._resumes_at:
            self._matches = self._regex.finditer(page.data, at)
        found = next(self._matches, None)
        if found is None:
            return None
        span: tuple[int, int] = found.span()
        self._resumes_at = span[1]
        return span

    def _within(self, at: int, end: int) -> tuple[int, int] | None:
        """The first match between two places."""
        page = self._page
        self._byte += len(page.text[self._char : at].encode("utf-8", "replace"))
        self._char = at
        end_byte = len(page.data)
        if end < len(page.text):
            end_byte = self._byte + len(page.text[at:end].encode("utf-8", "replace"))
        found = self._regex.search(page.data, self._byte, end_byte)
        if found is None:
            return None
        first, last = found.span()
        start = at + len(page.data[self._byte : first].decode("utf-8"))
        return start, start + len(page.data[first:last].decode("utf-8"))
