"""Request and response rules, compiled: what a rule looks at, in the order in which it looks.

    methods  ->  urlPattern  ->  queryPattern  ->  body conditions  ->  personal data      yes | no | undecidable

Patterns of one policy are searched together: `Sightings` knows which of them occur in a call's path and query.
Source: contract/policy.md sections 4, 5, 6 and 12.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from agenthifive.policy.conditions import Condition, compile_condition
from agenthifive.policy.fields import compile_path
from agenthifive.policy.model import Request, RuleRef
from agenthifive.policy.patterns import NO_HITS, PatternSet, pattern_set
from agenthifive.policy.pii import PiiTypes, compile_types
from agenthifive.policy.rewrite import PersonalData, Unread

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
ACTIONS: Final = ("allow", "deny", "require_approval", "redact")

Action: TypeAlias = Literal["allow", "deny", "require_approval", "redact"]
# Guards whose response rules are skipped for full fields even when the rule does not say so itself.
_RELAXED_GUARDS: Final = frozenset(("dr-contact-pii", "cs-pii-redact"))


class PatternTable:
    """Collects the patterns of a policy and gives each its number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def add(self, pattern: str | None) -> int | None:
        """The number of a pattern, None without one."""
        return None if pattern is None else self._numbers.setdefault(pattern, len(self._numbers))

    def compile(self, ignore_case: bool = False) -> PatternSet | None:
        """One set of all patterns, None when there are none."""
        return pattern_set(tuple(self._numbers), ignore_case) if self._numbers else None


class Sightings:
    """Which patterns of a policy occur in the views of one call; the query is searched when asked for.

    Shapes:
        everywhere: patterns that occur in both views of the path; an allow rule needs those.
        either: patterns that occur in one of them; enough for everything else.
    """

    __slots__ = ("_queries", "_query_certain", "_query_possible", "_request", "either", "everywhere")

    def __init__(self, request: Request, paths: PatternSet | None, queries: PatternSet | None) -> None:
        self._request = request
        self._queries = queries
        self._query_certain: frozenset[int] | None = None
        self._query_possible: frozenset[int] | None = None
        self.everywhere = self.either = NO_HITS
        if paths is not None:
            canonical = paths.hits(request.path.encode("utf-8", "replace"))
            self.everywhere = self.either = canonical
            if request.strict_path != request.path:
                strict = paths.hits(request.strict_path.encode("utf-8", "replace"))
                self.everywhere = canonical & strict
                self.either = canonical | strict

    def has_query(self, number: int, is_certain: bool) -> bool:
        """Whether a queryPattern occurs in the decoded query, or (not is_certain) in any view of it."""
        request, queries = self._request, self._queries
        if queries is None:
            return False
        if not request.query:
            return number in queries.hits_of_empty
        certain = self._query_certain
        if certain is None:
            certain = self._query_certain = queries.hits(request.decoded_query.encode("utf-8", "replace"))
        if is_certain or number in certain:
            return number in certain
        if self._query_possible is None:
            views = {request.query, request.trimmed_query} - {request.decoded_query}
            self._query_possible = NO_HITS.union(*(queries.hits(v.encode("utf-8", "replace")) for v in views))
        return number in self._query_possible


@dataclass(frozen=True, slots=True)
class Match:
    """Whether a rule holds; None when it cannot be decided. `failed` is the first matcher that did not.

    Shapes: is_too_much: it cannot be decided although everything can be read.
    """

    holds: bool | None
    failed: str | None = None
    is_too_much: bool = False


YES: Final = Match(True)
UNDECIDABLE: Final = Match(None)
TOO_MUCH: Final = Match(None, is_too_much=True)
_NOT_METHODS: Final = Match(False, "methods")
_NOT_PATH: Final = Match(False, "urlPattern")
_NOT_QUERY: Final = Match(False, "queryPattern")
_NOT_PII: Final = Match(False, "pii")


