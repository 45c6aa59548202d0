"""Which vendor's shapes a proxied call speaks. Source: contract/broker.md section 14.4."""

from collections.abc import Mapping
from typing import Any, Final

from agenthifive.catalog.address import Unrenderable
from agenthifive.catalog.llm import format_of
from agenthifive.catalog.service import Service

# OpenRouter takes requests in OpenAI's form and words its errors in its own; the catalog's `format` names the former.
_ERROR_DIALECTS: Final = {"openrouter": "openrouter"}


def dialect_of(service: Service, params: Mapping[str, Any], path: str) -> str:
    """The error shape for an upstream path of this service."""
    llm = service.file.llm
    if llm is None:
        return "raw"
    if llm.slug in _ERROR_DIALECTS:
        return _ERROR_DIALECTS[llm.slug]
    try:
        return format_of(service, params, path)
    except Unrenderable:
        return llm.format
