"""What the types of a service file cannot say about calls: classes, redirects, defaults, templates, models.

Source: contract/catalog/SCHEMA.md sections 6 to 11 (everything marked "checked").
"""

from agenthifive.catalog.address import BASE_URL
from agenthifive.catalog.check_parts import Findings, address_fault, check_globs, names_of
from agenthifive.catalog.globs import lies_inside
from agenthifive.catalog.hosts import host_fault
from agenthifive.catalog.schema import AllowSpec, LlmSpec, ServiceFile
from agenthifive.words import ActionClass

LONGEST_LOOKUP_PAGES = 10


def check_classes(file: ServiceFile) -> Findings:
    """`[[classify]]`."""
    hosts = {host.name for host in file.hosts}
    for number, entry in enumerate(file.classes):
        key = f"classify[{number}]"
        if entry.how is None and entry.action is None:
            yield f"{key}.action", "is missing"
        if not entry.methods or ("*" in entry.methods and len(entry.methods) > 1):
            yield f"{key}.methods", "must be a list of methods, or ['*']"
        yield from check_globs(f"{key}.path", entry.globs)
        if entry.host is not None and entry.host not in hosts:
            yield f"{key}.host", f"{entry.host!r} is not a host of the service"
    if file.api_style == "rpc":
        last = file.classes[-1] if file.classes else None
        if last is None or (last.methods, last.globs, last.action, last.host) != (
            ("*",), ("/**",), ActionClass.WRITE, None,
        ):  # fmt: skip
            yield "classify", "an rpc service ends with methods=['*'] path='/**' action='write'"
    if file.api_style == "graphql" and not any(entry.how == "graphql" for entry in file.classes):
        yield "classify", "a graphql service needs an entry with how = 'graphql'"


def check_redirects(file: ServiceFile) -> Findings:
    """`[[redirect]]`."""
    hosts = {host.name for host in file.hosts}
    for number, entry in enumerate(file.redirects):
        key = f"redirect[{number}]"
        if entry.source not in hosts:
            yield f"{key}.from", f"{entry.source!r} is not a host of the service"
        if fault := host_fault(entry.to, is_redirect=True):
            yield f"{key}.to", fault
        yield from check_globs(f"{key}.paths", entry.paths)


def check_defaults(file: ServiceFile) -> Findings:
    """`[[default_allow]]`."""
    if not file.default_allow:
        yield "default_allow", "at least one is needed"
    for number, entry in enumerate(file.default_allow):
        yield from _check_default(f"default_allow[{number}]", entry, file)


def _check_default(key: str, entry: AllowSpec, file: ServiceFile) -> Findings:
    bounds = {host.name: host.paths for host in file.hosts}
    if not entry.methods:
        yield f"{key}.methods", "must not be empty"
    yield from check_globs(f"{key}.paths", entry.paths)
    if entry.host == BASE_URL and file.self_hosted:
        return
    if entry.host not in bounds:
        yield f"{key}.host", f"{entry.host!r} is not a host of the service"
        return
    for number, glob in enumerate(entry.paths):
        if not any(lies_inside(glob, bound) for bound in bounds[entry.host]):
            yield f"{key}.paths[{number}]", f"{glob!r} lies outside the host binding"


def check_templates(file: ServiceFile) -> Findings:
    """`[[action_template]]`."""
    if not file.templates:
        yield "action_template", "at least one is needed"
    keys = {s.key for credential in file.credentials if credential.oauth for s in credential.oauth.scopes}
    for number, template in enumerate(file.templates):
        key = f"action_template[{number}]"
        if not (template.id.strip() and template.label.strip() and template.description.strip()):
            yield key, "id, label and description must not be empty"
        for scope in template.scopes:
            if scope not in keys:
                yield f"{key}.scopes", f"unknown scope key {scope!r}"


def check_llm(file: ServiceFile) -> Findings:
    """`[llm]`."""
    llm = file.llm
    if llm is None:
        return
    if not llm.slug.strip():
        yield "llm.slug", "must not be empty"
    if not file.singleton:
        yield "singleton", "services with [llm] are singletons"
    if file.category != "llm":
        yield "category", "services with [llm] have category llm"
    for credential in file.credentials:
        if fault := _base_fault(llm, file, names_of(credential)):
            yield "llm.base_url", f"{fault} (variant {credential.id})"
    for number, route in enumerate(llm.routes):
        yield from check_globs(f"llm.route[{number}].path", (route.path,))


def _base_fault(llm: LlmSpec, file: ServiceFile, names: frozenset[str]) -> str | None:
    if "?" in llm.base_url or "#" in llm.base_url or llm.base_url.endswith("/"):
        return "must have no query and no final slash"
    return address_fault(file, llm.base_url, names)


def check_lookups(file: ServiceFile) -> Findings:
    """`[[lookup]]`."""
    names = [names_of(credential) for credential in file.credentials]
    for number, lookup in enumerate(file.lookups):
        key = f"lookup[{number}]"
        if not all(text.strip() for text in (lookup.type, lookup.items, lookup.id, lookup.name)):
            yield key, "type, items, id and name must not be empty"
        for known in names:
            if fault := address_fault(file, lookup.url, known):
                yield f"{key}.url", fault
        if not 1 <= lookup.page_limit <= LONGEST_LOOKUP_PAGES:
            yield f"{key}.page_limit", f"must be 1 to {LONGEST_LOOKUP_PAGES}"
