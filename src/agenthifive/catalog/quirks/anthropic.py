"""Anthropic: one header carries a list that the caller, the kind of credential and we write together.

Data cannot say this, because entries are kept, dropped and added one by one inside the caller's value.
No vendor client is imitated: neither its user agent nor its system text is ever added.
Source: contract/broker.md section 7 (anthropic-messages), connections.md section 5.
"""

from collections.abc import Mapping
from typing import Any, Final

from agenthifive.catalog.schema import Kind

BETA_HEADER: Final = "anthropic-beta"
OAUTH_BETA: Final = "oauth-2025-04-20"
SUBSCRIPTION_PREFIX: Final = "sk-ant-oat"
_CLIENT_PREFIX: Final = "claude-code-"
_OAUTH_PREFIX: Final = "oauth-"


def prepare(kind: Kind, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Merge the beta list: the caller's entries without the vendor client's, ours behind them."""
    is_subscription = kind == "token_pair"
    entries: list[str] = []
    for name, value in headers:
        if name == BETA_HEADER:
            entries += [entry.strip() for entry in value.split(",")]
    if not entries and not is_subscription:
        return headers
    kept = [entry for entry in dict.fromkeys(entries) if entry and not _is_refused(entry, is_subscription)]
    if is_subscription and OAUTH_BETA not in kept:
        kept.append(OAUTH_BETA)
    others = [(name, value) for name, value in headers if name != BETA_HEADER]
    return [*others, (BETA_HEADER, ",".join(kept))] if kept else others


def recognise(members: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """A subscription token entered as an API key: its variant, and the members named as that one has them."""
    api_key = members.get("apiKey")
    if not isinstance(api_key, str) or not api_key.startswith(SUBSCRIPTION_PREFIX):
        return None
    others = {name: value for name, value in members.items() if name != "apiKey"}
    return "token_pair", {**others, "accessToken": api_key}


def _is_refused(entry: str, is_subscription: bool) -> bool:
    lowered = entry.lower()
    return lowered.startswith(_CLIENT_PREFIX) or (lowered.startswith(_OAUTH_PREFIX) and not is_subscription)
