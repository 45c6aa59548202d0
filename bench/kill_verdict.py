"""What the provider saw, what the clients were answered and what the log holds, held against each other. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

GAPS: Final = (
    "hits_without_intent",
    "intents_without_outcome",
    "intents_with_several_outcomes",
    "answered_without_intent",
    "refused_without_row",
    "outcomes_without_intent",
)
"""Each must be 0."""


@dataclass(frozen=True, slots=True)
class LogRow:
    """A row of the log. Shapes: path: of an intent. intent_id, outcome: of an outcome (`unknown` after a crash)."""

    audit_id: str
    path: str | None = None
    intent_id: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The counts. All but the gaps only tell how hard the test was."""

    hits: int
    intents: int
    outcomes: int
    unknown_outcomes: int
    intents_never_sent: int
    paths_hit_twice: int
    answered_but_unknown: int
    hits_without_intent: int
    intents_without_outcome: int
    intents_with_several_outcomes: int
    answered_without_intent: int
    refused_without_row: int
    outcomes_without_intent: int

    @property
    def is_whole(self) -> bool:
        """Whether no record is missing."""
        return all(getattr(self, name) == 0 for name in GAPS)

    def wire(self) -> dict[str, Any]:
        """By name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def compare(
    hits: Sequence[str], answered: Mapping[str, str], refused_ids: Collection[str], rows: Sequence[LogRow]
) -> Verdict:
    """Count what is missing.

    Shapes:
        hits: a path for each request the provider saw. answered: path -> audit id of the answers 200.
        refused_ids: audit ids that refusals named. rows: every row of the agent.
    """
    intents = {row.audit_id: row.path for row in rows if row.path is not None and row.intent_id is None}
    outcomes = Counter(row.intent_id for row in rows if row.intent_id is not None)
    unknown = {row.intent_id for row in rows if row.outcome == "unknown"}
    ids, paths, seen = {row.audit_id for row in rows}, set(intents.values()), Counter(hits)
    return Verdict(
        hits=len(hits),
        intents=len(intents),
        outcomes=outcomes.total(),
        unknown_outcomes=len(unknown),
        intents_never_sent=len(paths - seen.keys()),
        paths_hit_twice=sum(count > 1 for count in seen.values()),
        answered_but_unknown=sum(audit_id in unknown for audit_id in answered.values()),
        hits_without_intent=len(seen.keys() - paths),
        intents_without_outcome=sum(audit_id not in outcomes for audit_id in intents),
        intents_with_several_outcomes=sum(count > 1 for count in outcomes.values()),
        answered_without_intent=sum(intents.get(audit_id) != path for path, audit_id in answered.items()),
        refused_without_row=sum(audit_id not in ids for audit_id in refused_ids),
        outcomes_without_intent=sum(intent_id not in intents for intent_id in outcomes),
    )


def read_hits(text: str, prefix: str) -> list[str]:
    """The paths in the provider's log, one line `<time> <path>` a request."""
    paths = (line.partition(" ")[2] for line in text.splitlines())
    return [path for path in paths if path.startswith(prefix)]
