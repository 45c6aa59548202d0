"""Telegram: which chats a bot may touch.

Source: contract/policy.md section 9, contract/connections.md section 14; https://core.telegram.org/bots/api
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.policy.constraints.arguments import Refused, parsed, read_arguments, single
from agenthifive.policy.constraints.verdict import FREE, TRUSTED, Verdict, refused
from agenthifive.policy.members import as_text
from agenthifive.policy.model import Request

_METHOD: Final = re.compile(r"/bot[^/]*/([^/]*)", re.IGNORECASE)
_DOWNLOAD: Final = re.compile(r"/file/bot[^/]*/.+", re.IGNORECASE)
_WITHOUT_CHAT: Final = frozenset(
    ("getme", "getupdates", "getfile", "getwebhookinfo", "getmycommands", "answercallbackquery")
)
_LOCKED: Final = frozenset(("setwebhook", "deletewebhook", "logout", "close"))


@dataclass(frozen=True, slots=True)
class TelegramConstraint:
    """Chat ids as text, `@name` lower case."""

    chats: frozenset[str]

    def judge(self, request: Request) -> Verdict:
        methods = {_method_of(request.path), _method_of(request.strict_path)}
        if methods & _LOCKED:
            return refused("chat")
        try:
            arguments = read_arguments(request)
            chats = _chats_of(arguments)
        except Refused as problem:
            return refused(problem.detail)
        for chat in chats:
            if (chat.lower() if chat.startswith("@") else chat) not in self.chats:
                return refused("chat", "chatId", chat)
        if "inline_message_id" in arguments:
            return refused("missing")  # it edits a message whose chat nobody knows
        if chats or methods == {"getupdates"}:
            return TRUSTED
        return FREE if methods <= _WITHOUT_CHAT or _is_download(request) else refused("missing")


def compile_telegram(document: Mapping[str, Any]) -> TelegramConstraint | None:
    """None when the constraint lists nothing."""
    chats = document.get("allowedChatIds") or ()
    return TelegramConstraint(frozenset(c.lower() if c.startswith("@") else c for c in chats)) if chats else None


def _chats_of(arguments: Mapping[str, Any]) -> list[str]:
    chats = [single(arguments, "chat_id"), single(arguments, "from_chat_id")]
    reply = single(arguments, "reply_parameters")
    if reply is not None:
        parameters = parsed(reply)
        if not isinstance(parameters, dict):
            raise Refused("unreadable")
        if "chat_id" in parameters:
            chats.append(as_text(parameters["chat_id"]))
    return [chat for chat in chats if chat is not None]


def _method_of(path: str) -> str:
    found = _METHOD.fullmatch(path)
    return found.group(1).lower() if found else ""


def _is_download(request: Request) -> bool:
    return all(_DOWNLOAD.fullmatch(path) for path in (request.path, request.strict_path))
