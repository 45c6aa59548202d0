"""A draft in the place of a saved policy: some facets as somebody thinks of them, the others as they are. Pure.

Source: contract/policy.md sections 15.3 and 15.4.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agenthifive.catalog.allowlists import default_allowlists
from agenthifive.catalog.binding import Binding
from agenthifive.policies.bodies import NOTHING, read_policy_body, refuse
from agenthifive.policies.model import StoredPolicy
from agenthifive.policy.compile import Policy, compile_policy
from agenthifive.policy.model import ServiceFacts
from agenthifive.policy.validate import validate


def compile_draft(
    draft: Mapping[str, Any], saved: StoredPolicy | None, binding: Binding, facts: ServiceFacts
) -> Policy:
    """The saved policy, or a new one, with the facets of a draft.

    Raises: AppError (400 invalid_policy and its kin) for a draft that could not be saved; paths begin with `draft.`.
    """
    asked = read_policy_body(draft, NOTHING)
    base: Mapping[str, Any] = (
        {"allowlists": default_allowlists(binding.service, binding)} if saved is None else saved.facets
    )
    document = {**asked.document, **{name: value for name, value in base.items() if name not in asked.document}}
    validation = validate(document, facts, partial=False)
    if asked.problems or validation.policy is None:
        problems = [replace(each, path=f"draft.{each.path}") for each in (*asked.problems, *validation.problems)]
        raise refuse(problems)
    return compile_policy(validation.policy, facts)
