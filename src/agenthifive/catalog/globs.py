"""Path globs of a service file: matched many at a time, and compared with each other.

    literal  /v1/items      set look-up
    subtree  /v1/**         startswith
    other    /v1/*/items    RE2

Source: contract/catalog/SCHEMA.md section 2, policy.md section 3 (meaning of `*` and `**`).
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from agenthifive.policy.paths import glob_regex, glob_subject
from agenthifive.policy.patterns import PatternSet, pattern_set

GLOB: Final = re.compile(r"/[A-Za-z0-9._~!$&'()+,;=:@%/*-]*")
_TOKEN: Final = re.compile(r"\*\*|\*|[^*]")


class PathSet:
    """Some globs, asked together. Match it against a canonical path, or with `strict` against a strict view.

    Shapes:
        ignores_case: ASCII letter case does not count. is_strict: the globs are tidied as the strict view
        is (no final slash), and their star also covers what the canonical path would show as an escape.
    """

    __slots__ = ("_has_all", "_ignores_case", "_is_strict", "_literals", "_patterns", "_subtrees")

    def __init__(self, globs: Iterable[str], *, ignores_case: bool = False, is_strict: bool = False) -> None:
        self._ignores_case = ignores_case
        self._is_strict = is_strict
        self._has_all = False
        literals: set[str] = set()
        subtrees: list[str] = []
        others: list[str] = []
        for written in globs:
            glob = tidy_glob(written) if is_strict else written
            stem = glob.removesuffix("/**")
            if glob == "/**":
                self._has_all = True
            elif "*" in stem:
                others.append(glob_regex(glob, encoded_slash=is_strict))
            else:
                plain = stem.lower() if ignores_case else stem
                literals.add(plain)
                if stem != glob:
                    subtrees.append(plain + "/")
        self._literals = frozenset(literals)
        self._subtrees = tuple(subtrees)
        self._patterns: PatternSet | None = pattern_set(tuple(others), ignores_case) if others else None

    def has(self, path: str) -> bool:
        """Whether one of the globs covers the path."""
        if self._has_all:
            return True
        subject = path if self._is_strict else glob_subject(path)
        plain = subject.lower() if self._ignores_case else subject
        if plain in self._literals or plain.startswith(self._subtrees):
            return True
        return self._patterns is not None and self._patterns.is_found(subject.encode("utf-8"))


def tidy_glob(glob: str) -> str:
    """The glob as it must be written to meet strict views, which have no final slash."""
    return glob.rstrip("/") or "/"


def glob_fault(glob: str) -> str | None:
    """What is wrong with a glob, None when nothing is."""
    if not GLOB.fullmatch(glob):
        return f"{glob!r} is no path glob"
    if ".." in glob or "//" in glob or "***" in glob:
        return f"glob {glob!r} has dot segments, '//' or '***'"
    return None


@lru_cache(maxsize=4096)
def lies_inside(glob: str, bound: str) -> bool:
    """Whether every path of `glob` is certainly a path of `bound` (False where that cannot be shown)."""
    if bound in ("/**", glob):
        return True
    return all(any(_covers(outer, inner) for outer in _alternatives(bound)) for inner in _alternatives(glob))


def _alternatives(glob: str) -> tuple[str, ...]:
    """A final `/**` also covers the path before it: such a glob is two."""
    return (glob, glob[:-3]) if glob.endswith("/**") else (glob,)


def _covers(bound: str, glob: str) -> bool:
    """Walk both side by side, keeping every position in `bound` that may be reached."""
    outer, inner = _TOKEN.findall(bound), _TOKEN.findall(glob)
    reached = _with_empty_stars({0}, outer)
    for token in inner:
        after = set()
        for at in reached:
            wanted = outer[at] if at < len(outer) else ""
            if wanted == "**" or (wanted == "*" and token not in ("/", "**")):
                after.add(at)
            elif wanted == token and token not in ("*", "**"):
                after.add(at + 1)
        reached = _with_empty_stars(after, outer)
        if not reached:
            return False
    return len(outer) in reached


def _with_empty_stars(positions: set[int], outer: list[str]) -> set[int]:
    """The positions and those behind stars that cover nothing."""
    found = set(positions)
    for position in positions:
        at = position
        while at < len(outer) and outer[at] in ("*", "**"):
            at += 1
            found.add(at)
    return found
