"""Provider constraints: which chats, channels, tenants and people a connection may touch.

    providerConstraints  ->  compile_constraint  ->  Constraint.judge(request)  ->  Verdict

They come before rules, for every method and every kind of body. Source: contract/policy.md section 9.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from agenthifive.policy.constraints.mailbox import compile_mailbox
from agenthifive.policy.constraints.microsoft import compile_microsoft
from agenthifive.policy.constraints.slack import compile_slack
from agenthifive.policy.constraints.telegram import compile_telegram
from agenthifive.policy.constraints.verdict import Constraint

_COMPILERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Constraint | None]]] = {
    "telegram": compile_telegram,
    "slack": compile_slack,
    "microsoft": compile_microsoft,
    "email": compile_mailbox,
}

# The lists each provider knows; every constraint may also say trustedSkipsApproval.
LISTS: Final[Mapping[str, tuple[str, ...]]] = {
    "telegram": ("allowedChatIds",),
    "slack": ("allowedChannelIds", "allowedUserIds"),
    "microsoft": ("allowedTenantIds", "allowedChatIds", "allowedChannelIds"),
    "email": ("allowedRecipients", "allowedRecipientDomains"),
}


def compile_constraint(document: Mapping[str, Any] | None) -> Constraint | None:
    """Compile the constraint of a valid policy; None when there is none or it restricts nothing."""
    return None if document is None else _COMPILERS[document["provider"]](document)
