"""The hosts and paths one connection's credential may be used for: computed once, asked for every call.

    service + variant + params -> live hosts -> check(target) -> None or why not
                                             -> plan(target)  -> where the secret goes
                                             -> classify(...) -> what the call does

    [[host]] exact         https://api.x.com          as it is
    [[host]] with tenant   https://acme.zendesk.com   rendered from the connection, and nothing else
    [[host]] shared        https://*.twilio.com       one label, all of them the provider's
    baseUrl                https://git.corp:8443/x    exactly this origin below this prefix
    CATALOG_EXTRA_HOSTS    http://127.0.0.1:9000      whatever the operator added

Source: contract/catalog/SCHEMA.md sections 2 and 13, broker.md sections 3 (gate 8) and 7, connections.md 5.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from agenthifive.catalog.classify import Classification, Classifier
from agenthifive.catalog.hosts import covers_host
from agenthifive.catalog.injection import InjectionPlan
from agenthifive.catalog.schema import ClassifySpec, HostSpec
from agenthifive.catalog.service import HTTPS_PORT, HostRule, Origin, Service, Variant
from agenthifive.catalog.template import parse_template
from agenthifive.words import ActionClass

HOST_NOT_IN_CATALOG: Final = "host_not_in_catalog"
HOST_NOT_IN_CONNECTION: Final = "host_not_in_connection"
PATH_NOT_IN_CATALOG: Final = "path_not_in_catalog"
CREDENTIAL_SLOT_MISSING: Final = "credential_slot_missing"

_DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": HTTPS_PORT, "http": 80}


class TargetLike(Protocol):
    """Where a call goes, in canonical form (broker/target.py)."""

    @property
    def scheme(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def strict_path(self) -> str: ...
    @property
    def query(self) -> str: ...


@dataclass(frozen=True, slots=True)
class BoundHost:
    """A host that is live on a connection.

    Shapes:
        origin: host may be `*.suffix` for a shared wildcard. prefix: without final slash, "" for the whole
            origin. catalog_host: the `[[host]]` name, None for extra and self-hosted ones.
    """

    origin: Origin
    prefix: str
    catalog_host: str | None
    rule: HostRule
    plan: InjectionPlan
    classifier: Classifier

    @property
    def base_url(self) -> str:
        """The address up to the prefix, as an allowlist writes it."""
        scheme, host, port = self.origin
        name = f"[{host}]" if ":" in host else host
        tail = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
        return f"{scheme}://{name}{tail}{self.prefix}"

    def check(self, path: str, strict_path: str) -> str | None:
        """None when the path may be called with the credential, else a detail of `host_not_bound`."""
        if not self.is_below_prefix(path):
            return PATH_NOT_IN_CATALOG
        path, strict_path = self.relative(path), self.relative(strict_path)
        if not self.rule.has(path, strict_path):
            return PATH_NOT_IN_CATALOG
        if self.plan.slot is not None and self.plan.slot.find(path) is None:
            return CREDENTIAL_SLOT_MISSING
        return None

    def is_below_prefix(self, path: str) -> bool:
        """Whether a canonical path lies below the prefix; prefixes are plain, so its strict view is too."""
        return not self.prefix or path == self.prefix or path.startswith(self.prefix + "/")

    def relative(self, path: str) -> str:
        """Either view of a path below the prefix, as the service file writes it."""
        return (path[len(self.prefix) :] or "/") if self.prefix else path


class Binding:
    """What one connection may reach. Immutable; kept with the grant.

    Shapes:
        hosts: the live hosts. has_base_url: the first of them is an own server, and no `[[host]]` is live.
        stripped_headers, stripped_params, stripped_arguments: see Variant, plus the
            names a generic connection injects.
    """

    __slots__ = (
        "_exact",
        "_wildcards",
        "has_base_url",
        "hosts",
        "service",
        "stripped_arguments",
        "stripped_headers",
        "stripped_params",
        "variant",
    )

    def __init__(
        self,
        service: Service,
        variant: Variant,
        hosts: tuple[BoundHost, ...],
        *,
        has_base_url: bool = False,
        stripped_headers: frozenset[str] = frozenset(),
        stripped_params: frozenset[str] = frozenset(),
    ) -> None:
        self.service = service
        self.variant = variant
        self.hosts = hosts
        self.stripped_headers = variant.stripped_headers | stripped_headers
        self.stripped_params = variant.stripped_params | stripped_params
        self.stripped_arguments = variant.stripped_arguments
        self.has_base_url = has_base_url
        self._exact = {bound.origin: bound for bound in reversed(hosts)}
        self._wildcards = tuple(bound for bound in hosts if bound.origin[1].startswith("*."))

    def find(self, scheme: str, host: str, port: int) -> BoundHost | None:
        """The live host of a destination."""
        found = self._exact.get((scheme, host, port))
        if found is not None or not self._wildcards:
            return found
        for bound in self._wildcards:
            if (scheme, port) == (bound.origin[0], bound.origin[2]) and covers_host(bound.origin[1], host):
                return bound
        return None

    def check(self, target: TargetLike) -> str | None:
        """None when the call is inside the binding, else a detail of `host_not_bound`."""
        bound = self.find(target.scheme, target.host, target.port)
        if bound is not None:
            return bound.check(target.path, target.strict_path)
        is_named = self.has_base_url or (
            (target.scheme, target.port) == ("https", HTTPS_PORT) and self.service.host_of(target.host) is not None
        )
        return HOST_NOT_IN_CONNECTION if is_named else HOST_NOT_IN_CATALOG

    def plan(self, target: TargetLike) -> InjectionPlan:
        """Where the secret goes in a call that `check` let pass. Raises: KeyError for any other."""
        bound = self.find(target.scheme, target.host, target.port)
        if bound is None:
            raise KeyError(target.host)
        return bound.plan

    def platform_plan(self, scheme: str, host: str, port: int) -> InjectionPlan:
        """Where the secret goes in a request of our own: probe, look-up, revocation.

        Such requests also reach `platform_hosts`, which no agent can call.

        Raises: KeyError for a destination that the file does not name.
        """
        bound = self.find(scheme, host, port)
        if bound is not None:
            return bound.plan
        names = self.service.file.platform_hosts
        if (scheme, port) == ("https", HTTPS_PORT) and any(covers_host(name, host) for name in names):
            return self.variant.platform_plan
        raise KeyError(host)

    def classify(self, target: TargetLike, method: str, body_json: Any) -> Classification:
        """What a call does. Paths of self-hosted services are read below the connection's prefix.

        Shapes:
            body_json: the parsed body when it is JSON, else None.
        """
        bound = self.find(target.scheme, target.host, target.port)
        path, strict_path = target.path, target.strict_path
        if bound is None:
            return self.service.classify(target.host, path, strict_path, method, body_json, target.query)
        if bound.is_below_prefix(path):
            path, strict_path = bound.relative(path), bound.relative(strict_path)
        return bound.classifier.classify(method, path, strict_path, target.query, body_json)


def bind(service: Service, variant: Variant, params: Mapping[str, Any]) -> Binding:
    """Compute what a connection may reach.

    Shapes:
        params: `metadata.params` of the connection, values as fields.py normalised them. A generic
            connection also has `paths`, `readPosts`, `graphqlPaths` (below its base address),
            `defaultHeaders`, `injectedHeaders` and `injectedParams`.
    """
    extras = [_extra_host(service, variant, origin) for origin in service.extra_origins]
    base_url = params.get("baseUrl") if service.file.self_hosted else None
    if base_url:
        own = _self_hosted(service, variant, base_url, params)
        return Binding(
            service,
            variant,
            (own, *extras),
            has_base_url=True,
            stripped_headers=frozenset(params.get("injectedHeaders") or ()),
            stripped_params=frozenset(params.get("injectedParams") or ()),
        )
    live = [bound for spec in service.file.hosts for bound in _live_host(service, variant, spec, params)]
    return Binding(service, variant, (*live, *extras))


def _live_host(service: Service, variant: Variant, spec: HostSpec, params: Mapping[str, Any]) -> list[BoundHost]:
    """The bound host of a `[[host]]`, or none when it is another variant's or another tenant's."""
    if spec.variants and variant.id not in spec.variants:
        return []
    name = spec.name
    if spec.tenant is not None:
        template = parse_template(spec.tenant)
        if not all(params.get(field) for field in template.names):
            return []
        name = template.render(params).lower()
        if not covers_host(spec.name, name):
            return []
    plan = variant.plan(spec.name)
    if not spec.credential:
        plan = InjectionPlan(plan.kind, (), plan.defaults, plan.forced)
    return [
        BoundHost(
            origin=("https", name, HTTPS_PORT),
            prefix="",
            catalog_host=spec.name,
            rule=service.host_rules[spec.name],
            plan=plan,
            classifier=service.classifier(spec.name),
        )
    ]


def _extra_host(service: Service, variant: Variant, origin: Origin) -> BoundHost:
    return BoundHost(origin, "", None, service.extra_rule, variant.platform_plan, service.classifier(None))


def _self_hosted(service: Service, variant: Variant, base_url: str, params: Mapping[str, Any]) -> BoundHost:
    """The one host of a connection with a base address; its credential goes nowhere else."""
    parts = urlsplit(base_url)  # canonical since fields.py read it with the strict parser
    assert parts.hostname is not None
    origin = (parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme])
    plan, classifier = variant.platform_plan, service.classifier(None)
    if variant.spec.kind == "http":
        plan = replace(plan, defaults=tuple((params.get("defaultHeaders") or {}).items()))
        classifier = Classifier(_own_classes(params))
    rule = HostRule(tuple(params.get("paths") or ("/**",)))
    return BoundHost(origin, parts.path, None, rule, plan, classifier)


def _own_classes(params: Mapping[str, Any]) -> tuple[ClassifySpec, ...]:
    """What the person said about the paths of a generic connection."""
    classes = []
    if graphql := tuple(params.get("graphqlPaths") or ()):
        classes.append(ClassifySpec(methods=("POST",), path=graphql, how="graphql"))
    if reads := tuple(params.get("readPosts") or ()):
        classes.append(ClassifySpec(methods=("POST",), path=reads, action=ActionClass.READ))
    return tuple(classes)
