"""What the types of a service file cannot say about its variants: fields, injections, OAuth, revocation.

Source: contract/catalog/SCHEMA.md section 4 (everything marked "checked").
"""

import re
from typing import Final

from agenthifive.catalog.check_parts import Findings, address_fault, https_fault, names_of
from agenthifive.catalog.header_names import header_name_fault
from agenthifive.catalog.schema import (
    CredentialSpec,
    FieldSpec,
    InjectSpec,
    OAuthSpec,
    RevokeSpec,
    ServiceFile,
)
from agenthifive.catalog.template import template_fault
from agenthifive.policy.patterns import pattern_fault

MODEL_A_LONGEST_TTL_S: Final = 86_400
_FIELD_NAME: Final = re.compile(r"[a-zA-Z][A-Za-z0-9]*")
_DEFAULT_TYPES: Final[dict[str, type]] = {"integer": int, "boolean": bool}
_SET_BY_US: Final = frozenset(
    {
        "client_id", "client_secret", "redirect_uri", "state", "nonce", "code", "code_challenge",
        "code_challenge_method", "code_verifier", "refresh_token", "grant_type", "response_type", "scope",
    }
)  # fmt: skip


def check_variant_ids(file: ServiceFile) -> Findings:
    """Variants by name, before other tables refer to them."""
    seen: set[str] = set()
    for number, credential in enumerate(file.credentials):
        if not credential.id.strip() or credential.id in seen:
            yield f"credential[{number}].id", "must be given once"
        seen.add(credential.id)


def check_credentials(file: ServiceFile) -> Findings:
    """`[[credential]]`: every variant."""
    for number, credential in enumerate(file.credentials):
        key = f"credential[{number}]"
        if not credential.label.strip():
            yield f"{key}.label", "must not be empty"
        if credential.help_url is not None and (fault := https_fault(credential.help_url)):
            yield f"{key}.help_url", fault
        if (credential.kind == "oauth") is not (credential.oauth is not None):
            yield f"{key}.oauth", "belongs to kind oauth and only there"
        yield from _check_models(key, credential)
        yield from _check_fields(key, credential, file)
        yield from _check_injections(key, credential, file)
        if credential.oauth is not None:
            yield from _check_oauth(f"{key}.oauth", credential.oauth, credential, file)
        yield from _check_revoke(f"{key}.revoke", credential.revoke, credential, file)


def _check_models(key: str, credential: CredentialSpec) -> Findings:
    lifetime = credential.lifetime
    if credential.models not in (("B",), ("A", "B")):
        yield f"{key}.models", "must be ['B'] or ['A', 'B']"
    if credential.kind == "oauth" and lifetime.access_ttl_s is None:
        yield f"{key}.lifetime.access_ttl_s", "is missing"
    lives = (
        ("access_ttl_s", lifetime.access_ttl_s or 0),
        ("refresh_idle_days", lifetime.refresh_idle_days),
        ("refresh_max_days", lifetime.refresh_max_days),
        ("max_days", lifetime.max_days),
    )
    for name, value in lives:
        if value < 0:
            yield f"{key}.lifetime.{name}", "must be a whole number >= 0"
    is_short_lived = 0 < (lifetime.access_ttl_s or 0) <= MODEL_A_LONGEST_TTL_S
    if "A" in credential.models and not (credential.kind == "oauth" and is_short_lived):
        yield f"{key}.models", "A needs OAuth tokens that live at most a day"


def _check_fields(key: str, credential: CredentialSpec, file: ServiceFile) -> Findings:
    if credential.kind != "oauth" and not credential.fields:
        yield f"{key}.field", "at least one is needed"
    if file.self_hosted and not any(spec.type == "base_url" for spec in credential.fields):
        yield f"{key}.field", "self_hosted needs a field of type base_url"
    seen: set[str] = set()
    for number, spec in enumerate(credential.fields):
        place = f"{key}.field[{number}]"
        if not _FIELD_NAME.fullmatch(spec.name) or spec.name in seen:
            yield f"{place}.name", f"{spec.name!r} must be letters and digits, and be given once"
        seen.add(spec.name)
        if (spec.type == "base_url") is not (spec.name == "baseUrl"):
            yield f"{place}.name", "baseUrl is the name of the field of type base_url, and only of that"
        yield from _check_field(place, spec)


def _check_field(key: str, spec: FieldSpec) -> Findings:
    if not spec.label.strip():
        yield f"{key}.label", "must not be empty"
    if spec.pattern is not None and (fault := pattern_fault(spec.pattern)):
        yield f"{key}.pattern", fault
    if (spec.type == "enum") is not bool(spec.options):
        yield f"{key}.options", "belong to type enum and only there"
    if spec.default is None:
        return
    if spec.is_sealed:
        yield f"{key}.default", "a secret has no default"
    if type(spec.default) is not _DEFAULT_TYPES.get(spec.type, str):
        yield f"{key}.default", f"is no value of type {spec.type}"
    if spec.options and spec.default not in spec.options:
        yield f"{key}.default", "is not among the options"


