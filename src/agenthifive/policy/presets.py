"""Tiers, guards and templates: policies somebody has thought about, as data (presets.json).

    template + tier  ->  guard references replaced by their rules  ->  facets of a policy

The file is read once, when first asked for. What is given out is a copy.
Source: contract/policy.md section 17, catalog/SCHEMA.md section 9.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from agenthifive.policy.preset_file import preset_document

TIERS: Final = ("strict", "standard", "minimal")
_SITE_WILDCARD: Final = "https://*.atlassian.net"
_REDACTED_REPLIES: Final[Sequence[Mapping[str, Any]]] = (
    {
        "label": "Redact financial and identity data in replies",
        "match": {},
        "filter": {"redact": [{"type": "financial"}, {"type": "identity"}]},
    },
)
_NO_DELETION: Final[Mapping[str, Any]] = {
    "label": "Deletion",
    "match": {"methods": ["DELETE"]},
    "action": "deny",
}

Mode = Literal["read", "manage", "use"]


class UnknownTemplate(LookupError):
    """No template of this id, or no such tier."""


@dataclass(frozen=True, slots=True)
class PlainService:
    """What the generic tiers must know of a service without tiers of its own.

    Shapes:
        default_allow: (base URL, methods, globs) of the catalog.
        read_posts: (base URL, globs) of POST operations that only read.
    """

    is_llm: bool
    default_allow: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    read_posts: tuple[tuple[str, tuple[str, ...]], ...] = ()


def templates_for(provider: str) -> list[dict[str, Any]]:
    """The templates of a provider or of one service, in the order of the file.

    Shapes: allowlists: those of the standard tier. sensitive: it does more than read.
    """
    return [
        deepcopy(
            {
                **{name: value for name, value in template.items() if name != "tiers"},
                "allowlists": template["tiers"]["standard"]["allowlists"],
                "sensitive": template["mode"] != "read",
            }
        )
        for template in preset_document()["templates"]
        if provider in (template["provider"], template["service"])
    ]


def has_template(template_id: str) -> bool:
    """Whether a template has tiers of its own."""
    return template_id in _templates()


def tiers_of(template_id: str) -> list[dict[str, Any]]:
    """The tiers of a template as people see them, minimal first. Raises: UnknownTemplate."""
    return [_describe(template_id, tier) for tier in reversed(TIERS)]


def template_config(
    template_id: str, tier: str, timezone: str | None = None, site: str | None = None
) -> dict[str, Any]:
    """The facets that applying a tier writes. Rules have no ids yet; constraints and models are left alone.

    Shapes:
        timezone: of the windows; without one there are none.
        site: host of the connection, put in the place of *.atlassian.net.
    Raises: UnknownTemplate.
    """
    template = _template(template_id)
    if tier not in template["tiers"]:
        raise UnknownTemplate(tier)
    data = template["tiers"][tier]
    rules: dict[str, Any] = {
        side: _expand(data["rules"][side], template["service"], side) for side in ("request", "response")
    }
    if data["rules"].get("fieldStepUpEnabled"):
        rules["fieldStepUpEnabled"] = True
    windows = preset_document()["timeWindowProfiles"][data["timeWindows"]] if timezone else []
    return {
        "actionTemplateId": template_id,
        "securityPreset": tier,
        "defaultMode": data["defaultMode"],
        "stepUpApproval": data["stepUpApproval"],
        "allowlists": [_at_site(entry, site) for entry in deepcopy(data["allowlists"])],
        "rateLimits": deepcopy(data["rateLimits"]),
        "timeWindows": [{**window, "timezone": timezone} for window in windows],
        "rules": rules,
    }


def guards_for(provider: str) -> dict[str, Any]:
    """Guard categories, and the guards of a provider or of one service with their rules, aliases resolved."""
    document = preset_document()
    services = [service for service, facts in document["services"].items() if provider in (service, facts["provider"])]
    guards = []
    for guard in document["guards"]:
        rules = {
            side: [rule for service in services for rule in guard_rules(guard["id"], service, side)]
            for side in ("request", "response")
        }
        if provider in guard["providers"] or rules["request"] or rules["response"]:
            guards.append(
                {
                    **{n: guard[n] for n in ("id", "category", "name", "description", "risk", "providers")},
                    "presetTier": guard["tier"],
                    "requestRules": _without_repeats(rules["request"]),
                    "responseRules": _without_repeats(rules["response"]),
                }
            )
    return deepcopy({"categories": document["guardCategories"], "guards": guards})


def guard_rules(guard_id: str, service: str, side: str) -> list[dict[str, Any]]:
    """The rules of a guard for one service, each marked with the guard they are written for. Raises: KeyError."""
    guard = _guards()[guard_id]
    source = guard
    if "aliasOf" in guard:
        if service not in guard.get("services", (service,)):
            return []
        source = _guards()[guard["aliasOf"]]
    rules = source["rules"].get(service, source["rules"].get("*", {}))
    return [{**deepcopy(rule), "guard": source["id"]} for rule in rules.get(side, [])]


def insert_guard(rules: Sequence[Mapping[str, Any]], added: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Request rules with those of a guard before the first that is neither redact nor deny.

    Of the added rules the denying ones come first and the redacting ones before those that ask.
    """
    order = {"deny": 0, "redact": 1}
    place = next((n for n, rule in enumerate(rules) if rule["action"] not in order), len(rules))
    ranked = sorted(added, key=lambda rule: order.get(rule["action"], 2))
    return [dict(rule) for rule in (*rules[:place], *ranked, *rules[place:])]


