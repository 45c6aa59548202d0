"""The body of `POST /v1/connections/http`: any HTTP API, its credential placed as the person says.

    members -> base address -> authType and what it needs -> paths, probe, default headers -> Fields

Paths may be written in full or below the base address; they are kept below it.
Source: contract/connections.md section 5.1.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from agenthifive.broker.target import InvalidUrl, parse_target
from agenthifive.catalog.fields import (
    DEFAULT_LIMITS,
    EntryLimits,
    FieldFault,
    Fields,
    Reading,
    read_base_url,
    read_value,
    refuse_unknown,
)
from agenthifive.catalog.globs import glob_fault
from agenthifive.catalog.header_names import header_name_fault, is_header_value
from agenthifive.catalog.injection import AUTHORIZATION
from agenthifive.catalog.masks import PASSWORD_MASK, mask
from agenthifive.catalog.service import Service, Variant
from agenthifive.catalog.template import parse_template, template_fault

SECRETS_MAX: Final = 10
ENTRIES_MAX: Final = 10
GLOBS_MAX: Final = 100
HEADERS_MAX: Final = 20

_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "bearer": ("apiKey",),
    "header": ("headerName", "apiKey"),
    "query": ("queryName", "apiKey"),
    "basic": ("username", "password"),
    "custom": ("secrets",),
    "none": (),
}
_MAY_HAVE: Final[Mapping[str, tuple[str, ...]]] = {
    "header": ("headerPrefix",),
    "custom": ("headers", "query"),
}
_CREDENTIAL: Final = (
    "apiKey", "headerName", "headerPrefix", "queryName", "username", "password", "headers", "query",
    "secrets",
)  # fmt: skip
_OTHERS: Final = ("baseUrl", "authType", "defaultHeaders", "paths", "readPosts", "graphqlPaths", "probe")
_SHOWN: Final = ("headerName", "headerPrefix", "queryName", "username", *_OTHERS)
_CREDENTIAL_HEADERS: Final = frozenset({AUTHORIZATION, "api-key", "x-access-token", "x-api-key", "x-auth-token"})
_PROBE_METHODS: Final = ("GET", "HEAD", "POST")
_SECRET_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_PARAMETER: Final = re.compile(r"[A-Za-z0-9._~$\[\]-]{1,128}")


def read_generic(
    service: Service, variant: Variant, members: Mapping[str, Any], limits: EntryLimits = DEFAULT_LIMITS
) -> Fields:
    """Read the credential of a generic HTTP connection.

    Shapes:
        members: parsed JSON without `label`; null and empty are absent.
    Raises: FieldErrors.
    """
    refuse_unknown(members, (*_OTHERS, *_CREDENTIAL))
    given = {name: value for name, value in members.items() if value is not None and value not in ("", [], {})}
    specs = {spec.name: spec for spec in variant.fields}
    reading = Reading()
    reading.keep("baseUrl", _read_address, given.get("baseUrl"), limits)
    reading.keep("authType", read_value, service.file, specs["authType"], given.get("authType"), limits)
    reading.refuse()
    auth_type, base_url = reading.values["authType"], reading.values["baseUrl"]
    wanted = (*_NEEDS[auth_type], *_MAY_HAVE.get(auth_type, ()))
    for name in _CREDENTIAL:
        if name not in wanted:
            if name in given:
                reading.faults[name] = f"does not belong to authType {auth_type}"
            continue
        if name in specs:
            reading.keep(name, read_value, service.file, specs[name], given.get(name), limits)
        elif name == "secrets":
            reading.keep(name, _read_secrets, given.get(name))
        else:
            reading.keep(name, _read_entries, name, given.get(name, []))
        if name in _NEEDS[auth_type] and name not in reading.values:
            reading.faults.setdefault(name, f"is required for authType {auth_type}")
    _check_names(reading)
    if "secrets" in reading.values:
        _check_placeholders(reading)
    prefix = urlsplit(base_url).path
    for name in ("paths", "readPosts", "graphqlPaths"):
        if name in given:
            reading.keep(name, _read_globs, given[name], prefix)
    if "defaultHeaders" in given:
        reading.keep("defaultHeaders", _read_default_headers, given["defaultHeaders"])
    if "probe" in given:
        reading.keep("probe", _read_probe, given["probe"], base_url, limits)
    reading.refuse()
    return _fields(reading.values)


def _read_address(value: Any, limits: EntryLimits) -> str:
    if not isinstance(value, str):
        raise FieldFault("is required: https://host[:port][/path]")
    return read_base_url(value, limits)


def _check_names(reading: Reading) -> None:
    """The header or parameter that carries the secret."""
    header, parameter = reading.values.get("headerName"), reading.values.get("queryName")
    if header is not None:
        reading.values["headerName"] = header.lower()
        if fault := header_name_fault(header.lower()):
            reading.faults["headerName"] = fault
    if parameter is not None and not _PARAMETER.fullmatch(parameter):
        reading.faults["queryName"] = "must be a plain parameter name"
    if not is_header_value(reading.values.get("headerPrefix", "").strip()):
        reading.faults["headerPrefix"] = "must be visible ASCII"
    if ":" in reading.values.get("username", ""):
        reading.faults["username"] = "must not hold a colon: it ends the name in Basic authentication"


def _read_secrets(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or len(value) > SECRETS_MAX:
        raise FieldFault(f"must be an object of at most {SECRETS_MAX} secrets")
    for name, secret in value.items():
        if not _SECRET_NAME.fullmatch(name):
            raise FieldFault("names must be capitals, digits and _, beginning with a letter")
        if not isinstance(secret, str) or not secret or len(secret) > 8192:
            raise FieldFault("every secret must be a text of 1 to 8192 characters")
    return dict(value)


def _read_entries(kind: str, value: Any) -> list[dict[str, str]]:
    """The `{name, value}` pairs of authType custom."""
    if not isinstance(value, list) or len(value) > ENTRIES_MAX:
        raise FieldFault(f"must be a list of at most {ENTRIES_MAX} entries")
    entries = []
    for entry in value:
        if not isinstance(entry, dict) or set(entry) != {"name", "value"}:
            raise FieldFault("every entry needs name and value, and nothing else")
        name, text = entry["name"], entry["value"]
        if not isinstance(name, str) or not isinstance(text, str) or not text:
            raise FieldFault("name and value must be texts that are not empty")
        if kind == "query" and not _PARAMETER.fullmatch(name):
            raise FieldFault("every name must be a plain parameter name")
        if kind == "headers":
            name = name.lower()
            if fault := header_name_fault(name):
                raise FieldFault(f"a name {fault}")
        entries.append({"name": name, "value": text})
    if len({entry["name"] for entry in entries}) != len(entries):
        raise FieldFault("every name may stand there once")
    return entries


def _check_placeholders(reading: Reading) -> None:
    """Every placeholder names a secret, every secret is used."""
    secrets = frozenset(reading.values["secrets"])
    used: set[str] = set()
    for kind in ("headers", "query"):
        for entry in reading.values.get(kind, ()):
            if template_fault(entry["value"], secrets):
                reading.faults[kind] = "every {NAME} must be one of secrets, with balanced braces"
            used.update(parse_template(entry["value"]).names)
    if secrets - used and not reading.faults:
        reading.faults["secrets"] = "every secret must be used in headers or query"


def _read_globs(value: Any, prefix: str) -> list[str]:
    if not isinstance(value, list) or len(value) > GLOBS_MAX or not all(isinstance(g, str) for g in value):
        raise FieldFault(f"must be a list of at most {GLOBS_MAX} path patterns")
    for glob in value:
        if len(glob) > 1024 or glob_fault(glob):
            raise FieldFault("every pattern must be a path with * and **, such as /items/**")
    return [_below(glob, prefix) for glob in value]


def _below(path: str, prefix: str) -> str:
    return (path[len(prefix) :] or "/") if prefix and (path + "/").startswith(prefix + "/") else path


def _read_default_headers(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > HEADERS_MAX:
        raise FieldFault(f"must be an object of at most {HEADERS_MAX} headers")
    for name, text in value.items():
        if header_name_fault(name.lower()) or name.lower() in _CREDENTIAL_HEADERS:
            raise FieldFault("holds a name that cannot be set here")
        if not isinstance(text, str) or not is_header_value(text):
            raise FieldFault("every value must be visible ASCII")
    return {name.lower(): text for name, text in value.items()}


def _read_probe(value: Any, base_url: str, limits: EntryLimits) -> dict[str, Any]:
    if not isinstance(value, dict) or not {"method", "path"} <= set(value) <= {"method", "path", "okStatus"}:
        raise FieldFault("needs method and path, and may have okStatus")
    method, path, statuses = value["method"], value["path"], value.get("okStatus") or [200]
    if method not in _PROBE_METHODS:
        raise FieldFault(f"method must be one of {', '.join(_PROBE_METHODS)}")
    if not isinstance(statuses, list) or not all(type(s) is int and 200 <= s <= 599 for s in statuses):
        raise FieldFault("okStatus must be a list of HTTP statuses")
    if not isinstance(path, str) or not path.startswith("/") or "#" in path:
        raise FieldFault("path must begin with /")
    path = _below(path, urlsplit(base_url).path)
    try:
        parse_target(base_url + path, http_hosts=limits.listed_hosts)
    except InvalidUrl as error:
        raise FieldFault(f"path cannot be called ({error.detail})") from None
    return {"method": method, "path": path, "okStatus": statuses}


def _fields(values: Mapping[str, Any]) -> Fields:
    payload = {name: values[name] for name in ("authType", *_CREDENTIAL) if name in values}
    params = {name: values[name] for name in _SHOWN if name in values}
    headers = [entry["name"] for entry in values.get("headers", ())]
    params["injectedParams"] = [entry["name"] for entry in values.get("query", ())]
    if values["authType"] in ("bearer", "basic"):
        headers.append(AUTHORIZATION)
    if "headerName" in values:
        headers.append(values["headerName"])
    if "queryName" in values:
        params["injectedParams"].append(values["queryName"])
    params["injectedHeaders"] = headers
    return Fields(payload, params, _preview(values))


def _preview(values: Mapping[str, Any]) -> dict[str, str] | None:
    shown: list[tuple[str, str]] = [(name, mask(secret)) for name, secret in values.get("secrets", {}).items()]
    if "apiKey" in values:
        shown.append(("Secret", mask(values["apiKey"])))
    if "password" in values:
        shown += [("Password", PASSWORD_MASK), ("User name", mask(values["username"]))]
    if not shown:
        return None
    preview = {"primaryLabel": shown[0][0], "primaryMasked": shown[0][1]}
    if len(shown) > 1:
        preview |= {"secondaryLabel": shown[1][0], "secondaryMasked": shown[1][1]}
    return {**preview, "tertiaryLabel": "Base address", "tertiaryValue": values["baseUrl"]}
