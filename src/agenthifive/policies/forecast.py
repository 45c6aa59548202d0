"""How a recorded call would be decided by another policy, as far as its row can tell. Pure.

    recorded call --> what may have been: class, constraint verdict, sizes   each way through the same `decide`
                 \\-> rules whose outcome depends on values nobody recorded   once as if they matched, once as if not

    all ends the same: that decision.   two different ends: undetermined, and what it depends on

A redact rule that cannot be judged is taken to find nothing or to rewrite what it finds: neither ends a call. That a
finding could not be rewritten, or a body not be looked into, is not foreseen; in earnest both are stricter.
Source: contract/policy.md section 15.4.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, Final
from urllib.parse import quote_plus

from msgspec.structs import replace as with_members

from agenthifive.catalog.binding import Binding
from agenthifive.catalog.service import HTTPS_PORT
from agenthifive.policies.recorded import Outcome, RecordedCall
from agenthifive.policy.compile import Policy
from agenthifive.policy.conditions import PRESENCE_OPERATORS, Condition
from agenthifive.policy.constraints.verdict import FREE, TRUSTED, Verdict, refused
from agenthifive.policy.decide import decide
from agenthifive.policy.fields import FieldPath
from agenthifive.policy.model import NO_BODY, Allow, Body, Decision, Deny, Request, ServiceFacts
from agenthifive.policy.paths import UnsafePath, strict_path
from agenthifive.policy.rules import METHODS, RequestRule
from agenthifive.words import ActionClass

_TOO_LARGE: Final = "payload_too_large"
_OVER_BUDGET: Final = "budget_override"
_MORE_THAN_ANY: Final = 2**53
# documents the classifiers of the catalog tell apart, where they look into a body at all
_SAMPLES: Final[tuple[Any, ...]] = (None, {"query": "{a}"}, {"query": "mutation{a}"})


@dataclass(frozen=True, slots=True)
class Ground:
    """What a call is judged on besides its policy: the connection, and whose mail domains are its own."""

    binding: Binding
    facts: ServiceFacts
    tenant: str | None
    org_domains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where a recorded call went, in the form the catalog reads."""

    scheme: str
    host: str
    port: int
    path: str
    strict_path: str
    query: str


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A constraint whose verdict is assumed."""

    verdict: Verdict

    def judge(self, request: Request) -> Verdict:
        return self.verdict


@dataclass(frozen=True, slots=True)
class _Way:
    """One way a call may have been. Shapes: verdict: None lets the constraint judge."""

    action_class: ActionClass
    verdict: Verdict | None
    size_bytes: int
    calls_last_hour: int | None

    def difference(self, other: "_Way") -> str:
        """What sets two ways apart, in the words of a policy."""
        if self.action_class is not other.action_class:
            return "class"
        if self.verdict is not other.verdict:
            return "providerConstraints"
        is_size = self.size_bytes != other.size_bytes
        return f"rateLimits.{'maxPayloadSizeBytes' if is_size else 'maxRequestsPerHour'}"


def forecast(call: RecordedCall, policy: Policy, ground: Ground) -> Outcome:
    """How the policy would decide a call at the instant at which it was made."""
    if call.method not in METHODS:
        return Outcome("undetermined", None, depends_on="method")
    try:
        return _Forecast(call, policy, ground).outcome()
    except UnsafePath:  # no path of ours: a row from elsewhere
        return Outcome("undetermined", None, depends_on="path")


class _Forecast:
    """One call under one policy."""

    def __init__(self, call: RecordedCall, policy: Policy, ground: Ground) -> None:
        self._call = call
        self._policy = policy
        self._ground = ground
        self._knows_body = call.body_bytes == 0
        self._knows_query = call.query_names == ()

    def outcome(self) -> Outcome:
        """The one end of all ways, or that there are several."""
        ways = list(self._ways())
        agreed: Outcome | None = None
        for way in ways:
            for rule, decision in self._ends(way):
                end = _outcome(decision)
                if agreed is None or end == agreed:
                    agreed = end
                elif end.decision != agreed.decision:
                    return _undetermined(rule, ways[0], way)
                else:
                    code, name = agreed.code, agreed.rule
                    agreed = Outcome(
                        end.decision, code if code == end.code else None, name if name == end.rule else None
                    )
        assert agreed is not None  # there is at least one way, with one end
        return agreed

    def _ways(self) -> Iterator[_Way]:
        is_judged = self._policy.constraint is None or (self._knows_body and self._knows_query)
        verdicts = (None,) if is_judged else (FREE, TRUSTED, refused("unknown"))
        call = self._call
        was_large = call.before.code == _TOO_LARGE and call.body_bytes is None
        sizes = (0, _MORE_THAN_ANY) if was_large else (call.body_bytes or 0,)
        was_over = call.before.code == _OVER_BUDGET and call.calls_last_hour is None
        counts = (0, _MORE_THAN_ANY) if was_over else (call.calls_last_hour,)
        for combination in product(self._classes, verdicts, sizes, counts):
            yield _Way(*combination)

    def _ends(self, way: _Way) -> Iterator[tuple[RequestRule | None, Decision]]:
        """The decision if no rule in doubt matches, then if one of them does.

        Two of them at once end no other way: of two terminal rules the first decides. Rules of one action end alike,
        so of each kind the first is judged.
        """
        request, at = self._request(way), self._call.at
        yield None, decide(request, self._assuming(None, way), at)
        seen = self._policy.rule_patterns.look_at(request)
        judged: dict[tuple[str, bool], tuple[RequestRule, Decision]] = {}
        for rule in self._doubtful.values():
            if rule.action == "redact" or not rule.match(request, seen, at).holds:
                continue
            kind = (rule.action, rule.has_content)
            if kind not in judged:
                judged[kind] = (rule, decide(request, self._assuming(rule, way), at))
            first, decision = judged[kind]
            yield rule, with_members(decision, rule=rule.ref) if decision.rule == first.ref else decision

    def _assuming(self, matching: RequestRule | None, way: _Way) -> Policy:
        """The policy with one of the rules in doubt as if it matched, without the others."""
        doubtful = self._doubtful
        rules = tuple(
            matching if matching is not None and rule.ref.index == matching.ref.index else rule
            for rule in self._policy.rules_by_method[self._call.method]
            if rule.ref.index not in doubtful or (matching is not None and rule.ref.index == matching.ref.index)
        )
        constraint = self._policy.constraint if way.verdict is None else _Fixed(way.verdict)
        return replace(self._policy, rules_by_method={self._call.method: rules}, constraint=constraint)

    @cached_property
    def _doubtful(self) -> dict[int, RequestRule]:
        """The rules whose outcome depends on what nobody recorded, reduced to what can be judged."""
        doubtful = {}
        for rule in self._policy.rules_by_method[self._call.method]:
            query = None if self._knows_query else rule.query
            is_query_open = query is not None
            known = tuple(condition for condition in rule.conditions if not self._is_open_condition(condition))
            targets = [target for target in (rule.pii, rule.redact) if target is not None]
            is_pii_open = any(self._is_open(path) for target in targets for path in target.fields)
            if is_query_open or is_pii_open or len(known) < len(rule.conditions):
                doubtful[rule.ref.index] = replace(
                    rule,
                    query=None if is_query_open else rule.query,
                    conditions=known,
                    pii=None if is_pii_open else rule.pii,
                )
        return doubtful

    def _is_open_condition(self, condition: Condition) -> bool:
        path = condition.path
        if path.view == "$query" and self._call.query_names is not None:
            # the names are recorded: whether the parameter was there is known
            is_sent = any(name.strip() == path.name for name in self._call.query_names)
            return is_sent and condition.operator not in PRESENCE_OPERATORS
        return self._is_open(path)

    def _is_open(self, path: FieldPath) -> bool:
        if path.view == "$query":
            return not self._knows_query
        if path.view == "$size":
            return self._call.body_bytes is None
        return not self._knows_body or (self._ground.facts.params_in_query and not self._knows_query)

    @cached_property
    def _classes(self) -> tuple[ActionClass, ...]:
        """What the call may have done: the catalog looks into some bodies and queries."""
        bodies = _SAMPLES[:1] if self._knows_body else _SAMPLES
        queries = ("",) if self._knows_query else ("?a=",) if self._call.query_names else ("", "?a=")
        found = (
            self._ground.binding.classify(replace(self._destination, query=query), self._call.method, body).action
            for body in bodies
            for query in queries
        )
        return tuple(dict.fromkeys(found))

    @cached_property
    def _destination(self) -> _Destination:
        call, bound = self._call, self._ground.binding.hosts
        own = next((b.origin for b in bound if b.origin[1] == call.host and call.scheme in (None, b.origin[0])), None)
        scheme, _, port = own or (call.scheme or "https", call.host, HTTPS_PORT)
        query = "&".join(f"{quote_plus(name)}=" for name in call.query_names or ())
        return _Destination(scheme, call.host, port, call.path, strict_path(call.path), f"?{query}" if query else "")

    def _request(self, way: _Way) -> Request:
        call, destination = self._call, self._destination
        return Request(
            method=call.method,
            scheme=destination.scheme,
            host=destination.host,
            port=destination.port,
            path=destination.path,
            strict_path=destination.strict_path,
            query=destination.query,
            body=NO_BODY if self._knows_body else Body("json", {}, way.size_bytes),
            action_class=way.action_class,
            facts=self._ground.facts,
            binding=self._ground.binding.check(destination),
            tenant=self._ground.tenant,
            wants_bypass=call.wants_bypass,
            wants_full_fields=call.wants_full_fields,
            org_domains=self._ground.org_domains,
            calls_last_hour=way.calls_last_hour,
        )


def _undetermined(rule: RequestRule | None, first: _Way, other: _Way) -> Outcome:
    if rule is not None and first == other:
        return Outcome("undetermined", None, _name(rule), f"rules.request[{rule.ref.index}]")
    return Outcome("undetermined", None, depends_on=first.difference(other))


def _name(rule: RequestRule) -> str:
    return rule.ref.label or rule.ref.id


def _outcome(decision: Decision) -> Outcome:
    rule = None if decision.rule is None else decision.rule.label or decision.rule.id
    if isinstance(decision, Allow):
        return Outcome("allow", decision.reason, rule)
    return Outcome("deny" if isinstance(decision, Deny) else "require_approval", decision.code, rule)
