"""The JSON routes of one's own account: password, name and picture, sessions. Source: contract/http.md section 14.1."""

from typing import Annotated, Final

from pydantic import AfterValidator

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.people.answers import running_members, user_members
from agenthifive.people.bodies import Name, SignInBody
from agenthifive.people.browser import PeopleOf
from agenthifive.people.model import read_image
from agenthifive.words import AuditAction, RateLimit

routes: Final = Routes("people")
SessionOnly = Annotated[Caller, may(sessions_only=True, needs_workspace=False)]


def _accept_image(text: str) -> str:
    image = read_image(text)
    if image is None:
        raise ValueError("must be an https address of at most 2000 characters, or empty to take the picture away")
    return image


class ChangePasswordBody(SignInBody):
    """The password that is, and the one to be."""

    current_password: str
    new_password: str


class UserBody(SignInBody):
    """How the person wants to be shown."""

    name: Name | None = None
    image: Annotated[str, AfterValidator(_accept_image)] | None = None


class RevokeSessionBody(SignInBody):
    """Which session is to end."""

    id: str


@routes.post(
    "/api/auth/change-password",
    limit=RateLimit.SIGN_IN,
    audit=[AuditAction.PASSWORD_CHANGED, AuditAction.USER_REAUTHENTICATED],
    errors=["INVALID_PASSWORD", "PASSWORD_TOO_COMMON", "PASSWORD_TOO_SHORT", "TOO_MANY_ATTEMPTS", "UNAUTHORIZED"],
)
async def change_password(
    caller: SessionOnly, body: ChangePasswordBody, unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Change the password; every session but this one ends."""
    await people.own_account.change_password(
        unit, str(caller.user_id), str(caller.session_id), body.current_password, body.new_password
    )
    return JsonAnswer({"status": True})


@routes.patch("/api/auth/user", audit=[AuditAction.USER_UPDATED], errors=["UNAUTHORIZED"])
async def update_user(caller: SessionOnly, body: UserBody, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Change name or picture."""
    user = await people.own_account.update(unit, str(caller.user_id), body.name, body.image)
    return JsonAnswer({"user": user_members(user)})


@routes.get("/api/auth/list-sessions")
async def list_sessions(caller: SessionOnly, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Where one is signed in."""
    sessions = await people.own_account.list_sessions(unit, str(caller.user_id))
    return JsonAnswer([running_members(session, caller.session_id) for session in sessions])


@routes.post("/api/auth/revoke-session", audit=[AuditAction.SESSION_REVOKED], errors=["NOT_FOUND"])
async def revoke_session(
    caller: SessionOnly, body: RevokeSessionBody, unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """End one of one's own sessions."""
    await people.own_account.revoke_session(unit, str(caller.user_id), body.id)
    return JsonAnswer({"status": True})


@routes.post("/api/auth/revoke-other-sessions", audit=[AuditAction.SESSION_REVOKED])
async def revoke_other_sessions(caller: SessionOnly, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """End every session but this one."""
    await people.own_account.revoke_others(unit, str(caller.user_id), str(caller.session_id))
    return JsonAnswer({"status": True})
