"""Allowlists that the catalog gives, and whether one that a person writes lies inside the catalog.

    [[default_allow]] + live hosts of the connection -> entries for exactly those hosts
    entries + mode of a template                     -> entries of the generic tiers

Source: contract/catalog/SCHEMA.md sections 2, 8 and 9; policy.md section 3.
"""

from dataclasses import dataclass
from typing import Any, Final

from agenthifive.catalog.binding import (
    HOST_NOT_IN_CATALOG,
    HOST_NOT_IN_CONNECTION,
    PATH_NOT_IN_CATALOG,
    Binding,
    BoundHost,
)
from agenthifive.catalog.globs import lies_inside
from agenthifive.catalog.hosts import covers_host
from agenthifive.catalog.schema import Mode
from agenthifive.catalog.service import HTTPS_PORT, Origin, Service
from agenthifive.words import ActionClass

POLICY_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class AllowEntry:
    """One allowlist entry; patterns name the full path, prefix included."""

    base_url: str
    methods: tuple[str, ...]
    paths: tuple[str, ...]

    def wire(self) -> dict[str, Any]:
        """The entry as a policy holds it."""
        return {"baseUrl": self.base_url, "methods": list(self.methods), "pathPatterns": list(self.paths)}


def default_allowlists(service: Service, binding: Binding) -> list[dict[str, Any]]:
    """The allowlist of a policy created without tier and without allowlists, for this connection's hosts."""
    return [entry.wire() for entry in default_entries(service, binding)]


def default_entries(service: Service, binding: Binding) -> tuple[AllowEntry, ...]:
    """`[[default_allow]]` rewritten to the hosts of the connection; hosts that are not live fall out."""
    entries = [
        _entry(bound, allowed.methods, allowed.paths)
        for allowed in service.file.default_allow
        for bound in _hosts_of(binding, allowed.host)
    ]
    return tuple(dict.fromkeys(entries))


def tier_entries(service: Service, binding: Binding, mode: Mode) -> tuple[AllowEntry, ...]:
    """The allowlist of the generic tiers: the default, for mode `read` cut to what only reads.

    That is GET everywhere, and POST on the paths whose class is `read` or decided by the GraphQL document.
    """
    if mode != "read":
        return default_entries(service, binding)
    entries = []
    for allowed in service.file.default_allow:
        for bound in _hosts_of(binding, allowed.host):
            if "GET" in allowed.methods:
                entries.append(_entry(bound, ("GET",), allowed.paths))
            posts = _read_posts(service, allowed.host, allowed.paths) if "POST" in allowed.methods else ()
            if posts:
                entries.append(_entry(bound, ("POST",), posts))
    return tuple(dict.fromkeys(entries))


def outside_binding(binding: Binding, origin: Origin, globs: tuple[str, ...]) -> str | None:
    """Why an allowlist entry does not lie inside the connection's hosts and paths, None when it does.

    Shapes:
        origin: host in lower case, or `*.suffix` where the catalog has that wildcard. globs: full paths.
    """
    bounds = [bound for bound in binding.hosts if _names(bound, origin)]
    if not bounds:
        scheme, host, port = origin
        is_known = (scheme, port) == ("https", HTTPS_PORT) and binding.service.host_of(host) is not None
        return HOST_NOT_IN_CONNECTION if is_known or binding.has_base_url else HOST_NOT_IN_CATALOG
    for glob in globs:
        if not any(_covers(bound, glob) for bound in bounds):
            return PATH_NOT_IN_CATALOG
    return None


def _hosts_of(binding: Binding, host: str) -> list[BoundHost]:
    """The live hosts an entry of the file means; all of them are the own server where there is one."""
    if binding.has_base_url:
        return [binding.hosts[0]]
    return [bound for bound in binding.hosts if bound.catalog_host == host]


def _entry(bound: BoundHost, methods: tuple[str, ...], paths: tuple[str, ...]) -> AllowEntry:
    offered = tuple(method for method in methods if method in POLICY_METHODS)
    return AllowEntry(bound.base_url, offered, tuple(bound.prefix + path for path in paths))


def _read_posts(service: Service, host: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """The part of the allowed paths on which POST reads: the narrower of both globs where one lies inside."""
    found: list[str] = []
    for entry in service.file.classes:
        is_reading = entry.action is ActionClass.READ or entry.how == "graphql"
        is_post = "POST" in entry.methods or "*" in entry.methods
        if not is_reading or not is_post or entry.host not in (None, host):
            continue
        for glob in entry.globs:
            if any(lies_inside(glob, bound) for bound in allowed):
                found.append(glob)
            else:
                found += [bound for bound in allowed if lies_inside(bound, glob)]
    return tuple(dict.fromkeys(found))


def _names(bound: BoundHost, origin: Origin) -> bool:
    """Whether a bound host is the origin, or was made from the wildcard the origin is."""
    scheme, host, port = origin
    if (scheme, port) != (bound.origin[0], bound.origin[2]):
        return False
    return host in (bound.origin[1], bound.catalog_host) or covers_host(bound.origin[1], host)


def _covers(bound: BoundHost, glob: str) -> bool:
    wanted = glob.lower() if bound.rule.ignores_case else glob
    for path in bound.rule.paths:
        known = bound.prefix + path
        if lies_inside(wanted, known.lower() if bound.rule.ignores_case else known):
            return True
    return False
