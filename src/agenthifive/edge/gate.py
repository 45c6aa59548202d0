"""The outermost application: what every request meets first and every answer meets last.

    aliases, trailing slash -> size of target and headers -> methods nobody may use -> CORS
        -> the broker's two routes (raw ASGI)  |  everything else (FastAPI)
    <- standard headers <- one log line

Source: contract/http.md sections 1 and 4 to 7.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Protocol

from agenthifive.edge.answers import RawHeaders, StandardHeaders, refusal, refusal_headers
from agenthifive.edge.body import ClientGone
from agenthifive.edge.context import CONTEXT_KEY, Context, TrustedProxies, header
from agenthifive.edge.stickiness import Stickiness
from agenthifive.errors import AppError

TARGET_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 32 * 1024
HEADER_FIELDS_MAX: Final = 100
EXECUTE_PATH: Final = "/v1/vault/execute"
LLM_PREFIX: Final = "/v1/vault/llm/"
RESPOND_KEY: Final = "agenthifive.respond"
"""Where the listener leaves its way to write an answer in one piece: (status, headers, body) -> whether it did."""
_OLD_LLM_PREFIX: Final = "/v1/llm/proxy/"
_ALIASES: Final[Sequence[tuple[re.Pattern[str], frozenset[str]]]] = tuple(
    (re.compile(pattern), frozenset(methods.split()))
    for pattern, methods in (
        (r"/vault/execute", "POST"),
        (r"/connections|/capabilities/(?:services|me)|/audit|/approvals(?:/[^/]+)?", "GET HEAD"),
        (r"/connections/start|/connections/[^/]+/revoke|/approvals/[^/]+/(?:approve|deny)", "POST"),
        (r"/agents|/policies|/agent-permission-requests", "GET HEAD POST"),
    )
)
_CORS_METHODS: Final = b"GET, POST, PUT, PATCH, DELETE"
_CORS_REQUEST_HEADERS: Final = (
    b"Authorization, Content-Type, X-API-Key, X-AH5-CSRF, X-AH5-Session-Key, X-AH5-Approval-Id, X-Turnstile-Token"
)
_CORS_EXPOSED: Final = (
    b"Retry-After, X-Request-Id, X-Agenthifive-Request-Id, X-Agenthifive-Error, X-Agenthifive-Audit-Id,"
    b" X-Agenthifive-Approval-Required, X-Agenthifive-Approval-Request-Id"
)

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Respond = Callable[[int, Sequence[tuple[bytes, bytes]], bytes], bool]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Meter(Protocol):
    """Where requests are counted."""

    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request."""


class Journal(Protocol):
    """Where requests are logged."""

    def write(self, route: str, method: str, status: int, seconds: float, request_id: str, code: str | None) -> None:
        """Note one answered request."""


class Gate:
    """The ASGI application the server runs."""

    def __init__(
        self,
        *,
        broker: App,
        management: App,
        lifespan: App,
        proxies: TrustedProxies,
        headers: StandardHeaders,
        web_origin: str,
        cors_origins: frozenset[str],
        meter: Meter,
        journal: Journal,
    ) -> None:
        self._broker = broker
        self._management = management
        self._lifespan = lifespan
        self._proxies = proxies
        self._headers = headers
        self._web_origin = web_origin
        self._stickiness = Stickiness(web_origin)
        self._cors_origins = cors_origins | {web_origin}
        self._meter = meter
        self._journal = journal
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)
        else:
            raise ConnectionError("only HTTP is served")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        context = self._proxies.read(scope)
        scope[CONTEXT_KEY] = context
        respond = scope.pop(RESPOND_KEY, None)  # taken out: it holds the request that the scope belongs to
        answer = _Answer(
            send,
            None if scope["method"] == "HEAD" else respond,
            self._headers,
            context,
            self._cors_headers(scope["headers"]),
            self._stickiness.headers(scope),
        )
        try:
            if not await self._answer_early(scope, answer):
                path = scope["path"]
                is_brokered = path == EXECUTE_PATH or path.startswith(LLM_PREFIX)
                await (self._broker if is_brokered else self._management)(scope, receive, answer.send)
        except ClientGone:
            return
        except AppError as error:
            await answer.refuse(error)
        route = getattr(scope.get("route"), "path", None) or scope.get("route_name", "unmatched")
        elapsed = time.perf_counter() - started
        self._meter.observe_request(route, scope["method"], answer.status, elapsed)
        self._journal.write(route, scope["method"], answer.status, elapsed, context.request_id, answer.code)

    async def _answer_early(self, scope: Scope, answer: "_Answer") -> bool:
        """Answer what needs no room: preflights, moved paths, refusals of size and method."""
        _check_sizes(scope)
        method = scope["method"]
        if method in ("TRACE", "CONNECT"):
            raise AppError("method_not_allowed", f"{method} is not served.", headers={"allow": "GET, POST"})
        if self.is_draining and not scope["path"].startswith("/health"):
            raise AppError("shutting_down", "This server is shutting down. Try again shortly.", retry_after_s=1)
        path = canonical_route(scope["path"], method)
        if path != scope["path"]:
            written = canonical_route(scope["raw_path"].decode("latin-1"), method)
            scope["path"], scope["raw_path"] = path, written.encode("latin-1")
        if scope["raw_path"].startswith(_OLD_LLM_PREFIX.encode()):
            rest = scope["raw_path"][len(_OLD_LLM_PREFIX) :]  # as it was written: a decoded line break stays encoded
            await answer.redirect(LLM_PREFIX.encode() + rest, scope["query_string"])
            return True
        if method == "OPTIONS":
            await answer.preflight()
            return True
        return False

    def _cors_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
        origin = header(headers, b"origin")
        if origin is None or origin not in self._cors_origins:
            return []
        cors = [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _CORS_EXPOSED),
        ]
        if origin == self._web_origin:
            cors.append((b"access-control-allow-credentials", b"true"))
        return cors


