"""The LLM proxy: a vendor's own API, with the agent's token in the place of the key.

    /v1/vault/llm/{slug}/{path} -> catalog [llm] entry -> base URL + path (base not doubled) -> Call with the raw body

Refusals are rendered in the vendor's shape, so that the vendor's SDK raises its own error and does not retry what
cannot succeed. Source: contract/broker.md section 14.
"""

from dataclasses import dataclass
from typing import Any, Final

from agenthifive.broker.dialects import dialect_of
from agenthifive.broker.grants import Grants
from agenthifive.broker.llm_errors import render_refusal
from agenthifive.broker.model import Call, Principal, Reply
from agenthifive.catalog.catalog import Catalog
from agenthifive.edge.answers import refusal_headers
from agenthifive.edge.callers import Access, RoleRule
from agenthifive.edge.context import Context, Headers, header
from agenthifive.edge.gate import LLM_PREFIX
from agenthifive.errors import AppError
from agenthifive.ids import is_id
from agenthifive.words import Scope

LLM_ACCESS: Final = Access(Scope.VAULT_EXECUTE, RoleRule.ADMIN, agents=True)
_TRUE: Final = frozenset({"1", "true"})


@dataclass(frozen=True, slots=True)
class LlmRoute:
    """Which vendor, and what the client asked of it."""

    slug: str
    rest: str


def route_of(path: str) -> LlmRoute:
    """The parts of a proxy path."""
    slug, _, rest = path[len(LLM_PREFIX) :].partition("/")
    return LlmRoute(slug, rest)


async def read_llm_call(
    scope: dict[str, Any], body: bytes, principal: Principal, context: Context, route: LlmRoute, grants: Grants
) -> Call:
    """The call behind a proxy request. Raises: AppError."""
    service = grants.catalog.llm(route.slug)
    if service is None:
        known = ", ".join(s.file.llm.slug for s in grants.catalog.services if s.file.llm is not None)
        raise AppError(
            "unsupported_llm_provider", f"No LLM provider is called {route.slug}. Known: {known}.", hint=known
        )
    headers: Headers = scope["headers"]
    if header(headers, b"upgrade") is not None:
        raise AppError("upgrade_not_supported", "Protocol upgrades are not proxied. Use plain HTTP requests.")
    if (header(headers, b"content-encoding") or "identity").strip().lower() != "identity":
        raise AppError("unsupported_media_type", "Send the body without Content-Encoding.", hint="identity")
    connection_id = header(headers, b"x-ah5-connection-id")
    if connection_id is not None and not is_id(connection_id):
        raise AppError("not_found", "No connection with this id exists in the workspace.")
    raw_path = scope["raw_path"].decode("latin-1").partition("?")[0]
    rest = raw_path.split("/", 5)[5] if raw_path.count("/") >= 5 else ""
    query = scope["query_string"].decode("latin-1")
    return Call(
        principal=principal,
        context=context,
        model="B",
        via="llm_proxy",
        method=scope["method"],
        llm_tail=rest,
        raw_query=query,
        connection_id=connection_id,
        service=service.id,
        headers=[
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in headers
            if not name.startswith(b"x-ah5-")
        ],
        raw_body=body,
        received_bytes=len(body),
        stream=True,
        approval_id=header(headers, b"x-ah5-approval-id"),
        wants_bypass=(header(headers, b"x-ah5-bypass-pii-redaction") or "").lower() in _TRUE,
        session_key=header(headers, b"x-ah5-session-key"),
    )


def refusal_for(route: LlmRoute, error: AppError, catalog: Catalog) -> Reply:
    """A refusal in the vendor's shape; code and audit id travel in headers.

    Repeating helps where the refusal says when, but a closed window (403) is nothing an SDK should sit out; everything
    else tells the SDK not to retry.
    """
    service = catalog.llm(route.slug)
    dialect = dialect_of(service, {}, "/" + route.rest) if service is not None else "raw"
    headers = [("content-type", "application/json"), ("cache-control", "no-store"), *refusal_headers(error).items()]
    is_transient = error.retry_after_s is not None and error.status != 403
    headers.append(("x-should-retry", "true" if is_transient else "false"))
    return Reply(error.status, headers, render_refusal(dialect, error.status, error.code, error.message, error.body()))
