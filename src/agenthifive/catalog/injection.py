"""Where the secret of a variant stands in a request, compiled from `[[credential.inject]]`.

    variant + host -> InjectionPlan: what to place, default and forced headers, the provider's quirk

Carried out by broker/inject.py. Source: contract/catalog/SCHEMA.md sections 3 and 4.2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final, Literal, TypeAlias

import re2

from agenthifive.catalog.quirks import PREPARE, Prepare
from agenthifive.catalog.schema import CredentialSpec, InjectSpec, Kind, Place, ServiceFile
from agenthifive.catalog.template import Template, parse_template

InjectionPlace: TypeAlias = Place | Literal["connection"]
"""`connection`: the list of injections is part of the sealed payload (generic HTTP)."""

AUTHORIZATION: Final = "authorization"
_REMEMBERED_PATHS: Final = 256
_NO_TEMPLATE: Final = parse_template("")


class Slot:
    """The segment of a path that the provider wants the secret in."""

    __slots__ = ("_group", "_pattern", "find")

    find: Callable[[str], tuple[int, int] | None]
    """Begin and end of the slot in a canonical path, None when the path has none."""

    def __init__(self, match: str) -> None:
        self._pattern = re2.compile(match)
        self._group = self._pattern.groupindex["slot"]
        self.find = lru_cache(maxsize=_REMEMBERED_PATHS)(self._search)  # method names come again and again

    def _search(self, path: str) -> tuple[int, int] | None:
        match = self._pattern.search(path)
        if match is None:
            return None
        begin, end = match.span(self._group)
        return (begin, end) if begin >= 0 else None


@dataclass(frozen=True, slots=True)
class Injection:
    """One secret at one place.

    Shapes:
        name: header (lower case) or query parameter. value: its template; username, password: of a pair.
        sealed: the names in the templates that are secrets. optional: names without which the injection
            is left out (a server that needs no key).
    """

    place: InjectionPlace
    name: str = ""
    value: Template = _NO_TEMPLATE
    username: Template = _NO_TEMPLATE
    password: Template = _NO_TEMPLATE
    slot: Slot | None = None
    sealed: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()

    @property
    def header(self) -> str | None:
        """The header it sets, None when it sets none."""
        return {"header": self.name, "basic": AUTHORIZATION}.get(self.place)


@dataclass(frozen=True)
class InjectionPlan:
    """Everything that is put into a request to one host, besides what the caller sent."""

    kind: Kind
    injections: tuple[Injection, ...]
    defaults: tuple[tuple[str, str], ...] = ()
    forced: tuple[tuple[str, str], ...] = ()
    prepare: Prepare | None = field(default=None, compare=False)

    @cached_property
    def slot(self) -> Slot | None:
        """The slot in the path, None when the secret stands elsewhere."""
        return next((injection.slot for injection in self.injections if injection.slot), None)

    @cached_property
    def forced_names(self) -> frozenset[str]:
        """Headers of the caller that are replaced."""
        return frozenset(name for name, _ in self.forced)


def compile_injections(credential: CredentialSpec) -> tuple[Injection, ...]:
    """The injections of a variant. Mail and placeholder entries put nothing into an HTTP request."""
    if credential.kind == "http":
        return (Injection("connection"),)
    sealed = frozenset(spec.name for spec in credential.fields if spec.is_sealed) | {"accessToken"}
    optional = frozenset(spec.name for spec in credential.fields if not spec.required)
    compiled = (_compile(spec, sealed, optional) for spec in credential.injects)
    return tuple(injection for injection in compiled if injection is not None)


def plan_for(file: ServiceFile, kind: Kind, injections: tuple[Injection, ...], host: str | None) -> InjectionPlan:
    """The plan for one `[[host]]` of a file; None: a platform host, an extra or a self-hosted one."""
    applying = tuple(i for i in injections if not i.hosts or host in i.hosts)
    return InjectionPlan(
        kind=kind,
        injections=applying,
        defaults=tuple(file.headers.items()),
        forced=tuple(file.headers_forced.items()),
        prepare=PREPARE.get(file.id),
    )


def connection_injections(payload: Mapping[str, Any]) -> tuple[Injection, ...]:
    """The injections a generic connection carries in its sealed payload.

    Templates of `custom` use the names of `secrets`; all others the members of the payload.
    Source: contract/connections.md section 5.1.
    """
    auth_type = payload["authType"]
    key = frozenset({"apiKey"})
    if auth_type == "bearer":
        return (Injection("header", AUTHORIZATION, parse_template("Bearer {apiKey}"), sealed=key),)
    if auth_type == "header":
        # A brace in the prefix is text: the template is put together, not parsed.
        value = Template((_spaced(payload.get("headerPrefix") or ""), ""), ("apiKey",))
        return (Injection("header", payload["headerName"].lower(), value, sealed=key),)
    if auth_type == "query":
        return (Injection("query", payload["queryName"], parse_template("{apiKey}"), sealed=key),)
    if auth_type == "basic":
        pair = parse_template("{username}"), parse_template("{password}")
        return (Injection("basic", username=pair[0], password=pair[1], sealed=frozenset({"password"})),)
    if auth_type == "none":
        return ()
    secrets = frozenset(payload["secrets"])
    headers = [
        Injection("header", entry["name"].lower(), parse_template(entry["value"]), sealed=secrets)
        for entry in payload.get("headers") or ()
    ]
    query = [
        Injection("query", entry["name"], parse_template(entry["value"]), sealed=secrets)
        for entry in payload.get("query") or ()
    ]
    return (*headers, *query)


def _spaced(prefix: str) -> str:
    """A prefix that ends in a word ("Token") is followed by a blank; one that ends in a sign is not."""
    return f"{prefix} " if prefix[-1:].isalnum() else prefix


def _compile(spec: InjectSpec, sealed: frozenset[str], optional: frozenset[str]) -> Injection | None:
    if spec.place in ("mail", "none"):
        return None
    value = parse_template(spec.value or "")
    username, password = parse_template(spec.username or ""), parse_template(spec.password or "")
    names = frozenset(value.names + username.names + password.names)
    return Injection(
        place=spec.place,
        name=spec.name or "",
        value=value,
        username=username,
        password=password,
        slot=Slot(spec.match) if spec.match else None,
        sealed=names & sealed,
        optional=names & optional,
        hosts=frozenset(spec.hosts),
    )
