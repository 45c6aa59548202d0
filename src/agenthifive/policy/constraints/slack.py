"""Slack: which channels and people an app may touch.

Closed by default: only the methods named here do without a channel.
Source: contract/policy.md section 9, contract/connections.md section 14; https://api.slack.com/methods
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.policy.constraints.arguments import Refused, listed, read_arguments, single
from agenthifive.policy.constraints.verdict import FREE, TRUSTED, Verdict, refused
from agenthifive.policy.model import Request

_METHOD: Final = re.compile(r"/api/([^/]*)", re.IGNORECASE)
_CLOSED: Final = re.compile(r"(?:search|admin)\..*|conversations\.create")
_WITHOUT_CHANNEL: Final = re.compile(
    r"(?:api|auth)\.test|auth\.teams\.list|bots\.info|dnd\..*|emoji\.list|team\..*|users\..*"
    r"|usergroups\.(?:list|users\.list)|conversations\.list|files\.(?:info|getuploadurlexternal)"
)


@dataclass(frozen=True, slots=True)
class SlackConstraint:
    """Ids of channels and people; a list that is empty names nobody once the other one restricts."""

    channels: frozenset[str]
    users: frozenset[str]

    def judge(self, request: Request) -> Verdict:
        methods = {_method_of(request.path), _method_of(request.strict_path)}
        try:
            arguments = read_arguments(request)
            channels = [c for c in (single(arguments, "channel"), single(arguments, "channel_id")) if c is not None]
            channels += listed(arguments, "channels")
            users = listed(arguments, "users")
            user = single(arguments, "user")
        except Refused as problem:
            return refused(problem.detail)
        for channel in channels:
            if not self._may_use(channel, request.slack_dm_users):
                return refused("channel", "channelId", channel)
        for person in users if user is None or not self.users else [*users, user]:
            if person not in self.users:
                return refused("channel", "userId", person)
        if "files.list" in methods or "" in methods:
            return refused("method")
        if any(_CLOSED.fullmatch(method) for method in methods):
            return refused("channel")
        if channels or users:
            return TRUSTED
        return FREE if all(_WITHOUT_CHANNEL.fullmatch(m) for m in methods) else refused("missing")

    def _may_use(self, channel: str, dm_users: Mapping[str, str]) -> bool:
        if channel.startswith("#"):
            return False  # a name can be given to another channel
        if channel in self.channels or channel in self.users:
            return True
        return channel.startswith("D") and dm_users.get(channel) in self.users


def compile_slack(document: Mapping[str, Any]) -> SlackConstraint | None:
    """None when the constraint lists nothing."""
    channels = frozenset(document.get("allowedChannelIds") or ())
    users = frozenset(document.get("allowedUserIds") or ())
    return SlackConstraint(channels, users) if channels or users else None


def _method_of(path: str) -> str:
    """The method name; empty for everything else Slack serves, file downloads above all."""
    found = _METHOD.fullmatch(path)
    return found.group(1).lower() if found else ""
