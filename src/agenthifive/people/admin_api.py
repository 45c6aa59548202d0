"""The JSON routes of instance administration. Source: contract/http.md section 15.11.

Superadmins only, in person; what changes something needs a recent sign-in. None of these routes shows what a
workspace holds, and being superadmin opens no other route.
"""

from typing import Annotated, Any, Final, Literal

from fastapi import Query
from pydantic import BaseModel, Field, model_validator

from agenthifive.db.unit import Unit
from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import RECENT_S, Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.errors import AppError
from agenthifive.ids import wire_time
from agenthifive.people.admin_model import KnownUser, KnownWorkspace, Slice
from agenthifive.people.bodies import ManagementBody
from agenthifive.people.browser import PeopleOf
from agenthifive.people.service import People
from agenthifive.words import AuditAction, Role

routes: Final = Routes("admin")
# the codes of the sign-in routes for texts that are no address or no name
_TEXT_CODES: Final = frozenset({"INVALID_EMAIL", "INVALID_REQUEST"})
Viewer = Annotated[Caller, may(superadmin=True)]
Superadmin = Annotated[Caller, may(superadmin=True, recent_s=RECENT_S)]


class NewUserBody(ManagementBody):
    """An account to be, and the workspace it joins."""

    email: str
    name: str
    workspace_id: str | None = None
    role: Literal["admin", "approver", "viewer"] | None = None

    @model_validator(mode="after")
    def _go_together(self) -> "NewUserBody":
        if self.role is not None and self.workspace_id is None:
            raise ValueError("role goes with workspaceId: in a workspace of their own, people are owner")
        return self


class PlatformRoleBody(ManagementBody):
    """What somebody is on the instance."""

    platform_role: Literal["user", "superadmin"]


class ListQuery(BaseModel):
    """Which part of a list is wanted."""

    search: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    offset: Annotated[int, Field(ge=0, le=10_000_000)] = 0

    def slice(self) -> Slice:
        """The same as the store understands it."""
        return Slice(self.search, self.limit, self.offset)


Wanted = Annotated[ListQuery, Query()]


@routes.get("/v1/admin/stats")
async def read_stats(caller: Viewer, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """The figures of the instance."""
    return JsonAnswer(await people.admin.read_stats(await unit.begin()))


@routes.get("/v1/admin/users", errors=["invalid_request"])
async def list_users(caller: Viewer, query: Wanted, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Every account, or those whose address or name holds a text."""
    users, total = await people.admin.list_users(await unit.begin(), query.slice())
    return JsonAnswer({"users": [_user_members(one) for one in users], "total": total})


@routes.post(
    "/v1/admin/users",
    status=201,
    audit=[AuditAction.USER_CREATED, AuditAction.WORKSPACE_CREATED],
    errors=["conflict", "not_found", "unknown_field"],
)
async def create_user(caller: Superadmin, body: NewUserBody, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Create a verified account; the answer holds the link that sets its password."""
    role = None if body.role is None else Role(body.role)
    try:
        account, link = await people.admin.create_user(
            unit, str(caller.user_id), body.email, body.name, body.workspace_id, role
        )
    except AppError as error:
        if error.code not in _TEXT_CODES:
            raise
        raise AppError("invalid_request", error.message, fields=error.fields) from None
    return JsonAnswer({"user": await _shown(people, unit, account.user.id), "setPasswordUrl": link}, 201)


@routes.get("/v1/admin/users/{user_id}")
async def find_user(user_id: str, caller: Viewer, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """One account."""
    return JsonAnswer({"user": await _shown(people, unit, user_id)})


@routes.patch(
    "/v1/admin/users/{user_id}/role",
    audit=[AuditAction.USER_ROLE_CHANGED],
    errors=["self_change", "conflict", "unknown_field"],
)
async def set_role(
    user_id: str, caller: Superadmin, body: PlatformRoleBody, unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Make somebody superadmin, or not."""
    await people.admin.set_role(unit, str(caller.user_id), user_id, body.platform_role)
    return JsonAnswer({"user": await _shown(people, unit, user_id)})


@routes.post("/v1/admin/users/{user_id}/disable", audit=[AuditAction.USER_DISABLED], errors=["self_change", "conflict"])
async def disable_user(user_id: str, caller: Superadmin, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Stop somebody, on every replica within a second."""
    sessions, tokens = await people.admin.disable(unit, str(caller.user_id), user_id)
    return JsonAnswer({"success": True, "sessionsEnded": sessions, "tokensStopped": tokens})


@routes.post("/v1/admin/users/{user_id}/enable", audit=[AuditAction.USER_ENABLED], errors=["conflict"])
async def enable_user(user_id: str, caller: Superadmin, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Let somebody work again, with the tokens and agents they had."""
    await people.admin.enable(unit, str(caller.user_id), user_id)
    return JsonAnswer({"success": True})


@routes.post("/v1/admin/users/{user_id}/sign-out", audit=[AuditAction.USER_SIGNED_OUT])
async def sign_out_user(user_id: str, caller: Superadmin, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """End every session of somebody."""
    sessions = await people.admin.sign_out(unit, str(caller.user_id), user_id)
    return JsonAnswer({"success": True, "sessionsEnded": sessions})


@routes.post("/v1/admin/users/{user_id}/reset-two-factor", audit=[AuditAction.TWO_FACTOR_RESET])
async def reset_two_factor(user_id: str, caller: Superadmin, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Take somebody's second factors away, so that they can set up new ones."""
    sessions = await people.admin.reset_two_factor(unit, str(caller.user_id), user_id)
    return JsonAnswer({"success": True, "sessionsEnded": sessions})


@routes.delete(
    "/v1/admin/users/{user_id}",
    audit=[AuditAction.USER_DELETED, AuditAction.WORKSPACE_DELETED],
    errors=["self_change", "conflict"],
)
async def delete_user(user_id: str, caller: Superadmin, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Remove an account, and the workspaces nobody else belongs to."""
    await people.admin.delete(unit, str(caller.user_id), user_id)
    return JsonAnswer({"success": True})


@routes.get("/v1/admin/workspaces", errors=["invalid_request"])
async def list_workspaces(caller: Viewer, query: Wanted, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Every workspace, or those whose name holds a text: counts and identities."""
    found, total = await people.admin.list_workspaces(await unit.begin(), query.slice())
    return JsonAnswer({"workspaces": [_workspace_members(one) for one in found], "total": total})


@routes.get("/v1/admin/workspaces/{workspace_id}")
async def find_workspace(workspace_id: str, caller: Viewer, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """One workspace: counts and identities."""
    found = await people.admin.find_workspace(await unit.begin(), workspace_id)
    return JsonAnswer({"workspace": _workspace_members(found)})


async def _shown(people: People, unit: Unit, user_id: str) -> dict[str, Any]:
    return _user_members(await people.admin.find_user(await unit.begin(), user_id))


def _user_members(user: KnownUser) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "platformRole": user.platform_role,
        "emailVerified": user.is_verified,
        "twoFactor": user.has_factor,
        "disabledAt": wire_time(user.disabled_at),
        "createdAt": wire_time(user.created_at),
        "lastSeenAt": wire_time(user.last_seen_at),
        "workspaces": user.workspaces,
    }


def _workspace_members(found: KnownWorkspace) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "ownerId": found.owner_id,
        "members": found.members,
        "agents": found.agents,
        "connections": found.connections,
        "createdAt": wire_time(found.created_at),
    }
