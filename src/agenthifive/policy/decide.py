"""The decision: may this call go out?

    windows -> allowlist -> host binding -> constraints -> full fields -> request rules -> default mode
            -> size -> hourly budget -> floors, full fields, rule, step-up        Allow | Deny | Hold

Pure: no I/O, no clock but `now`. Calls, explain and simulate come through here.
Source: contract/policy.md sections 7, 8 and 13.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from agenthifive.policy import hints
from agenthifive.policy.allowlist import Match, match_allowlists
from agenthifive.policy.compile import Policy
from agenthifive.policy.constraints.verdict import FREE, Verdict
from agenthifive.policy.model import Allow, Body, Decision, Deny, Hold, Redaction, Request, RuleRef
from agenthifive.policy.rewrite import Unread, rewrite
from agenthifive.policy.rules import RequestRule
from agenthifive.policy.trace import Trace
from agenthifive.policy.windows import is_open
from agenthifive.words import ActionClass

# Holds report mode does not let pass: somebody asked for them, or a limit does.
_KEPT_HOLDS: Final = frozenset(("pii_bypass", "full_fields", "budget_override"))
_CAUSES: Final = {"rule_approval": "rule", "budget_override": "budget"}
_SINGLE_CONTACT: Final = (
    re.compile(r"/v1/people/c[0-9]+"),
    re.compile(r"/v1\.0/me/contacts/[^/]+", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much processor time a decision may take.

    Units: `spent_s` reads processor seconds, for example time.thread_time; `limit_s` is RULE_EVALUATION_SECONDS.
    """

    spent_s: Callable[[], float]
    limit_s: float


def decide(
    request: Request,
    policy: Policy,
    now: datetime,
    budget: Budget | None = None,
    trace: Trace | None = None,
) -> Decision:
    """Say whether a call may go out: first terminal rule wins, no match falls to default mode and step-up.

    Pure: the same arguments give the same decision.

    Shapes:
        now: aware, any zone.
        trace: told about every gate passed, for explanations.
    Raises: nothing; an unreadable policy was refused when it was compiled.
    Source: contract/policy.md section 7.
    """
    judgement = _Judgement(request, policy, now, budget, trace)
    return judgement.pass_gates() or judgement.apply_rules() or judgement.conclude()


