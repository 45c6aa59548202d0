"""A refusal of ours in the shape that a vendor's client raises as an error of its own.

`code` and `auditId` travel in headers, the message holds the advice. Source: contract/broker.md section 14.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agenthifive import strict_json

ANTHROPIC: Final = "anthropic-messages"
OPENAI_CHAT: Final = "openai-chat"
OPENAI_RESPONSES: Final = "openai-responses"
OPENROUTER: Final = "openrouter"
GEMINI: Final = "gemini"


@dataclass(frozen=True, slots=True)
class _Names:
    """What the vendors call one status."""

    anthropic: str
    openai: str
    gemini: str


_BAD_REQUEST: Final = _Names("invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT")
_SERVER_FAULT: Final = _Names("api_error", "server_error", "INTERNAL")
_NAMES: Final = {
    400: _BAD_REQUEST,
    401: _Names("authentication_error", "authentication_error", "UNAUTHENTICATED"),
    403: _Names("permission_error", "permission_error", "PERMISSION_DENIED"),
    404: _Names("not_found_error", "not_found_error", "NOT_FOUND"),
    409: _Names("invalid_request_error", "conflict_error", "FAILED_PRECONDITION"),
    413: _Names("request_too_large", "invalid_request_error", "INVALID_ARGUMENT"),
    422: _BAD_REQUEST,
    429: _Names("rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    500: _SERVER_FAULT,
    502: _SERVER_FAULT,
    503: _Names("overloaded_error", "server_error", "UNAVAILABLE"),
    504: _Names("api_error", "server_error", "DEADLINE_EXCEEDED"),
}


def vendor_error(dialect: str, status: int, code: str, message: str) -> dict[str, Any] | None:
    """The error object of a vendor, or None where a format has none of its own (`cohere`, `raw`, unknown).

    Shapes:
        dialect: the `format` of the catalog entry, or `openrouter`. A status without a row takes the names of 400 or,
        from 500 on, of 500.
    """
    names = _NAMES.get(status) or (_SERVER_FAULT if status >= 500 else _BAD_REQUEST)
    if dialect == ANTHROPIC:
        return {"type": "error", "error": {"type": names.anthropic, "message": message}}
    if dialect in (OPENAI_CHAT, OPENAI_RESPONSES):
        return {"error": {"message": message, "type": names.openai, "param": None, "code": code}}
    if dialect == OPENROUTER:
        return {"error": {"code": status, "message": message, "metadata": {"code": code}}}
    if dialect == GEMINI:
        return {"error": {"code": status, "message": message, "status": names.gemini, "details": []}}
    return None


def render_refusal(
    dialect: str, status: int, code: str, message: str, own_body: Mapping[str, Any] | None = None
) -> bytes:
    """The JSON body of a refusal on the LLM proxy.

    Shapes:
        own_body: the full body of contract/broker.md section 1 (`AppError.body()` and `auditId`), written where the
        format has no shape of its own; without it that body has `error` and `code` only.
    """
    body = vendor_error(dialect, status, code, message)
    return strict_json.dumps(body or own_body or {"error": message, "code": code})
