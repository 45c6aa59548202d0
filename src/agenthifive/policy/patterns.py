"""User patterns: RE2 only, compiled once, searched many at a time.

    patterns of a policy  ->  one set  ->  hits(text) = which of them occur, in a single pass

A set that runs out of memory would report no hit at all, which would open every restricting rule. Each set
therefore holds one more pattern that always hits; when that one is missing, the patterns are searched singly.
Source: contract/policy.md section 2.2 (RE2, 8 MiB), section 19 points 5 and 6.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import re2

PATTERN_MEMORY_BYTES: Final = 8 * 1024 * 1024
MAX_PATTERN_LENGTH: Final = 8192
_SET_MEMORY_BYTES: Final = 16 * 1024 * 1024
_OWN_MEMORY_BYTES: Final = 32 * 1024 * 1024
_ALWAYS: Final = ""
_UNSUPPORTED: Final = (
    ("(?=", "look-ahead"),
    ("(?!", "look-ahead"),
    ("(?<", "look-behind"),
    ("(?P", "back-reference"),
    ("escape sequence: \\", "back-reference or escape"),
)

NO_HITS: Final[frozenset[int]] = frozenset()


class PatternSet:
    """Some patterns under one case rule. Immutable, shared between policies and threads."""

    __slots__ = ("_ignore_case", "_patterns", "_sentinel", "_set", "hits_of_empty")

    def __init__(self, patterns: Sequence[str], ignore_case: bool) -> None:
        self._patterns = tuple(patterns)
        self._ignore_case = ignore_case
        self._sentinel = len(self._patterns)
        self._set = _make_set(self._patterns, ignore_case)
        self.hits_of_empty = self.hits(b"")

    def hits(self, text: bytes) -> frozenset[int]:
        """Positions of the patterns found anywhere in a UTF-8 text."""
        if not self._patterns:
            return NO_HITS
        if self._set is not None:
            found = self._set.Match(text)
            if found is not None and self._sentinel in found:
                found.remove(self._sentinel)
                return frozenset(found)
        return frozenset(
            number
            for number, pattern in enumerate(self._patterns)
            if _single(pattern, self._ignore_case).search(text) is not None
        )

    def is_found(self, text: bytes) -> bool:
        """Whether any of the patterns occurs."""
        if self._set is not None:
            found = self._set.Match(text)
            if found is not None and self._sentinel in found:
                return len(found) > 1
        return bool(self.hits(text))


@lru_cache(maxsize=2048)
def pattern_set(patterns: tuple[str, ...], ignore_case: bool = False) -> PatternSet:
    """The shared set of these patterns, which `pattern_fault` has accepted."""
    return PatternSet(patterns, ignore_case)


@lru_cache(maxsize=4096)
def pattern_fault(pattern: str, ignore_case: bool = False) -> str | None:
    """What is wrong with a pattern, None when RE2 takes it."""
    try:
        _single(pattern, ignore_case)
    except re2.error as error:
        return _explain(pattern, error)
    return None


def find_all(pattern: str, text: str) -> Iterator[tuple[int, int]]:
    """Spans of the non-overlapping, non-empty occurrences of a pattern, in order."""
    for match in _single(pattern, False).finditer(text if text.isascii() else _encodable(text)):
        start, end = match.span()
        if start < end:
            yield start, end


@lru_cache(maxsize=256)
def compile_own(pattern: str) -> Any:
    """A pattern this project ships, for texts in UTF-8. Those with classes of letters need more memory to be fast."""
    return re2.compile(pattern, _options(_OWN_MEMORY_BYTES, ignore_case=False))


def _encodable(text: str) -> str:
    """The text with question marks for lone surrogates, which UTF-8 cannot say."""
    return text.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=1024)
def _single(pattern: str, ignore_case: bool) -> Any:
    return re2.compile(pattern, _options(PATTERN_MEMORY_BYTES, ignore_case))


def _options(memory_bytes: int, ignore_case: bool) -> Any:
    options = re2.Options()
    options.max_mem = memory_bytes
    options.case_sensitive = not ignore_case
    options.log_errors = False
    return options


def _make_set(patterns: tuple[str, ...], ignore_case: bool) -> Any:
    memory_bytes = _SET_MEMORY_BYTES if len(patterns) > 1 else PATTERN_MEMORY_BYTES
    searched = re2.Set.SearchSet(_options(memory_bytes, ignore_case))
    try:
        for pattern in patterns:
            searched.Add(pattern)
        searched.Add(_ALWAYS)
        searched.Compile()
    except re2.error:
        return None  # too large together: each is searched by itself
    return searched


def _explain(pattern: str, error: Exception) -> str:
    reason = error.args[0]
    reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    fragment = reason.rpartition(": ")[2]
    at = pattern.find(fragment)
    place = f" at character {at}" if fragment and at >= 0 and ": " in reason else ""
    for mark, name in _UNSUPPORTED:
        if mark in reason:
            return f"RE2 refuses it: {reason}{place}; a {name} is not supported."
    return f"RE2 refuses it: {reason}{place}."
