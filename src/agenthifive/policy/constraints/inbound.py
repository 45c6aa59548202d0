"""What a constrained agent may see in replies that list chats, channels or messages of all kinds.

    constraint + request -> the filter for this reply, or None when the reply is about one listed place already

A shape that is not known is dropped: it might name a place that is not listed. Source: contract/connections.md
section 14, column "inbound".
"""

import re
from collections.abc import Callable
from typing import Any, Final

from agenthifive.policy.constraints.microsoft import MicrosoftConstraint
from agenthifive.policy.constraints.slack import SlackConstraint
from agenthifive.policy.constraints.telegram import TelegramConstraint
from agenthifive.policy.constraints.verdict import Constraint
from agenthifive.policy.model import Request

Inbound = Callable[[Any], Any]

_UPDATES: Final = re.compile(r"/bot[^/]*/getupdates", re.IGNORECASE)
_SLACK_LISTS: Final = re.compile(r"/api/(?:conversations\.list|users\.conversations)", re.IGNORECASE)
_CHATS: Final = re.compile(r"/(?:v1\.0|beta)/(?:.*/)?chats", re.IGNORECASE)
_CHANNELS: Final = re.compile(r"/(?:v1\.0|beta)/.*/(?:all)?channels", re.IGNORECASE)
_UPDATE_KINDS: Final = (
    "message", "edited_message", "channel_post", "edited_channel_post", "business_message", "edited_business_message",
    "my_chat_member", "chat_member", "chat_join_request", "message_reaction", "message_reaction_count", "chat_boost",
    "removed_chat_boost",
)  # fmt: skip


def inbound_filter(constraint: Constraint | None, request: Request) -> Inbound | None:
    """The filter of the reply to this call, None when nothing has to be taken out."""
    path = request.strict_path
    if isinstance(constraint, TelegramConstraint) and _UPDATES.fullmatch(path):
        return lambda value: _keep(value, "result", lambda update: _is_listed(update, constraint.chats))
    if isinstance(constraint, SlackConstraint) and _SLACK_LISTS.fullmatch(path):
        return lambda value: _keep(value, "channels", lambda channel: _is_reachable(channel, constraint))
    if isinstance(constraint, MicrosoftConstraint) and request.method == "GET":
        if constraint.chats and _CHATS.fullmatch(path):
            return lambda value: _keep(value, "value", lambda chat: _id_of(chat) in constraint.chats)
        if constraint.channels and _CHANNELS.fullmatch(path):
            return lambda value: _keep(value, "value", lambda channel: _id_of(channel) in constraint.channels)
    return None


def _keep(value: Any, name: str, admits: Callable[[Any], bool]) -> Any:
    """The reply with only the admitted elements of its list; a list somewhere else is not expected and emptied."""
    if not isinstance(value, dict):
        return None
    if name not in value:
        return value
    items = value[name]
    return {**value, name: [item for item in items if admits(item)] if isinstance(items, list) else []}


def _is_listed(update: Any, chats: frozenset[str]) -> bool:
    if not isinstance(update, dict):
        return False
    for kind in _UPDATE_KINDS:
        if isinstance(update.get(kind), dict):
            return _chat_is_listed(update[kind].get("chat"), chats)
    query = update.get("callback_query")
    message = query.get("message") if isinstance(query, dict) else None
    return isinstance(message, dict) and _chat_is_listed(message.get("chat"), chats)


def _chat_is_listed(chat: Any, chats: frozenset[str]) -> bool:
    if not isinstance(chat, dict):
        return False
    username = chat.get("username")
    is_named = isinstance(username, str) and f"@{username.lower()}" in chats
    return is_named or _id_of(chat) in chats


def _is_reachable(channel: Any, constraint: SlackConstraint) -> bool:
    if not isinstance(channel, dict):
        return False
    if channel.get("is_im") is True:
        return channel.get("user") in constraint.users
    return _id_of(channel) in constraint.channels


def _id_of(item: Any) -> str:
    found = item.get("id") if isinstance(item, dict) else None
    return "" if found is None or isinstance(found, bool) else str(found)
