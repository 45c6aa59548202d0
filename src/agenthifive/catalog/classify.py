"""What a call does: the first matching `[[classify]]` entry, judged on both views of the path.

    canonical path -> entry or fallback --+
                                          +-> the severer of the two
    strict view    -> entry or fallback --+

The strict view counts too because the provider may read the path that way; when the views differ the one
that asks for more care wins. Source: contract/catalog/SCHEMA.md section 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.catalog.globs import PathSet, tidy_glob
from agenthifive.catalog.graphql import reads_only
from agenthifive.catalog.schema import ClassifySpec
from agenthifive.policy.paths import glob_regex, glob_subject
from agenthifive.policy.patterns import PatternSet, pattern_set
from agenthifive.words import ActionClass


@dataclass(frozen=True, slots=True)
class Classification:
    """What a call does, and the short verb phrase for approvals where the catalog has one."""

    action: ActionClass
    label: str | None = None


FALLBACK: Final[Mapping[str, Classification]] = {
    "GET": Classification(ActionClass.READ),
    "HEAD": Classification(ActionClass.READ),
    "OPTIONS": Classification(ActionClass.READ),
    "DELETE": Classification(ActionClass.DELETE),
}
_WRITE: Final = Classification(ActionClass.WRITE)
_GRAPHQL_READ: Final = Classification(ActionClass.READ)
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# `send` stands below `write`: explicitly listed recipients waive holds of the class send and of no other.
SEVERITY: Final[Mapping[ActionClass, int]] = {
    action: rank
    for rank, action in enumerate(
        (
            ActionClass.READ,
            ActionClass.SEND,
            ActionClass.WRITE,
            ActionClass.SHARE,
            ActionClass.DELETE,
            ActionClass.PAY,
            ActionClass.ADMIN,
        )
    )
}


class Classifier:
    """The entries that apply to one host, compiled when first asked for."""

    __slots__ = ("_compiled", "_entries", "_graphql", "_graphql_strict", "_ignores_case")

    def __init__(self, entries: tuple[ClassifySpec, ...], *, ignores_case: bool = False) -> None:
        self._entries = entries
        self._ignores_case = ignores_case
        self._compiled: dict[str, _MethodEntries] = {}
        paths = [glob for entry in entries if entry.how == "graphql" for glob in entry.globs]
        self._graphql = PathSet(paths, ignores_case=ignores_case) if paths else None
        self._graphql_strict = PathSet(paths, ignores_case=ignores_case, is_strict=True)

    def classify(self, method: str, path: str, strict_path: str, query: str, body_json: Any) -> Classification:
        """What a call does.

        Shapes:
            path: canonical, its credential slot emptied. query: empty, or `?` and parameters.
            body_json: the parsed body when it is JSON, else None.
        """
        compiled = self._compiled.get(method)
        if compiled is None:
            applying = tuple(e for e in self._entries if method in e.methods or "*" in e.methods)
            compiled = self._compiled[method] = _MethodEntries(applying, self._ignores_case)
        found = self._judge(compiled.of_canonical(path), method, path, False, query, body_json)
        if strict_path == path:
            return found
        other = self._judge(compiled.of_strict(strict_path), method, strict_path, True, query, body_json)
        return other if SEVERITY[other.action] > SEVERITY[found.action] else found

    def _judge(
        self, entry: ClassifySpec | None, method: str, path: str, is_strict: bool, query: str, body: Any
    ) -> Classification:
        if entry is not None:
            if entry.how == "graphql":
                return _judge_graphql(method, query, body)
            assert entry.action is not None  # checked when the file was read
            return Classification(entry.action, entry.label)
        if self._graphql is not None and (self._graphql_strict if is_strict else self._graphql).has(path):
            return _judge_graphql(method, query, body)
        return FALLBACK.get(method, _WRITE)


class _MethodEntries:
    """The entries of one method as two pattern sets; the lowest hit is the first entry."""

    __slots__ = ("_canonical", "_owners", "_strict")

    def __init__(self, entries: tuple[ClassifySpec, ...], ignores_case: bool) -> None:
        self._owners = tuple(entry for entry in entries for _ in entry.globs)
        canonical, strict = [], []
        for entry in entries:
            # An escaped slash may hide further segments: enough to fear a change, not to believe in a read.
            is_feared = entry.action not in (ActionClass.READ, None)
            for glob in entry.globs:
                canonical.append(glob_regex(glob, encoded_slash=is_feared))
                strict.append(glob_regex(tidy_glob(glob), encoded_slash=True))
        self._canonical = pattern_set(tuple(canonical), ignores_case)
        self._strict = pattern_set(tuple(strict), ignores_case)

    def of_canonical(self, path: str) -> ClassifySpec | None:
        return self._first(self._canonical, glob_subject(path))

    def of_strict(self, strict_path: str) -> ClassifySpec | None:
        return self._first(self._strict, strict_path)

    def _first(self, patterns: PatternSet, path: str) -> ClassifySpec | None:
        if not self._owners:
            return None
        first = min(patterns.hits(path.encode("utf-8")), default=len(self._owners))
        return self._owners[first] if first < len(self._owners) else None


def _judge_graphql(method: str, query: str, body: Any) -> Classification:
    """A document may also stand in the query, where servers look first: then nothing is proven."""
    if query:
        return _WRITE
    if body is None and method in _BODILESS:
        return FALLBACK[method]
    return _GRAPHQL_READ if reads_only(body) else _WRITE
