"""What of a reply an agent may see.

    request + policy -> reply_rules -> filter_json / filter_text, rule after rule

Source: contract/policy.md section 12.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agenthifive.policy.compile import Policy
from agenthifive.policy.members import as_text
from agenthifive.policy.model import Request
from agenthifive.policy.pii import PiiTypes, find_each, replace
from agenthifive.policy.rules import ReplyRule

PLACEHOLDER: Final = "[REDACTED]"
_MAX_NESTED_ENCODINGS: Final = 3
_MIN_NUMBER_DIGITS: Final = 7
_MIN_ENCODED: Final = 24
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
    """A rule applies and cannot be carried out: members cannot be told, or personal data cannot be looked for.

    Shapes: detail: "unparsable".
    """

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
            value = _redact(value, rule.redact)
    return value


def filter_text(text: str, rules: Sequence[ReplyRule]) -> str:
    """A reply that is no JSON as the rules leave it. Raises: NotFilterable."""
    for rule in rules:
        if rule.allow is not None or rule.deny is not None:
            raise NotFilterable("unparsable")
        if rule.redact is not None:
            (text,) = _redact_texts([(text, "")], rule.redact)
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


def _redact(value: Any, types: PiiTypes) -> Any:
    """The value with every text in it redacted. All texts are searched in one go, each member name once."""
    names: dict[str, None] = {}
    leaves: list[tuple[str, str]] = []
    _gather(value, "", names, leaves)
    redacted = iter(_redact_texts([*((name, "") for name in names), *leaves], types))
    return _rebuild(value, {name: next(redacted) for name in names}, redacted)


def _gather(value: Any, name: str, names: dict[str, None], leaves: list[tuple[str, str]]) -> None:
    if isinstance(value, dict):
        for member, inner in value.items():
            names[member] = None
            if not _is_token(member, inner):
                _gather(inner, member, names, leaves)
    elif isinstance(value, list):
        for inner in value:
            _gather(inner, name, names, leaves)
    elif (text := _readable(value)) is not None:
        leaves.append((text, name))


def _rebuild(value: Any, names: Mapping[str, str], leaves: Iterator[str]) -> Any:
    """The value with the redacted texts, which come in the order in which they were gathered."""
    if isinstance(value, dict):
        rebuilt: dict[str, Any] = {}
        for member, inner in value.items():
            shown = free = names[member]
            serial = 2
            while free in rebuilt:
                free, serial = f"{shown}#{serial}", serial + 1
            rebuilt[free] = inner if _is_token(member, inner) else _rebuild(inner, names, leaves)
        return rebuilt
    if isinstance(value, list):
        return [_rebuild(inner, names, leaves) for inner in value]
    text = _readable(value)
    if text is None:
        return value
    redacted = next(leaves)
    return value if redacted == text else redacted


def _is_token(name: str, value: Any) -> bool:
    return name in _OPAQUE_MEMBERS and isinstance(value, str) and _OPAQUE_TOKEN.fullmatch(value) is not None


def _readable(value: Any) -> str | None:
    """The text of a string or long positive number."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        digits = as_text(value)
        return digits if sum(map(str.isdigit, digits)) >= _MIN_NUMBER_DIGITS else None
    return None


def _redact_texts(texts: Sequence[tuple[str, str]], types: PiiTypes) -> list[str]:
    """The texts, each with the name of its member, without findings. Raises: NotFilterable."""
    unpacked = [_unpack(text) if len(text) >= _MIN_ENCODED else (text,) for text, _ in texts]
    found = find_each([(layers[-1], name) for layers, (_, name) in zip(unpacked, texts, strict=True)], types)
    if found is None:
        raise NotFilterable("unparsable")
    return [
        _pack(layers, replace(layers[-1], findings, PLACEHOLDER)) if findings else layers[0]
        for layers, findings in zip(unpacked, found, strict=True)
    ]


def _unpack(text: str) -> Sequence[str]:
    """A text and what it encodes, and what that encodes; the last is what is read."""
    layers = [text]
    while len(layers) <= _MAX_NESTED_ENCODINGS and (inner := _decode(layers[-1])) is not None:
        layers.append(inner)
    return layers


def _pack(layers: Sequence[str], text: str) -> str:
    """The text encoded again as the layers were."""
    for layer in reversed(layers[:-1]):
        text = _encode_like(layer, text)
    return text


def _decode(text: str) -> str | None:
    """The readable text a base64 or base64url text stands for."""
    if len(text) < _MIN_ENCODED or text.isdigit() or not _ENCODED.fullmatch(text):
        return None
    packed = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    if len(packed) % 4 == 1:
        return None  # no number of bytes has this length
    try:
        inner = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return inner if inner and _is_printable(inner) else None


def _is_printable(text: str) -> bool:
    """Whether nine characters of ten are."""
    if text.isprintable():
        return True
    return sum(char.isprintable() or char in "\r\n\t" for char in text) / len(text) > 0.9


def _encode_like(text: str, inner: str) -> str:
    packed = "".join(text.split())
    is_url_safe = "-" in packed or "_" in packed
    encode = base64.urlsafe_b64encode if is_url_safe else base64.b64encode
    encoded = encode(inner.encode("utf-8")).decode("ascii")
    return encoded if packed.endswith("=") else encoded.rstrip("=")
