"""Which headers cross the broker, in both directions.

    caller  -> syntax and size -> names that are ours, the provider's front's or a credential's fall out -> provider
    agent   <- our own headers first, then a filtered copy (envelope) or an allow-listed subset (raw)    <- provider

Source: contract/broker.md sections 2, 5, 10.4 and 14.3; RFC 9110 sections 5 and 7.6.1.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias
from urllib.parse import quote, unquote

from agenthifive.broker.media_type import read_media_type

Pairs: TypeAlias = list[tuple[str, str]]

MAX_NAMES: Final = 64
MAX_VALUE_BYTES: Final = 8 * 1024
MAX_TOTAL_BYTES: Final = 16 * 1024

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_FRAMING: Final = frozenset({"accept-encoding", "content-encoding", "content-length", "expect", "host"})
_CREDENTIALS: Final = frozenset(
    {
        "api-key",
        "authorization",
        "cookie",
        "cookie2",
        "dpop",
        "proxy-authenticate",
        "proxy-authorization",
        "x-access-token",
        "x-api-key",
        "x-auth-token",
        "x-goog-api-key",
        "x-goog-iam-authorization-token",
    }
)
_FORWARDING: Final = frozenset(
    {
        "cf-connecting-ip",
        "forwarded",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-host",
        "x-original-host",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
    }
)
_METHOD_OVERRIDE: Final = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
_IMITATION: Final = frozenset({"anthropic-dangerous-direct-browser-access", "origin", "referer", "x-app"})
_REMOVED_FROM_CALLER: Final = HOP_BY_HOP | _FRAMING | _CREDENTIALS | _FORWARDING | _METHOD_OVERRIDE | _IMITATION
_REMOVED_PREFIXES_FROM_CALLER: Final = (
    "sec-fetch-",
    "sec-websocket-",
    "x-agenthifive-",
    "x-ah5-",
    "x-forwarded-",
)
_REMOVED_FROM_PROVIDER: Final = HOP_BY_HOP | {
    "alt-svc",
    "clear-site-data",
    "content-encoding",
    "content-length",
    "nel",
    "refresh",
    "report-to",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
}
_REMOVED_PREFIXES_FROM_PROVIDER: Final = (
    "access-control-",
    "content-security-policy",
    "sec-websocket-",
    "x-agenthifive-",
    "x-ah5-",
)
_LLM_REPLY: Final = frozenset(
    {
        "content-type",
        "openai-processing-ms",
        "openai-version",
        "request-id",
        "retry-after",
        "retry-after-ms",
        "x-request-id",
        "x-should-retry",
    }
)
_LLM_REPLY_PREFIXES: Final = ("anthropic-ratelimit-", "x-ratelimit-")

MAX_FILE_NAME_LENGTH: Final = 150
_ATTR_CHARS: Final = "!#$&+-.^_`|~"  # RFC 8187 section 3.2.1
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
_EXTENDED_NAME: Final = re.compile(r"filename\*[ \t]*=[ \t]*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_QUOTED_NAME: Final = re.compile(r'filename[ \t]*=[ \t]*"([^"]*)"', re.IGNORECASE)
_BARE_NAME: Final = re.compile(r"filename[ \t]*=[ \t]*([^;\"\s]+)", re.IGNORECASE)

_NO_NAMES: Final[frozenset[str]] = frozenset()
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# No control but a tab inside; bytes above 127 pass as Latin-1, the way HTTP/1.1 carries them.
_VALUE: Final = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")


class InvalidHeader(ValueError):
    """A header of the caller is refused. The message names it when its name is readable, never its value."""


def sanitise_request_headers(
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None, *, strip: frozenset[str]
) -> Pairs:
    """The caller's headers that go to the provider, names in lower case, in order.

    A map (`headers` of execute) must not hold a name twice; in pairs from the wire (LLM proxy) only names
    that would be sent must not, because proxies in front of us repeat theirs.

    Shapes:
        strip: lower-case names the connection injects and the catalog strips. Values: Latin-1 text.
    Raises: InvalidHeader.
    """
    if not headers:
        return []
    is_map = isinstance(headers, Mapping)
    pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
    if len(pairs) > MAX_NAMES:
        raise InvalidHeader(f"More than {MAX_NAMES} headers.")
    lowered = _lowered(pairs)
    dropped = strip | _named_by_connection(lowered)
    seen: set[str] = set()
    kept: Pairs = []
    for name, value in lowered:
        folded = _folded(name)
        is_removed = (
            folded in _REMOVED_FROM_CALLER
            or folded.startswith(_REMOVED_PREFIXES_FROM_CALLER)
            or name in dropped
            or folded in dropped
        )
        if name in seen and (is_map or not is_removed):
            raise InvalidHeader(f"The header {name} occurs twice.")
        seen.add(name)
        if not is_removed:
            kept.append((name, value))
    return kept


def filter_response_headers(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """The provider's headers that an agent may see, names in lower case, in order.

    A provider cannot imitate an approval or a refusal of ours, nor set policy for our origin.
    """
    lowered = [(name.lower(), value) for name, value in pairs]
    named = _named_by_connection(lowered)
    kept: Pairs = []
    for name, value in lowered:
        if name not in named and _may_return(name):
            kept.append((name, value))
    return kept


@lru_cache(maxsize=2048)
def _may_return(name: str) -> bool:
    """Whether a provider's header may reach an agent; a few hundred names make up all replies."""
    folded = _folded(name)
    return folded not in _REMOVED_FROM_PROVIDER and not folded.startswith(_REMOVED_PREFIXES_FROM_PROVIDER)


