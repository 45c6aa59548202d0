"""The JSON routes of people: who one is, and where; those of the sign-in, accounts and tokens are beside this file.

Source: contract/http.md section 15.2.
"""

from typing import Annotated, Any, Final

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.ids import wire_time
from agenthifive.people import (
    account_api,
    passkey_api,
    programs_api,
    registration_api,
    sign_in_api,
    social_api,
    tokens_api,
    totp_api,
)
from agenthifive.people.browser import PeopleOf
from agenthifive.people.model import Membership
from agenthifive.words import PAT_SCOPES, PrincipalType, Scope

routes: Final = Routes("people")
_PARTS: Final = (
    tokens_api,
    programs_api,
    passkey_api,
    totp_api,
    social_api,
    sign_in_api,
    registration_api,
    account_api,
)
for _each in _PARTS:
    routes.router.routes.extend(_each.routes.router.routes)


@routes.get("/v1/me", errors=["not_a_member"])
async def get_me(
    caller: Annotated[Caller, may(needs_factor=False)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Who is calling, in which workspace, with which rights."""
    connection = await unit.begin()
    user = await people.find_user(connection, str(caller.user_id))
    workspace = await people.find_workspace(connection, user.id, caller.workspace_id)
    principal: dict[str, Any] = {"kind": caller.kind, "scopes": ["*"]}
    if caller.kind is PrincipalType.PAT:
        principal["scopes"] = [scope for scope in PAT_SCOPES if scope in caller.scopes]
        principal["tokenId"] = caller.id
    return JsonAnswer(
        {
            "user": {
                "id": user.id,
                "name": user.name,
                "email": user.email,
                "platformRole": user.platform_role,
                "twoFactor": await people.second_factors.has_any(connection, user.id),
            },
            "workspace": {"id": workspace.id, "name": workspace.name, "role": workspace.role},
            "principal": principal,
        }
    )


@routes.get("/v1/workspaces")
async def list_workspaces(
    caller: Annotated[Caller, may(pats=False)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """The workspaces the caller belongs to."""
    memberships = await people.list_workspaces(await unit.begin(), str(caller.user_id))
    return JsonAnswer(
        {
            "workspaces": [
                {"id": one.id, "name": one.name, "role": one.role, "createdAt": wire_time(one.created_at)}
                for one in memberships
            ]
        }
    )


@routes.get("/v1/workspaces/current", errors=["not_a_member"])
async def get_workspace(
    caller: Annotated[Caller, may(Scope.WORKSPACE_READ)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """The workspace the caller acts in."""
    workspace = await people.find_workspace(await unit.begin(), str(caller.user_id), caller.workspace_id)
    return JsonAnswer(_workspace_members(workspace))


def _workspace_members(workspace: Membership) -> dict[str, Any]:
    return {
        "id": workspace.id,
        "name": workspace.name,
        "ownerId": workspace.owner_id,
        "createdAt": wire_time(workspace.created_at),
        "updatedAt": wire_time(workspace.updated_at),
        "role": workspace.role,
    }
