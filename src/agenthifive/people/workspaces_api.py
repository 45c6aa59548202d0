"""The JSON routes of workspaces and their members. Source: contract/http.md sections 12 and 15.2."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import RECENT_S, Caller, RoleRule
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.ids import wire_time
from agenthifive.people.bodies import ManagementBody, Name
from agenthifive.people.browser import PeopleOf
from agenthifive.people.model import Membership
from agenthifive.people.workspace_model import Member
from agenthifive.words import AuditAction, Role, Scope

routes: Final = Routes("workspaces")
_DOMAINS_MAX: Final = 100
_DOMAIN: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")


def _accept_domains(domains: list[str]) -> list[str]:
    lower = [domain.lower() for domain in domains]
    if not all(_DOMAIN.fullmatch(domain) for domain in lower):
        raise ValueError("must be mail domains such as example.com")
    return list(dict.fromkeys(lower))


Domains = Annotated[list[str], Field(max_length=_DOMAINS_MAX), AfterValidator(_accept_domains)]
Grantable = Literal["admin", "approver", "viewer"]


class NewWorkspaceBody(ManagementBody):
    """A workspace to be."""

    name: Name


class WorkspaceBody(ManagementBody):
    """What changes about a workspace."""

    name: Name | None = None
    org_domains: Domains | None = None

    @model_validator(mode="after")
    def _say_something(self) -> "WorkspaceBody":
        if self.name is None and self.org_domains is None:
            raise ValueError("name or orgDomains must be given")
        return self


class TransferBody(ManagementBody):
    """The owner to be."""

    user_id: str


class DeletionBody(ManagementBody):
    """The name of the workspace, typed again."""

    confirm_name: str


class RoleBody(ManagementBody):
    """Another role."""

    role: Grantable


@routes.get("/v1/workspaces")
async def list_workspaces(
    caller: Annotated[Caller, may(pats=False, needs_workspace=False)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """The workspaces the caller belongs to."""
    memberships = await people.list_workspaces(await unit.begin(), str(caller.user_id))
    return JsonAnswer({"workspaces": [membership_members(one) for one in memberships]})


@routes.post("/v1/workspaces", status=201, audit=[AuditAction.WORKSPACE_CREATED], errors=["insufficient_role"])
async def create_workspace(
    caller: Annotated[Caller, may(pats=False, needs_workspace=False)],
    body: NewWorkspaceBody,
    unit: UnitOfRequest,
    people: PeopleOf,
) -> JsonAnswer:
    """Open a workspace; WORKSPACE_CREATION says who may."""
    membership = await people.workspaces.create(unit, caller, body.name)
    return JsonAnswer({"workspace": membership_members(membership)}, 201)


@routes.post("/v1/workspaces/{workspace_id}/select")
async def select_workspace(
    workspace_id: str,
    caller: Annotated[Caller, may(sessions_only=True, needs_workspace=False)],
    unit: UnitOfRequest,
    people: PeopleOf,
) -> JsonAnswer:
    """Let this session act in another workspace."""
    membership = await people.workspaces.select(unit, caller, workspace_id)
    return JsonAnswer({"workspace": membership_members(membership)})


@routes.get("/v1/workspaces/current", errors=["not_a_member"])
async def get_workspace(
    caller: Annotated[Caller, may(Scope.WORKSPACE_READ)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """The workspace the caller acts in."""
    membership = await people.workspaces.find(await unit.begin(), str(caller.user_id), caller.workspace_id)
    return JsonAnswer(_workspace_members(membership))


@routes.put("/v1/workspaces/current", audit=[AuditAction.WORKSPACE_UPDATED], errors=["insufficient_role"])
async def change_workspace(
    caller: Annotated[Caller, may(role=RoleRule.OWNER, pats=False)],
    body: WorkspaceBody,
    unit: UnitOfRequest,
    people: PeopleOf,
) -> JsonAnswer:
    """Rename the workspace, or say which mail domains are its own."""
    membership, domains = await people.workspaces.change(unit, caller, body.name, body.org_domains)
    return JsonAnswer({**_workspace_members(membership), "orgDomains": list(domains)})


@routes.post(
    "/v1/workspaces/current/transfer",
    audit=[AuditAction.WORKSPACE_TRANSFERRED],
    errors=["insufficient_role", "reauth_required", "not_found", "conflict"],
)
async def transfer_workspace(
    caller: Annotated[Caller, may(role=RoleRule.OWNER, pats=False, recent_s=RECENT_S)],
    body: TransferBody,
    unit: UnitOfRequest,
    people: PeopleOf,
) -> JsonAnswer:
    """Make another member the owner."""
    membership = await people.workspaces.transfer(unit, caller, body.user_id)
    return JsonAnswer({"workspace": membership_members(membership)})


@routes.delete(
    "/v1/workspaces/current",
    audit=[AuditAction.WORKSPACE_DELETED, AuditAction.CONNECTION_REVOKED],
    errors=["invalid_request", "insufficient_role", "reauth_required"],
)
async def delete_workspace(
    caller: Annotated[Caller, may(role=RoleRule.OWNER, pats=False, recent_s=RECENT_S)],
    body: DeletionBody,
    unit: UnitOfRequest,
    people: PeopleOf,
) -> JsonAnswer:
    """Remove the workspace: connections are revoked, agents and tokens gone, the audit log kept."""
    await people.workspaces.delete(unit, caller, body.confirm_name)
    return JsonAnswer({"deleted": True})


@routes.get("/v1/workspaces/current/members")
async def list_members(
    caller: Annotated[Caller, may(Scope.WORKSPACE_READ)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Who belongs to the workspace."""
    members = await people.workspaces.list_members(await unit.begin(), caller)
    return JsonAnswer({"members": [_member_members(one) for one in members]})


