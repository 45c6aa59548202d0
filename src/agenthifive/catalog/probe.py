"""The validation probe of a connection: the request that checks a credential, and what the reply means.

    build_probe -> ProbeRequest -> caller injects and sends -> judge_probe -> ok | limited | bad | unknown

Pure: who calls does the I/O. Source: contract/catalog/SCHEMA.md section 5, connections.md section 9.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from msgspec import UNSET

from agenthifive import strict_json
from agenthifive.catalog.dotpath import pick
from agenthifive.catalog.schema import Condition, OutcomeSpec
from agenthifive.catalog.service import Service, Variant

Outcome: TypeAlias = Literal["ok", "limited", "bad", "unknown"]

_OK: Final = OutcomeSpec(status=(200,))
_BAD: Final = OutcomeSpec(status=(401,))
_WHOLE_TEXT: Final = "$text"
_NAME_LIMIT: Final = 200
_SLOT: Final = re.compile(r"\{([^{}]*)\}")
_BLANKS: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """A probe before the credential is placed.

    Shapes:
        headers: lower-case names. is_free: may run without a person asking (`cost` is not counted).
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    is_free: bool


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a reply says about a credential. `limited` works but lacks a permission."""

    outcome: Outcome
    account_id: str | None = None
    account_name: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the credential itself works."""
        return self.outcome in ("ok", "limited")


def build_probe(service: Service, variant: Variant, values: Mapping[str, Any]) -> ProbeRequest | None:
    """The probe of a connection, None when the service has none.

    Shapes:
        values: fields of the connection as fields.py read them (payload and params together).
    Raises: Unrenderable (address.py) when a field is missing.
    """
    test = variant.test
    if variant.spec.kind == "http":
        return _own_probe(values)
    if test.none or test.url is None:
        return None
    return ProbeRequest(
        method=test.method,
        url=service.address(test.url, values),
        headers=tuple((name.lower(), value) for name, value in test.headers.items()),
        body=None if test.body is None else test.body.encode("utf-8"),
        is_free=test.cost == "free",
    )


def judge_probe(variant: Variant, values: Mapping[str, Any], status: int, body: bytes) -> ProbeResult:
    """What the reply to a probe means, in the order ok, limited, bad; anything else is unknown.

    Shapes:
        values: as for build_probe. body: what was read of the reply.
    """
    if variant.spec.kind == "http":
        accepted = (values.get("probe") or {}).get("okStatus") or (200,)
        return ProbeResult("ok" if status in accepted else "bad" if status == 401 else "unknown")
    text = body.decode("utf-8", "replace")
    value = _parsed(body)
    test = variant.test
    candidates: tuple[tuple[Outcome, OutcomeSpec | None], ...] = (
        ("ok", _with_default_status(test.ok)),
        ("limited", test.limited),
        ("bad", test.bad or _BAD),
    )
    for outcome, spec in candidates:
        if spec is not None and _holds(spec, status, value):
            if outcome == "bad":
                return ProbeResult(outcome)
            account = _account(test.account_id, value, text), _account(test.account_name, value, text)
            return ProbeResult(outcome, *account)
    return ProbeResult("unknown")


def shows_auth_failure(service: Service, value: Any) -> bool:
    """Whether an ordinary JSON reply says that the credential is dead: the probe is due, as after a 401."""
    failure = service.file.auth_failure
    return failure is not None and all(_is_met(condition, value) for condition in failure.json)


def _own_probe(values: Mapping[str, Any]) -> ProbeRequest | None:
    """The probe a person wrote for a generic connection."""
    probe = values.get("probe")
    if not probe:
        return None
    return ProbeRequest(probe["method"], f"{values['baseUrl']}{probe['path']}", (), None, is_free=True)


def _with_default_status(spec: OutcomeSpec | None) -> OutcomeSpec:
    """Success is 200 unless the file says otherwise, also where it only lists JSON conditions."""
    if spec is None:
        return _OK
    return spec if spec.status else OutcomeSpec(status=_OK.status, json=spec.json)


def _holds(spec: OutcomeSpec, status: int, value: Any) -> bool:
    if spec.status and status not in spec.status:
        return False
    return all(_is_met(condition, value) for condition in spec.json)


def _is_met(condition: Condition, value: Any) -> bool:
    found = pick(value, condition.path)
    if condition.present is not UNSET:
        return (found is not None) is condition.present
    if condition.one_of is not UNSET:
        return any(_is_same(found, wanted) for wanted in condition.one_of)
    return _is_same(found, condition.equals)


def _is_same(found: Any, wanted: Any) -> bool:
    """Equal in JSON: 1 is not true."""
    return found == wanted and isinstance(found, bool) is isinstance(wanted, bool)


def _parsed(body: bytes) -> Any:
    try:
        return strict_json.loads(body)
    except strict_json.InvalidJson:
        return None


def _account(path: str | None, value: Any, text: str) -> str | None:
    """A dot path, `$text`, or a template of dot paths, as one line of text."""
    if path is None:
        return None
    if "{" in path:
        found = _SLOT.sub(lambda slot: _scalar(pick(value, slot[1])), path)
    elif path == _WHOLE_TEXT:
        found = text
    else:
        found = _scalar(pick(value, path))
    line = _BLANKS.sub(" ", found.replace("()", "")).strip()
    return line[:_NAME_LIMIT].rstrip() or None


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or isinstance(value, bool | dict | list) else str(value)
