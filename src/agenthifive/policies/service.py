"""What people do with policies: create, read, change, remove. Every change is one transaction with its audit row.

    hold agent, connection, policy -> merge what was sent over what is stored -> validate -> version -> store -> record

Nothing is stored before all of it is valid, so a refused change leaves every facet as it was.
Source: contract/policy.md sections 2, 15.1, 15.2 and 17.2.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agenthifive.catalog.allowlists import default_allowlists
from agenthifive.catalog.catalog import Catalog
from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id, new_id
from agenthifive.policies import store
from agenthifive.policies.bodies import (
    NOTHING,
    ON_CHANGE,
    ON_CREATE,
    Asked,
    agreed_version,
    check_created,
    check_read_only,
    read_deletion,
    read_facet_body,
    read_policy_body,
    refuse,
)
from agenthifive.policies.cautions import find_cautions
from agenthifive.policies.changes import describe_changes, is_same
from agenthifive.policies.model import FACETS, TIER_FACETS, Labels, Place, Saved, StoredPolicy, read_place
from agenthifive.policies.tiers import choose_template, expand_tier, named_template
from agenthifive.policy.defaults import assign_rule_ids
from agenthifive.policy.validate import Validation, validate
from agenthifive.words import AuditAction, ConnectionStatus

_LIST_ROUTE: Final = "/v1/policies"


class Policies:
    """The policies of all workspaces; every verb acts in the caller's workspace only.

    Ids that are unknown, malformed or of another workspace raise the same AppError (404).
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def create(self, unit: Unit, caller: Caller, body: Mapping[str, Any]) -> Saved:
        """A policy for an agent and a connection: from a tier, else the catalog's defaults, then the facets sent.

        Raises: AppError (400 invalid_policy and its kin, 400 unknown_template, 404, 409 policy_exists,
            409 connection_revoked).
        """
        asked = read_policy_body(body, ON_CREATE)
        agent_id, connection_id = check_created(asked)
        connection = await unit.begin()
        place = await self._hold_pair(connection, caller, agent_id, connection_id)
        start: Mapping[str, Any] = {"allowlists": default_allowlists(place.service, place.binding)}
        template_id = _template_named(asked, place, None)
        if asked.tier is not None:
            template_id, start = _facets_of_tier(asked, place, template_id)
        validation = await _validate(asked, {**start, **asked.facets}, place)
        if place.status is ConnectionStatus.REVOKED:
            raise AppError("connection_revoked", "This connection was revoked. Connect the service again first.")
        is_edited = asked.tier is not None and not TIER_FACETS.isdisjoint(asked.facets)
        labels = Labels(template_id, asked.tier, is_edited)
        policy_id, facets = new_id(), _with_rule_ids(validation)
        is_new = await store.insert_policy(
            connection, policy_id, caller.workspace_id, agent_id, connection_id, facets, labels, caller.user_id
        )
        if not is_new:
            raise _exists(await store.find_policy_of_pair(connection, caller.workspace_id, agent_id, connection_id))
        policy = await store.find_policy(connection, caller.workspace_id, policy_id)
        assert policy is not None  # inserted above
        _record(unit, AuditAction.POLICY_CREATED, policy, {**_labels(policy), "enforcement": facets["enforcement"]})
        return Saved(policy, find_cautions(validation, place))

    async def list_all(
        self, unit: Unit, caller: Caller, agent_id: str | None, connection_id: str | None
    ) -> Sequence[StoredPolicy]:
        """The active policies, oldest first; of one agent or connection when they are named."""
        if not all(is_id(named) for named in (agent_id, connection_id) if named is not None):
            return ()
        return await store.list_policies(await unit.begin(), caller.workspace_id, agent_id, connection_id)

    async def find(self, unit: Unit, caller: Caller, policy_id: str) -> StoredPolicy:
        """One active policy."""
        connection = await unit.begin()
        policy = await store.find_policy(connection, caller.workspace_id, policy_id) if is_id(policy_id) else None
        if policy is None:
            raise _no_policy()
        return policy

    async def change(
        self, unit: Unit, caller: Caller, policy_id: str, body: Mapping[str, Any], if_match: str | None
    ) -> Saved:
        """Save facets together, or the facets of another tier.

        Raises: AppError (400, 404, 409 version_conflict, 409 would_discard_edits).
        """
        return await self._change(unit, caller, policy_id, read_policy_body(body, ON_CHANGE), if_match, "policy")

    async def change_facet(
        self, unit: Unit, caller: Caller, policy_id: str, facet: str, body: Mapping[str, Any], if_match: str | None
    ) -> Saved:
        """Save one facet; the body holds it under its own key. Raises: AppError (400, 404, 409 version_conflict)."""
        asked = read_policy_body(read_facet_body(body, facet), NOTHING)
        return await self._change(unit, caller, policy_id, asked, if_match, facet)

    async def replace(self, unit: Unit, caller: Caller, policy_id: str, facets: Mapping[str, Any]) -> Saved:
        """Save every facet; a policy that is so already keeps its version, and nothing is recorded.

        Raises: AppError (400, 404).
        """
        asked = read_policy_body(facets, NOTHING)
        return await self._change(unit, caller, policy_id, asked, None, "policy", leaves_same=True)

    async def delete(
        self, unit: Unit, caller: Caller, policy_id: str, body: Mapping[str, Any], if_match: str | None
    ) -> None:
        """Remove a policy; its audit rows stay. Raises: AppError (404, 409 version_conflict)."""
        version = agreed_version(read_deletion(body), if_match)
        policy = await self._hold(unit, caller, policy_id)
        _check_version(policy, version)
        await store.delete_policy(await unit.begin(), policy.id)
        _record(unit, AuditAction.POLICY_DELETED, policy, {**_labels(policy), "version": policy.version})

    async def _change(
        self,
        unit: Unit,
        caller: Caller,
        policy_id: str,
        asked: Asked,
        if_match: str | None,
        change: str,
        *,
        leaves_same: bool = False,
    ) -> Saved:
        policy = await self._hold(unit, caller, policy_id)
        connection = await unit.begin()
        place = await self._place(connection, caller, policy.connection_id)
        assert place is not None  # held with the policy
        validation = await _validate(asked, {**policy.facets, **asked.facets}, place)
        template_id = _template_named(asked, place, policy.action_template_id)
        _check_version(policy, agreed_version(asked.version, if_match))
        check_read_only(asked, policy.wire())
        edits = _edits(asked, validation, policy)
        labels = Labels(template_id, policy.security_preset, policy.customised or bool(edits))
        if _regenerates(asked, policy):
            if policy.customised and not asked.discards_edits:
                raise _would_discard(asked)
            template_id, start = _facets_of_tier(asked, place, template_id)
            echoes = TIER_FACETS - edits
            kept = {name: value for name, value in asked.facets.items() if name not in echoes}
            validation = await _validate(asked, {**policy.facets, **start, **kept}, place)
            labels = Labels(template_id, asked.tier, bool(edits))
        facets = _with_rule_ids(validation)
        if leaves_same and is_same(facets, policy.facets):
            return Saved(policy, find_cautions(validation, place))
        saved = await store.update_policy(connection, policy, facets, labels)
        changes = describe_changes({**_labels(policy), **policy.facets}, {**_labels(saved), **saved.facets})
        _record(
            unit, AuditAction.POLICY_UPDATED, saved, {"change": change, "changes": changes, "version": saved.version}
        )
        return Saved(saved, find_cautions(validation, place))

    async def _hold(self, unit: Unit, caller: Caller, policy_id: str) -> StoredPolicy:
        """A policy that stays as it is until the transaction ends, and its agent and connection with it."""
        seen = await self.find(unit, caller, policy_id)
        connection = await unit.begin()
        await store.hold_agent(connection, caller.workspace_id, seen.agent_id)
        await store.hold_connection(connection, caller.workspace_id, seen.connection_id)
        policy = await store.hold_policy(connection, caller.workspace_id, policy_id)
        if policy is None:
            raise _no_policy()
        return policy

    async def _hold_pair(self, connection: Connection, caller: Caller, agent_id: str, connection_id: str) -> Place:
        if not is_id(agent_id) or not await store.hold_agent(connection, caller.workspace_id, agent_id):
            raise not_found("agent", "/v1/agents")
        place = await self._place(connection, caller, connection_id) if is_id(connection_id) else None
        if place is None:
            raise not_found("connection", "/v1/connections")
        return place

    async def _place(self, connection: Connection, caller: Caller, connection_id: str) -> Place | None:
        record = await store.hold_connection(connection, caller.workspace_id, connection_id)
        return None if record is None else read_place(record, self._catalog)


