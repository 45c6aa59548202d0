"""Routes about the instance itself: health, version, metrics, OpenAPI. Source: contract/operations.md section 8.1."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.responses import Response

from agenthifive import __version__, strict_json
from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC
from agenthifive.edge.management import describe_api
from agenthifive.edge.routing import Routes
from agenthifive.errors import AppError
from agenthifive.operations.health import Health
from agenthifive.vault.hashing import constant_time_equal

routes = Routes("instance")
PUBLIC_FOR_MINUTES: Final = {"cache-control": "public, max-age=300"}


def _app_of(request: Request) -> Any:
    return request.app.state.application


AppOf = Annotated[Any, Depends(_app_of)]


@routes.get("/health", access=PUBLIC)
async def health(app: AppOf) -> JsonAnswer:
    """Whether this server can do its work."""
    return await _report(app.health, ready=False)


@routes.get("/v1/health", access=PUBLIC)
async def health_v1(app: AppOf) -> JsonAnswer:
    """The same under the API's prefix."""
    return await _report(app.health, ready=False)


@routes.get("/health/ready", access=PUBLIC)
async def ready(app: AppOf) -> JsonAnswer:
    """Whether a balancer should send requests here."""
    return await _report(app.health, ready=True)


@routes.get("/health/live", access=PUBLIC)
async def live() -> JsonAnswer:
    """200 while the event loop turns."""
    return JsonAnswer({"status": "ok"})


@routes.get("/v1/version", access=PUBLIC)
async def version(app: AppOf) -> JsonAnswer:
    """Which build answers."""
    settings = app.settings
    return JsonAnswer(
        {
            "version": __version__,
            "buildNumber": settings.build_number,
            "buildDate": settings.build_date,
            "gitSha": settings.git_sha,
        }
    )


@routes.get("/metrics", access=PUBLIC)
async def metrics(app: AppOf, request: Request) -> Response:
    """Prometheus text, for the holder of METRICS_TOKEN."""
    token = app.settings.metrics_token
    sent = request.headers.get("authorization", "")
    if token is None or not constant_time_equal(sent, f"Bearer {token.get_secret_value()}"):
        raise AppError("route_not_found", "There is no such path. The routes are listed at /openapi.json.")
    app.measure()
    return Response(app.metrics.render(), media_type="text/plain; version=0.0.4")


@routes.get("/openapi.json", access=PUBLIC)
async def openapi(app: AppOf, request: Request) -> Response:
    """Every route, generated from its declaration."""
    refuse_hidden(app)
    body = strict_json.dumps(describe_api(request.app))
    return Response(body, media_type="application/json", headers=PUBLIC_FOR_MINUTES)


def refuse_hidden(app: Any) -> None:
    """Unless the operator shows the API to everyone there is no such page. Raises: AppError."""
    if app.settings.api_docs != "public":
        raise AppError("route_not_found", "There is no such path.")


async def _report(health: Health, *, ready: bool) -> JsonAnswer:
    status, body = await health.report(ready=ready)
    headers = {"x-agenthifive-error": body.get("code", "shutting_down")} if status != 200 else None
    return JsonAnswer(body, status, headers)
