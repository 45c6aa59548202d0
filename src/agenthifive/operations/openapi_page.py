"""The API as one page of plain HTML: no script, nothing loaded from elsewhere. Source: contract/http.md section 9."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader

_pages = Environment(loader=PackageLoader("agenthifive.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True)


def render_openapi_page(document: Mapping[str, Any]) -> str:
    """Every operation of an OpenAPI document, grouped by tag."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "head":
                entry = {"method": method.upper(), "path": path, **operation}
                groups.setdefault(operation.get("tags", ["other"])[0], []).append(entry)
    return _pages.get_template("openapi.html").render(title=document["info"]["title"], version=document["info"]["version"],
                                                      groups=groups)  # fmt: skip