def _template_named(asked: Asked, place: Place, otherwise: str | None) -> str | None:
    """The id of the template the body names. Raises: AppError (400 unknown_template)."""
    if asked.template_id is None:
        return otherwise
    return named_template(place.service, asked.template_id).id


def _facets_of_tier(asked: Asked, place: Place, template_id: str | None) -> tuple[str, dict[str, Any]]:
    """Template and facets of the tier that was asked for. Raises: AppError (400 unknown_template)."""
    assert asked.tier is not None  # the callers look first
    if template_id is None:
        template = choose_template(place.service, place.granted_scopes)
    else:
        template = named_template(place.service, template_id)
    if template is None:
        raise AppError("unknown_template", f"{place.service.id} has no action templates. Send the facets instead.")
    facets = expand_tier(place.service, place.binding, template, asked.tier, asked.timezone)
    return template.id, {name: facets[name] for name in TIER_FACETS}


async def _validate(asked: Asked, facets: Mapping[str, Any], place: Place) -> Validation:
    """Judge the members that were sent together with facets from elsewhere. Raises: AppError (400).

    Large policies take tens of milliseconds to compile, so other requests go on meanwhile.
    """
    sent = {name: facets.get(name, value) for name, value in asked.document.items()}
    rest = {name: value for name, value in facets.items() if name not in sent}
    validation = await asyncio.to_thread(validate, {**sent, **rest}, place.facts, partial=False)
    problems = [*asked.problems, *validation.problems]
    if problems:
        raise refuse(problems, asked.names)
    return validation