@routes.patch(
    "/v1/workspaces/current/members/{user_id}",
    audit=[AuditAction.MEMBER_ROLE_CHANGED],
    errors=["insufficient_role", "unknown_field", "conflict"],
)
async def change_member(
    user_id: str,
    caller: Annotated[Caller, may(Scope.WORKSPACE_WRITE, role=RoleRule.ADMIN)],
    body: RoleBody,
    unit: UnitOfRequest,
    people: PeopleOf,
) -> JsonAnswer:
    """Give a member another role."""
    member = await people.workspaces.set_role(unit, caller, user_id, Role(body.role))
    return JsonAnswer({"member": _member_members(member)})


@routes.delete(
    "/v1/workspaces/current/members/{user_id}",
    audit=[AuditAction.MEMBER_REMOVED],
    errors=["insufficient_role", "conflict"],
)
async def remove_member(
    user_id: str, caller: Annotated[Caller, may(pats=False)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Take a member out, or leave the workspace."""
    await people.workspaces.remove(unit, caller, user_id)
    return JsonAnswer({"removed": True})


def membership_members(membership: Membership) -> dict[str, Any]:
    """A workspace in lists, as its member sees it."""
    return {
        "id": membership.id,
        "name": membership.name,
        "role": membership.role,
        "createdAt": wire_time(membership.created_at),
    }


def _workspace_members(membership: Membership) -> dict[str, Any]:
    return {
        "id": membership.id,
        "name": membership.name,
        "ownerId": membership.owner_id,
        "createdAt": wire_time(membership.created_at),
        "updatedAt": wire_time(membership.updated_at),
        "role": membership.role,
    }


def _member_members(member: Member) -> dict[str, Any]:
    return {
        "userId": member.user_id,
        "name": member.name,
        "email": member.email,
        "role": member.role,
        "status": "disabled" if member.is_disabled else "active",
        "twoFactor": member.has_factor,
        "joinedAt": wire_time(member.joined_at),
        "lastSeenAt": wire_time(member.last_seen_at),
    }