def envelope_headers(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The `headers` member of an envelope: repeated values joined with a comma and a blank."""
    joined: dict[str, str] = {}
    for name, value in filter_response_headers(pairs):
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def llm_reply_headers(pairs: Iterable[tuple[str, str]], *, audit_id: str, request_id: str) -> Pairs:
    """The headers of an LLM proxy reply: the vendor's limits and ids pass, ours name the record.

    When the vendor sends an `x-request-id`, it keeps the name and ours travels as
    `x-agenthifive-request-id`.
    """
    kept = [
        (name, value)
        for name, value in filter_response_headers(pairs)
        if (name in _LLM_REPLY or name.startswith(_LLM_REPLY_PREFIXES)) and _VALUE.fullmatch(value)
    ]
    is_taken = any(name == "x-request-id" for name, _ in kept)
    return [
        *kept,
        ("cache-control", "no-store"),
        ("x-agenthifive-audit-id", audit_id),
        ("x-agenthifive-request-id" if is_taken else "x-request-id", request_id),
    ]


def raw_reply_headers(
    *,
    content_type: str | None,
    file_name: str | None,
    content_length: int | None,
    provider_status: int,
    audit_id: str,
    is_stream: bool,
) -> Pairs:
    """The headers of a download or stream: always an attachment, never sniffed, scripted or stored.

    Shapes:
        content_length: only when it is exact. file_name: as the provider wrote it, any text.
    Source: contract/broker.md section 10.4.
    """
    is_readable = content_type is not None and read_media_type(content_type) is not None
    headers = [
        ("content-type", content_type if content_type and is_readable else "application/octet-stream"),
        ("content-disposition", content_disposition(file_name)),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("cache-control", "no-store"),
        ("x-agenthifive-provider-status", str(provider_status)),
        ("x-agenthifive-audit-id", audit_id),
    ]
    if content_length is not None:
        headers.append(("content-length", str(content_length)))
    if is_stream:
        headers.append(("x-accel-buffering", "no"))
    return headers


def content_disposition(file_name: str | None) -> str:
    """`attachment` with a safe base name in plain and RFC 8187 form, or alone when no name is left."""
    name = _safe_file_name(file_name or "")
    if not name:
        return "attachment"
    plain = "".join(char if char.isascii() else "_" for char in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def file_name_in(disposition: str) -> str | None:
    """The file name a provider's Content-Disposition holds, as written; not yet safe (RFC 6266)."""
    extended = _EXTENDED_NAME.search(disposition)
    if extended:
        return unquote(extended[1])
    plain = _QUOTED_NAME.search(disposition) or _BARE_NAME.search(disposition)
    if not plain:
        return None
    try:
        return plain[1].encode("latin-1").decode("utf-8")  # many providers send raw UTF-8
    except UnicodeError:
        return plain[1]


def _safe_file_name(text: str) -> str:
    base = text.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(c for c in base if c not in "\"'" and unicodedata.category(c) not in _UNSAFE_CATEGORIES)
    name = kept.strip(" .")
    if len(name) <= MAX_FILE_NAME_LENGTH:
        return name
    stem, dot, extension = name.rpartition(".")
    if not dot or len(extension) > 10:
        return name[:MAX_FILE_NAME_LENGTH]
    return f"{stem[: MAX_FILE_NAME_LENGTH - len(extension) - 1]}.{extension}"


def _lowered(pairs: Iterable[tuple[str, str]]) -> Pairs:
    lowered: Pairs = []
    total = 0
    for name, value in pairs:
        if not _TOKEN.fullmatch(name):
            raise InvalidHeader("A header name is not a plain token of letters, digits and hyphens.")
        if len(value) > MAX_VALUE_BYTES:
            raise InvalidHeader(f"The header {name[:64]} is longer than {MAX_VALUE_BYTES} bytes.")
        if not _VALUE.fullmatch(value):
            raise InvalidHeader(
                f"The header {name[:64]} holds a control character, an outer blank or non-Latin-1 text."
            )
        total += len(name) + len(value)
        lowered.append((name.lower(), value))
    if total > MAX_TOTAL_BYTES:
        raise InvalidHeader(f"The headers are longer than {MAX_TOTAL_BYTES} bytes in all.")
    return lowered


def _named_by_connection(lowered: Pairs) -> frozenset[str]:
    """The names that `connection` declares to be for one hop only."""
    values = [value for name, value in lowered if name == "connection"]
    if not values:
        return _NO_NAMES
    return frozenset(option.strip().lower() for value in values for option in value.split(","))


def _folded(name: str) -> str:
    """The name as servers read it that turn header names into variables: X_Real_IP is X-Real-IP to them."""
    return name.replace("_", "-")
