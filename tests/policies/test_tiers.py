"""Templates and tiers against the catalog: every tier of every template must be a policy that can be saved."""

import pytest

from agenthifive.catalog.allowlists import outside_binding
from agenthifive.catalog.binding import bind
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.facts import service_facts
from agenthifive.errors import AppError
from agenthifive.policies.tiers import bind_at_large, choose_template, expand_tier, named_template
from agenthifive.policy.allowlist import read_base_url
from agenthifive.policy.presets import TIERS
from agenthifive.policy.validate import validate

ORIGINAL_TENANTS = {"jira": {"siteUrl": "acme.atlassian.net"}, "zendesk": {"subdomain": "acme"}}
SAMPLE = ("jira", "google-gmail", "microsoft-teams", "telegram", "slack", "openai", "stripe", "zendesk", "linear")


def test_every_tier_of_every_template_is_valid_for_its_service(catalog: Catalog) -> None:
    for service in catalog.services:
        variant = service.default_variant
        binding = bind_at_large(service)
        facts = service_facts(service, variant, binding)
        for template in service.file.templates:
            facets = expand_tier(service, binding, template, "minimal", None)
            assert validate(facets, facts, partial=False).problems == (), template.id


@pytest.mark.parametrize("service_id", SAMPLE)
def test_tiers_stay_inside_the_binding_of_a_connection(catalog: Catalog, service_id: str) -> None:
    service = catalog.get(service_id)
    assert service is not None
    binding = bind(service, service.default_variant, ORIGINAL_TENANTS.get(service_id, {}))
    facts = service_facts(service, service.default_variant, binding)
    for template in service.file.templates:
        for tier in TIERS:
            facets = expand_tier(service, binding, template, tier, "Europe/Berlin")
            assert validate(facets, facts, partial=False).problems == ()
            assert facets["allowlists"], f"{template.id} {tier}"
            for entry in facets["allowlists"]:
                base = read_base_url(entry["baseUrl"])
                assert base is not None
                origin = (base.scheme, base.host, base.port)
                assert outside_binding(binding, origin, tuple(entry["pathPatterns"])) is None


def test_every_service_has_a_template_to_choose(catalog: Catalog) -> None:
    for service in catalog.services:
        template = choose_template(service, ())
        assert template is not None
        assert template.mode in ("read", "use"), f"nothing was granted, so {service.id} must not get more"


def test_scopes_that_are_not_all_granted_choose_nothing(catalog: Catalog) -> None:
    teams = catalog.get("microsoft-teams")
    assert teams is not None
    read = named_template(teams, "teams-read")
    manage = named_template(teams, "teams-manage")
    granted = [*manage.scopes]
    assert choose_template(teams, granted) == manage
    assert choose_template(teams, read.scopes) == read
    missing = [scope for scope in granted if scope not in read.scopes][:1]
    assert choose_template(teams, [scope for scope in granted if scope not in missing]) == read


def test_a_template_of_another_service_is_unknown_here(catalog: Catalog) -> None:
    slack = catalog.get("slack")
    assert slack is not None
    with pytest.raises(AppError) as refused:
        named_template(slack, "gmail-read")
    assert (refused.value.code, refused.value.hint) == ("unknown_template", "slack")
