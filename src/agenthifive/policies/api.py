"""The JSON routes of policies and templates.

Bodies of policies arrive as plain objects: everything in them is judged by the policy engine, all problems at once.
Source: contract/policy.md sections 15.2, 15.3 and 17.4; http.md sections 15.5 and 15.7.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Body, Depends, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from agenthifive.catalog.catalog import Catalog
from agenthifive.db.database import Database
from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import Caller, RoleRule
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.errors import AppError
from agenthifive.policies.apply import ENTRIES_MAX, Applied, apply_policies
from agenthifive.policies.explain import Explainer, Question
from agenthifive.policies.model import Saved, StoredPolicy
from agenthifive.policies.service import Policies
from agenthifive.policies.simulate import LAST_DEFAULT, LAST_MAX, Simulator, Trial
from agenthifive.policies.templates import Templates
from agenthifive.words import AuditAction, Scope

_INVALID: Final = (
    "invalid_policy",
    "unknown_field",
    "provider_mismatch",
    "model_not_supported",
    "unknown_template",
    "unknown_service",
)
_FACET_ERRORS: Final = (*_INVALID, "not_found", "version_conflict")

_YEARS: Final = range(2000, 2200)

routes = Routes("policies")


@dataclass(frozen=True, slots=True)
class PoliciesRoom:
    """What these routes find at `app.state.policies`."""

    policies: Policies
    explainer: Explainer
    simulator: Simulator
    templates: Templates


def make_room(database: Database, catalog: Catalog, http_hosts: frozenset[str]) -> PoliciesRoom:
    """The room, furnished. Shapes: http_hosts: those that may be called over plain HTTP, as the broker has them."""
    return PoliciesRoom(
        Policies(catalog), Explainer(database, catalog, http_hosts), Simulator(database, catalog), Templates(catalog)
    )


def _room_of(request: Request) -> PoliciesRoom:
    room: PoliciesRoom = request.app.state.policies
    return room


def _policies_of(request: Request) -> Policies:
    return _room_of(request).policies


def _templates_of(request: Request) -> Templates:
    return _room_of(request).templates


PoliciesOf = Annotated[Policies, Depends(_policies_of)]
TemplatesOf = Annotated[Templates, Depends(_templates_of)]
Reader = Annotated[Caller, may(Scope.POLICIES_READ)]
Writer = Annotated[Caller, may(Scope.POLICIES_WRITE, role=RoleRule.ADMIN)]
Tester = Annotated[Caller, may(Scope.POLICIES_READ, role=RoleRule.ADMIN)]
Browser = Annotated[Caller, may(Scope.CAPABILITIES_READ)]
IfMatch = Annotated[str | None, Header()]


class ExplainContext(BaseModel):
    """What explain assumes instead of looking it up."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)

    calls_last_hour: Annotated[int, Field(ge=0)] | None = None
    request_full_fields: bool | None = None


class ExplainBody(BaseModel):
    """Body of POST /v1/policies/explain; the call in `request` is read by the broker's own code."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)

    agent_id: str
    connection_id: str | None = None
    service: str | None = None
    request: dict[str, Any]
    draft: dict[str, Any] | None = None
    at: str | None = None
    context: ExplainContext | None = None


class SimulateBody(BaseModel):
    """Body of POST /v1/policies/simulate; the draft is judged by the policy engine."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)

    policy_id: str | None = None
    agent_id: str | None = None
    connection_id: str | None = None
    draft: dict[str, Any]
    last: Annotated[int, Field(ge=1, le=LAST_MAX)] | None = None
    since: Annotated[str | None, Field(alias="from")] = None
    until: Annotated[str | None, Field(alias="to")] = None


class ApplyBody(BaseModel):
    """Body of POST /v1/policies/apply; each policy is judged by the policy engine."""

    model_config = ConfigDict(strict=True, extra="forbid", alias_generator=to_camel)

    policies: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=ENTRIES_MAX)]
    dry_run: bool = False


@routes.post(
    "/v1/policies",
    status=201,
    audit=[AuditAction.POLICY_CREATED],
    errors=[*_INVALID, "not_found", "policy_exists", "connection_revoked"],
)
async def create_policy(caller: Writer, body: dict[str, Any], unit: UnitOfRequest, policies: PoliciesOf) -> JsonAnswer:
    """Give an agent rights over a connection."""
    return _answer(await policies.create(unit, caller, body), status=201)


@routes.get("/v1/policies")
async def list_policies(
    caller: Reader,
    unit: UnitOfRequest,
    policies: PoliciesOf,
    agent_id: Annotated[str | None, Query(alias="agentId")] = None,
    connection_id: Annotated[str | None, Query(alias="connectionId")] = None,
) -> JsonAnswer:
    """The active policies, oldest first."""
    found: Sequence[StoredPolicy] = await policies.list_all(unit, caller, agent_id, connection_id)
    return JsonAnswer({"policies": [policy.wire() for policy in found]})


