"""Where a policy lets calls go: default deny, entries are alternatives and never mixed.

    entry = host + port + prefix + methods + globs;   a glob is   a literal    /v1/items      set look-up
                                                                  a subtree    /v1/**         startswith
                                                                  anything else               RE2

Source: contract/policy.md section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from agenthifive.policy.model import Request, ServiceFacts
from agenthifive.policy.paths import glob_regex, glob_subject
from agenthifive.policy.patterns import PatternSet, pattern_set

_MISSES: Final = ("empty", "host", "port", "path", "method")
DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}


class BaseUrl(NamedTuple):
    """Scheme, host (lower case, IPv6 without brackets), port and path prefix without final slash."""

    scheme: str
    host: str
    port: int
    prefix: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One compiled allowlist entry."""

    base: BaseUrl
    methods: frozenset[str]
    globs: tuple[str, ...]
    ignores_case: bool
    takes_encoded_slash: bool
    literals: frozenset[str]
    subtrees: tuple[str, ...]
    patterns: PatternSet | None

    def has_path(self, path: str, subject: str) -> bool:
        """Whether a canonical path lies in the entry; `subject` is its glob_subject."""
        if self.ignores_case:
            path, subject = path.lower(), subject.lower()
        prefix = self.base.prefix
        if prefix and not (path == prefix or path.startswith(prefix + "/")):
            return False
        if subject in self.literals or subject.startswith(self.subtrees):
            return True
        return self.patterns is not None and self.patterns.is_found(subject.encode("utf-8"))

    def has_path_in_other_letters(self, path: str) -> bool:
        """Whether letter case alone keeps a path out of the entry."""
        if self.ignores_case:
            return False
        prefix, lowered = self.base.prefix.lower(), path.lower()
        patterns = tuple(glob_regex(glob, encoded_slash=self.takes_encoded_slash) for glob in self.globs)
        is_inside = not prefix or lowered == prefix or lowered.startswith(prefix + "/")
        return is_inside and pattern_set(patterns, True).is_found(glob_subject(path).encode("utf-8"))

    def glob_for(self, path: str) -> str | None:
        """The first glob of the entry that covers a path, for explanations."""
        subject = glob_subject(path).encode("utf-8")
        for glob in self.globs:
            pattern = glob_regex(glob, encoded_slash=self.takes_encoded_slash)
            if pattern_set((pattern,), self.ignores_case).is_found(subject):
                return glob
        return None


class Match(msgspec.Struct, frozen=True):
    """The first entry that lets a call through."""

    entry: int


@dataclass(frozen=True, slots=True)
class Miss:
    """Why no entry does: the nearest miss, "method" > "path" > "port" > "host" > "empty"."""

    detail: str


def compile_allowlists(entries: Sequence[Mapping[str, Any]], facts: ServiceFacts) -> tuple[Entry, ...]:
    """Compile the allowlists of a valid policy."""
    return tuple(_compile_entry(entry, facts) for entry in entries)


def match_allowlists(entries: tuple[Entry, ...], request: Request) -> Match | Miss:
    """Find the entry that lets a call through, or the nearest miss."""
    path = request.path
    subject = glob_subject(path)
    nearest = 0 if not entries else 1
    for number, entry in enumerate(entries):
        if not host_matches(entry.base.host, request.host):
            continue
        if entry.base.port != request.port or entry.base.scheme != request.scheme:
            nearest = max(nearest, 2)
        elif not entry.has_path(path, subject):
            nearest = max(nearest, 3)
        elif request.method in entry.methods:
            return Match(number)
        else:
            nearest = 4
    return Miss(_MISSES[nearest])


def host_matches(pattern: str, host: str) -> bool:
    """Whether a host is the pattern or, for `*.suffix`, has exactly one label before the suffix."""
    if host == pattern:
        return True
    if not pattern.startswith("*."):
        return False
    suffix = pattern[1:]
    return host.endswith(suffix) and len(host) > len(suffix) and "." not in host[: -len(suffix)]


def ignores_path_case(facts: ServiceFacts, host: str) -> bool:
    """Whether paths of a host are compared without letter case. A host nobody knows: if any of them is."""
    named = [known.path_insensitive for known in facts.hosts if host_matches(known.name, host)]
    return any(named or [known.path_insensitive for known in facts.hosts])


@lru_cache(maxsize=4096)
def read_base_url(text: str) -> BaseUrl | None:
    """The parts of a baseUrl, None when it has others or cannot be read."""
    if any(char in text for char in "?#@\\ \t\r\n") or not text.isascii():
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname or not _is_host(parts):
        return None
    return BaseUrl(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme], parts.path.rstrip("/"))


def _is_host(parts: SplitResult) -> bool:
    name = parts.hostname or ""
    labels = name.removeprefix("*.").split(".")
    if parts.netloc.endswith(":"):
        return False
    return ":" in name or all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels)


def _compile_entry(entry: Mapping[str, Any], facts: ServiceFacts) -> Entry:
    base = read_base_url(entry["baseUrl"])
    assert base is not None  # validated
    ignores_case = ignores_path_case(facts, base.host)
    takes_encoded_slash = entry.get("encodedSlash", False)
    literals: set[str] = set()
    subtrees: list[str] = []
    others: list[str] = []
    for glob in entry["pathPatterns"]:
        stem = glob.removesuffix("/**")
        if "*" in stem:
            others.append(glob_regex(glob, encoded_slash=takes_encoded_slash))
            continue
        plain = stem.lower() if ignores_case else stem
        literals.add(plain)
        if stem != glob:
            subtrees.append(plain + "/")
    return Entry(
        base=base._replace(prefix=base.prefix.lower()) if ignores_case else base,
        methods=frozenset(entry["methods"]),
        globs=tuple(entry["pathPatterns"]),
        ignores_case=ignores_case,
        takes_encoded_slash=takes_encoded_slash,
        literals=frozenset(literals),
        subtrees=tuple(subtrees),
        patterns=pattern_set(tuple(others), ignores_case) if others else None,
    )
