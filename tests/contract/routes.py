"""The route table as the walks go through it."""

from collections.abc import Iterator
from typing import Final

from agenthifive.edge.callers import Access
from agenthifive.edge.routing import DeclaredRoute
from application import Place

UNKNOWN: Final = "00000000-0000-4000-8000-000000000000"
BROKERED: Final = (("POST", "/v1/vault/execute"), ("GET", "/v1/vault/llm/openai/models"))
_KNOWN: Final = {"/static/{name}": "/static/site.css"}  # the one path that asks no room


def walk(place: Place) -> list[tuple[Access, str, str]]:
    """Every declared route with a method and a path whose ids exist nowhere."""
    return list(_walk(place))


def _walk(place: Place) -> Iterator[tuple[Access, str, str]]:
    for route in place.app.management.router.routes:
        assert isinstance(route, DeclaredRoute)
        path = _KNOWN.get(route.path, route.path)
        for name in route.param_convertors:
            path = path.replace("{" + name + "}", UNKNOWN).replace("{" + name + ":path}", UNKNOWN)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield route.access, method, path
