"""The API as one page of plain HTML, and the style sheet and scripts of all pages.

Source: contract/http.md sections 1 and 9.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Request
from starlette.responses import HTMLResponse, Response

from agenthifive.edge.callers import PUBLIC
from agenthifive.edge.management import describe_api
from agenthifive.edge.pages import read_static, render
from agenthifive.edge.routing import Routes
from agenthifive.errors import AppError
from agenthifive.operations.api import PUBLIC_FOR_MINUTES, AppOf, refuse_hidden

routes = Routes("pages")
_static: Final = read_static()


@routes.get("/docs", access=PUBLIC)
async def docs(app: AppOf, request: Request) -> HTMLResponse:
    """Every route, as its declaration describes it."""
    refuse_hidden(app)
    document = describe_api(request.app)
    page = render("openapi.html", title=document["info"]["title"], version=document["info"]["version"],
                  groups=group(document))  # fmt: skip
    page.headers.update(PUBLIC_FOR_MINUTES)
    return page


@routes.get("/static/{name}", access=PUBLIC)
async def get_static(name: str) -> Response:
    """A style sheet or script of our pages."""
    if name not in _static:
        raise AppError("route_not_found", "There is no such file.")
    content, media_type = _static[name]
    return Response(content, media_type=media_type, headers=PUBLIC_FOR_MINUTES)


def group(document: Mapping[str, Any]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Every operation of an OpenAPI document, by its tag."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            entry = {"method": method.upper(), "path": path, **operation}
            groups.setdefault(operation.get("tags", ["other"])[0], []).append(entry)
    return groups
