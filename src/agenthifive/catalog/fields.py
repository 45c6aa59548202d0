"""What a person enters for a static credential: read strictly, in one spelling, never echoed.

    members of the body -> one reader per field type -> pattern -> Fields(payload, params, preview)

`payload` is sealed; `params` holds what is no secret and is shown, so that agents can build addresses.
Source: contract/catalog/SCHEMA.md section 4.1, connections.md sections 2, 5 and 7.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import re2

from agenthifive.broker.target import InvalidUrl, parse_target
from agenthifive.catalog.binding import bind
from agenthifive.catalog.hosts import covers_host, is_host_name, is_label
from agenthifive.catalog.masks import preview
from agenthifive.catalog.schema import FieldSpec, ServiceFile
from agenthifive.catalog.service import Service, Variant
from agenthifive.catalog.template import parse_template

MAIL_PORTS: Final = frozenset({993, 143, 465, 587, 2525})
_LONGEST_SECRET: Final = 8192
_LONGEST_TEXT: Final = 2048
_LARGEST_INTEGER: Final = 10**15
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_EMAIL: Final = re.compile(r"[^\s@\"<>(),:;\\\[\]]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}")


@dataclass(frozen=True, slots=True)
class EntryLimits:
    """What the operator lets people enter.

    Shapes:
        listed_hosts: names of SSRF_ALLOWLIST_HOSTS in canonical form. mail_ports: EMAIL_ALLOWED_PORTS.
    """

    listed_hosts: frozenset[str] = frozenset()
    mail_ports: frozenset[int] = MAIL_PORTS


@dataclass(frozen=True, slots=True)
class Fields:
    """An entered credential, ready to be probed and sealed. `preview` is `credentialPreview` on the wire."""

    payload: Mapping[str, Any]
    params: Mapping[str, Any]
    preview: Mapping[str, str] | None

    def __repr__(self) -> str:
        return "Fields(***)"


class FieldErrors(ValueError):
    """The members are refused. Names members and says what they must be, never what they were.

    Shapes:
        code: `invalid_request` or `unknown_field`. fields: {path, message} of each, at most 20.
    """

    def __init__(self, fields: Mapping[str, str], code: str = "invalid_request") -> None:
        super().__init__(code)
        self.code = code
        self.fields = tuple({"path": path, "message": text} for path, text in list(fields.items())[:20])


class FieldFault(ValueError):
    """One value is refused; the message says what it must be."""


class Reading:
    """Values read so far and what is wrong with the others."""

    __slots__ = ("faults", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.faults: dict[str, str] = {}

    def keep(self, name: str, read: Callable[..., Any], *arguments: Any) -> None:
        """Read a value and keep it; None is not kept."""
        try:
            value = read(*arguments)
        except FieldFault as fault:
            self.faults[name] = str(fault)
        else:
            if value is not None:
                self.values[name] = value

    def refuse(self) -> None:
        """Raises: FieldErrors when something is wrong."""
        if self.faults:
            raise FieldErrors(self.faults)


DEFAULT_LIMITS: Final = EntryLimits()


def read_fields(
    service: Service, variant: Variant, members: Mapping[str, Any], limits: EntryLimits = DEFAULT_LIMITS
) -> Fields:
    """Read the members of a connect request that belong to the credential.

    Shapes:
        members: parsed JSON without the members of the route itself (service, label, …); null is absent.
            Generic HTTP services are read by generic_http.py.
    Raises: FieldErrors.
    """
    known = {spec.name: spec for spec in variant.fields}
    refuse_unknown(members, known)
    reading = Reading()
    for name, spec in known.items():
        reading.keep(name, read_value, service.file, spec, members.get(name), limits)
    reading.refuse()
    values = reading.values
    reading.faults.update(_faults_together(service, variant, values, limits))
    reading.refuse()
    is_shown = variant.spec.kind != "token_pair"
    params = {name: value for name, value in values.items() if is_shown and not known[name].is_sealed}
    return Fields(_shape(variant, values), params, preview(variant, values))


def join_members(members: Mapping[str, Any], nested: Any) -> dict[str, Any]:
    """The members of a request that may also stand in its `fields`, each in one place only.

    Raises: FieldErrors.
    """
    if nested is None:
        return dict(members)
    if not isinstance(nested, dict):
        raise FieldErrors({"fields": "must be an object"})
    twice = members.keys() & nested.keys()
    if twice:
        raise FieldErrors(dict.fromkeys(sorted(twice), "stands at top level and in fields; give it once"))
    return {**members, **nested}


def refuse_unknown(members: Iterable[str], known: Collection[str]) -> None:
    """Raises: FieldErrors with code `unknown_field`."""
    unknown = [name for name in members if name not in known]
    if unknown:
        advice = f"is not known here; known are {', '.join(known)}"
        raise FieldErrors(dict.fromkeys((name[:100] for name in unknown), advice), "unknown_field")


def read_value(file: ServiceFile, spec: FieldSpec, value: Any, limits: EntryLimits) -> Any:
    """One value in its one spelling, None when it is absent and may be.

    Raises: FieldFault.
    """
    if isinstance(value, str) and not value.strip() and not spec.is_sealed:
        value = None  # an empty form field
    if value is None or value == "":
        if spec.default is not None:
            return spec.default
        if spec.required:
            raise FieldFault("is required")
        return None
    if spec.type == "boolean":
        return _read_boolean(value)
    if spec.type == "integer":
        return _read_integer(value)
    if not isinstance(value, str):
        raise FieldFault("must be a text")
    read = _READERS[spec.type](value, spec, file, limits)
    if spec.pattern is not None and re2.fullmatch(spec.pattern, read) is None:
        raise FieldFault(f"does not look like a value of {spec.label}")
    return read


def read_base_url(text: str, limits: EntryLimits) -> str:
    """A base address in canonical form: `https://host[:port][/prefix]` without final slash.

    Raises: FieldFault.
    """
    wanted = "must be https://host[:port][/path] without query, user or dots as path segments"
    try:
        target = parse_target(text.strip().rstrip("/"), http_hosts=limits.listed_hosts).target
    except InvalidUrl as error:
        raise FieldFault(f"{wanted} ({error.detail})") from None
    if target.query or "?" in text or "#" in text or "*" in target.path:
        raise FieldFault(wanted)
    if target.strict_path != target.path:
        raise FieldFault(f"{wanted}; its path must be written plainly")
    return target.url.removesuffix("/")


def _read_boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise FieldFault("must be true or false")
    return value


def _read_integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_INTEGER:
        raise FieldFault("must be a whole number")
    return value


def _read_secret(value: str, _spec: FieldSpec, _file: ServiceFile, _limits: EntryLimits) -> str:
    # Whether it can be placed in a request is asked when it is: broker/inject.py.
    if len(value) > _LONGEST_SECRET:
        raise FieldFault(f"must have at most {_LONGEST_SECRET} characters")
    return value


def _read_text(value: str, _spec: FieldSpec, _file: ServiceFile, _limits: EntryLimits) -> str:
    if len(value) > _LONGEST_TEXT or _CONTROL.search(value):
        raise FieldFault(f"must be one line of at most {_LONGEST_TEXT} characters")
    return value


def _read_email(value: str, _spec: FieldSpec, _file: ServiceFile, _limits: EntryLimits) -> str:
    address = value.strip()
    if len(address) > 254 or _CONTROL.search(address) or not _EMAIL.fullmatch(address):
        raise FieldFault("must be an e-mail address")
    return address


def _read_host(value: str, spec: FieldSpec, file: ServiceFile, _limits: EntryLimits) -> str:
    host = value.strip().removeprefix("https://").rstrip("/").lower()
    template = "{" + spec.name + "}"
    names = [known.name for known in file.hosts if known.tenant == template] or [h.name for h in file.hosts]
    if not value.isascii() or not is_host_name(host) or not any(covers_host(name, host) for name in names):
        raise FieldFault(f"must be a bare host name under {' or '.join(names)}, without port or path")
    return host


def _read_subdomain(value: str, _spec: FieldSpec, _file: ServiceFile, _limits: EntryLimits) -> str:
    label = value.strip().lower()
    if not value.isascii() or not is_label(label):
        raise FieldFault("must be one part of a host name: letters, digits and hyphens")
    return label


def _read_base_url(value: str, _spec: FieldSpec, _file: ServiceFile, limits: EntryLimits) -> str:
    return read_base_url(value, limits)


def _read_enum(value: str, spec: FieldSpec, _file: ServiceFile, _limits: EntryLimits) -> str:
    options = spec.options or ()
    if value not in options:
        raise FieldFault(f"must be one of {', '.join(options)}")
    return value


def _read_mail_host(value: str, _spec: FieldSpec, _file: ServiceFile, limits: EntryLimits) -> str:
    host = value.strip().lower()
    if not value.isascii() or not (is_host_name(host) or host in limits.listed_hosts):
        raise FieldFault("must be the full name of a mail server, or an address the operator listed")
    return host


_READERS: Final[Mapping[str, Callable[[str, FieldSpec, ServiceFile, EntryLimits], str]]] = {
    "secret": _read_secret,
    "password": _read_secret,
    "text": _read_text,
    "email": _read_email,
    "host": _read_host,
    "subdomain": _read_subdomain,
    "base_url": _read_base_url,
    "enum": _read_enum,
    "mail_host": _read_mail_host,
}


def _faults_together(
    service: Service, variant: Variant, values: Mapping[str, Any], limits: EntryLimits
) -> dict[str, str]:
    """What no field shows alone: ports of mail servers, and a connection that would reach no host."""
    if variant.spec.kind == "email":
        wanted = f"must be one of {', '.join(map(str, sorted(limits.mail_ports)))}"
        return {name: wanted for name in ("imapPort", "smtpPort") if values[name] not in limits.mail_ports}
    tenants = {name for host in service.file.hosts if host.tenant for name in parse_template(host.tenant).names}
    if "baseUrl" in values:
        return dict.fromkeys(sorted(tenants & values.keys()), "must be empty when baseUrl is given")
    if not any(bound.catalog_host for bound in bind(service, variant, values).hosts):
        missing = sorted(tenants - values.keys()) or ["baseUrl"]
        return dict.fromkeys(missing, "is required to know the host of the service")
    return {}


def _shape(variant: Variant, values: Mapping[str, Any]) -> dict[str, Any]:
    """The sealed payload of the kind. Source: contract/connections.md section 2."""
    kind = variant.spec.kind
    if kind == "bot_token":
        return {**values, "tokenType": "bot"}
    if kind == "token_pair":
        expires_at = values.get("expiresAt", 0) // 1000  # milliseconds exist on the wire only; 0 is unknown
        pair = {name: values[name] for name in ("accessToken", "refreshToken") if name in values}
        return {**pair, "expiresAt": expires_at} if expires_at else pair
    if kind == "email":
        return _mail_shape(values)
    return dict(values)


def _mail_shape(values: Mapping[str, Any]) -> dict[str, Any]:
    username = values.get("username", values["email"])
    named = {name: values[name] for name in ("email", "displayName") if name in values}
    return {
        **named,
        "imap": {
            "host": values["imapHost"],
            "port": values["imapPort"],
            "tls": values["imapTls"],
            "username": username,
            "password": values["password"],
        },
        "smtp": {
            "host": values["smtpHost"],
            "port": values["smtpPort"],
            "starttls": values["smtpStarttls"],
            "username": values.get("smtpUsername", username),
            "password": values.get("smtpPassword", values["password"]),
        },
    }
