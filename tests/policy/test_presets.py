"""Presets: what applying a tier writes, and what people are shown."""

import pytest

from agenthifive.policy import presets
from agenthifive.policy.compile import compile_policy
from agenthifive.policy.decide import decide
from agenthifive.policy.pii import type_names
from agenthifive.policy.presets import PlainService, UnknownTemplate, insert_guard
from agenthifive.policy.replies import filter_json, reply_rules
from agenthifive.policy.validate import validate
from policy.calls import GENERIC, NOON, build, call, code, facts_of, label, line_spec, preset_file


def test_a_guard_reference_is_replaced_by_its_rules_at_its_place() -> None:
    template = next(t for t in preset_file()["templates"] if t["id"] == "slack")
    rules = presets.template_config("slack", "standard")["rules"]["request"]
    referenced = [item for item in template["tiers"]["standard"]["rules"]["request"] if "match" not in item]
    assert referenced, "the tier uses guards by reference"
    assert all("match" in rule and "action" in rule for rule in rules)
    assert {rule["guard"] for rule in rules if "guard" in rule} >= {item["guard"] for item in referenced}


def test_windows_come_only_with_a_zone_and_the_site_replaces_the_wildcard() -> None:
    assert presets.template_config("docs-read", "strict")["timeWindows"] == []
    windows = presets.template_config("docs-read", "strict", "Europe/Berlin")["timeWindows"]
    assert {window["timezone"] for window in windows} == {"Europe/Berlin"}
    entries = presets.template_config("jira-read", "standard", site="acme.atlassian.net")["allowlists"]
    assert {entry["baseUrl"] for entry in entries} == {"https://acme.atlassian.net"}


def test_what_is_given_out_can_be_changed_without_changing_the_presets() -> None:
    presets.template_config("slack", "standard")["rules"]["request"].clear()
    presets.template_config("slack", "standard")["allowlists"].clear()
    presets.guards_for("slack")["guards"].clear()
    presets.templates_for("slack")[0]["scopes"].append("x")
    assert presets.template_config("slack", "standard")["rules"]["request"]
    assert presets.template_config("slack", "standard")["allowlists"]
    assert presets.guards_for("slack")["guards"]
    assert "x" not in presets.templates_for("slack")[0]["scopes"]


@pytest.mark.parametrize(("template", "tier"), [("nothing", "strict"), ("slack", "loose")])
def test_an_unknown_template_or_tier_is_said_to_be_unknown(template: str, tier: str) -> None:
    with pytest.raises(UnknownTemplate):
        presets.template_config(template, tier)


def test_tiers_are_shown_from_minimal_to_strict_with_what_they_recommend() -> None:
    tiers = presets.tiers_of("contacts-read")
    assert [tier["id"] for tier in tiers] == ["minimal", "standard", "strict"]
    assert tiers[1]["rateLimitLabel"] == "200 requests per hour"
    assert tiers[1]["recommended"] == {"defaultMode": "read_only", "stepUpApproval": "risk_based"}
    assert tiers[1]["features"] == ["Full contact on approval"]
    assert tiers[2]["features"] == []


def test_a_provider_answers_for_all_its_services_and_a_service_for_itself() -> None:
    google = {template["service"] for template in presets.templates_for("google")}
    assert google == {name for name, facts in preset_file()["services"].items() if facts["provider"] == "google"}
    gmail = presets.templates_for("google-gmail")
    assert {template["service"] for template in gmail} == {"google-gmail"}
    assert {template["id"]: template["sensitive"] for template in gmail} == {"gmail-read": False, "gmail-manage": True}
    assert all(template["allowlists"] for template in gmail)
    one = {guard["id"]: guard for guard in presets.guards_for("google-gmail")["guards"]}
    all_of_them = {guard["id"]: guard for guard in presets.guards_for("google")["guards"]}
    assert len(one["cs-profanity"]["requestRules"]) == 1
    assert len(all_of_them["cs-profanity"]["requestRules"]) == 2
    assert all_of_them["cs-profanity"]["presetTier"] == "standard"


def test_an_alias_gives_the_rules_of_its_guard_for_its_services_only() -> None:
    assert presets.guard_rules("msg-profanity-email", "google-gmail", "request") == presets.guard_rules(
        "cs-profanity", "google-gmail", "request"
    )
    assert presets.guard_rules("msg-profanity-email", "slack", "request") == []


