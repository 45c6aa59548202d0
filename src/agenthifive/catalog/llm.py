"""The upstream of the LLM proxy: which address a path behind `/v1/vault/llm/<slug>/` means, in which dialect.

Source: contract/broker.md section 14.1, catalog/SCHEMA.md section 10.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from agenthifive.catalog.globs import PathSet
from agenthifive.catalog.schema import LlmFormat, LlmSpec
from agenthifive.catalog.service import Service


def upstream_url(service: Service, params: Mapping[str, Any], tail: str) -> str:
    """The address of a proxied path; still a caller's text, to be read by the strict parser.

    The base path is not doubled when the tail begins with it or with its last segment: behind
    `/api/v1`, the tails `models`, `v1/models` and `api/v1/models` mean the same.

    Shapes:
        tail: the raw path behind the slug, without its leading slash and without query.
    Raises: Unrenderable (address.py).
    """
    llm = _llm_of(service)
    base = service.address(llm.base_url, params)
    base_path = urlsplit(base).path
    path = "/" + tail
    if base_path:
        last = base_path[base_path.rfind("/") :]
        for known in (base_path, last):
            if path == known or path.startswith(known + "/"):
                path = path[len(known) :]
                break
    return base + path


def format_of(service: Service, params: Mapping[str, Any], path: str) -> LlmFormat:
    """The dialect of an upstream path: the first matching route, else the service's.

    Shapes:
        path: canonical path of the upstream address.
    """
    llm = _llm_of(service)
    if not llm.routes:
        return llm.format
    base_path = urlsplit(service.address(llm.base_url, params)).path
    relative = path[len(base_path) :] if path.startswith(base_path + "/") else path
    for route in llm.routes:
        if _paths(route.path).has(relative):
            return route.format
    return llm.format


@lru_cache(maxsize=256)
def _paths(glob: str) -> PathSet:
    return PathSet((glob,))


def _llm_of(service: Service) -> LlmSpec:
    llm = service.file.llm
    if llm is None:
        raise ValueError(f"{service.id} is no LLM service")
    return llm
