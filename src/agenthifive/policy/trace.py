"""What a decision looked at, gate by gate, for people who ask why.

Never holds content of the call: no body values, no query values, no personal data.
Source: contract/policy.md section 15.3.
"""

from typing import TYPE_CHECKING, Any

from agenthifive.policy.allowlist import Match, Miss
from agenthifive.policy.model import Request

if TYPE_CHECKING:
    from agenthifive.policy.compile import Policy
    from agenthifive.policy.constraints.verdict import Verdict
    from agenthifive.policy.rules import Match as RuleMatch
    from agenthifive.policy.rules import RequestRule


class Trace:
    """Collects one entry for every gate a decision passed."""

    def __init__(self, policy: "Policy", method: str) -> None:
        self._rules = policy.rules
        self._method = method
        self._next_rule = 0
        self.entries: list[dict[str, Any]] = []

    def window(self, is_open: bool) -> None:
        self.entries.append({"gate": "time_window", "result": "open" if is_open else "closed"})

    def allowlist(self, match: Match | Miss, policy: "Policy", request: Request) -> None:
        if isinstance(match, Miss):
            self.entries.append({"gate": "allowlist", "result": "miss", "detail": match.detail})
            return
        pattern = policy.allowlists[match.entry].glob_for(request.path)
        self.entries.append({"gate": "allowlist", "result": "match", "entry": match.entry, "pattern": pattern})

    def binding(self, detail: str | None) -> None:
        entry = {"gate": "host_binding", "result": "ok" if detail is None else "refused"}
        self.entries.append(entry if detail is None else {**entry, "detail": detail})

    def constraint(self, exists: bool, verdict: "Verdict") -> None:
        if verdict.detail is not None:
            self.entries.append({"gate": "constraints", "result": "refused", "detail": verdict.detail})
        else:
            self.entries.append({"gate": "constraints", "result": "ok" if exists else "none"})

    def rule(self, rule: "RequestRule", match: "RuleMatch") -> None:
        """One evaluated rule; those before it that no call of this method concerns are filled in."""
        self._pass_over(rule.ref.index)
        self._next_rule = rule.ref.index + 1
        if match.holds is None:
            self._add(rule, "undecidable")
        elif not match.holds:
            self._add(rule, "no", match.failed)
        elif rule.action != "redact":
            self._add(rule, "terminal")

    def redacted(self, rule: "RequestRule", result: str) -> None:
        """What a matching redact rule did: "redacted", "floor", "undecidable", or "no" when nothing was found."""
        self._add(rule, result, "pii" if result == "no" else None)

    def no_rule_left(self) -> None:
        """The end of the list was reached: fill in the rest of those that no call of this method concerns."""
        self._pass_over(len(self._rules))

    def _pass_over(self, end: int) -> None:
        for skipped in self._rules[self._next_rule : end]:
            if skipped.methods is not None and self._method not in skipped.methods:
                self._add(skipped, "no", "methods")

    def _add(self, rule: "RequestRule", result: str, failed: str | None = None) -> None:
        entry = {
            "gate": "rule",
            "index": rule.ref.index,
            "id": rule.ref.id,
            "label": rule.ref.label,
            "result": result,
        }
        self.entries.append(entry if failed is None else {**entry, "failed": failed})
