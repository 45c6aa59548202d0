"""What of a reply an agent may see.

    request + policy -> reply_rules -> needs_pii? the reply cannot be filtered by this build
                                    -> filter_json / filter_text, rule after rule

Source: contract/policy.md section 12.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, Final

from agenthifive.policy.compile import Policy
from agenthifive.policy.members import as_text
from agenthifive.policy.model import Request
from agenthifive.policy.pii import PiiTypes, find, replace
from agenthifive.policy.rules import ReplyRule

PLACEHOLDER: Final = "[REDACTED]"
_MAX_NESTED_ENCODINGS: Final = 3
_MIN_NUMBER_DIGITS: Final = 7
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}")
_OPAQUE_TOKEN: Final = re.compile(r"(?=.*[A-Za-z])[^\s@]{16,}", re.DOTALL)
# Members whose values mean something to the provider only.
_OPAQUE_MEMBERS: Final = frozenset(
    (
        "nextPageToken",
        "pageToken",
        "nextSyncToken",
        "next_cursor",
        "cursor",
        "etag",
        "@odata.etag",
        "@odata.nextLink",
        "@odata.deltaLink",
        "signature",
        "encrypted_content",
    )
)


class NotFilterable(Exception):
    """A rule applies and cannot be carried out. `detail`: "unparsable", or "pii" in a build without recognisers."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def reply_rules(policy: Policy, request: Request, *, full_fields: bool = False) -> tuple[ReplyRule, ...]:
    """The response rules that apply to the reply to a call, in their order.

    Shapes: full_fields: the call goes out under an approval for full fields.
    """
    if not policy.replies:
        return ()
    seen = policy.reply_patterns.look_at(request)
    concerned = tuple(rule for rule in policy.replies if rule.concerns(request, seen))
    if not any(rule.relax_when for rule in concerned):
        return concerned
    relaxed = set()
    if full_fields:
        relaxed.add("full_fields")
    if policy.constraint is not None and policy.constraint.judge(request).is_trusted:
        relaxed.add("trusted_recipient")
    return tuple(rule for rule in concerned if not rule.relax_when & relaxed)


def filter_json(value: Any, rules: Sequence[ReplyRule]) -> Any:
    """A JSON reply as the rules leave it; the value itself is not changed. Raises: NotFilterable."""
    for rule in rules:
        if rule.allow is not None:
            value = _keep(value, rule.allow)
        if rule.deny is not None:
            value = _drop(value, _Denied(rule.deny), ())
        if rule.redact is not None:
            value = _redact(value, rule.redact, "")
    return value


def filter_text(text: str, rules: Sequence[ReplyRule]) -> str:
    """A reply that is no JSON as the rules leave it. Raises: NotFilterable."""
    for rule in rules:
        if rule.allow is not None or rule.deny is not None:
            raise NotFilterable("unparsable")
        if rule.redact is not None:
            text = _redact_text(text, rule.redact, "", 0)
    return text


def _keep(value: Any, paths: Sequence[tuple[str, ...]]) -> Any:
    """Only what the paths name; arrays are walked through at every level."""
    if isinstance(value, list):
        return [_keep(inner, paths) for inner in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, inner in value.items():
        below = [path[1:] for path in paths if path[0] in (name, "*")]
        if any(not path for path in below):
            kept[name] = inner
        elif below and isinstance(inner, dict | list):
            kept[name] = _keep(inner, below)
    return kept


class _Denied:
    """Names to remove: literal ones anywhere, dotted ones where that chain of names occurs."""

    __slots__ = ("chains", "names")

    def __init__(self, entries: Sequence[str]) -> None:
        self.names = frozenset(entries)
        self.chains = tuple(tuple(entry.split(".")) for entry in entries if "." in entry)

    def has(self, trail: tuple[str, ...]) -> bool:
        return trail[-1] in self.names or any(trail[-len(chain) :] == chain for chain in self.chains)


def _drop(value: Any, denied: _Denied, trail: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_drop(inner, denied, trail) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _drop(inner, denied, (*trail, name)) for name, inner in value.items() if not denied.has((*trail, name))
    }


def _redact(value: Any, types: PiiTypes, name: str) -> Any:
    if isinstance(value, str):
        return _redact_text(value, types, name, 0)
    if isinstance(value, list):
        return [_redact(inner, types, name) for inner in value]
    if isinstance(value, dict):
        return _redact_members(value, types)
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        digits = as_text(value)
        if sum(map(str.isdigit, digits)) >= _MIN_NUMBER_DIGITS:
            text = _replace(digits, types, name)
            return value if text == digits else text
    return value


def _redact_members(value: dict[str, Any], types: PiiTypes) -> dict[str, Any]:
    redacted: dict[str, Any] = {}
    for name, inner in value.items():
        shown = free = _redact_text(name, types, "", 0)
        serial = 2
        while free in redacted:
            free, serial = f"{shown}#{serial}", serial + 1
        is_token = name in _OPAQUE_MEMBERS and isinstance(inner, str) and _OPAQUE_TOKEN.fullmatch(inner)
        redacted[free] = inner if is_token else _redact(inner, types, name)
    return redacted


def _redact_text(text: str, types: PiiTypes, name: str, level: int) -> str:
    if level < _MAX_NESTED_ENCODINGS and len(text) >= 24:
        inner = _decode(text)
        if inner is not None:
            redacted = _redact_text(inner, types, name, level + 1)
            return text if redacted == inner else _encode_like(text, redacted)
    return _replace(text, types, name)


def _replace(text: str, types: PiiTypes, name: str) -> str:
    findings = find(text, types)
    if findings is None:
        raise NotFilterable("pii")
    return replace(text, findings, PLACEHOLDER)


def _decode(text: str) -> str | None:
    """The readable text a base64 or base64url text stands for."""
    if text.isdigit() or not _ENCODED.fullmatch(text):
        return None
    packed = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        inner = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    printable = sum(char.isprintable() or char in "\r\n\t" for char in inner)
    return inner if inner and printable / len(inner) > 0.9 else None


def _encode_like(text: str, inner: str) -> str:
    packed = "".join(text.split())
    is_url_safe = "-" in packed or "_" in packed
    encode = base64.urlsafe_b64encode if is_url_safe else base64.b64encode
    encoded = encode(inner.encode("utf-8")).decode("ascii")
    return encoded if packed.endswith("=") else encoded.rstrip("=")
