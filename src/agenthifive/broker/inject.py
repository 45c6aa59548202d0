"""The credential into the request: last, literally, and only where the catalog entry of the host says.

    headers, path, query  +  plan (catalog)  +  unsealed payload  ->  Injected(headers, path, query, secrets)

    defaults and forced headers -> the provider's quirk -> each injection in the order of the file

Pure. Whatever the caller put where a secret goes was removed before the call was judged, and is again here.
Source: contract/catalog/SCHEMA.md sections 3 and 4.2, broker.md section 7.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote_plus

import msgspec

from agenthifive.catalog.header_names import is_header_value
from agenthifive.catalog.injection import AUTHORIZATION, Injection, InjectionPlan, connection_injections
from agenthifive.catalog.template import Template

_SEGMENT_SAFE: Final = ":@"  # written as they are inside a path segment; everything else is escaped


class NotInjectable(ValueError):
    """The stored value cannot stand where it must: line breaks, other than ASCII in a header, missing.

    The broker answers 422 `credential_not_injectable`; nothing was sent.
    """


class SlotMissing(ValueError):
    """The path has no place for the secret. The binding refuses such calls before they come here."""


class Injected(msgspec.Struct, frozen=True):
    """A request with its credential.

    Shapes:
        headers: lower-case names. query: empty, or with its `?`. secrets: what must not come back in a
            reply: the secret values used, a pair as it travels, and the refresh token of the payload.
    """

    headers: list[tuple[str, str]]
    path: str
    query: str
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return "Injected(***)"


def inject(
    headers: Sequence[tuple[str, str]], path: str, query: str, plan: InjectionPlan, payload: Mapping[str, Any]
) -> Injected:
    """Place the credential of a connection.

    Shapes:
        headers: sanitised, lower-case names. path, query: canonical, as judged.
        plan: of the host the request goes to. payload: unsealed (contract/connections.md section 2).
    Raises: NotInjectable, SlotMissing.
    """
    pairs = _with_catalog_headers(headers, plan)
    injections = plan.injections
    if injections and injections[0].place == "connection":
        injections = connection_injections(payload)
    values: Mapping[str, Any] = payload
    if plan.kind == "http" and payload.get("secrets"):
        values = payload["secrets"]  # the templates of authType custom name these
    secrets: dict[str, None] = {}
    for injection in injections:
        if any(not values.get(name) for name in injection.optional):
            continue
        if injection.place == "header":
            pairs = _set_header(pairs, injection.name, _render(injection.value, values))
        elif injection.place == "basic":
            pair = _basic_pair(injection, values)
            pairs = _set_header(pairs, AUTHORIZATION, f"Basic {pair}")
            secrets[pair] = None
        elif injection.place == "query":
            query = _set_parameter(query, injection.name, _render(injection.value, values))
        else:
            path = _fill_slot(path, injection, _render(injection.value, values))
        for name in injection.sealed:
            secrets[str(values[name])] = None
    refresh_token = payload.get("refreshToken")
    if refresh_token:
        secrets[refresh_token] = None
    return Injected(pairs, path, query, tuple(secrets))


def _with_catalog_headers(headers: Sequence[tuple[str, str]], plan: InjectionPlan) -> list[tuple[str, str]]:
    pairs = [pair for pair in headers if pair[0] not in plan.forced_names] if plan.forced else list(headers)
    if plan.defaults:
        sent = {name for name, _ in pairs}
        pairs += [pair for pair in plan.defaults if pair[0] not in sent and pair[0] not in plan.forced_names]
    pairs += plan.forced
    return plan.prepare(plan.kind, pairs) if plan.prepare is not None else pairs


def _render(template: Template, values: Mapping[str, Any]) -> str:
    try:
        return template.render(values)
    except KeyError as error:
        raise NotInjectable(f"the stored credential has no {error.args[0]}") from None


def _set_header(pairs: list[tuple[str, str]], name: str, value: str) -> list[tuple[str, str]]:
    if not value or not is_header_value(value):
        raise NotInjectable(f"the stored credential cannot stand in the header {name}")
    kept = [pair for pair in pairs if pair[0] != name]
    kept.append((name, value))
    return kept


def _basic_pair(injection: Injection, values: Mapping[str, Any]) -> str:
    username, password = _render(injection.username, values), _render(injection.password, values)
    if ":" in username:  # RFC 7617: the first colon ends the name
        raise NotInjectable("the user name of the stored credential holds a colon")
    _refuse_controls(username + password)
    try:
        return b64encode(f"{username}:{password}".encode()).decode("ascii")
    except UnicodeEncodeError:
        raise NotInjectable("the stored credential is no text") from None


def _set_parameter(query: str, name: str, value: str) -> str:
    kept = [part for part in query.removeprefix("?").split("&") if part and _parameter_name(part) != name]
    kept.append(f"{quote(name, safe='')}={_quoted(value, '')}")
    return "?" + "&".join(kept)


def _parameter_name(part: str) -> str:
    return unquote_plus(part.partition("=")[0])


def _fill_slot(path: str, injection: Injection, value: str) -> str:
    span = injection.slot.find(path) if injection.slot is not None else None
    if span is None:
        raise SlotMissing("the path has no place for the credential")
    if value in ("", ".", ".."):
        raise NotInjectable("the stored credential cannot stand in a path")
    return path[: span[0]] + _quoted(value, _SEGMENT_SAFE) + path[span[1] :]


def _quoted(value: str, safe: str) -> str:
    _refuse_controls(value)
    try:
        return quote(value, safe=safe)
    except UnicodeEncodeError:
        raise NotInjectable("the stored credential is no text") from None


def _refuse_controls(value: str) -> None:
    """An escaped line break is a line break again at a provider that decodes it carelessly."""
    if any(char < " " or char == "\x7f" for char in value):
        raise NotInjectable("the stored credential holds a control character")
