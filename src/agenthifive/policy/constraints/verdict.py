"""What a provider constraint says about a call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from agenthifive.policy.model import Request


@dataclass(frozen=True, slots=True)
class Verdict:
    """Shapes:
    detail: why the call is refused, None when it is not.
    ids: what was rejected, in the words of the audit row.
    is_trusted: every destination the call names is explicitly listed.
    """

    detail: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    is_trusted: bool = False


FREE: Final = Verdict()
TRUSTED: Final = Verdict(is_trusted=True)


def refused(detail: str, kind: str | None = None, value: str = "") -> Verdict:
    """A refusal, with the rejected id when there is one."""
    return Verdict(detail, {kind: value[:200]} if kind else {})


class Constraint(Protocol):
    """A compiled constraint with at least one list that restricts."""

    def judge(self, request: Request) -> Verdict:
        """Refuse what cannot be proven to stay inside the lists."""
        ...
