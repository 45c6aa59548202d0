"""Pieces that the checks of a service file share: addresses, globs, conditions, probes.

Source: contract/catalog/SCHEMA.md sections 2, 4.3 and 5.
"""

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import UNSET

from agenthifive.catalog.address import BASE_URL, split_address
from agenthifive.catalog.globs import glob_fault
from agenthifive.catalog.hosts import covers_host
from agenthifive.catalog.schema import Condition, CredentialSpec, ServiceFile, TestSpec
from agenthifive.catalog.template import example_of, parse_template, template_fault

Findings: TypeAlias = Iterator[tuple[str, str]]
"""Pairs of key and fault."""


def names_of(credential: CredentialSpec) -> frozenset[str]:
    """The names a template of a variant may use: its fields, what OAuth gives and what it learns."""
    names = {spec.name for spec in credential.fields}
    if credential.oauth is not None:
        names |= {"accessToken", *(learnt.name for learnt in credential.oauth.learnt)}
    return frozenset(names)


def reachable_hosts(file: ServiceFile) -> frozenset[str]:
    """Hosts that addresses of the file may name."""
    return frozenset(host.name for host in file.hosts) | frozenset(file.platform_hosts)


def https_fault(address: str) -> str | None:
    """What is wrong with an https address, None when nothing is."""
    if not address.startswith("https://"):
        return "must be an https address"
    host = split_address(address)[0]
    if not host or "@" in host or ":" in host:
        return "must name a host without user info or port"
    return None


def address_fault(file: ServiceFile, address: str | None, names: frozenset[str]) -> str | None:
    """What is wrong with an address that we contact: its template, its form, or a host nobody named."""
    if address is None:
        return "is missing"
    if fault := template_fault(address, names):
        return fault
    if address.startswith(BASE_URL):
        return None if file.self_hosted else "{baseUrl} needs self_hosted = true"
    if fault := https_fault(address):
        return fault
    host = split_address(address)[0]
    # A whole host out of one field is held to reachable hosts by the type of that field.
    if is_whole_template(host) or any(covers_host(name, example_of(host)) for name in reachable_hosts(file)):
        return None
    return f"host {host!r} is neither a host of the service nor a platform host"


def is_whole_template(host: str) -> bool:
    """Whether a host is one template and nothing else."""
    template = parse_template(host)
    return len(template.names) == 1 and not any(template.literals)


def check_globs(key: str, globs: tuple[str, ...], *, may_be_empty: bool = False) -> Findings:
    """A list of globs."""
    if not globs and not may_be_empty:
        yield key, "must not be empty"
    for number, glob in enumerate(globs):
        if fault := glob_fault(glob):
            yield f"{key}[{number}]", fault


def check_conditions(key: str, conditions: tuple[Condition, ...]) -> Findings:
    """JSON conditions with one operator each."""
    for number, condition in enumerate(conditions):
        given = (condition.equals, condition.one_of, condition.present)
        if sum(value is not UNSET for value in given) != 1:
            yield f"{key}[{number}]", "needs exactly one of equals, in, present"
        if not condition.path:
            yield f"{key}[{number}].path", "must not be empty"


def check_test(file: ServiceFile, key: str, test: TestSpec, names: frozenset[str]) -> Findings:
    """A probe as one variant would use it."""
    if test.none:
        return
    if fault := address_fault(file, test.url, names):
        yield f"{key}.url", fault
    for name, outcome in (("ok", test.ok), ("limited", test.limited), ("bad", test.bad)):
        if outcome is None:
            continue
        if not outcome.status and not outcome.json:
            yield f"{key}.{name}", "must name status or json"
        if any(not 100 <= status <= 599 for status in outcome.status):
            yield f"{key}.{name}.status", "holds a number that is no status"
        yield from check_conditions(f"{key}.{name}.json", outcome.json)
