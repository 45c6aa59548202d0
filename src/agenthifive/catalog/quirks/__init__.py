"""Behaviour of a provider that data cannot express; each module says in one sentence why not.

Found through the service id, never by comparing providers elsewhere. Source: contract/broker.md section 7.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from agenthifive.catalog.quirks import anthropic
from agenthifive.catalog.schema import Kind

Prepare: TypeAlias = Callable[[Kind, list[tuple[str, str]]], list[tuple[str, str]]]
"""Changes the headers of a request before the credential is placed."""

Recognise: TypeAlias = Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]] | None]
"""Finds the variant that entered members really belong to; None: the one that was asked for."""

PREPARE: Final[Mapping[str, Prepare]] = {"anthropic-messages": anthropic.prepare}
RECOGNISE: Final[Mapping[str, Recognise]] = {"anthropic-messages": anthropic.recognise}