class _Answer:
    """The way back: adds the headers every answer carries, and remembers what was answered."""

    __slots__ = ("_context", "_cors", "_head", "_headers", "_respond", "_send", "_sticky", "code", "status")

    def __init__(
        self,
        send: Send,
        respond: Respond | None,
        headers: StandardHeaders,
        context: Context,
        cors: RawHeaders,
        sticky: RawHeaders,
    ) -> None:
        self._send = send
        self._respond = respond
        self._headers = headers
        self._context = context
        self._cors = cors
        self._sticky = sticky
        self._head: RawHeaders | None = None
        self.status = 0
        self.code: str | None = None

    async def send(self, message: Mapping[str, Any]) -> None:
        """Pass a message on to the server. A head with a length waits for its body: mostly it is all there."""
        if message["type"] == "http.response.start":
            head = self._begin(message["status"], message["headers"])
            if self._respond is not None and any(name == b"content-length" for name, _ in head):
                self._head = head
                return
            message = {"type": "http.response.start", "status": self.status, "headers": head}
        elif self._head is not None:
            head, self._head = self._head, None
            is_whole = not message.get("more_body")
            if is_whole and self._respond is not None and self._respond(self.status, head, message.get("body", b"")):
                return
            await self._send({"type": "http.response.start", "status": self.status, "headers": head})
        await self._send(message)

    def _begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
        self.status = status
        if status >= 400:
            self.code = header(headers, b"x-agenthifive-error")
        complete = self._headers.complete(headers, self._context.request_id.encode("latin-1"))
        complete.extend(self._cors)
        complete.extend(self._sticky)
        return complete

    async def refuse(self, error: AppError) -> None:
        """Answer a refusal, unless an answer has begun: then the connection just ends."""
        if self.status:
            raise ConnectionAbortedError
        body = refusal(error)
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        headers.extend((name.encode(), value.encode("latin-1")) for name, value in refusal_headers(error).items())
        await self._plain(error.status, headers, bytes(body.body))

    async def redirect(self, path: bytes, query: bytes) -> None:
        """308: the same request at another path."""
        location = path + (b"?" + query if query else b"")
        await self._plain(308, [(b"location", location)], b"")

    async def preflight(self) -> None:
        """204 with what a foreign page may do, or without any permission."""
        granted: RawHeaders = []
        if self._cors:
            granted = [
                (b"access-control-allow-methods", _CORS_METHODS),
                (b"access-control-allow-headers", _CORS_REQUEST_HEADERS),
                (b"access-control-max-age", b"3600"),
            ]
        await self._plain(204, granted, None)

    async def _plain(self, status: int, headers: RawHeaders, body: bytes | None) -> None:
        if body is not None:
            headers.append((b"content-length", str(len(body)).encode("ascii")))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body or b""})


def canonical_route(path: str, method: str) -> str:
    """The path as it is routed: one trailing slash ignored, old spellings rewritten. Source: http.md section 6."""
    if path.startswith("/v1/v1/") and not path.startswith("/v1/v1/v1/"):
        path = path[3:]
    if path.startswith((LLM_PREFIX, _OLD_LLM_PREFIX)):
        return path
    if len(path) > 1 and path.endswith("/"):
        path = path[:-1]
    if not path.startswith("/v1/"):
        for pattern, methods in _ALIASES:
            if method in methods and pattern.fullmatch(path):
                return "/v1" + path
    return path


def _check_sizes(scope: Scope) -> None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > TARGET_MAX:
        raise AppError("uri_too_long", f"The request target is longer than {TARGET_MAX} bytes.")
    headers = scope["headers"]
    total = sum(map(len, chain.from_iterable(headers))) + 4 * len(headers)
    if len(headers) > HEADER_FIELDS_MAX or total > HEADERS_MAX:
        raise AppError(
            "headers_too_large", f"Send at most {HEADER_FIELDS_MAX} header fields and {HEADERS_MAX} bytes of headers."
        )