def test_a_guard_added_by_hand_stands_before_the_first_rule_that_opens_or_asks() -> None:
    def rule(action: str, name: str) -> dict[str, str]:
        return {"action": action, "label": name}

    rules = [rule("redact", "r"), rule("deny", "d"), rule("allow", "a"), rule("deny", "rest")]
    added = [rule("require_approval", "3"), rule("redact", "2"), rule("deny", "1")]
    assert [r["label"] for r in insert_guard(rules, added)] == ["r", "d", "1", "2", "3", "a", "rest"]
    assert [r["label"] for r in insert_guard(rules[:2], added)] == ["r", "d", "1", "2", "3"]


def test_every_type_of_personal_data_has_a_name() -> None:
    names = type_names()
    assert {"custom", "ssn", "us_ssn", "contact", "all_pii", "email"} <= names
    assert len(names) == 34 + 4 + 1 + 1


# ---- tiers of services without preset data -----------------------------------------------------------

PLAIN = PlainService(
    is_llm=False,
    default_allow=(("https://api.example.com", ("GET", "POST", "DELETE"), ("/v1/**",)),),
    read_posts=(("https://api.example.com", ("/v1/search",)),),
)
MODEL = PlainService(is_llm=True, default_allow=(("https://api.example.com", ("POST",), ("/v1/**",)),))


@pytest.mark.parametrize(
    ("mode", "tier", "expected"),
    [
        ("read", "strict", ("read_only", "never", 50, 0, 1)),
        ("read", "standard", ("read_only", "never", 200, 0, 0)),
        ("read", "minimal", ("read_only", "never", 1000, 0, 0)),
        ("manage", "strict", ("custom", "risk_based", 25, 1, 1)),
        ("manage", "standard", ("custom", "risk_based", 100, 0, 0)),
        ("manage", "minimal", ("read_write", "never", 500, 0, 0)),
        ("use", "strict", ("custom", "risk_based", 25, 1, 1)),
    ],
)
def test_generic_tiers(mode: presets.Mode, tier: str, expected: tuple[object, ...]) -> None:
    config = presets.generic_config("x-template", mode, tier, PLAIN)
    rules = config["rules"]
    assert expected == (
        config["defaultMode"],
        config["stepUpApproval"],
        config["rateLimits"]["maxRequestsPerHour"],
        len(rules["request"]),
        len(rules["response"]),
    )
    assert validate(config, GENERIC, partial=False).problems == ()


@pytest.mark.parametrize(("tier", "calls"), [("strict", 20), ("standard", 100), ("minimal", 500)])
def test_generic_tiers_of_models(tier: str, calls: int) -> None:
    config = presets.generic_config("x-use", "use", tier, MODEL)
    assert (config["stepUpApproval"], config["rateLimits"]) == ("never", {"maxRequestsPerHour": calls})


def test_a_generic_read_tier_lists_reads_and_reading_posts_only() -> None:
    policy = compile_policy(presets.generic_config("x-read", "read", "standard", PLAIN), GENERIC)
    assert code(decide(call("GET", "/v1/items"), policy, NOON)) == "no_rule"
    assert code(decide(call("POST", "/v1/items", {}), policy, NOON)) == "allowlist_denied"
    assert code(decide(call("POST", "/v1/search", {}), policy, NOON)) == "read_only"  # until the catalog says read
    assert code(decide(call("DELETE", "/v1/items"), policy, NOON)) == "allowlist_denied"


def test_a_generic_strict_tier_denies_deletion_and_redacts_replies() -> None:
    policy = compile_policy(presets.generic_config("x-manage", "manage", "strict", PLAIN), GENERIC)
    decision = decide(call("DELETE", "/v1/items"), policy, NOON)
    assert (code(decision), label(decision)) == ("rule_denied", "Deletion")
    rules = reply_rules(policy, call("GET", "/v1/items"))
    reply = {"note": "IBAN NL91ABNA0417164300, SSN 078-05-1120", "mail": "olga@example.org"}
    assert filter_json(reply, rules) == {"note": "IBAN [REDACTED], SSN [REDACTED]", "mail": "olga@example.org"}


def test_a_tier_without_a_zone_is_open_at_night() -> None:
    facts = facts_of("google-docs")
    policy = compile_policy(presets.template_config("docs-read", "strict"), facts)
    request = build(line_spec("google-docs", "GET /v1/documents/d1", None), facts)
    assert code(decide(request, policy, NOON.replace(hour=3))) == "rule_allowed"