def generic_config(template_id: str, mode: Mode, tier: str, service: PlainService) -> dict[str, Any]:
    """The facets of a tier where no preset data exists for the template. Raises: UnknownTemplate."""
    if tier not in TIERS:
        raise UnknownTemplate(tier)
    if mode == "use" and service.is_llm:
        numbers = {"strict": 20, "standard": 100, "minimal": 500}
        default_mode, step_up, restricts = "read_write", "never", False
    elif mode == "read":
        numbers = {"strict": 50, "standard": 200, "minimal": 1000}
        default_mode, step_up, restricts = "read_only", "never", tier == "strict"
    else:
        numbers = {"strict": 25, "standard": 100, "minimal": 500}
        is_open = tier == "minimal"
        default_mode, step_up = ("read_write", "never") if is_open else ("custom", "risk_based")
        restricts = tier == "strict"
    denies = restricts and mode != "read"
    return {
        "actionTemplateId": template_id,
        "securityPreset": tier,
        "defaultMode": default_mode,
        "stepUpApproval": step_up,
        "allowlists": _reading(service) if mode == "read" else _everything(service),
        "rateLimits": {"maxRequestsPerHour": numbers[tier]},
        "timeWindows": [],
        "rules": {
            "request": [deepcopy(dict(_NO_DELETION))] if denies else [],
            "response": deepcopy(list(_REDACTED_REPLIES)) if restricts else [],
        },
    }


def _everything(service: PlainService) -> list[dict[str, Any]]:
    return [
        {"baseUrl": base, "methods": list(methods), "pathPatterns": list(globs)}
        for base, methods, globs in service.default_allow
    ]


def _reading(service: PlainService) -> list[dict[str, Any]]:
    gets = [
        {"baseUrl": base, "methods": ["GET"], "pathPatterns": list(globs)}
        for base, methods, globs in service.default_allow
        if "GET" in methods
    ]
    posts = [{"baseUrl": base, "methods": ["POST"], "pathPatterns": list(globs)} for base, globs in service.read_posts]
    return gets + posts


def _expand(items: Sequence[Mapping[str, Any]], service: str, side: str) -> list[dict[str, Any]]:
    """A rule list with its guard references replaced by the rules of the guard."""
    rules: list[dict[str, Any]] = []
    for item in items:
        if "match" in item:
            rules.append(deepcopy(dict(item)))
            continue
        for rule in guard_rules(item["guard"], service, side):
            if "action" in item and rule.get("action", "redact") != "redact":
                rule["action"] = item["action"]
            rules.append(rule)
    return rules


def _describe(template_id: str, tier: str) -> dict[str, Any]:
    data = _template(template_id)["tiers"][tier]
    config = template_config(template_id, tier)
    return {
        "id": tier,
        "name": tier.capitalize(),
        "description": data["description"],
        "rules": config["rules"],
        "recommended": {"defaultMode": data["defaultMode"], "stepUpApproval": data["stepUpApproval"]},
        "rateLimitLabel": f"{data['rateLimits']['maxRequestsPerHour']} requests per hour",
        "features": ["Full contact on approval"] if data["rules"].get("fieldStepUpEnabled") else [],
    }


def _at_site(entry: dict[str, Any], site: str | None) -> dict[str, Any]:
    if site is not None:
        entry["baseUrl"] = entry["baseUrl"].replace(_SITE_WILDCARD, f"https://{site}")
    return entry


def _without_repeats(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rules of several services that are the same need to stand there only once."""
    kept: list[dict[str, Any]] = []
    for rule in rules:
        if rule not in kept:
            kept.append(rule)
    return kept


@lru_cache(maxsize=1)
def _templates() -> dict[str, dict[str, Any]]:
    return {template["id"]: template for template in preset_document()["templates"]}


@lru_cache(maxsize=1)
def _guards() -> dict[str, dict[str, Any]]:
    return {guard["id"]: guard for guard in preset_document()["guards"]}


def _template(template_id: str) -> dict[str, Any]:
    try:
        return _templates()[template_id]
    except KeyError:
        raise UnknownTemplate(template_id) from None
