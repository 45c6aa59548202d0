"""Several policies as they shall be, saved together or not at all: policies as code.

    entry -> create | replace | leave alone, one after the other in one transaction -> what each of them changed

An entry says the whole policy: a facet it leaves out takes its default. A dry run does all of it and undoes it, so it
cannot promise what the real one would refuse. Policies that no entry names stay.
Source: contract/operations.md section 15 (policy apply), policy.md sections 2.1 and 15.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.errors import AppError
from agenthifive.ids import is_id
from agenthifive.policies import store
from agenthifive.policies.bodies import refuse
from agenthifive.policies.changes import is_same
from agenthifive.policies.documents import ALWAYS, DEFAULT_FACETS
from agenthifive.policies.model import FACETS, Saved
from agenthifive.policies.service import Policies
from agenthifive.policy.report import Report

ENTRIES_MAX: Final = 500
_PAIR: Final = ("agentId", "connectionId")


@dataclass(frozen=True, slots=True)
class Applied:
    """One entry and what came of it. Shapes: before: None for a policy that was not there."""

    before: Mapping[str, Any] | None
    saved: Saved

    @property
    def change(self) -> str:
        """In one word."""
        if self.before is None:
            return "created"
        return "unchanged" if is_same(self.before, self.saved.policy.facets) else "updated"


async def apply_policies(
    policies: Policies, unit: Unit, caller: Caller, entries: Sequence[Mapping[str, Any]], *, dry_run: bool
) -> Sequence[Applied]:
    """Make every policy as its entry says, in the order of the entries.

    Raises: AppError naming everything that is wrong with every entry; nothing is stored then.
    """
    applied: dict[int, Applied] = {}
    refused: dict[int, AppError] = {}
    pairs = [tuple(str(entry.get(name)) for name in _PAIR) for entry in entries]
    for number in sorted(range(len(entries)), key=lambda each: pairs[each]):  # two at once hold rows in one order
        try:
            _check_entry(entries[number], is_repeated=pairs.count(pairs[number]) > 1)
            applied[number] = await _apply(policies, unit, caller, entries[number])
        except AppError as error:
            refused[number] = error
    if refused:
        raise _refusal(refused, len(entries))
    if dry_run:
        await unit.release()
    return [applied[number] for number in range(len(entries))]


async def _apply(policies: Policies, unit: Unit, caller: Caller, entry: Mapping[str, Any]) -> Applied:
    agent_id, connection_id = (entry[name] for name in _PAIR)
    facets = {name: DEFAULT_FACETS[name] if entry.get(name) is None else entry[name] for name in FACETS}
    saved = None
    if is_id(agent_id) and is_id(connection_id):
        saved = await store.find_policy_of_pair(await unit.begin(), caller.workspace_id, agent_id, connection_id)
    if saved is None:
        body = {"agentId": agent_id, "connectionId": connection_id, **facets}
        return Applied(None, await policies.create(unit, caller, body))
    facets["rules"] = _with_known_ids(facets["rules"], saved.facets["rules"])
    return Applied(saved.facets, await policies.replace(unit, caller, saved.id, facets))


def _check_entry(entry: Mapping[str, Any], *, is_repeated: bool) -> None:
    """Refuse what is no part of a policy, or not all of it. Raises: AppError (400)."""
    report = Report()
    known = (*_PAIR, *FACETS)
    for name in entry:
        if name not in known:
            report.unknown(name, "", known)
    report.missing(entry, "", (*_PAIR, ALWAYS))
    for name in _PAIR:
        report.is_text(entry.get(name, ""), name, 80)
    if is_repeated and not report.problems:
        report.add("connectionId", "conflict", "Another entry is for the same agent and connection.")
    if report.problems:
        raise refuse(report.problems, tuple(entry))


def _with_known_ids(rules: Any, stored: Any) -> Any:
    """Rules without an id take that of the stored rule that says the same, so that nothing changes where nothing does.

    What is no list of rules is left to the validation, on either side.
    """
    if not isinstance(rules, dict) or not isinstance(stored, dict):
        return rules
    named = dict(rules)
    for side in ("request", "response"):
        if isinstance(rules.get(side), list):
            taken = [rule.get("id") for rule in rules[side] if isinstance(rule, dict)]
            known = stored.get(side) or ()
            free = [rule for rule in known if isinstance(rule, dict) and rule.get("id") not in (None, *taken)]
            named[side] = [_with_known_id(rule, free) for rule in rules[side]]
    return named


def _with_known_id(rule: Any, free: list[dict[str, Any]]) -> Any:
    if not isinstance(rule, dict) or "id" in rule:
        return rule
    for number, candidate in enumerate(free):
        if is_same({"id": candidate["id"], **rule}, candidate):
            return free.pop(number)
    return rule


def _refusal(refused: Mapping[int, AppError], count: int) -> AppError:
    """One refusal for all; its code is theirs where they agree."""
    codes = {error.code for error in refused.values()}
    first = min(refused)
    fields = []
    for number, error in sorted(refused.items()):
        where = f"policies[{number}]"
        fields += [{**field, "path": f"{where}.{field['path']}"} for field in error.fields or ()]
        if not error.fields:
            fields.append({"path": where, "code": error.code, "message": error.message})
    return AppError(
        codes.pop() if len(codes) == 1 else "invalid_policy",
        f"{len(refused)} of {count} policies cannot be applied, so none was. policies[{first}]: "
        f"{refused[first].message}",
        fields=fields,
    )
