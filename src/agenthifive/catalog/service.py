"""A service and its variants as the rest of the house uses them: checked files, compiled when needed.

    ServiceFile -> Service -> variant(id) -> Variant: fields, what is taken from callers, injection plans
                           -> host_rules            : which paths of which host (binding.py asks these)
                           -> classify, address, allows_redirect

Nothing is compiled before a service is used, so a catalog of a hundred services costs little.
Source: contract/catalog/SCHEMA.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

from agenthifive.catalog.address import render_address
from agenthifive.catalog.classify import Classification, Classifier
from agenthifive.catalog.globs import PathSet
from agenthifive.catalog.hosts import covers_host
from agenthifive.catalog.injection import Injection, InjectionPlan, compile_injections, plan_for
from agenthifive.catalog.quirks import RECOGNISE
from agenthifive.catalog.schema import CredentialSpec, FieldSpec, HostSpec, Kind, ServiceFile, TestSpec

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host and port."""

HTTPS_PORT: Final = 443


class HostRule:
    """Which paths of a `[[host]]` may be called."""

    __slots__ = ("_allowed", "_denied", "_denied_strict", "ignores_case", "paths")

    def __init__(self, paths: tuple[str, ...], denied: tuple[str, ...] = (), *, ignores_case: bool = False) -> None:
        self.paths = paths
        self.ignores_case = ignores_case
        self._allowed = PathSet(paths, ignores_case=ignores_case)
        # Refused paths are few and never worth a doubt: letter case does not open them anywhere.
        self._denied = PathSet(denied, ignores_case=True)
        self._denied_strict = PathSet(denied, ignores_case=True, is_strict=True)

    def has(self, path: str, strict_path: str) -> bool:
        """Whether a path lies inside: allowed as it is sent, and refused in neither view."""
        return self._allowed.has(path) and not self._denied.has(path) and not self._denied_strict.has(strict_path)


@dataclass(frozen=True, eq=False, repr=False)
class Variant:
    """One way to connect to a service.

    Shapes:
        stripped_headers, stripped_params: names taken from the caller before anything is judged: what any
            variant of the service injects and what the file lists. stripped_arguments: the same for form,
            multipart and JSON members, where the provider takes arguments from there too.
    """

    file: ServiceFile
    spec: CredentialSpec
    injections: tuple[Injection, ...]
    stripped_headers: frozenset[str]
    stripped_params: frozenset[str]

    @property
    def id(self) -> str:
        """The id stored on the connection."""
        return self.spec.id

    @property
    def fields(self) -> tuple[FieldSpec, ...]:
        """What a person enters."""
        return self.spec.fields

    @property
    def test(self) -> TestSpec:
        """The probe: its own, else the file's."""
        test = self.spec.test or self.file.test
        assert test is not None  # checked when the file was read
        return test

    @property
    def stripped_arguments(self) -> frozenset[str]:
        """Members taken from the caller's body."""
        return self.stripped_params if self.file.args_anywhere else frozenset()

    @property
    def wire_type(self) -> str:
        """`credentialType` on the wire. Source: contract/catalog/SCHEMA.md section 4."""
        return "api_key" if self.spec.kind in ("token_pair", "http") else self.spec.kind

    def canonicalise_slot(self, path: str) -> str:
        """A canonical path without what the caller wrote in the credential's slot.

        `/bot123:abc/getMe` becomes `/bot/getMe`: rules, fingerprints and records never see it. Paths without
        a slot are returned as they are. The strict view is to be taken of the result.
        """
        for injection in self.injections:
            span = injection.slot.find(path) if injection.slot is not None else None
            if span is not None:
                return path[: span[0]] + "".join(injection.value.literals) + path[span[1] :]
        return path

    def plan(self, host: str | None) -> InjectionPlan:
        """The injection plan for a `[[host]]` name; None for platform, extra and self-hosted ones."""
        return plan_for(self.file, self.spec.kind, self.injections, host)

    @cached_property
    def platform_plan(self) -> InjectionPlan:
        """The plan for hosts outside `[[host]]`: the probe's own, extra and self-hosted ones."""
        return self.plan(None)


