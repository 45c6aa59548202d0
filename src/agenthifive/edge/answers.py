"""How answers leave: compact JSON, the standard headers, refusals in their one shape.

Source: contract/http.md sections 2, 4 and 7.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from agenthifive import strict_json
from agenthifive.errors import AppError

_BROWSER: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-xss-protection", b"1; mode=block"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"vary", b"Origin"),
)
_HSTS: Final = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
RawHeaders = list[tuple[bytes, bytes]]


class JsonAnswer(Response):
    """A compact JSON answer that no cache keeps."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content, status_code, {"cache-control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        """Members in their order, no white space."""
        return strict_json.dumps(content)


def refusal(error: AppError) -> JsonAnswer:
    """The one shape of a refusal."""
    return JsonAnswer(error.body(), error.status, refusal_headers(error))


def refusal_headers(error: AppError) -> dict[str, str]:
    """Headers that go with a refusal, whatever its body looks like."""
    headers = {"x-agenthifive-error": error.code, **(error.headers or {})}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    audit_id = (error.extra or {}).get("auditId")
    if audit_id is not None:
        headers["x-agenthifive-audit-id"] = audit_id
    return headers


class StandardHeaders:
    """The headers that every answer carries, worked out once."""

    def __init__(self, web_url: str) -> None:
        self._fixed = (*_BROWSER, _HSTS) if web_url.startswith("https://") else _BROWSER
        self._names = frozenset(name for name, _ in self._fixed)

    def complete(self, headers: Sequence[tuple[bytes, bytes]], request_id: bytes) -> RawHeaders:
        """The answer's own headers, then ours where the answer did not set them itself.

        A provider's `x-request-id` keeps its name on the LLM proxy; ours then travels under another.
        """
        own = {name for name, _ in headers}
        complete = list(headers)
        if own.isdisjoint(self._names):
            complete += self._fixed
        else:
            complete += [pair for pair in self._fixed if pair[0] not in own]
        if b"x-request-id" not in own:
            complete.append((b"x-request-id", request_id))
        elif b"x-agenthifive-request-id" not in own and (b"x-request-id", request_id) not in headers:
            complete.append((b"x-agenthifive-request-id", request_id))
        return complete
