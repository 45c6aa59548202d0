"""Warnings beside a saved policy: the engine's own, and what only the connection can tell.

Source: contract/policy.md sections 3 and 15.1.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agenthifive.catalog.allowlists import outside_binding
from agenthifive.policies.model import Place
from agenthifive.policy.allowlist import read_base_url
from agenthifive.policy.model import Problem
from agenthifive.policy.validate import Validation


def find_cautions(validation: Validation, place: Place) -> Sequence[Problem]:
    """What is legal in a valid policy and probably not meant."""
    assert validation.policy is not None  # it has no problems
    return [
        *validation.warnings,
        *_about_allowlists(validation.policy["allowlists"], place),
    ]


def _about_allowlists(entries: Sequence[Mapping[str, Any]], place: Place) -> Iterator[Problem]:
    for number, entry in enumerate(entries):
        base = read_base_url(entry["baseUrl"])
        assert base is not None  # a valid entry
        globs = tuple(entry["pathPatterns"])
        if outside_binding(place.binding, (base.scheme, base.host, base.port), globs) is not None:
            message = (
                f"Part of it lies outside the hosts and paths that are bound to this {place.service.id} connection; "
                "calls there are refused (host_not_bound)."
            )
            yield Problem(f"allowlists[{number}]", "outside_binding", message)