@routes.get("/v1/policies/{policy_id}", errors=["not_found"])
async def show_policy(caller: Reader, policy_id: str, unit: UnitOfRequest, policies: PoliciesOf) -> JsonAnswer:
    """One policy, as PUT takes it back."""
    policy = await policies.find(unit, caller, policy_id)
    return JsonAnswer({"policy": policy.wire()}, headers=_etag(policy))


@routes.get("/v1/policies/{policy_id}/rules", errors=["not_found"])
async def show_policy_rules(caller: Reader, policy_id: str, unit: UnitOfRequest, policies: PoliciesOf) -> JsonAnswer:
    """The rules of one policy."""
    return JsonAnswer({"rules": (await policies.find(unit, caller, policy_id)).facets["rules"]})


@routes.put(
    "/v1/policies/{policy_id}",
    audit=[AuditAction.POLICY_UPDATED],
    errors=[*_FACET_ERRORS, "would_discard_edits"],
)
async def change_policy(
    caller: Writer,
    policy_id: str,
    body: dict[str, Any],
    unit: UnitOfRequest,
    policies: PoliciesOf,
    if_match: IfMatch = None,
) -> JsonAnswer:
    """Save facets together, or apply another tier."""
    return _answer(await policies.change(unit, caller, policy_id, body, if_match))


@routes.put("/v1/policies/{policy_id}/allowlists", audit=[AuditAction.POLICY_UPDATED], errors=_FACET_ERRORS)
async def change_allowlists(
    caller: Writer,
    policy_id: str,
    body: dict[str, Any],
    unit: UnitOfRequest,
    policies: PoliciesOf,
    if_match: IfMatch = None,
) -> JsonAnswer:
    """Save the allowlists."""
    return _answer(await policies.change_facet(unit, caller, policy_id, "allowlists", body, if_match))


@routes.put("/v1/policies/{policy_id}/rate-limits", audit=[AuditAction.POLICY_UPDATED], errors=_FACET_ERRORS)
async def change_rate_limits(
    caller: Writer,
    policy_id: str,
    body: dict[str, Any],
    unit: UnitOfRequest,
    policies: PoliciesOf,
    if_match: IfMatch = None,
) -> JsonAnswer:
    """Save the limits."""
    return _answer(await policies.change_facet(unit, caller, policy_id, "rateLimits", body, if_match))


@routes.put("/v1/policies/{policy_id}/time-windows", audit=[AuditAction.POLICY_UPDATED], errors=_FACET_ERRORS)
async def change_time_windows(
    caller: Writer,
    policy_id: str,
    body: dict[str, Any],
    unit: UnitOfRequest,
    policies: PoliciesOf,
    if_match: IfMatch = None,
) -> JsonAnswer:
    """Save the time windows."""
    return _answer(await policies.change_facet(unit, caller, policy_id, "timeWindows", body, if_match))


@routes.put("/v1/policies/{policy_id}/rules", audit=[AuditAction.POLICY_UPDATED], errors=_FACET_ERRORS)
async def change_rules(
    caller: Writer,
    policy_id: str,
    body: dict[str, Any],
    unit: UnitOfRequest,
    policies: PoliciesOf,
    if_match: IfMatch = None,
) -> JsonAnswer:
    """Save the rules."""
    return _answer(await policies.change_facet(unit, caller, policy_id, "rules", body, if_match))


@routes.put("/v1/policies/{policy_id}/provider-constraints", audit=[AuditAction.POLICY_UPDATED], errors=_FACET_ERRORS)
async def change_provider_constraints(
    caller: Writer,
    policy_id: str,
    unit: UnitOfRequest,
    policies: PoliciesOf,
    body: Annotated[dict[str, Any] | None, Body()] = None,
    if_match: IfMatch = None,
) -> JsonAnswer:
    """Save the constraints: the object or null as the body, or under its key."""
    facet = "providerConstraints"
    wrapped: Mapping[str, Any] = body if body is not None and facet in body else {facet: body}
    return _answer(await policies.change_facet(unit, caller, policy_id, facet, wrapped, if_match))


@routes.delete("/v1/policies/{policy_id}", audit=[AuditAction.POLICY_DELETED], errors=["not_found", "version_conflict"])
async def delete_policy(
    caller: Writer,
    policy_id: str,
    body: dict[str, Any],
    unit: UnitOfRequest,
    policies: PoliciesOf,
    if_match: IfMatch = None,
) -> JsonAnswer:
    """Take the agent's rights over the connection away."""
    await policies.delete(unit, caller, policy_id, body, if_match)
    return JsonAnswer({"deleted": True})


