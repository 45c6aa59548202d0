"""The JSON routes of people: who one is, and where; those of the sign-in, accounts and tokens are beside this file.

Source: contract/http.md section 15.2.
"""

from typing import Annotated, Any, Final

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.people import (
    account_api,
    admin_api,
    invitations_api,
    passkey_api,
    programs_api,
    registration_api,
    sign_in_api,
    social_api,
    tokens_api,
    totp_api,
    workspaces_api,
)
from agenthifive.people.browser import PeopleOf
from agenthifive.words import PAT_SCOPES, PrincipalType

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
    workspaces_api,
    invitations_api,
    admin_api,
)
for _each in _PARTS:
    routes.router.routes.extend(_each.routes.router.routes)


@routes.get("/v1/me", errors=["not_a_member"])
async def get_me(
    caller: Annotated[Caller, may(needs_workspace=False, needs_factor=False)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Who is calling, in which workspace, with which rights; a person may be in none."""
    connection = await unit.begin()
    user = await people.find_user(connection, str(caller.user_id))
    workspace = None
    if caller.workspace_id:
        found = await people.workspaces.find(connection, user.id, caller.workspace_id)
        workspace = {"id": found.id, "name": found.name, "role": found.role}
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
            "workspace": workspace,
            "principal": principal,
        }
    )