def _with_rule_ids(validation: Validation) -> dict[str, Any]:
    """The facets as they are stored."""
    assert validation.policy is not None  # it has no problems
    facets = {name: validation.policy[name] for name in FACETS}
    return {**facets, "rules": assign_rule_ids(facets["rules"], new_id)}


def _edits(asked: Asked, validation: Validation, policy: StoredPolicy) -> frozenset[str]:
    """The facets of a tier that were sent and are not as they are stored."""
    assert validation.policy is not None  # it has no problems
    sent = TIER_FACETS.intersection(asked.facets)
    return frozenset(name for name in sent if not is_same(validation.policy[name], policy.facets[name]))


def _regenerates(asked: Asked, policy: StoredPolicy) -> bool:
    """Whether a tier is to be applied: another one, or the same one without any of its facets beside it.

    What GET answered names the tier and all its facets: sending it back changes nothing.
    """
    if asked.tier is None:
        return False
    return asked.tier != policy.security_preset or TIER_FACETS.isdisjoint(asked.facets)


def _check_version(policy: StoredPolicy, seen: int | None) -> None:
    if seen is not None and seen != policy.version:
        raise AppError(
            "version_conflict",
            f"The policy has changed since it was read: its version is {policy.version}, not {seen}. "
            "Read it again and merge.",
            extra={"currentVersion": policy.version},
        )


def _would_discard(asked: Asked) -> AppError:
    return AppError(
        "would_discard_edits",
        f"Applying the tier {asked.tier} would replace facets that were edited by hand. "
        "Repeat with discardEdits:true to replace them.",
        hint="discardEdits",
    )


def _exists(policy: StoredPolicy | None) -> AppError:
    return AppError(
        "policy_exists",
        "This agent already has an active policy on this connection. Change that one instead.",
        extra={"policyId": None if policy is None else policy.id},
    )


def _no_policy() -> AppError:
    return not_found("policy", _LIST_ROUTE)


def _labels(policy: StoredPolicy) -> dict[str, Any]:
    return {"actionTemplateId": policy.action_template_id, "securityPreset": policy.security_preset}


def _record(unit: Unit, action: AuditAction, policy: StoredPolicy, metadata: Mapping[str, Any]) -> None:
    unit.record(
        action,
        {"policyId": policy.id, **metadata},
        agent_id=policy.agent_id,
        connection_id=policy.connection_id,
        policy_id=policy.id,
    )
