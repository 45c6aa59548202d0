"""A policy as a document people keep: agent, connection, and what differs from the defaults, in one stable order. Pure.

    policy as GET answers it -> document -> facets as the apply route takes them

Source: contract/policy.md section 2.1, operations.md section 15 (policy export, apply).
"""

from collections.abc import Mapping
from typing import Any, Final

from agenthifive.policies.model import FACETS
from agenthifive.policy.defaults import DEFAULTS

HEADS: Final = ("agent", "connection")
ALWAYS: Final = "allowlists"
"""Written even when it is empty: no entry, no call."""

DEFAULT_FACETS: Final[Mapping[str, Any]] = {name: DEFAULTS[name] for name in FACETS}

_DEFAULT_MEMBERS: Final[Mapping[str, Any]] = {
    "encodedSlash": False,
    "startMinute": 0,
    "endMinute": 0,
    "fieldStepUpEnabled": False,
}
_ORDER: Final = (
    *("id", "label", "guard", "match", "methods", "urlPattern", "queryPattern", "body", "pii", "path", "op", "value"),
    *("action", "redactConfig", "filter", "allowFields", "denyFields", "redact", "types", "type", "pattern"),
    *("replacement", "fields", "relaxWhen", "baseUrl", "pathPatterns", "encodedSlash", "dayOfWeek", "startHour"),
    *("startMinute", "endHour", "endMinute", "timezone", "maxRequestsPerHour", "maxPayloadSizeBytes"),
    *("maxResponseSizeBytes", "request", "response", "fieldStepUpEnabled", "provider"),
)
_RANK: Final = {name: number for number, name in enumerate(_ORDER)}


def facets_to_write(policy: Mapping[str, Any]) -> dict[str, Any]:
    """The facets of a policy that differ from the defaults, in wire order, members in the order people read them."""
    return {
        name: _tidy(policy[name])
        for name in FACETS
        if name == ALWAYS or _tidy(policy[name]) != _tidy(DEFAULT_FACETS[name])
    }


def write_document(policy: Mapping[str, Any], agent_name: str) -> dict[str, Any]:
    """The whole document of a policy as GET answers it."""
    return {
        "agent": {"name": agent_name, "id": policy["agentId"]},
        "connection": {
            "label": policy["connectionLabel"],
            "service": policy["connectionService"],
            "id": policy["connectionId"],
        },
        **facets_to_write(policy),
    }


def _tidy(value: Any) -> Any:
    """Members in order, those that say what is said without them left out."""
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: (_RANK.get(name, len(_RANK)), name))
        return {
            name: _tidy(value[name])
            for name in names
            if name not in _DEFAULT_MEMBERS or value[name] != _DEFAULT_MEMBERS[name]
        }
    if isinstance(value, list):
        return [_tidy(inner) for inner in value]
    return value
