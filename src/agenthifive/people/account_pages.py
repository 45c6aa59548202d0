"""The pages of somebody who is signed in, and those that lead somebody in by a link or a code.

    /dashboard, /dashboard/members, /dashboard/security, /device    without a session: to /login and back
    /invite                                                         with and without one

Lists are rendered here; what the forms on them do is done by the JSON routes. Source: contract/http.md sections 1
(pages), 12, 14.3, 14.4 and 15.2.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from agenthifive.edge.callers import PUBLIC, Caller
from agenthifive.edge.pages import render
from agenthifive.edge.routing import Routes, UnitOfRequest
from agenthifive.errors import AppError
from agenthifive.people.browser import PeopleOf, session_cookie
from agenthifive.people.model import EMAIL_MAX, NAME_MAX
from agenthifive.people.passwords import PASSWORD_MAX
from agenthifive.people.registration import CLOSED
from agenthifive.people.service import People
from agenthifive.people.state import ProgramsOf, SocialOf
from agenthifive.people.tokens import DAYS_DEFAULT, DAYS_MAX, DESCRIPTIONS, usable_scopes
from agenthifive.people.workspace_model import Member
from agenthifive.words import PAT_DEFAULT_SCOPES, PAT_SCOPES, RateLimit, Role

_SCRIPTS: Final = ("api.js", "forms.js", "passkeys.js", "page.js")
_MEANINGS: Final[Mapping[Role, str]] = {
    Role.OWNER: "everything, and the workspace is theirs",
    Role.ADMIN: "manages agents, connections, policies and people",
    Role.APPROVER: "approves and denies what agents ask for, and can stop an agent",
    Role.VIEWER: "sees everything but secrets, and exports the audit log",
}
_REFUSED: Final = frozenset({404, 409, 410, 429})

routes: Final = Routes("pages")


@routes.get("/dashboard", access=PUBLIC)
async def show_dashboard(request: Request, unit: UnitOfRequest, people: PeopleOf) -> Response:
    """Who one is, in which workspace, and what to do first."""
    caller = await _find_caller(request, people)
    if caller is None:
        return _to_login(request)
    connection = await unit.begin()
    workspaces = await people.list_workspaces(connection, str(caller.user_id))
    return _render(
        "dashboard.html",
        request,
        caller,
        user=await people.find_user(connection, str(caller.user_id)),
        workspace=next((one for one in workspaces if one.id == caller.workspace_id), None),
        workspaces=workspaces,
        has_second_factor=await people.second_factors.has_any(connection, str(caller.user_id)),
        web_url=people.web_url,
    )


@routes.get("/dashboard/members", access=PUBLIC)
async def show_members(request: Request, unit: UnitOfRequest, people: PeopleOf) -> Response:
    """The people of the workspace, and who is invited."""
    caller = await _find_caller(request, people)
    if caller is None:
        return _to_login(request)
    if caller.role is None or caller.lacks_factor:
        return RedirectResponse("/dashboard", 302)
    connection = await unit.begin()
    roles = [role for role in Role if _may_appoint(caller, role)]
    members = await people.workspaces.list_members(connection, caller)
    return _render(
        "members.html",
        request,
        caller,
        scripts=(*_SCRIPTS, "answers.js"),
        workspace=await people.workspaces.find(connection, str(caller.user_id), caller.workspace_id),
        members=[(one, _may_change(caller, one)) for one in members],
        roles=roles,
        meanings=_MEANINGS,
        may_invite=bool(roles),
        only_known=people.registration.rule == CLOSED,
        invitations=await people.invitations.list_open(connection, caller) if roles else [],
        email_max=EMAIL_MAX,
    )


@routes.get("/dashboard/security", access=PUBLIC)
async def show_security(request: Request, unit: UnitOfRequest, people: PeopleOf, social: SocialOf) -> Response:
    """How one signs in, and from where one is signed in."""
    caller = await _find_caller(request, people)
    if caller is None:
        return _to_login(request)
    connection, user_id = await unit.begin(), str(caller.user_id)
    return _render(
        "security.html",
        request,
        caller,
        scripts=(*_SCRIPTS, "answers.js"),
        passkeys=await people.passkeys.list_passkeys(connection, user_id),
        may_use_passkeys=people.passkeys.is_usable,
        has_totp="totp" in await people.second_factors.list_methods(connection, user_id),
        accounts=await social.list_accounts(unit, user_id),
        offers=social.offers,
        sessions=await people.own_account.list_sessions(unit, user_id),
        name_max=NAME_MAX,
        password_min=people.passwords.min_length,
        password_max=PASSWORD_MAX,
    )


@routes.get("/device", access=PUBLIC)
async def show_device(request: Request, unit: UnitOfRequest, people: PeopleOf, programs: ProgramsOf) -> Response:
    """Where one lets a program sign in by its code."""
    caller = await _find_caller(request, people)
    if caller is None:
        return _to_login(request)
    code = request.query_params.get("code", "")
    login, fault, status = None, None, 200
    if code:
        try:
            await people.limiter.take(RateLimit.DEVICE_CODE_ENTRY, str(caller.session_id))
            login = await programs.device_logins.find(await unit.begin(), code)
        except AppError as error:
            if error.status not in _REFUSED:
                raise
            fault, status = error.message, error.status
    usable = usable_scopes(caller.role) if caller.role is not None else frozenset()
    scopes = [(scope, DESCRIPTIONS[scope], scope in PAT_DEFAULT_SCOPES) for scope in PAT_SCOPES if scope in usable]
    return _render(
        "device.html",
        request,
        caller,
        status=status,
        code=code,
        login=login,
        fault=fault,
        workspaces=await people.list_workspaces(await unit.begin(), str(caller.user_id)),
        workspace_id=caller.workspace_id,
        scopes=scopes,
        days=DAYS_DEFAULT,
        days_max=DAYS_MAX,
    )


@routes.get("/invite", access=PUBLIC, limit=RateLimit.ONE_TIME_LINK)
async def show_invitation(request: Request, unit: UnitOfRequest, people: PeopleOf) -> HTMLResponse:
    """What a link invites to, and the shortest way to accept it. Looking changes nothing."""
    token = request.query_params.get("token", "")
    connection = await unit.begin()
    try:
        invitation = await people.invitations.find(connection, token)
    except AppError as error:
        if error.status not in _REFUSED:
            raise
        return render("invite.html", error.status, has_token=True, invitation=None)
    caller = await _find_caller(request, people)
    user = None if caller is None else await people.find_user(connection, str(caller.user_id))
    return render(
        "invite.html",
        has_token=True,
        scripts=("api.js", "forms.js", "page.js"),
        invitation=invitation,
        role_meaning=_MEANINGS[Role(invitation.role)],
        signed_in_as=None if user is None else user.email,
        may_register=people.registration.rule != CLOSED,
        own_address=f"/invite?token={quote(token, safe='')}",
        token=token,
        name_max=NAME_MAX,
        password_min=people.passwords.min_length,
        password_max=PASSWORD_MAX,
    )


async def _find_caller(request: Request, people: People) -> Caller | None:
    cookie = session_cookie(request, people.sessions)
    return None if cookie is None else await people.caller_by_session(cookie)


def _to_login(request: Request) -> RedirectResponse:
    """To the sign-in, and back here afterwards."""
    query = request.scope["query_string"].decode("latin-1")
    address = request.scope["path"] + (f"?{query}" if query else "")
    return RedirectResponse(f"/login?next={quote(address, safe='')}", 302)


def _render(template: str, request: Request, caller: Caller, *, status: int = 200, **values: Any) -> HTMLResponse:
    own = {"scripts": _SCRIPTS, "here": request.scope["path"], "csrf": caller.csrf, "session_id": caller.session_id}
    return render(template, status, **{**own, "lacks_factor": caller.lacks_factor, **values})


def _may_appoint(caller: Caller, role: Role) -> bool:
    """Whether the caller may give a role. Source: contract/http.md section 12."""
    return role is not Role.OWNER and caller.is_admin and (caller.role is Role.OWNER or role is not Role.ADMIN)


def _may_change(caller: Caller, member: Member) -> bool:
    return member.user_id != caller.user_id and _may_appoint(caller, Role(member.role))