@dataclass(frozen=True, slots=True)
class RequestRule:
    """One request rule.

    Shapes:
        path, query: numbers of patterns. has_content: it looks into the body.
        pii: None also where `redact` looks for the same: what is not there is not replaced.
    """

    ref: RuleRef
    action: Action
    methods: frozenset[str] | None
    path: int | None
    query: int | None
    conditions: tuple[Condition, ...]
    pii: PersonalData | None
    redact: PersonalData | None
    has_content: bool
    path_pattern: str | None

    @property
    def is_catch_all(self) -> bool:
        """Whether it matches every call."""
        return self.methods is None and self.path is None and self.query is None and not self.has_content

    def match(self, request: Request, seen: Sightings, now: datetime) -> Match:
        """Judge one call: certainty for `allow`, possibility for everything else."""
        is_certain = self.action == "allow"
        if self.methods is not None and request.method not in self.methods:
            return _NOT_METHODS
        if self.path is not None and self.path not in (seen.everywhere if is_certain else seen.either):
            return _NOT_PATH
        if self.query is not None and not seen.has_query(self.query, is_certain):
            return _NOT_QUERY
        return self._match_content(request, now) if self.has_content else YES

    def _match_content(self, request: Request, now: datetime) -> Match:
        is_open = False
        for number, condition in enumerate(self.conditions):
            holds = condition.judge(request, now)
            if holds is False:
                return Match(False, f"body[{number}]")
            is_open = is_open or holds is None
        hits = [] if self.pii is None else self.pii.search(request)
        if hits is Unread.TOO_MUCH:
            return TOO_MUCH
        if self.pii is not None and not hits:
            return _NOT_PII
        return UNDECIDABLE if is_open or hits is Unread.HIDDEN else YES


@dataclass(frozen=True, slots=True)
class ReplyRule:
    """One response rule.

    Shapes:
        allow: paths to keep, split at dots; deny: names to remove, as they are written.
    """

    ref: RuleRef
    methods: frozenset[str] | None
    path: int | None
    query: int | None
    allow: tuple[tuple[str, ...], ...] | None
    deny: tuple[str, ...] | None
    redact: PiiTypes | None
    relax_when: frozenset[str]

    def concerns(self, request: Request, seen: Sightings) -> bool:
        """Whether the rule matches the call whose reply is filtered."""
        return (
            (self.methods is None or request.method in self.methods)
            and (self.path is None or self.path in seen.either)
            and (self.query is None or seen.has_query(self.query, is_certain=False))
        )


def compile_request_rule(
    rule: Mapping[str, Any], index: int, paths: PatternTable, queries: PatternTable
) -> RequestRule:
    """Compile a valid request rule."""
    match = rule["match"]
    pii = match.get("pii")
    redact = (rule.get("redactConfig") or pii) if rule["action"] == "redact" else None
    sought = None if pii == redact else pii
    return RequestRule(
        ref=_ref(rule, index),
        action=rule["action"],
        methods=_methods(match),
        path=paths.add(match.get("urlPattern")),
        query=queries.add(match.get("queryPattern")),
        conditions=tuple(compile_condition(c, is_certain=rule["action"] == "allow") for c in match.get("body") or ()),
        pii=None if sought is None else _personal_data(sought),
        redact=None if redact is None else _personal_data(redact),
        has_content=bool(match.get("body")) or pii is not None,
        path_pattern=match.get("urlPattern"),
    )


def compile_reply_rule(rule: Mapping[str, Any], index: int, paths: PatternTable, queries: PatternTable) -> ReplyRule:
    """Compile a valid response rule."""
    match, content = rule["match"], rule["filter"]
    relax_when = rule.get("relaxWhen")
    if relax_when is None and rule.get("guard") in _RELAXED_GUARDS:
        relax_when = ["full_fields"]
    allow, deny, redact = (content.get(name) for name in ("allowFields", "denyFields", "redact"))
    return ReplyRule(
        ref=_ref(rule, index),
        methods=_methods(match),
        path=paths.add(match.get("urlPattern")),
        query=queries.add(match.get("queryPattern")),
        allow=None if allow is None else tuple(tuple(name.split(".")) for name in allow),
        deny=None if deny is None else tuple(deny),
        redact=None if redact is None else compile_types(redact),
        relax_when=frozenset(relax_when or ()),
    )


def _ref(rule: Mapping[str, Any], index: int) -> RuleRef:
    return RuleRef(rule.get("id") or "", index, rule.get("label"), rule.get("guard"))


def _methods(match: Mapping[str, Any]) -> frozenset[str] | None:
    methods = match.get("methods")
    return frozenset(methods) if methods else None


def _personal_data(document: Mapping[str, Any]) -> PersonalData:
    return PersonalData(compile_types(document["types"]), tuple(map(compile_path, document["fields"])))
