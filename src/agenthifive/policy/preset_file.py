"""presets.json, read once: tiers, guards and recognisers are data. What is given out must not be changed."""

from functools import lru_cache
from importlib.resources import files
from typing import Any

from agenthifive.strict_json import loads


@lru_cache(maxsize=1)
def preset_document() -> dict[str, Any]:
    """The whole file."""
    document: dict[str, Any] = loads((files("agenthifive.policy") / "presets.json").read_bytes())
    return document
