"""Pages: templates rendered on the server, under a policy that runs nothing but our own scripts.

    render("login.html", ...) -> HTML with the browser headers of every page

Source: contract/http.md section 7.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from agenthifive.ids import wire_time

_WEB: Final = Path(__file__).parents[1] / "web"
_MEDIA_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}

PAGE_HEADERS: Final[Mapping[str, str]] = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'self'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_TOKEN_HEADERS: Final = {**PAGE_HEADERS, "referrer-policy": "no-referrer"}
_templates: Final = Environment(
    loader=FileSystemLoader(_WEB / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

_templates.filters["instant"] = wire_time


def render(template: str, status: int = 200, *, has_token: bool = False, **values: Any) -> HTMLResponse:
    """A page. Templates write instants with the filter `instant`.

    Shapes: has_token: whether the page's address holds a token, which must not travel on as a referrer.
    """
    headers = _TOKEN_HEADERS if has_token else PAGE_HEADERS
    return HTMLResponse(_templates.get_template(template).render(values), status, dict(headers))


def read_static() -> Mapping[str, tuple[bytes, str]]:
    """Every style sheet and script by its name, with its media type."""
    found = sorted((_WEB / "static").iterdir())
    return {path.name: (path.read_bytes(), _MEDIA_TYPES[path.suffix]) for path in found if path.suffix in _MEDIA_TYPES}
