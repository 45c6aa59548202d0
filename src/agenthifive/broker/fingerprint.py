"""The fingerprint of a call: equal for the same act, different for any other.

    ah5-fp/1 | method | canonical URL | flags | headers, sorted | body:<kind>:<hash>   ->  SHA-256

Approvals and idempotency keys are bound to it, so it covers everything that changes what the provider does
and nothing that a client varies between two sendings of one call.
Source: contract/approvals.md section 3.
"""

import json
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from agenthifive.broker.body import OutgoingBody

VERSION: Final = "ah5-fp/1"

_IGNORED_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-language",
        "baggage",
        "date",
        "idempotency-key",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-client-request-id",
        "x-correlation-id",
        "x-request-id",
    }
)
_IGNORED_PREFIX: Final = "x-stainless-"
_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_EMPTY: Final = sha256(b"").hexdigest()


def fingerprint(
    method: str,
    url: str,
    *,
    headers: Iterable[tuple[str, str]],
    body: OutgoingBody,
    download: bool,
    bypass: bool,
    full: bool,
) -> str:
    """The fingerprint of a brokered call.

    Shapes:
        url: canonical, merged, before the secret is placed (Target.url). headers: what the header policy
        left, names in lower case. body: as the caller sent it, before redaction, quarantine and replay note.
        Result: lower-case hex.
    """
    lines = [VERSION, method, url, f"download={download:d} bypass={bypass:d} full={full:d}"]
    kept = [
        (name, value)
        for name, value in headers
        if name not in _IGNORED_HEADERS and not name.startswith(_IGNORED_PREFIX) and name != "content-type"
    ]
    if body.content_type is not None:
        kept.append(("content-type", _without_boundary(body)))
    lines += [f"{name}:{value}" for name, value in sorted(kept)]
    lines.append(f"body:{body.kind}:{_digest(body)}")
    return sha256("\n".join(lines).encode("utf-8")).hexdigest()


def vend_fingerprint(connection_id: str) -> str:
    """The fingerprint of handing out a token (Model A)."""
    flags = "download=0 bypass=0 full=0"
    lines = (VERSION, "VEND", f"connection:{connection_id}", flags, f"body:none:{_EMPTY}")
    return sha256("\n".join(lines).encode("utf-8")).hexdigest()


def _without_boundary(body: OutgoingBody) -> str:
    content_type = body.content_type or ""
    return content_type.partition(";")[0] if body.kind == "multipart" else content_type


def _digest(body: OutgoingBody) -> str:
    if body.kind == "json":
        return sha256(_canonical_json(body.value)).hexdigest()
    if body.kind == "multipart":
        parts = [
            [
                part.name,
                part.filename,
                part.content_type,
                sha256(part.data if part.data is not None else (part.value or "").encode("utf-8")).hexdigest(),
            ]
            for part in body.value
        ]
        return sha256(_canonical_json(parts)).hexdigest()
    return sha256(body.data).hexdigest() if body.data else _EMPTY


def _canonical_json(value: object) -> bytes:
    """Members by code point, no blanks, minimal escapes, exact integers, shortest other numbers."""
    return _encode(value).encode("utf-8")
