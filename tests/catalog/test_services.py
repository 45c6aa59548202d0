"""The shipped data, file by file: every credential reaches its hosts, and every pattern is one RE2 takes."""

import base64
from types import SimpleNamespace
from typing import Any

import pytest
import re2

from agenthifive.broker.inject import inject
from agenthifive.broker.target import parse_target
from agenthifive.catalog.binding import Binding, bind
from agenthifive.catalog.catalog import Catalog, load_catalog
from agenthifive.catalog.originals import GENERIC, ORIGINAL_TEMPLATES
from agenthifive.catalog.probe import build_probe
from agenthifive.catalog.schema import FieldSpec
from agenthifive.catalog.service import Service, Variant
from agenthifive.policy.paths import glob_regex

CATALOG = load_catalog()
EVERY = [pytest.param(service, id=service.id) for service in CATALOG.services]
SECRET = "Zq7xT2mK9pLw4vRb8sNc"


def example_value(service: Service, spec: FieldSpec) -> Any:
    """A plausible value of a field, its name in it where it is a secret."""
    if spec.is_sealed:
        return f"{SECRET}{spec.name}"
    if spec.type == "host":
        return service.file.hosts[0].name.replace("*", "acme")
    if spec.options:
        return spec.options[-1]
    return {"email": "a@b.test", "integer": 993, "boolean": True}.get(spec.type, "acme")


def example_of(service: Service, variant: Variant) -> tuple[dict[str, Any], Binding]:
    """A payload of the variant and its binding, on an own server only where there is no other."""
    values = {spec.name: example_value(service, spec) for spec in variant.fields if spec.name != "baseUrl"}
    if not service.file.hosts:
        values["baseUrl"] = "https://own.test:8443/base"
    if variant.spec.kind == "http":
        values["authType"] = "bearer"
    if variant.spec.kind == "oauth":
        values["accessToken"] = SECRET + "accessToken"
    return values, bind(service, variant, values)


def path_inside(glob: str) -> str:
    return glob.removesuffix("/**").replace("**", "a").replace("*", "a") or "/"


@pytest.mark.parametrize("service", EVERY)
def test_every_variant_injects_on_every_credential_host(service: Service) -> None:
    """The secret is in the request, exactly as the file says, and the scrubber is told of it."""
    for variant in service.variants.values():
        values, binding = example_of(service, variant)
        assert binding.hosts, f"{variant.id} reaches nothing"
        for bound in binding.hosts:
            host = bound.origin[1].replace("*", "a")
            path = bound.prefix + path_inside(bound.rule.paths[0])
            if variant.spec.injects[0].place == "path":
                path = "/bot/getMe"
            target = parse_target(f"{bound.base_url.removesuffix(bound.prefix)}{path}".replace("*", "a")).target
            assert binding.check(target) is None, f"{host}{path}"
            if variant.spec.injects[0].place == "mail":
                continue
            sent = inject([("host", host)], target.path, target.query, binding.plan(target), values)
            outgoing = repr((sent.headers, sent.path, sent.query))
            pairs = [value[6:] for name, value in sent.headers if name == "authorization" and value[:6] == "Basic "]
            outgoing += "".join(base64.b64decode(pair).decode() for pair in pairs)
            assert SECRET in outgoing
            assert any(SECRET in secret for secret in sent.secrets)
            assert all(secret in outgoing for secret in sent.secrets if not secret.endswith("refreshToken"))


@pytest.mark.parametrize("service", EVERY)
def test_a_variant_takes_its_own_names_from_the_caller(service: Service) -> None:
    for variant in service.variants.values():
        for spec in variant.spec.injects:
            if spec.place == "header":
                assert spec.name in variant.stripped_headers
            if spec.place == "basic":
                assert "authorization" in variant.stripped_headers
            if spec.place == "query":
                assert spec.name in variant.stripped_params