@routes.post(
    "/v1/policies/explain",
    errors=["invalid_policy", "invalid_url", "missing_target", "not_found", "no_healthy_connection"],
)
async def explain_call(caller: Reader, body: ExplainBody, request: Request) -> JsonAnswer:
    """Why a call would be decided as it is; nothing is sent, reserved or recorded."""
    context = body.context or ExplainContext()
    question = Question(
        workspace_id=caller.workspace_id,
        agent_id=body.agent_id,
        request=body.request,
        at=datetime.now(UTC) if body.at is None else _instant("at", body.at),
        connection_id=body.connection_id,
        service=body.service,
        draft=body.draft,
        calls_last_hour=context.calls_last_hour,
        wants_full_fields=bool(context.request_full_fields),
    )
    return JsonAnswer(await _room_of(request).explainer.explain(question))


@routes.post("/v1/policies/simulate", errors=[*_INVALID, "invalid_request", "not_found"])
async def simulate_draft(caller: Tester, body: SimulateBody, request: Request) -> JsonAnswer:
    """What a draft would have decided about recorded calls; nothing is sent, reserved or recorded."""
    trial = Trial(
        workspace_id=caller.workspace_id,
        draft=body.draft,
        policy_id=body.policy_id,
        agent_id=body.agent_id,
        connection_id=body.connection_id,
        last=body.last or LAST_DEFAULT,
        since=None if body.since is None else _instant("from", body.since),
        until=None if body.until is None else _instant("to", body.until),
    )
    return JsonAnswer(await _room_of(request).simulator.simulate(trial))


@routes.post(
    "/v1/policies/apply",
    audit=[AuditAction.POLICY_CREATED, AuditAction.POLICY_UPDATED],
    errors=[*_INVALID, "invalid_request", "not_found", "policy_exists", "connection_revoked"],
)
async def apply_documents(caller: Writer, body: ApplyBody, unit: UnitOfRequest, policies: PoliciesOf) -> JsonAnswer:
    """Make several policies what their documents say, all or none; a dry run only says what that changes."""
    applied = await apply_policies(policies, unit, caller, body.policies, dry_run=body.dry_run)
    return JsonAnswer({"dryRun": body.dry_run, "policies": [_applied(each, body.dry_run) for each in applied]})


@routes.get("/v1/templates/{provider}", errors=["unknown_template"])
async def list_templates(caller: Browser, provider: str, templates: TemplatesOf) -> JsonAnswer:
    """The action templates of a provider or service."""
    return JsonAnswer({"templates": templates.list_for(provider)})


@routes.get("/v1/templates/{provider}/rules", errors=["unknown_template", "invalid_request", "not_found"])
async def show_tiers(
    caller: Browser,
    provider: str,
    unit: UnitOfRequest,
    templates: TemplatesOf,
    connection_id: Annotated[str | None, Query(alias="connectionId")] = None,
    template_id: Annotated[str | None, Query(alias="actionTemplateId")] = None,
) -> JsonAnswer:
    """The tiers of a template with their rules."""
    return JsonAnswer(await templates.tiers_for(unit, caller, provider, connection_id, template_id))


@routes.get("/v1/templates/{provider}/guards", errors=["unknown_template"])
async def list_guards(caller: Browser, provider: str, templates: TemplatesOf) -> JsonAnswer:
    """The guards that can be added to a policy."""
    return JsonAnswer(templates.guards_for(provider))


@routes.get("/v1/templates/{template_id}/config", errors=["unknown_template", "invalid_request"])
async def show_config(
    caller: Browser,
    template_id: str,
    templates: TemplatesOf,
    tier: str | None = None,
    timezone: str | None = None,
) -> JsonAnswer:
    """The facets a tier writes."""
    return JsonAnswer(templates.config(template_id, tier, timezone))


def _answer(saved: Saved, status: int = 200) -> JsonAnswer:
    return JsonAnswer({"policy": saved.policy.wire(), "warnings": _warnings(saved)}, status, _etag(saved.policy))


def _applied(applied: Applied, dry_run: bool) -> dict[str, Any]:
    policy = applied.saved.policy
    is_stored = not dry_run or applied.before is not None
    return {
        "policyId": policy.id if is_stored else None,
        "agentId": policy.agent_id,
        "connectionId": policy.connection_id,
        "change": applied.change,
        "before": applied.before,
        "after": policy.facets,
        "warnings": _warnings(applied.saved),
    }


def _warnings(saved: Saved) -> list[dict[str, str]]:
    return [{"code": each.code, "path": each.path, "message": each.message} for each in saved.warnings]


def _etag(policy: StoredPolicy) -> dict[str, str]:
    return {"etag": f'"{policy.version}"'}


def _instant(name: str, text: str) -> datetime:
    """RFC 3339 with its offset, within reach of calendars. Raises: AppError (400)."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or at.year not in _YEARS:
        message = "must be an instant such as 2026-11-23T14:51:28.195Z"
        raise AppError("invalid_request", f"{name} {message}.", fields=[{"path": name, "message": message}])
    return at
