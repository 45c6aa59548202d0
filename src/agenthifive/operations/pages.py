"""The API as one page of plain HTML: no script, nothing loaded from elsewhere. Source: contract/http.md section 9."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader
from starlette.responses import HTMLResponse

from agenthifive.edge.callers import PUBLIC
from agenthifive.edge.management import describe_api
from agenthifive.edge.routing import Routes
from agenthifive.operations.api import PUBLIC_FOR_MINUTES, AppOf, refuse_hidden

routes = Routes("pages")
_pages = Environment(loader=PackageLoader("agenthifive.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True)


@routes.get("/docs", access=PUBLIC)
async def docs(app: AppOf, request: Request) -> HTMLResponse:
    """Every route, as its declaration describes it."""
    refuse_hidden(app)
    return HTMLResponse(render(describe_api(request.app)), headers=PUBLIC_FOR_MINUTES)


def render(document: Mapping[str, Any]) -> str:
    """Every operation of an OpenAPI document, grouped by tag."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            entry = {"method": method.upper(), "path": path, **operation}
            groups.setdefault(operation.get("tags", ["other"])[0], []).append(entry)
    template = _pages.get_template("openapi.html")
    return template.render(title=document["info"]["title"], version=document["info"]["version"], groups=groups)