@dataclass(frozen=True, eq=False, repr=False)
class Service:
    """A service of the catalog.

    Shapes:
        extra_origins: where the operator also serves it (CATALOG_EXTRA_HOSTS).
    """

    file: ServiceFile
    extra_origins: tuple[Origin, ...] = ()

    @property
    def id(self) -> str:
        """The service id."""
        return self.file.id

    @property
    def provider(self) -> str:
        """The wire provider."""
        return self.file.provider

    @property
    def default_variant(self) -> Variant:
        """The first variant of the file."""
        return self.variants[self.file.credentials[0].id]

    @cached_property
    def variants(self) -> Mapping[str, Variant]:
        """Variants by id, in the order of the file."""
        injections = {spec.id: compile_injections(spec) for spec in self.file.credentials}
        every = [injection for compiled in injections.values() for injection in compiled]
        headers = {injection.header for injection in every if injection.header}
        params = {injection.name for injection in every if injection.place == "query"}
        return {
            spec.id: Variant(
                self.file,
                spec,
                injections[spec.id],
                frozenset(headers) | frozenset(self.file.strip_headers),
                frozenset(params) | frozenset(self.file.strip_params),
            )
            for spec in self.file.credentials
        }

    def variant(self, variant_id: str) -> Variant:
        """A variant. Raises: KeyError when the file has none of this id."""
        return self.variants[variant_id]

    def choose_variant(
        self, kind: Kind, variant_id: str | None, members: Mapping[str, Any]
    ) -> tuple[Variant, Mapping[str, Any]]:
        """The variant a connect request means: the named one, else the first of the kind.

        A credential that tells that it is of another variant takes that one, its members renamed for it.

        Raises: KeyError when the service has no such variant.
        """
        recognised = RECOGNISE[self.id](members) if self.id in RECOGNISE else None
        if recognised is not None:
            return self.variants[recognised[0]], recognised[1]
        for variant in self.variants.values():
            if variant.spec.kind == kind and variant_id in (None, variant.id):
                return variant, members
        raise KeyError(variant_id or kind)

    @cached_property
    def host_rules(self) -> Mapping[str, HostRule]:
        """Path rules by `[[host]]` name."""
        return {
            host.name: HostRule(host.paths, host.deny_paths, ignores_case=host.path_case == "insensitive")
            for host in self.file.hosts
        }

    @cached_property
    def extra_rule(self) -> HostRule:
        """Path rules of an extra host: what any host of the service allows or refuses."""
        hosts = self.file.hosts
        return HostRule(
            tuple(path for host in hosts for path in host.paths) or ("/**",),
            tuple(path for host in hosts for path in host.deny_paths),
            ignores_case=any(host.path_case == "insensitive" for host in hosts),
        )

    def host_of(self, host: str) -> HostSpec | None:
        """The `[[host]]` that covers a canonical host name; an exact one goes before a wildcard."""
        covering = [spec for spec in self.file.hosts if covers_host(spec.name, host)]
        return min(covering, key=lambda spec: spec.name.startswith("*."), default=None)

    def classify(
        self, host: str, path: str, strict_path: str, method: str, body_json: Any, query: str = ""
    ) -> Classification:
        """What a call does. `binding.classify` knows more: the prefix and paths of the connection."""
        spec = self.host_of(host)
        classifier = self.classifier(spec.name if spec else None)
        return classifier.classify(method, path, strict_path, query, body_json)

    def classifier(self, host_name: str | None) -> Classifier:
        """The classifier for a `[[host]]` name; None for extra and self-hosted ones: every entry applies."""
        return self._classifiers[host_name]

    @cached_property
    def _classifiers(self) -> Mapping[str | None, Classifier]:
        by_host: dict[str | None, Classifier] = {
            name: Classifier(
                tuple(entry for entry in self.file.classes if entry.host in (None, name)),
                ignores_case=rule.ignores_case,
            )
            for name, rule in self.host_rules.items()
        }
        by_host[None] = Classifier(self.file.classes, ignores_case=self.extra_rule.ignores_case)
        return by_host

    def address(self, template: str, values: Mapping[str, Any]) -> str:
        """An address of the file for one connection. Raises: Unrenderable (address.py)."""
        return render_address(self.file, template, values)

    def allows_redirect(self, source_host: str, origin: Origin, path: str) -> bool:
        """Whether a redirect from a host to another origin may be followed once, without the credential.

        Source: contract/catalog/SCHEMA.md section 7, broker.md section 9.
        """
        scheme, host, port = origin
        return (scheme, port) == ("https", HTTPS_PORT) and any(
            covers_host(entry.source, source_host) and covers_host(entry.to, host) and paths.has(path)
            for entry, paths in self._redirects
        )

    @cached_property
    def _redirects(self) -> tuple[tuple[Any, PathSet], ...]:
        return tuple((entry, PathSet(entry.paths)) for entry in self.file.redirects)
