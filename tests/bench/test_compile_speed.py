"""What is compiled is every tier there is, and a pattern of its own is one."""

from bench.compile_speed import compile_all, documents_of_tiers, with_own_pattern

from agenthifive.catalog.catalog import load_catalog
from agenthifive.policy.compile import compile_policy


def test_every_tier_is_measured_once() -> None:
    documents = documents_of_tiers(load_catalog())
    assert len({(content["actionTemplateId"], content["securityPreset"]) for content, _ in documents}) == 36 * 3
    assert compile_all(documents) > 0


def test_a_pattern_of_its_own_comes_first_and_leaves_the_tier_as_it_was() -> None:
    document = documents_of_tiers(load_catalog())[0]
    own = with_own_pattern(document, 7)
    assert len(own[0]["rules"]["request"]) == len(document[0]["rules"]["request"]) + 1
    assert compile_policy(*own).rules[0].path_pattern == "^/own/7/"
