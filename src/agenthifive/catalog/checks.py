"""What the types of a service file cannot say about the service itself and its hosts.

    ServiceFile -> these, checks_credential.py, checks_calls.py, in the order of load.py -> first finding wins

Source: contract/catalog/SCHEMA.md sections 1 to 3 and 5 (everything marked "checked").
"""

import re
from collections.abc import Iterator
from typing import Final

from agenthifive.catalog.address import split_address
from agenthifive.catalog.check_parts import (
    Findings,
    check_conditions,
    check_globs,
    check_test,
    https_fault,
    is_whole_template,
    names_of,
    reachable_hosts,
)
from agenthifive.catalog.header_names import header_name_fault, is_header_value
from agenthifive.catalog.hosts import host_fault
from agenthifive.catalog.originals import ORIGINAL_TEMPLATES
from agenthifive.catalog.schema import HostSpec, ServiceFile
from agenthifive.catalog.template import parse_template, template_fault

_SLUG: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_ARGUMENT: Final = re.compile(r"[A-Za-z0-9_-]+")


def check_names(file: ServiceFile) -> Findings:
    """Ids, names and documentation."""
    for key, slug in (("id", file.id), ("provider", file.provider)):
        if not _SLUG.fullmatch(slug):
            yield key, "must be lower-case words joined by hyphens"
    for key, text in (("name", file.name), ("group", file.group), ("description", file.description)):
        if not text.strip():
            yield key, "must not be empty"
    if not 1 <= len(file.icon) <= 2:
        yield "icon", "must be 1 or 2 characters"
    if (file.id in ORIGINAL_TEMPLATES) is not (file.confidence == "verified-in-original"):
        yield "confidence", f"{file.confidence!r} does not belong to this service"
    if not file.docs:
        yield "docs", "must list an address"
    for number, address in enumerate(file.docs):
        if fault := https_fault(address):
            yield f"docs[{number}]", fault
    for number, note in enumerate(file.notes):
        if not note.strip():
            yield f"notes[{number}]", "must not be empty"


def check_stripped(file: ServiceFile) -> Findings:
    """Arguments and headers taken from the caller."""
    for number, name in enumerate(file.strip_params):
        if not _ARGUMENT.fullmatch(name):
            yield f"strip_params[{number}]", "is no argument name"
    for number, name in enumerate(file.strip_headers):
        if fault := header_name_fault(name):
            yield f"strip_headers[{number}]", fault


def check_hosts(file: ServiceFile) -> Findings:
    """`[[host]]` and `platform_hosts`."""
    if not file.hosts and not file.self_hosted:
        yield "host", "at least one is needed"
    seen: set[str] = set()
    for number, host in enumerate(file.hosts):
        key = f"host[{number}]"
        if host.name in seen:
            yield f"{key}.name", f"{host.name} stands there twice"
        seen.add(host.name)
        yield from _check_host(key, host, file)
    for number, name in enumerate(file.platform_hosts):
        if fault := host_fault(name):
            yield f"platform_hosts[{number}]", fault


def _check_host(key: str, host: HostSpec, file: ServiceFile) -> Findings:
    if fault := host_fault(host.name):
        yield f"{key}.name", fault
    yield from check_globs(f"{key}.paths", host.paths)
    yield from check_globs(f"{key}.deny_paths", host.deny_paths, may_be_empty=True)
    variants = {credential.id: credential for credential in file.credentials}
    for variant in host.variants:
        if variant not in variants:
            yield f"{key}.variants", f"unknown variant {variant!r}"
    if host.name.startswith("*.") and host.tenant is None and not host.shared and host.credential:
        yield f"{key}.tenant", "is missing: a wildcard needs tenant or shared = true"
    if host.tenant is None:
        return
    if not parse_template(host.tenant).names:
        yield f"{key}.tenant", "names no field"
    for variant in host.variants or variants:
        if variant in variants and (fault := template_fault(host.tenant, names_of(variants[variant]))):
            yield f"{key}.tenant", f"{fault} (variant {variant})"


def check_headers(file: ServiceFile) -> Findings:
    """`[headers]` and `[headers_forced]`: plain values, no credential."""
    for table, headers in (("headers", file.headers), ("headers_forced", file.headers_forced)):
        for name, value in headers.items():
            if fault := header_name_fault(name):
                yield f"{table}.{name}", fault
            if "{" in value or not is_header_value(value):
                yield f"{table}.{name}", "must be plain visible text without template"


def check_whole_hosts(file: ServiceFile) -> Findings:
    """A field used as a whole host can only hold hosts that the service names."""
    used = set(_whole_hosts(file))
    reachable = reachable_hosts(file)
    for number, credential in enumerate(file.credentials):
        for place, spec in enumerate(credential.fields):
            key = f"credential[{number}].field[{place}]"
            if "{" + spec.name + "}" not in used:
                continue
            if spec.type not in ("enum", "host"):
                yield f"{key}.type", f"{spec.name} is used as a whole host: type must be enum or host"
            elif spec.options and not reachable.issuperset(spec.options):
                yield (
                    f"{key}.options",
                    f"{spec.name} is used as a host but offers others than the service has",
                )


def check_tests(file: ServiceFile) -> Findings:
    """Every variant has a probe, its own or the file's."""
    if not file.credentials:
        yield "credential", "at least one is needed"
    for number, credential in enumerate(file.credentials):
        test = credential.test or file.test
        if test is None:
            yield "test", f"is missing for variant {credential.id} (say none = true)"
        else:
            key = f"credential[{number}].test" if credential.test else "test"
            yield from check_test(file, key, test, names_of(credential))
    if file.auth_failure is not None:
        if not file.auth_failure.json:
            yield "auth_failure.json", "must not be empty"
        yield from check_conditions("auth_failure.json", file.auth_failure.json)


def _whole_hosts(file: ServiceFile) -> Iterator[str]:
    """Every host that is one template and nothing else."""
    hosts = [host.tenant for host in file.hosts if host.tenant is not None]
    hosts += [split_address(address)[0] for address in _addresses(file) if address.startswith("https://")]
    return filter(is_whole_template, hosts)


def _addresses(file: ServiceFile) -> Iterator[str]:
    """Every address of the file that we may contact."""
    for credential in file.credentials:
        oauth, test = credential.oauth, credential.test
        if oauth is not None:
            yield from (oauth.authorization_endpoint, oauth.token_endpoint, oauth.refresh_endpoint or "")
            yield from (oauth.identity.url or "", oauth.device.endpoint if oauth.device else "")
            yield from (learnt.url or "" for learnt in oauth.learnt)
        yield credential.revoke.url or ""
        yield (test.url or "") if test else ""
    yield (file.test.url or "") if file.test else ""
    yield file.llm.base_url if file.llm else ""
    yield from (lookup.url for lookup in file.lookups)
