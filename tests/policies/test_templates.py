"""GET /v1/templates: what presets offer."""

from typing import Any

import pytest

from agenthifive.catalog.catalog import Catalog
from agenthifive.ids import new_id
from policies.stage import Stage


async def ask(stage: Stage, path: str, **query: str) -> Any:
    answer = await stage.get(f"/v1/templates/{path}", **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_provider_lists_one_entry_per_template_of_all_its_services(stage: Stage, catalog: Catalog) -> None:
    templates = (await ask(stage, "google"))["templates"]
    assert [entry["id"] for entry in templates] == [
        template.id for service in catalog.by_provider("google") for template in service.file.templates
    ]
    gmail = {entry["id"]: entry for entry in templates}
    assert (gmail["gmail-read"]["sensitive"], gmail["gmail-manage"]["sensitive"]) == (False, True)
    assert set(gmail["gmail-read"]) == {"id", "name", "description", "provider", "sensitive", "allowlists"}
    assert all(entry["provider"] == "google" and entry["allowlists"] for entry in templates)


async def test_a_service_lists_its_own(stage: Stage) -> None:
    templates = (await ask(stage, "google-drive"))["templates"]
    assert [entry["id"] for entry in templates] == ["drive-read", "drive-manage"]


async def test_tenant_hosts_are_offered_as_the_wildcard_of_the_catalog(stage: Stage) -> None:
    for entry in (await ask(stage, "zendesk"))["templates"]:
        assert {allowed["baseUrl"] for allowed in entry["allowlists"]} == {"https://*.zendesk.com"}


async def test_tiers_come_minimal_first_with_their_rules(stage: Stage) -> None:
    answer = await ask(stage, "google-contacts/rules", actionTemplateId="contacts-read")
    assert [tier["id"] for tier in answer["presets"]] == ["minimal", "standard", "strict"]
    for tier in answer["presets"]:
        assert set(tier) == {
            "id", "name", "description", "rules", "recommended", "rateLimitLabel", "features",
        }  # fmt: skip
        assert set(tier["rules"]) == {"request", "response", "fieldStepUpEnabled"}
        assert tier["rateLimitLabel"].endswith(" requests per hour")
        assert set(tier["recommended"]) == {"defaultMode", "stepUpApproval"}
        assert tier["features"] == (["Full contact on approval"] if tier["rules"]["fieldStepUpEnabled"] else [])
    assert any(tier["features"] for tier in answer["presets"])
    assert [entry["id"] for entry in answer["templates"]] == ["contacts-read", "contacts-manage"]


async def test_the_tiers_fit_the_connection_that_is_named(stage: Stage) -> None:
    scopes = ("https://www.googleapis.com/auth/gmail.modify", "https://www.googleapis.com/auth/gmail.compose")
    connection_id = await stage.add_connection("google-gmail", scopes=scopes)
    fitting = await ask(stage, "google/rules", connectionId=connection_id)
    assert fitting["presets"] == (await ask(stage, "google/rules", actionTemplateId="gmail-manage"))["presets"]
    assert fitting["presets"] != (await ask(stage, "google/rules", actionTemplateId="gmail-read"))["presets"]


@pytest.mark.parametrize("name", ["stripe", "openai", "groq", "notion"])
async def test_every_service_has_tiers(stage: Stage, name: str) -> None:
    assert len((await ask(stage, f"{name}/rules"))["presets"]) == 3


async def test_guards_have_their_rules_and_aliases_resolved(stage: Stage) -> None:
    answer = await ask(stage, "slack/guards")
    assert {"id", "name", "description"} <= set(answer["categories"][0])
    for guard in answer["guards"]:
        assert set(guard) == {
            "id", "category", "name", "description", "risk", "presetTier", "providers", "requestRules",
            "responseRules",
        }  # fmt: skip
        rules = guard["requestRules"] + guard["responseRules"]
        assert rules or "slack" in guard["providers"]
        assert all(rule["guard"] for rule in rules)
    assert any(guard["requestRules"] for guard in answer["guards"])


async def test_a_config_is_what_applying_the_tier_writes(stage: Stage) -> None:
    config = await ask(stage, "notion-manage/config", tier="standard", timezone="Asia/Tokyo")
    connection_id = await stage.add_connection("notion")
    applied = await stage.create(
        connection_id, policyTier="standard", actionTemplateId="notion-manage", timezone="Asia/Tokyo"
    )
    by_hand = await stage.create(await stage.add_connection("notion"), **config)
    assert set(config) == {"allowlists", "rateLimits", "timeWindows", "rules", "stepUpApproval", "defaultMode"}
    for facet in config:
        assert without_ids(by_hand[facet]) == without_ids(applied[facet])
    assert {window["timezone"] for window in config["timeWindows"]} == {"Asia/Tokyo"}
    assert (await ask(stage, "notion-manage/config", tier="standard"))["timeWindows"] == []


def without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_ids(inner) for name, inner in value.items() if name != "id"}
    return [without_ids(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        ("no-such", {}, 400, "unknown_template"),
        ("no-such/rules", {}, 400, "unknown_template"),
        ("no-such/guards", {}, 400, "unknown_template"),
        ("no-such/config", {"tier": "strict"}, 400, "unknown_template"),
        ("slack/rules", {"actionTemplateId": "gmail-read"}, 400, "unknown_template"),
        ("slack/rules", {"connectionId": "x"}, 404, "not_found"),
        ("slack/rules", {"connectionId": new_id()}, 404, "not_found"),
        ("slack/config", {}, 400, "invalid_request"),
        ("slack/config", {"tier": "relaxed"}, 400, "invalid_request"),
        ("slack/config", {"tier": "strict", "timezone": "Mars/Olympus"}, 400, "invalid_request"),
    ],
)
async def test_what_is_not_known_is_refused(
    stage: Stage, path: str, query: dict[str, str], status: int, code: str
) -> None:
    answer = await stage.get(f"/v1/templates/{path}", **query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_foreign_connection_is_an_unknown_one(stage: Stage) -> None:
    foreign = await stage.add_connection("slack", workspace=stage.elsewhere)
    answer = await stage.get("/v1/templates/slack/rules", connectionId=foreign)
    unknown = await stage.get("/v1/templates/slack/rules", connectionId=new_id())
    assert (answer.status_code, answer.content) == (404, unknown.content)
    other = await stage.add_connection("notion")
    assert (await stage.get("/v1/templates/slack/rules", connectionId=other)).status_code == 400