class _Judgement:
    """One decision in the making."""

    __slots__ = (
        "_budget", "_deadline_s", "_findings", "_floor", "_is_refused", "_now", "_original", "_outcome",
        "_policy", "_recorded", "_redactions", "_request", "_trace", "_verdict",
    )  # fmt: skip

    def __init__(
        self, request: Request, policy: Policy, now: datetime, budget: Budget | None, trace: Trace | None
    ) -> None:
        self._request = request
        self._original = request
        self._policy = policy
        self._now = now
        self._budget = budget
        self._deadline_s = 0.0 if budget is None else budget.spent_s() + budget.limit_s
        self._trace = trace
        self._verdict: Verdict = FREE
        self._outcome: RequestRule | None = None
        self._floor: tuple[str, RuleRef] | None = None
        self._is_refused = False
        self._redactions: tuple[Redaction, ...] = ()
        self._findings: tuple[Redaction, ...] = ()
        self._recorded: tuple[tuple[str, RuleRef | None], ...] = ()

    # ---- gates before rules --------------------------------------------------------------------------

    def pass_gates(self) -> Deny | None:
        """Windows, allowlist, host binding, constraints, preconditions of full fields."""
        request, policy, trace = self._request, self._policy, self._trace
        may_now = is_open(policy.windows, self._now)
        if trace is not None:
            trace.window(may_now)
        if not may_now:
            refused = self._refuse(hints.window_closed(request, policy, self._now))
            if refused is not None:
                return refused
        match = match_allowlists(policy.allowlists, request)
        if trace is not None:
            trace.allowlist(match, policy, request)
        if not isinstance(match, Match):
            refused = self._refuse(hints.not_listed(request, policy, match.detail))
            if refused is not None:
                return refused
        if trace is not None:
            trace.binding(request.binding)
        if request.binding is not None:
            return self._deny(hints.not_bound(request))
        return self._check_constraint() or self._check_full_fields()

    def _check_constraint(self) -> Deny | None:
        constraint = self._policy.constraint
        if constraint is not None:
            self._verdict = constraint.judge(self._request)
        if self._trace is not None:
            self._trace.constraint(constraint is not None, self._verdict)
        if self._verdict.detail is None:
            return None
        return self._refuse(hints.constrained(self._request, self._verdict))

    def _check_full_fields(self) -> Deny | None:
        request = self._request
        if not request.wants_full_fields:
            return None
        names_one = any(
            pattern.fullmatch(request.path) and pattern.fullmatch(request.strict_path) for pattern in _SINGLE_CONTACT
        )
        if self._policy.offers_full_fields and names_one and request.method == "GET":
            return None
        return self._deny(hints.fields_not_available(self._policy.offers_full_fields))

    # ---- rules ---------------------------------------------------------------------------------------

    def apply_rules(self) -> Deny | None:
        """Evaluate request rules in order; remember the terminal one. Then the default mode."""
        policy, trace = self._policy, self._trace
        seen = policy.rule_patterns.look_at(self._request)
        for rule in policy.rules_by_method.get(self._request.method, policy.rules):
            if self._is_refused and rule.action != "redact":
                continue  # report mode: what redacts behind a recorded refusal still does
            if self._budget is not None and self._budget.spent_s() > self._deadline_s:
                return self._deny(hints.out_of_budget(self._request))
            match = rule.match(self._request, seen, self._now)
            if trace is not None:
                trace.rule(rule, match)
            if match.holds is False or (match.holds is None and rule.action == "allow"):
                continue
            if match.holds is None:
                refused = self._refuse_undecidable(rule, match.is_too_much)
            elif rule.action == "redact":
                refused = self._redact(rule)
            else:
                self._outcome = rule
                if rule.action != "deny":
                    break
                self._is_refused = True
                refused = self._refuse(hints.rule_denied(self._request, policy, rule))
            if refused is not None:
                return refused
        if trace is not None and self._outcome is None:
            trace.no_rule_left()
        return self._check_default_mode()

    def _check_default_mode(self) -> Deny | None:
        request = self._request
        if (
            self._outcome is not None
            or self._policy.default_mode != "read_only"
            or request.action_class is ActionClass.READ
        ):
            return None
        self._is_refused = True
        return self._refuse(hints.read_only(request))

    def _redact(self, rule: RequestRule) -> Deny | None:
        """Rewrite the body, or set the floor where it cannot be or must not be rewritten."""
        assert rule.redact is not None  # every redact rule has a target
        hits = rule.redact.search(self._request)
        if isinstance(hits, Unread):
            if self._trace is not None:
                self._trace.redacted(rule, "undecidable")
            return self._refuse_undecidable(rule, hits is Unread.TOO_MUCH)
        stuck = [hit for hit in hits if hit.leaf.target is None]
        result = "no"
        if self._request.wants_bypass and len(stuck) < len(hits):
            self._floor, result = ("pii_bypass", rule.ref), "floor"
            self._findings += tuple(found for hit in hits for found in hit.report())
        elif hits:
            result = "redacted"
            if len(stuck) < len(hits):
                self._request = self._request.with_body(rewrite(self._request.body, hits))
                self._redactions += tuple(
                    found for hit in hits if hit.leaf.target is not None for found in hit.report()
                )
            if stuck:
                self._floor, result = self._floor or ("redaction_impossible", rule.ref), "floor"
                self._findings += tuple(found for hit in stuck for found in hit.report())
        if self._trace is not None:
            self._trace.redacted(rule, result)
        return None

    # ---- after the rules -----------------------------------------------------------------------------

    def conclude(self) -> Decision:
        """Size, budget, and whether a person has to see the call."""
        request, policy = self._request, self._policy
        if request.body.size_bytes > policy.max_payload_bytes:
            return self._deny(hints.too_large(request, policy))
        limit = policy.max_requests_per_hour
        is_over = limit is not None and (request.calls_last_hour or 0) >= limit
        if is_over and not policy.facts.is_llm:
            return self._deny(hints.out_of_calls(request, policy))
        holds = list(self._reasons_to_hold(is_over))
        if policy.enforcement == "report":
            holds = self._record_hold(holds)
        if holds:
            return self._hold(holds)
        return self._allow()

    def _reasons_to_hold(self, is_over_budget: bool) -> Iterator[tuple[str, RuleRef | None]]:
        if is_over_budget:
            yield "budget_override", None
        if self._floor is not None:
            yield self._floor
        if self._request.wants_full_fields:
            yield "full_fields", None
        outcome = self._outcome
        if self._is_refused:
            return
        if outcome is not None:
            if outcome.action == "require_approval" and not self._is_waived():
                yield "rule_approval", outcome.ref
        elif self._steps_up() and not self._is_waived():
            yield "step_up", None

    def _steps_up(self) -> bool:
        step_up = self._policy.step_up
        if step_up == "risk_based":
            return self._request.action_class is not ActionClass.READ
        return step_up == "always"

    def _is_waived(self) -> bool:
        """Whether trust waives an approval: a send to listed destinations, held for no content."""
        return (
            self._verdict.is_trusted
            and self._policy.trusted_skips_approval
            and self._request.action_class is ActionClass.SEND
            and (self._outcome is None or not self._outcome.has_content)
        )

    def _allow(self) -> Allow:
        outcome = self._outcome
        rule = None if outcome is None else outcome.ref
        if self._recorded:
            reason, rule = "report", self._recorded[0][1]
        elif outcome is not None and outcome.action == "allow":
            reason = "rule_allowed"
        elif outcome is not None or self._steps_up():
            reason = "trusted_recipient"
        else:
            reason = "no_rule"
        return Allow(reason, rule, self._new_body(), self._redactions, self._would_deny(), self._verdict.is_trusted)

    def _hold(self, holds: list[tuple[str, RuleRef | None]]) -> Hold:
        code, rule = holds[0]
        message, hint = hints.held(self._request, self._policy, code, rule, self._findings)
        return Hold(
            code=code,
            causes=tuple(_CAUSES.get(held, held) for held, _ in holds),
            rule=rule,
            message=message,
            hint=hint,
            approval_rule=next((ref for held, ref in holds if held == "rule_approval"), None),
            body=self._new_body(),
            redactions=self._redactions,
            findings=self._findings,
            would_deny=self._would_deny(),
            trusted=self._verdict.is_trusted,
        )

    def _new_body(self) -> Body | None:
        return None if self._request.body is self._original.body else self._request.body

    # ---- refusing and recording ----------------------------------------------------------------------

    def _deny(self, deny: Deny) -> Deny:
        """A refusal that holds in every mode."""
        if not self._redactions and not self._recorded:
            return deny
        return replace(deny, redactions=self._redactions, would_deny=self._would_deny())

    def _refuse(self, deny: Deny) -> Deny | None:
        """A refusal that report mode records instead."""
        if self._policy.enforcement != "report":
            return self._deny(deny)
        self._recorded += ((deny.code, deny.rule),)
        return None

    def _refuse_undecidable(self, rule: RequestRule, is_too_much: bool) -> Deny | None:
        """A restricting rule cannot be decided. Report mode promises redaction: what is too much for it stays here."""
        deny = hints.not_inspectable(self._request, rule, is_too_much)
        return self._deny(deny) if is_too_much and rule.action == "redact" else self._refuse(deny)

    def _record_hold(self, holds: list[tuple[str, RuleRef | None]]) -> list[tuple[str, RuleRef | None]]:
        """The holds report mode keeps; the first of the others is recorded."""
        passed = [hold for hold in holds if hold[0] not in _KEPT_HOLDS]
        self._recorded += tuple(passed[:1])
        return [hold for hold in holds if hold[0] in _KEPT_HOLDS]

    def _would_deny(self) -> tuple[tuple[str, str | None], ...]:
        return tuple((code, None if rule is None else rule.label) for code, rule in self._recorded)
