"""The JSON routes of invitations, for those who invite and those who are invited. Source: contract/http.md 15.2."""

from typing import Annotated, Any, Final

from fastapi import Request

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC, Caller, RoleRule
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.ids import wire_time
from agenthifive.people.bodies import ManagementBody, SignInBody
from agenthifive.people.browser import (
    PeopleOf,
    refuse_foreign_origin,
    session_cookie,
    set_pending_cookie,
    set_session_cookie,
)
from agenthifive.people.entrance import SecondFactorNeeded, SignedIn
from agenthifive.people.invitations import Acceptance, Issued
from agenthifive.people.workspace_model import Invitation
from agenthifive.people.workspaces_api import Grantable, membership_members
from agenthifive.words import AuditAction, RateLimit, Role, Scope

routes: Final = Routes("invitations")
_LINK_HEADERS: Final = {"referrer-policy": "no-referrer"}
Reader = Annotated[Caller, may(Scope.WORKSPACE_READ, role=RoleRule.ADMIN)]
Writer = Annotated[Caller, may(Scope.WORKSPACE_WRITE, role=RoleRule.ADMIN)]


class InvitationBody(ManagementBody):
    """Whom to invite, and as what."""

    email: str
    role: Grantable


class AcceptBody(SignInBody):
    """A link, and who one is when one has no account yet; members that are not known are ignored."""

    token: str
    name: str | None = None
    password: str | None = None


@routes.get("/v1/workspaces/current/invitations")
async def list_invitations(caller: Reader, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Invitations that nobody has used yet."""
    found = await people.invitations.list_open(await unit.begin(), caller)
    return JsonAnswer({"invitations": [_members(one) for one in found]})


@routes.post(
    "/v1/workspaces/current/invitations",
    status=201,
    audit=[AuditAction.INVITATION_CREATED],
    errors=["insufficient_role", "unknown_field", "conflict"],
)
async def invite(caller: Writer, body: InvitationBody, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Invite somebody. The link is in this answer only when no mail can carry it."""
    issued = await people.invitations.create(unit, caller, body.email, Role(body.role))
    return JsonAnswer({"invitation": _members(issued.invitation), **_delivery(issued)}, 201)


@routes.post(
    "/v1/workspaces/current/invitations/{invitation_id}/resend",
    audit=[AuditAction.INVITATION_RESENT],
    errors=["insufficient_role", "gone"],
)
async def resend_invitation(invitation_id: str, caller: Writer, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Send a new link; the old one is dead."""
    issued = await people.invitations.resend(unit, caller, invitation_id)
    return JsonAnswer({"invitation": _members(issued.invitation), **_delivery(issued)})


@routes.delete(
    "/v1/workspaces/current/invitations/{invitation_id}",
    audit=[AuditAction.INVITATION_REVOKED],
    errors=["insufficient_role", "gone"],
)
async def delete_invitation(invitation_id: str, caller: Writer, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Take an invitation back."""
    await people.invitations.delete(unit, caller, invitation_id)
    return JsonAnswer({"deleted": True})


@routes.get(
    "/api/auth/invitations/{token}",
    access=PUBLIC,
    limit=RateLimit.ONE_TIME_LINK,
    errors=["GONE"],
)
async def preview_invitation(token: str, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """What a link invites to, for its holder."""
    found = await people.invitations.find(await unit.begin(), token)
    return JsonAnswer(
        {
            "workspaceName": found.workspace_name,
            "email": found.email,
            "role": found.role,
            "expiresAt": wire_time(found.expires_at),
            "accountExists": found.has_account,
        },
        headers=_LINK_HEADERS,
    )


@routes.post(
    "/api/auth/invitations/accept",
    access=PUBLIC,
    limit=RateLimit.ONE_TIME_LINK,
    audit=[
        AuditAction.INVITATION_ACCEPTED,
        AuditAction.MEMBER_ADDED,
        AuditAction.USER_REGISTERED,
        AuditAction.USER_SIGNED_IN,
    ],
    errors=[
        "CONFLICT",
        "EMAIL_DOMAIN_NOT_ALLOWED",
        "GONE",
        "ORIGIN_NOT_ALLOWED",
        "PASSWORD_TOO_COMMON",
        "PASSWORD_TOO_SHORT",
        "REGISTRATION_CLOSED",
        "UNAUTHORIZED",
        "WRONG_ACCOUNT",
    ],
)
async def accept_invitation(body: AcceptBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Join the workspace: with a new account for the invited address, or with the session of that address."""
    refuse_foreign_origin(request, people.web_url)
    cookie = session_cookie(request, people.sessions)
    session = None if cookie is None else await people.sessions.find(cookie)
    accepted = await people.invitations.accept(unit, Acceptance(body.token, body.name, body.password, session))
    members: dict[str, Any] = {"workspace": membership_members(accepted.workspace)}
    if isinstance(accepted.entry, SecondFactorNeeded):
        answer = JsonAnswer({**members, "twoFactorRequired": True, "methods": list(accepted.entry.methods)})
        set_pending_cookie(answer, people.sessions, accepted.entry.pending)
        return answer
    answer = JsonAnswer(members)
    if isinstance(accepted.entry, SignedIn):
        set_session_cookie(answer, people.sessions, accepted.entry.cookie)
    return answer


def _delivery(issued: Issued) -> dict[str, Any]:
    link = {} if issued.delivered else {"inviteUrl": issued.link}
    return {"delivered": issued.delivered, **link, "warnings": list(issued.warnings)}


def _members(invitation: Invitation) -> dict[str, Any]:
    return {
        "id": invitation.id,
        "email": invitation.email,
        "role": invitation.role,
        "invitedBy": invitation.invited_by,
        "expiresAt": wire_time(invitation.expires_at),
        "createdAt": wire_time(invitation.created_at),
    }