def _check_injections(key: str, credential: CredentialSpec, file: ServiceFile) -> Findings:
    if not credential.injects:
        yield f"{key}.inject", "at least one is needed"
    hosts = {host.name: host for host in file.hosts}
    covered: set[str] = set()
    for number, inject in enumerate(credential.injects):
        place = f"{key}.inject[{number}]"
        yield from _check_injection(place, inject, names_of(credential))
        for host in inject.hosts:
            if host not in hosts:
                yield f"{place}.hosts", f"{host!r} is not a host of the service"
        covered.update(inject.hosts or hosts)
    for name, spec in hosts.items():
        is_used = not spec.variants or credential.id in spec.variants
        if spec.credential and is_used and name not in covered:
            yield f"{key}.inject", f"host {name} has no injection"


def _check_injection(key: str, inject: InjectSpec, names: frozenset[str]) -> Findings:
    templates: list[tuple[str, str | None]] = []
    if inject.place in ("header", "query"):
        if not inject.name:
            yield f"{key}.name", "is missing"
        elif inject.place == "header" and (fault := header_name_fault(inject.name)):
            yield f"{key}.name", fault
        templates.append(("value", inject.value))
    elif inject.place == "basic":
        templates += [("username", inject.username), ("password", inject.password)]
    elif inject.place == "path":
        templates.append(("value", inject.value))
        if inject.match is None or "(?P<slot>" not in inject.match:
            yield f"{key}.match", "needs a group named slot"
        elif fault := pattern_fault(inject.match):
            yield f"{key}.match", fault
    for name, value in templates:
        if value == "" and inject.place == "basic":
            continue  # half of a pair may be empty
        if value is None:
            yield f"{key}.{name}", "is missing"
        elif fault := template_fault(value, names):
            yield f"{key}.{name}", fault


def _check_oauth(key: str, oauth: OAuthSpec, credential: CredentialSpec, file: ServiceFile) -> Findings:
    names = frozenset(spec.name for spec in credential.fields) | {"tenant"}
    # Browsers visit the authorization endpoint, we do not: its host need not be listed.
    if fault := template_fault(oauth.authorization_endpoint, names) or (https_fault(oauth.authorization_endpoint)):
        yield f"{key}.authorization_endpoint", fault
    contacted = [("token_endpoint", oauth.token_endpoint)]
    if oauth.refresh_endpoint is not None:
        contacted.append(("refresh_endpoint", oauth.refresh_endpoint))
    if oauth.device is not None:
        contacted.append(("device.endpoint", oauth.device.endpoint))
    for name, address in contacted:
        if fault := address_fault(file, address, names):
            yield f"{key}.{name}", fault
    if oauth.iss == "required" and oauth.issuer is None:
        yield f"{key}.issuer", "is missing: iss is required"
    for table in ("authorize_params", "token_params", "refresh_params"):
        for name in sorted(_SET_BY_US.intersection(getattr(oauth, table))):
            yield f"{key}.{table}.{name}", "is set by the platform"
    for name in oauth.token_headers:
        if name == "authorization" or (fault := header_name_fault(name)):
            yield f"{key}.token_headers.{name}", "cannot be set"
    yield from _check_scopes(key, oauth)
    yield from _check_identity(key, oauth, names_of(credential), file)


def _check_scopes(key: str, oauth: OAuthSpec) -> Findings:
    keys: set[str] = set()
    for number, scope in enumerate(oauth.scopes):
        place = f"{key}.scope[{number}]"
        if not (scope.key.strip() and scope.value.strip() and scope.label.strip()):
            yield place, "key, value and label must not be empty"
        if scope.key in keys:
            yield f"{place}.key", f"{scope.key!r} stands there twice"
        keys.add(scope.key)
    if not oauth.no_scopes and not any(scope.default for scope in oauth.scopes):
        yield f"{key}.scope", "at least one must be default (or no_scopes = true)"
    for number, name in enumerate(oauth.device.scopes if oauth.device else ()):
        if name not in keys:
            yield f"{key}.device.scopes[{number}]", f"unknown scope key {name!r}"


def _check_identity(key: str, oauth: OAuthSpec, names: frozenset[str], file: ServiceFile) -> Findings:
    identity = oauth.identity
    if identity.source == "url" and (fault := address_fault(file, identity.url, names)):
        yield f"{key}.identity.url", fault
    if identity.source != "test" and not identity.id:
        yield f"{key}.identity.id", "is missing"
    for number, learnt in enumerate(oauth.learnt):
        place = f"{key}.param[{number}]"
        if not (learnt.name.strip() and learnt.path.strip()):
            yield place, "name and path must not be empty"
        if learnt.source == "url" and (fault := address_fault(file, learnt.url, names)):
            yield f"{place}.url", fault


def _check_revoke(key: str, revoke: RevokeSpec, credential: CredentialSpec, file: ServiceFile) -> Findings:
    if revoke.manage_url is not None and (fault := https_fault(revoke.manage_url)):
        yield f"{key}.manage_url", fault
    if revoke.how == "manual" and revoke.manage_url is None:
        yield f"{key}.manage_url", "is missing: how is manual"
    if revoke.how not in ("rfc7009", "request"):
        return
    names = names_of(credential) | {"token", "clientId"}
    if fault := address_fault(file, revoke.url, names):
        yield f"{key}.url", fault
    if revoke.auth is None:
        yield f"{key}.auth", "is missing"
    if revoke.covers is None:
        yield f"{key}.covers", "is missing"
    if revoke.how == "request" and revoke.method is None:
        yield f"{key}.method", "is missing"
