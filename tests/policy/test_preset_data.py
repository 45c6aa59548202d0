"""The preset data: whole, in agreement with the catalog, without a rule that can never speak or comes too late.

Operations of a service are the known ones of the shared case file. Source: contract/policy.md sections 17.1 to 17.3.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from agenthifive.policy import presets
from agenthifive.policy.allowlist import Match, match_allowlists
from agenthifive.policy.compile import Policy, compile_policy
from agenthifive.policy.model import Request
from agenthifive.policy.paths import glob_regex
from agenthifive.policy.patterns import pattern_set
from agenthifive.policy.validate import validate
from policy.calls import build, case_file, catalog, facts_of, line_spec, preset_file

STEP_UP = {"strict": "always", "standard": "risk_based", "minimal": "never"}
WINDOWS = {"strict": "business-hours", "standard": "extended-hours", "minimal": "always"}
LAST_ACTIONS = {"strict": {"deny", "require_approval"}, "standard": {"deny", "require_approval"},
                "minimal": {"allow", "deny"}}  # fmt: skip
TEMPLATES = {template["id"]: template for template in preset_file()["templates"]}
TIERS = [(template_id, tier) for template_id in TEMPLATES for tier in presets.TIERS]


@dataclass(frozen=True)
class Tier:
    """A tier, compiled, with the operations its allowlist lets through."""

    data: dict[str, Any]
    mode: str
    config: dict[str, Any]
    policy: Policy
    live: list[Request]


@cache
def tier_of(template_id: str, tier: str) -> Tier:
    template = TEMPLATES[template_id]
    facts = facts_of(template["service"])
    config = presets.template_config(template_id, tier)
    policy = compile_policy(config, facts)
    lines = case_file()["operations"][template["service"]]
    known = [build(line_spec(template["service"], line, None), facts) for line in lines]
    live = [request for request in known if isinstance(match_allowlists(policy.allowlists, request), Match)]
    return Tier(template["tiers"][tier], template["mode"], config, policy, live)


def matching(tier: Tier, request: Request, side: str) -> Iterator[int]:
    """Rules whose methods, path and query match, whatever they say of the content."""
    patterns = tier.policy.rule_patterns if side == "request" else tier.policy.reply_patterns
    seen = patterns.look_at(request)
    for rule in tier.policy.rules if side == "request" else tier.policy.replies:
        listed = rule.methods is None or request.method in rule.methods
        on_path = rule.path is None or rule.path in seen.either
        if listed and on_path and (rule.query is None or seen.has_query(rule.query, is_certain=False)):
            yield rule.ref.index


def test_guards_are_complete_and_there_are_43_of_the_matrix() -> None:
    document = preset_file()
    categories = {category["id"] for category in document["guardCategories"]}
    ids = [guard["id"] for guard in document["guards"]]
    assert len(ids) == len(set(ids))
    assert sum(bool(guard.get("matrix")) for guard in document["guards"]) == 43
    for guard in document["guards"]:
        assert all(guard[name] for name in ("name", "description", "providers")), guard["id"]
        assert guard["category"] in categories
        assert guard["risk"] in ("low", "medium", "high")
        assert guard["tier"] in presets.TIERS
        if "aliasOf" in guard:
            assert guard["aliasOf"] in ids
            assert "rules" not in guard
            continue
        assert (
            guard.get("needsConstraint")
            or guard.get("rateLimits")
            or any(rules.get(side) for rules in guard["rules"].values() for side in ("request", "response"))
        ), guard["id"]


def test_every_rule_of_every_guard_can_be_saved() -> None:
    tried = 0
    for guard in preset_file()["guards"]:
        for service in preset_file()["services"]:
            rules = {side: presets.guard_rules(guard["id"], service, side) for side in ("request", "response")}
            if any(rules.values()):
                tried += 1
                assert validate({"rules": rules}, facts_of(service), partial=True).problems == (), (
                    guard["id"],
                    service,
                )
    assert tried > 43


def test_there_are_36_templates_with_three_tiers_each() -> None:
    document = preset_file()
    assert (document["schema"], document["recommendedTier"]) == (1, "standard")
    assert len(TEMPLATES) == len(document["templates"]) == 36
    for template in document["templates"]:
        assert list(template["tiers"]) == list(presets.TIERS)
        assert template["provider"] == document["services"][template["service"]]["provider"]


@pytest.mark.parametrize(("template_id", "tier_name"), TIERS)
def test_a_tier_keeps_the_promises_of_its_name(template_id: str, tier_name: str) -> None:
    tier = tier_of(template_id, tier_name)
    request, response = tier.config["rules"]["request"], tier.config["rules"]["response"]
    assert tier.data["description"]
    assert tier.data["securityPreset"] == tier_name
    assert tier.config["defaultMode"] == ("read_only" if tier.mode == "read" else "read_write")
    assert tier.config["stepUpApproval"] == STEP_UP[tier_name]
    assert tier.data["timeWindows"] == WINDOWS[tier_name]
    assert [index for index, rule in enumerate(request) if not rule["match"]] == [len(request) - 1]
    assert request[-1]["action"] in ({"deny"} if tier.mode == "read" else LAST_ACTIONS[tier_name])
    if tier_name == "minimal":
        assert "require_approval" not in {rule["action"] for rule in request}
    else:
        assert any("redact" in rule["filter"] for rule in response)
    used = {
        item["guard"] for side in ("request", "response") for item in tier.data["rules"][side] if "match" not in item
    }
    assert used <= set(tier.data["guards"])


@pytest.mark.parametrize(("template_id", "tier_name"), TIERS)
def test_no_rule_that_opens_or_asks_stands_before_one_that_redacts_the_same_call(
    template_id: str, tier_name: str
) -> None:
    tier = tier_of(template_id, tier_name)
    for request in tier.live:
        closed = False
        for index in matching(tier, request, "request"):
            action = tier.policy.rules[index].action
            assert not (closed and action == "redact"), (request.method, request.path, index)
            closed = closed or action in ("allow", "require_approval")


@pytest.mark.parametrize(("template_id", "tier_name"), TIERS)
def test_everything_in_a_tier_concerns_some_operation(template_id: str, tier_name: str) -> None:
    tier = tier_of(template_id, tier_name)
    alive_guards = set()
    for side in ("request", "response"):
        rules = tier.config["rules"][side]
        hit = {index for request in tier.live for index in matching(tier, request, side)}
        alive_guards |= {rules[index].get("guard") for index in hit}
        dead = [rule["label"] for index, rule in enumerate(rules) if index not in hit and "guard" not in rule]
        assert dead == []
    assert {rule["guard"] for side in ("request", "response") for rule in tier.config["rules"][side]
            if "guard" in rule} <= alive_guards  # fmt: skip
    for entry, compiled in zip(tier.config["allowlists"], tier.policy.allowlists, strict=True):
        for glob in entry["pathPatterns"]:
            pattern = pattern_set((glob_regex(glob),), compiled.ignores_case)
            assert any(pattern.is_found(request.path.encode()) for request in tier.live), glob


def test_services_and_templates_are_those_of_the_catalog() -> None:
    document = preset_file()
    for service_id, facts in document["services"].items():
        service = catalog().get(service_id)
        assert service is not None
        assert service.provider == facts["provider"]
        cases = {host.name: host.path_case for host in service.file.hosts}
        assert dict.fromkeys(facts["hosts"], facts["pathCase"]).items() <= cases.items()
        values = {scope.key: scope.value for variant in service.file.credentials if variant.oauth is not None
                  for scope in variant.oauth.scopes}  # fmt: skip
        listed = {template.id: template for template in service.file.templates}
        for template in document["templates"]:
            if template["service"] == service_id:
                same = listed[template["id"]]
                assert (same.label, same.description, same.mode) == tuple(
                    template[name] for name in ("label", "description", "mode")
                )
                assert sorted(values.get(key, key) for key in same.scopes) == sorted(template["scopes"])
