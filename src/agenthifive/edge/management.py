"""The FastAPI application of the management routes: one error handler, one OpenAPI document, nothing else.

Source: contract/http.md sections 2 and 9.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Final

import psycopg
import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response

from agenthifive import __version__
from agenthifive.db.database import as_unavailable
from agenthifive.edge.answers import refusal
from agenthifive.edge.body import ClientGone
from agenthifive.edge.context import CONTEXT_KEY
from agenthifive.edge.routing import DeclaredRoute
from agenthifive.errors import STATUS, AppError

_CLIENT_GONE: Final = 499
_FIELDS_MAX: Final = 20
log = structlog.get_logger(__name__)


def make_management(routers: Sequence[APIRouter]) -> FastAPI:
    """The application of these rooms. Raises: RuntimeError for a route that does not say who may call it."""
    app = FastAPI(title="AgentHiFive", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    for router in routers:
        app.router.routes.extend(router.routes)
    for route in app.router.routes:
        if not isinstance(route, DeclaredRoute):
            raise RuntimeError(f"{getattr(route, 'path', route)} does not say who may call it: declare it with Routes")
    app.add_exception_handler(AppError, _refuse)
    app.add_exception_handler(ClientGone, _answer_nobody)
    app.add_exception_handler(RequestValidationError, _refuse_validation)
    app.add_exception_handler(HTTPException, _refuse_http)
    for outage in (psycopg.Error, PoolTimeout, OSError):
        app.add_exception_handler(outage, _refuse_outage)
    app.add_exception_handler(Exception, _refuse_defect)
    return app


def describe_api(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document, callers and error statuses included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # GET and HEAD are one operation here
        document = get_openapi(title=app.title, version=app.version, openapi_version="3.1.0", routes=app.routes)
    for path, operations in document["paths"].items():
        operations.pop("head", None)
        for method, operation in operations.items():
            _add_errors(operation, path, method)
    return document


def _add_errors(operation: dict[str, Any], path: str, method: str) -> None:
    codes = list(operation.get("x-ah5-errors", []))
    if "public" not in operation.get("x-ah5-callers", []):
        codes += ["authentication_required", "invalid_token", "insufficient_scope", "agent_not_allowed"]
    if "{" in path:
        codes.append("not_found")
    if method in ("post", "put", "patch"):
        codes += ["invalid_request", "invalid_json", "payload_too_large", "unsupported_media_type"]
    if operation.get("x-ah5-limit"):
        codes.append("rate_limited")
    codes.append("unavailable")
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(STATUS[code], []).append(code)
    for status, named in sorted(by_status.items()):
        responses[str(status)] = {"description": ", ".join(named)}


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)
    if request.url.path.startswith("/api/auth/"):
        return _auth_refusal(error)
    return refusal(error)


async def _answer_nobody(request: Request, error: Exception) -> Response:
    """The client closed its connection before its request was complete; the status is for our own log."""
    return Response(status_code=_CLIENT_GONE)


def _auth_refusal(error: AppError) -> Response:
    """The sign-in routes repeat the text as `message` (compat: dashboard of the original) and shout their codes."""
    upper = AppError(
        error.code.upper(),
        error.message,
        hint=error.hint,
        retry_after_s=error.retry_after_s,
        fields=error.fields,
        extra={**(error.extra or {}), "message": error.message},
        headers=error.headers,
        status=error.status,
    )
    return refusal(upper)


async def _refuse_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    unknown = [item for item in found if item["type"] == "extra_forbidden"]
    if unknown:
        names = ", ".join(str(item["loc"][-1]) for item in unknown)
        code, text = "unknown_field", f"The body has members that are not known here: {names}. Remove them."
    else:
        code, text = "invalid_request", "Some fields are missing or not valid; `fields` names them."
    fields = [{"path": _path(item["loc"]), "message": str(item["msg"])} for item in (unknown or found)[:_FIELDS_MAX]]
    if code == "invalid_request" and fields:
        text = f"{fields[0]['path'] or 'The body'}: {fields[0]['message']}. Correct it and send it again."
    return await _refuse(request, AppError(code, text, fields=fields))


def _path(location: Sequence[Any]) -> str:
    """`body.policies.0.name` of pydantic as `policies[0].name`."""
    path = ""
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allow = ", ".join(sorted(_methods_of(request)))
        return await _refuse(
            request, AppError("method_not_allowed", f"This path answers {allow}.", headers={"allow": allow})
        )
    return await _refuse(
        request, AppError("route_not_found", "There is no such path. The routes are listed at /openapi.json.",
                          hint="/openapi.json")
    )  # fmt: skip


def _methods_of(request: Request) -> set[str]:
    """What a path answers, over all its routes."""
    path = request.url.path
    return {
        method
        for route in request.app.router.routes
        if isinstance(route, DeclaredRoute) and route.path_regex.match(path)
        for method in route.methods or ()
    }


async def _refuse_outage(request: Request, error: Exception) -> Response:
    unavailable = as_unavailable(error)
    if unavailable is None:
        return await _refuse_defect(request, error)
    log.warning("database_unavailable", error=type(error).__name__, requestId=request.scope[CONTEXT_KEY].request_id)
    return await _refuse(request, unavailable)


async def _refuse_defect(request: Request, error: Exception) -> Response:
    request_id = request.scope[CONTEXT_KEY].request_id
    log.error("defect", requestId=request_id, exc_info=error)
    return await _refuse(
        request, AppError("internal_error", f"Something went wrong on our side. Quote the request id {request_id}.")
    )
