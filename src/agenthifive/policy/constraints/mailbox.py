"""Mail: whom a mailbox may write to.

Source: contract/policy.md section 9, contract/connections.md section 14, contract/email.md section 6.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agenthifive.policy.allowlist import host_matches
from agenthifive.policy.constraints.verdict import FREE, TRUSTED, Verdict, refused
from agenthifive.policy.mail import UNREADABLE
from agenthifive.policy.model import Request
from agenthifive.words import ActionClass


@dataclass(frozen=True, slots=True)
class MailConstraint:
    """Addresses and domains lower case; `*.x.org` is one label before x.org."""

    recipients: frozenset[str]
    domains: tuple[str, ...]
    max_recipients: int | None

    def judge(self, request: Request) -> Verdict:
        mail = request.mail
        if mail is UNREADABLE:
            return refused("unreadable")
        people = set(mail["recipients"]) if isinstance(mail, dict) else set()
        if not people:
            # What is sent goes to somebody; a call that does not say to whom cannot be inside the lists.
            return refused("recipient") if request.action_class is ActionClass.SEND else FREE
        lists_people = bool(self.recipients or self.domains)
        if lists_people:
            for address in sorted(people):
                if not self._may_write_to(address):
                    return refused("recipient", "recipient", address)
        if self.max_recipients is not None and len(people) > self.max_recipients:
            return refused("recipient")
        return TRUSTED if lists_people else FREE

    def _may_write_to(self, address: str) -> bool:
        if address in self.recipients:
            return True
        _, sign, domain = address.rpartition("@")
        return bool(sign) and any(host_matches(pattern, domain) for pattern in self.domains)


def compile_mailbox(document: Mapping[str, Any]) -> MailConstraint | None:
    """None when the constraint restricts nothing."""
    constraint = MailConstraint(
        frozenset(address.lower() for address in document.get("allowedRecipients") or ()),
        tuple(domain.lower() for domain in document.get("allowedRecipientDomains") or ()),
        document.get("maxRecipients"),
    )
    has_effect = constraint.recipients or constraint.domains or constraint.max_recipients is not None
    return constraint if has_effect else None