@pytest.mark.parametrize("service", EVERY)
def test_every_pattern_compiles_with_re2(service: Service) -> None:
    file = service.file
    globs = [glob for entry in file.classes for glob in entry.globs]
    globs += [glob for host in file.hosts for glob in (*host.paths, *host.deny_paths)]
    for credential in file.credentials:
        patterns = [spec.pattern for spec in credential.fields] + [inject.match for inject in credential.injects]
        for pattern in filter(None, patterns):
            assert re2.compile(pattern)
    for glob in globs:
        assert re2.compile(glob_regex(glob)).fullmatch(path_inside(glob)), glob


@pytest.mark.parametrize("service", EVERY)
def test_every_default_path_is_inside_the_binding_and_has_a_class(service: Service) -> None:
    for variant in service.variants.values():
        _, binding = example_of(service, variant)
        for entry in service.file.default_allow:
            for bound in binding.hosts:
                if bound.catalog_host not in (None, entry.host):
                    continue
                for glob in entry.paths:
                    path = bound.prefix + path_inside(glob)
                    target = SimpleNamespace(
                        scheme="https", host=bound.origin[1].replace("*", "a"), port=bound.origin[2],
                        path=path, strict_path=path.rstrip("/") or "/", query="",
                    )  # fmt: skip
                    is_slotted = bound.plan.slot is not None
                    assert binding.check(target) in ((None, "credential_slot_missing") if is_slotted else (None,))
                    assert binding.classify(target, "DELETE", None).action != "read"


@pytest.mark.parametrize("service", EVERY)
def test_every_probe_can_be_built_and_reaches_a_host_of_the_file(service: Service) -> None:
    for variant in service.variants.values():
        values, binding = example_of(service, variant)
        probe = build_probe(service, variant, values)
        if variant.test.none or variant.spec.kind == "http":
            assert probe is None
            continue
        assert probe is not None
        target = parse_target(probe.url).target
        assert binding.platform_plan(target.scheme, target.host, target.port).injections


def test_services_and_templates_of_the_original_are_there() -> None:
    assert len(ORIGINAL_TEMPLATES) == 21
    assert sum(map(len, ORIGINAL_TEMPLATES.values())) == 36
    for service_id, templates in ORIGINAL_TEMPLATES.items():
        for template_id in templates:
            found = CATALOG.template(template_id)
            assert found is not None
            assert found[0].id == service_id
    extra = {service.id for service in CATALOG.services} - set(ORIGINAL_TEMPLATES) - {GENERIC}
    assert len(extra) >= 40


@pytest.mark.parametrize("service", EVERY)
def test_a_template_that_changes_things_asks_for_more_than_one_that_reads(service: Service) -> None:
    """A provider with scopes for writing must be asked for one, or every change ends in a 403."""
    modes = {template.mode: set(template.scopes) for template in service.file.templates}
    keys = {scope.key for spec in service.file.credentials if spec.oauth for scope in spec.oauth.scopes}
    writing = {key for key in keys if key.endswith(("write", "manage", "edit", "submit", "modify"))}
    if writing and "manage" in modes:
        assert modes["manage"] & writing
        assert not modes["read"] & writing


def test_the_catalog_answers_by_id_provider_slug_and_template(catalog: Catalog) -> None:
    gmail = catalog.get("google-gmail")
    assert gmail is not None
    assert gmail in catalog.by_provider("google")
    assert catalog.get("nosuch") is None
    assert catalog.llm("nosuch") is None
    assert catalog.template("nosuch") is None
    assert catalog.by_provider("nosuch") == ()
    anthropic = catalog.llm("anthropic")
    assert anthropic is not None
    assert anthropic.id == "anthropic-messages"
    template = catalog.template("gmail-read")
    assert template is not None
    assert (template[0].id, template[1].mode) == ("google-gmail", "read")
    assert {"google", "microsoft", "github"} <= set(catalog.oauth_providers)
    assert "telegram" not in catalog.oauth_providers


def test_nothing_is_compiled_before_a_service_is_used() -> None:
    fresh = load_catalog()
    for service in fresh.services:
        assert set(vars(service)) == {"file", "extra_origins"}
