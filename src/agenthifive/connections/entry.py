"""From what a person sends to what is probed and sealed: service, variant, fields in one spelling.

    body -> service -> variant of the route's kind -> members -> fields.py / generic_http.py -> Entry
    stored credential + some members -> all members -> the same readers -> Fields

Nothing here looks anything up or answers with a value that was sent. Source: contract/connections.md sections 5 and 8.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from agenthifive.catalog.binding import bind
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.fields import EntryLimits, FieldErrors, Fields, read_fields
from agenthifive.catalog.generic_http import read_generic
from agenthifive.catalog.quirks import RECOGNISE
from agenthifive.catalog.service import Origin, Service, Variant
from agenthifive.connections.bodies import NewApiKey, NewBotToken, NewHttp
from agenthifive.connections.model import Entry, OpenCredential
from agenthifive.errors import AppError

GENERIC: Final = "generic-http"
_ROUTES: Final[Mapping[str, str]] = {
    "api_key": "POST /v1/connections/api-key",
    "bot_token": "POST /v1/connections/bot-token",
    "http": "POST /v1/connections/http",
}
_PATH_LISTS: Final = ("paths", "readPosts", "graphqlPaths")
_HTTP_SEALED: Final = frozenset({"apiKey", "password", "secrets"})
_HTTP_OF_ANY_AUTH: Final = frozenset({"baseUrl", "authType", "defaultHeaders", "probe", *_PATH_LISTS})
_DERIVED: Final = frozenset({"injectedHeaders", "injectedParams"})


def read_api_key(catalog: Catalog, body: NewApiKey, limits: EntryLimits) -> Entry:
    """A key with the other fields of its variant. Raises: AppError (400)."""
    service = _service_of(catalog, body.service)
    if body.provider is not None and body.provider != service.provider:
        raise AppError(
            "provider_mismatch",
            f"{service.file.name} belongs to the provider {service.provider}. Leave `provider` out, or send that one.",
            hint=service.provider,
        )
    named = body.named_fields or {}
    twice = sorted(set(named) & set(body.members))
    if twice:
        raise _invalid({name[:100]: "stands beside `fields` and in it" for name in twice})
    members = {**body.members, **named}
    recognise = RECOGNISE.get(service.id)
    recognised = None if recognise is None else recognise(members)
    if recognised is None:
        variant = _variant_of(service, "api_key", body.variant)
    else:
        variant, members = service.variant(recognised[0]), recognised[1]
    fields = _read(lambda: read_fields(service, variant, members, limits))
    return Entry(service, variant, fields, body.label, body.expires_at, bool(body.skip_validation))


def read_bot_token(catalog: Catalog, body: NewBotToken, limits: EntryLimits) -> Entry:
    """The token of a bot. Raises: AppError (400)."""
    service = _service_of(catalog, body.service)
    variant = _variant_of(service, "bot_token", None)
    fields = _read(lambda: read_fields(service, variant, {"botToken": body.bot_token}, limits))
    return Entry(service, variant, fields, body.label)


def read_http(catalog: Catalog, body: NewHttp, limits: EntryLimits) -> Entry:
    """Any HTTP API. Raises: AppError (400)."""
    service = _service_of(catalog, GENERIC)
    variant = service.default_variant
    fields = _read(lambda: read_generic(service, variant, body.members, limits))
    return Entry(service, variant, fields, body.label)


def read_change(current: OpenCredential, given: Mapping[str, Any], limits: EntryLimits) -> Entry:
    """The credential with these members replaced; the others keep their value.

    Where a member changes the host, every secret must be entered again: a stored secret is never sent to a host it
    was not entered for. Raises: AppError (400).
    """
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        raise AppError("invalid_request", "There is nothing to change. Send the members of the credential that change.")
    service, variant = current.service, current.variant
    if variant.spec.kind == "http":
        members = {**_generic_members(current, given), **given}
        fields = _read(lambda: read_generic(service, variant, members, limits))
    else:
        members = {**_members(current), **given}
        fields = _read(lambda: read_fields(service, variant, members, limits))
    entry = Entry(service, variant, fields)
    if reach(entry.credential) != reach(current):
        missing = sorted(_sealed_names(entry) - given.keys())
        if missing:
            raise _invalid(dict.fromkeys(missing, "must be entered again, because the host changes"))
    return entry


def reach(credential: OpenCredential) -> frozenset[tuple[Origin, str]]:
    """The origins a credential may go to, with their path prefixes."""
    binding = bind(credential.service, credential.variant, credential.params)
    return frozenset((bound.origin, bound.prefix) for bound in binding.hosts)


def _service_of(catalog: Catalog, service_id: str) -> Service:
    service = catalog.get(service_id)
    if service is None:
        raise AppError(
            "unknown_service",
            "No service with this id is in the catalog. List them with GET /v1/catalog.",
            hint="GET /v1/catalog",
        )
    return service


def _variant_of(service: Service, kind: str, wanted: str | None) -> Variant:
    """The named variant, else the first of this kind. Raises: AppError (400)."""
    fitting = [variant for variant in service.variants.values() if variant.spec.kind == kind]
    if not fitting:
        routes = [_ROUTES[v.spec.kind] for v in service.variants.values() if v.spec.kind in _ROUTES]
        advice = f" Use {routes[0]}." if routes else ""
        raise AppError(
            "invalid_request",
            f"{service.file.name} is not connected this way.{advice}",
            hint=routes[0] if routes else None,
            fields=[{"path": "service", "message": "is connected in another way"}],
        )
    for variant in fitting:
        if wanted in (None, variant.id):
            return variant
    raise _invalid({"variant": f"must be one of {', '.join(variant.id for variant in fitting)}"})


def _read(read: Callable[[], Fields]) -> Fields:
    try:
        return read()
    except FieldErrors as errors:
        path, message = errors.fields[0]["path"], errors.fields[0]["message"]
        raise AppError(errors.code, f"{path}: {message}. Correct it and send it again.", fields=errors.fields) from None


def _invalid(faults: Mapping[str, str]) -> AppError:
    path, message = next(iter(faults.items()))
    fields = [{"path": name, "message": text} for name, text in list(faults.items())[:20]]
    return AppError("invalid_request", f"{path}: {message}. Correct it and send it again.", fields=fields)


def _members(current: OpenCredential) -> dict[str, Any]:
    """A stored credential as a person would enter it."""
    known = {spec.name for spec in current.variant.fields}
    members = {name: value for name, value in current.payload.items() if name in known}
    if current.variant.spec.kind == "token_pair" and "expiresAt" in members:
        members["expiresAt"] *= 1000  # seconds are stored, milliseconds entered
    return members


def _generic_members(current: OpenCredential, given: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a generic connection: paths below the base address, and what its authType still needs."""
    members = {name: value for name, value in current.values.items() if name not in _DERIVED}
    if given.get("authType", members["authType"]) != members["authType"]:
        members = {name: value for name, value in members.items() if name in _HTTP_OF_ANY_AUTH}
    prefix = _prefix_of(given.get("baseUrl", members["baseUrl"]))
    for name in _PATH_LISTS:
        if name in members:
            members[name] = [prefix + glob for glob in members[name]]
    if "probe" in members:
        members["probe"] = {**members["probe"], "path": prefix + members["probe"]["path"]}
    return members


def _prefix_of(base_url: Any) -> str:
    """The path of a base address; of one that will be refused anyway, nothing."""
    try:
        return urlsplit(base_url).path.rstrip("/") if isinstance(base_url, str) else ""
    except ValueError:
        return ""


def _sealed_names(entry: Entry) -> frozenset[str]:
    if entry.variant.spec.kind == "http":
        return _HTTP_SEALED & entry.fields.payload.keys()
    payload = entry.fields.payload
    return frozenset(spec.name for spec in entry.variant.fields if spec.is_sealed and spec.name in payload)
