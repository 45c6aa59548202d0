"""From a policy document to the form `decide` reads.

    document + facts of the service  ->  validate  ->  Policy
                                            |
                                            +-> PolicyInvalid: refuse all its calls

Everything that can be prepared is prepared here: globs, patterns, windows, paths, the rules of each method.
Source: contract/policy.md sections 2, 15.1 and 15.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from agenthifive.policy.allowlist import Entry, compile_allowlists, ignores_path_case
from agenthifive.policy.constraints import compile_constraint
from agenthifive.policy.constraints.verdict import Constraint
from agenthifive.policy.defaults import fill_defaults
from agenthifive.policy.model import PolicyInvalid, Request, ServiceFacts
from agenthifive.policy.patterns import PatternSet
from agenthifive.policy.rules import (
    METHODS,
    PatternTable,
    ReplyRule,
    RequestRule,
    Sightings,
    compile_reply_rule,
    compile_request_rule,
)
from agenthifive.policy.validate import check
from agenthifive.policy.windows import ZoneWindows, compile_windows

DEFAULT_PAYLOAD_BYTES: Final = 10_485_760


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns of one list of rules: paths by case rule of the host, and queries."""

    paths: Mapping[bool, PatternSet | None]
    queries: PatternSet | None

    def look_at(self, request: Request) -> Sightings:
        """The occurrences of the patterns in one call."""
        if len(self.paths) == 1:
            (paths,) = self.paths.values()
        else:
            paths = self.paths[ignores_path_case(request.facts, request.host)]
        return Sightings(request, paths, self.queries)


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled policy. Immutable; shared by all calls of an agent over a connection.

    Units: max_payload_bytes and max_response_bytes in bytes; None: the default of the reply kind.
    """

    facts: ServiceFacts
    allowlists: tuple[Entry, ...]
    windows: tuple[ZoneWindows, ...]
    constraint: Constraint | None
    trusted_skips_approval: bool
    rules: tuple[RequestRule, ...]
    rules_by_method: Mapping[str, tuple[RequestRule, ...]]
    rule_patterns: Patterns
    replies: tuple[ReplyRule, ...]
    reply_patterns: Patterns
    offers_full_fields: bool
    default_mode: Literal["read_only", "read_write", "custom"]
    step_up: Literal["always", "risk_based", "never"]
    enforcement: Literal["enforce", "report"]
    allowed_models: frozenset[str]
    vend_static_credentials: bool
    max_requests_per_hour: int | None
    max_payload_bytes: int
    max_response_bytes: int | None


def compile_policy(document: Mapping[str, Any], facts: ServiceFacts) -> Policy:
    """Compile a stored policy or a draft; members left out take their defaults.

    Raises: PolicyInvalid. A policy that does not compile must refuse its calls.
    """
    filled = fill_defaults(document)
    problems = check(filled, facts, is_stored=True)
    if problems:
        raise PolicyInvalid(tuple(problems))
    rules = filled["rules"]
    limits = filled["rateLimits"] or {}
    constraint = filled["providerConstraints"]
    cases = {host.path_insensitive for host in facts.hosts} or {False}
    requests, request_patterns = _compile_requests(rules["request"], cases)
    replies, reply_patterns = _compile_replies(rules["response"], cases)
    return Policy(
        facts=facts,
        allowlists=compile_allowlists(filled["allowlists"], facts),
        windows=compile_windows(filled["timeWindows"]),
        constraint=compile_constraint(constraint),
        trusted_skips_approval=(constraint or {}).get("trustedSkipsApproval", True),
        rules=requests,
        rules_by_method={
            method: tuple(rule for rule in requests if rule.methods is None or method in rule.methods)
            for method in METHODS
        },
        rule_patterns=request_patterns,
        replies=replies,
        reply_patterns=reply_patterns,
        offers_full_fields=rules.get("fieldStepUpEnabled", False),
        default_mode=filled["defaultMode"],
        step_up=filled["stepUpApproval"],
        enforcement=filled["enforcement"],
        allowed_models=frozenset(filled["allowedModels"]),
        vend_static_credentials=filled["vendStaticCredentials"],
        max_requests_per_hour=limits.get("maxRequestsPerHour"),
        max_payload_bytes=limits.get("maxPayloadSizeBytes") or DEFAULT_PAYLOAD_BYTES,
        max_response_bytes=limits.get("maxResponseSizeBytes"),
    )


def _compile_requests(rules: list[Mapping[str, Any]], cases: set[bool]) -> tuple[tuple[RequestRule, ...], Patterns]:
    paths, queries = PatternTable(), PatternTable()
    compiled = tuple(compile_request_rule(rule, index, paths, queries) for index, rule in enumerate(rules))
    return compiled, _patterns(paths, queries, cases)


def _compile_replies(rules: list[Mapping[str, Any]], cases: set[bool]) -> tuple[tuple[ReplyRule, ...], Patterns]:
    paths, queries = PatternTable(), PatternTable()
    compiled = tuple(compile_reply_rule(rule, index, paths, queries) for index, rule in enumerate(rules))
    return compiled, _patterns(paths, queries, cases)


def _patterns(paths: PatternTable, queries: PatternTable, cases: set[bool]) -> Patterns:
    return Patterns({ignores_case: paths.compile(ignores_case) for ignores_case in cases}, queries.compile())
