"""What must happen to a reply before an agent sees it: places taken out, then the response rules.

Source: contract/broker.md section 10.1, contract/policy.md section 12.
"""

from dataclasses import replace
from typing import Any

import msgspec

from agenthifive.errors import AppError
from agenthifive.policy.constraints.inbound import Inbound
from agenthifive.policy.held_text import redact_json_text, redacting
from agenthifive.policy.replies import NotFilterable, filter_json, filter_text
from agenthifive.policy.rules import ReplyRule


class Filters(msgspec.Struct, frozen=True):
    """The filters of one reply; false when there are none."""

    rules: tuple[ReplyRule, ...] = ()
    inbound: Inbound | None = None

    def __bool__(self) -> bool:
        return bool(self.rules) or self.inbound is not None

    @property
    def redacts(self) -> tuple[ReplyRule, ...]:
        """What is done to texts wherever they stand."""
        return redacting(self.rules)

    def json(self, value: Any) -> Any:
        """A JSON reply as it may be seen. Raises: NotFilterable."""
        return filter_json(value if self.inbound is None else self.inbound(value), self.rules)

    def fields(self, value: Any) -> Any:
        """A JSON reply without what may not be seen of it, and nothing masked."""
        value = value if self.inbound is None else self.inbound(value)
        return filter_json(value, [replace(rule, redact=None) for rule in self.rules])

    def name(self, name: str) -> str:
        """The name of a file as it may be seen. Raises: NotFilterable."""
        return filter_text(name, self.redacts)

    def text(self, text: str) -> str:
        """Any other textual reply as it may be seen. Raises: NotFilterable."""
        if self.inbound is not None:
            raise NotFilterable("unparsable")
        return filter_text(text, self.rules)

    def broken_json(self, text: str) -> str:
        """What should have been JSON: a text, in which escapes hide nothing. Raises: NotFilterable."""
        text = self.text(text)
        return redact_json_text(text, self.redacts) if "\\" in text else text


def unfilterable(detail: str | None) -> AppError:
    """The refusal of a reply that rules apply to and that they cannot be applied to: it is never passed."""
    return AppError(
        "response_not_filterable",
        "Response rules of the policy apply to this reply and it cannot be filtered in this form. "
        "Ask the provider for JSON, or the owner to change the policy.",
        detail=detail,
    )
