"""Microsoft Teams: which tenants, chats and channels may be touched.

Ids stand in the path, as segments or as `('id')`, in any letter case, plain or encoded.
Source: contract/policy.md section 9, contract/connections.md section 14; https://learn.microsoft.com/graph
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from agenthifive.policy.constraints.verdict import FREE, TRUSTED, Verdict, refused
from agenthifive.policy.model import Request

_CHAT: Final = re.compile(r"/chats(?:/|\(')([^/')]+)", re.IGNORECASE)
_CHANNEL: Final = re.compile(r"/(?:all|incoming)?channels(?:/|\(')([^/')]+)", re.IGNORECASE)
_EVERYTHING: Final = re.compile(r"/(?:getAllMessages|getAllRetainedMessages)|/search/query$", re.IGNORECASE)
_NEW_CHAT: Final = re.compile(r"/chats$", re.IGNORECASE)
_DELTA: Final = re.compile(r"/messages/(?:microsoft\.graph\.)?delta(?:\(|$)", re.IGNORECASE)
_MEMBERS: Final = re.compile(r"/members(?:/|\(|$)", re.IGNORECASE)
_MESSAGES: Final = re.compile(r"/messages(?:/|\(|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class MicrosoftConstraint:
    """Tenant ids lower case; chat and channel ids as they are."""

    tenants: frozenset[str]
    chats: frozenset[str]
    channels: frozenset[str]

    def judge(self, request: Request) -> Verdict:
        if self.tenants and (request.tenant or "").lower() not in self.tenants:
            return refused("tenant", "tenantId", request.tenant or "")
        if not self.chats and not self.channels:
            return FREE
        paths = (request.path, request.strict_path)
        closed = _closed_operation(request.method, paths)
        if closed is not None:
            return refused(closed)
        chats = {unquote(found) for path in paths for found in _CHAT.findall(path)}
        channels = {unquote(found) for path in paths for found in _CHANNEL.findall(path)}
        if self.chats and not chats <= self.chats:
            return refused("chat", "chatId", min(chats - self.chats))
        if self.channels and not channels <= self.channels:
            return refused("channel", "channelId", min(channels - self.channels))
        if any(not _CHAT.search(path) and not _CHANNEL.search(path) for path in paths):
            reaches_messages = any(_MESSAGES.search(path) for path in paths)
            return refused("missing") if request.method != "GET" or reaches_messages else FREE
        is_trusted = (not chats or bool(self.chats)) and (not channels or bool(self.channels))
        return TRUSTED if is_trusted else FREE


def compile_microsoft(document: Mapping[str, Any]) -> MicrosoftConstraint | None:
    """None when the constraint lists nothing."""
    constraint = MicrosoftConstraint(
        frozenset(tenant.lower() for tenant in document.get("allowedTenantIds") or ()),
        frozenset(document.get("allowedChatIds") or ()),
        frozenset(document.get("allowedChannelIds") or ()),
    )
    return constraint if constraint.tenants or constraint.chats or constraint.channels else None


def _closed_operation(method: str, paths: tuple[str, str]) -> str | None:
    if any(_EVERYTHING.search(path) for path in paths):
        return "chat"
    if any(_DELTA.search(path) or (method != "GET" and _MEMBERS.search(path)) for path in paths):
        return "method"
    if method == "POST" and any(_NEW_CHAT.search(path) for path in paths):
        return "chat"
    return None
