"""The JSON routes of the session: how one can sign in, the set-up link, signing in and out, proving it again.

Source: contract/http.md sections 8 and 14.1.
"""

from typing import Annotated, Any, Final, Self

from fastapi import Request
from pydantic import model_validator

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC, Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.ids import wire_time
from agenthifive.people.accounts import sign_as
from agenthifive.people.answers import session_members, user_members
from agenthifive.people.bodies import SignInBody
from agenthifive.people.browser import (
    PeopleOf,
    clear_session_cookie,
    flow_cookie,
    refuse_foreign_origin,
    session_cookie,
    set_pending_cookie,
    set_session_cookie,
)
from agenthifive.people.entrance import SecondFactorNeeded
from agenthifive.people.setup import FirstPerson
from agenthifive.people.state import SocialOf
from agenthifive.words import AuditAction, RateLimit

routes: Final = Routes("people")


class SetUpBody(SignInBody):
    """What the first person of an instance tells."""

    token: str
    name: str
    email: str
    password: str


class CredentialsBody(SignInBody):
    """E-mail and password; `rememberMe: false` ends the session with the browser."""

    email: str
    password: str
    remember_me: bool | None = None


class ReauthenticateBody(SignInBody):
    """The proof that the person is still there: one of the three."""

    password: str | None = None
    code: str | None = None
    credential: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _hold_one(self) -> Self:
        if [self.password, self.code, self.credential].count(None) != 2:
            raise ValueError("send one of password, code and credential")
        return self


@routes.get("/api/auth/providers", access=PUBLIC)
async def list_providers(people: PeopleOf, social: SocialOf) -> JsonAnswer:
    """How one can sign in to this instance."""
    return JsonAnswer({"email": True, "social": social.offers, **people.describe_ways_in()})


@routes.post(
    "/api/auth/setup",
    access=PUBLIC,
    limit=RateLimit.ONE_TIME_LINK,
    audit=[AuditAction.INSTANCE_SET_UP, AuditAction.USER_REGISTERED, AuditAction.WORKSPACE_CREATED],
    errors=[
        "ALREADY_SET_UP",
        "GONE",
        "INVALID_EMAIL",
        "ORIGIN_NOT_ALLOWED",
        "PASSWORD_TOO_COMMON",
        "PASSWORD_TOO_SHORT",
    ],
)
async def set_up(body: SetUpBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Use the set-up link: the first user, superadmin and owner of the first workspace."""
    refuse_foreign_origin(request, people.web_url)
    first = FirstPerson(body.token, body.name, body.email, body.password)
    established = await people.setup.redeem(unit, first)
    answer = JsonAnswer({"user": user_members(established.account.user)})
    set_session_cookie(answer, people.sessions, established.cookie)
    return answer


@routes.post(
    "/api/auth/sign-in/email",
    access=PUBLIC,
    limit=RateLimit.SIGN_IN,
    audit=[AuditAction.USER_SIGNED_IN, AuditAction.USER_SIGN_IN_FAILED],
    errors=[
        "ACCOUNT_DISABLED",
        "EMAIL_NOT_VERIFIED",
        "INVALID_EMAIL_OR_PASSWORD",
        "ORIGIN_NOT_ALLOWED",
        "TOO_MANY_ATTEMPTS",
    ],
)
async def sign_in(body: CredentialsBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Sign in with e-mail and password."""
    refuse_foreign_origin(request, people.web_url)
    is_kept = body.remember_me is not False
    signed_in = await people.sign_in.sign_in(unit, body.email, body.password, is_kept=is_kept)
    if isinstance(signed_in, SecondFactorNeeded):
        waiting = JsonAnswer({"twoFactorRequired": True, "methods": list(signed_in.methods)})
        set_pending_cookie(waiting, people.sessions, signed_in.pending)
        return waiting
    answer = JsonAnswer({"redirect": False, "token": None, "user": user_members(signed_in.user)})
    set_session_cookie(answer, people.sessions, signed_in.cookie, is_kept=signed_in.is_kept)
    return answer


@routes.get("/api/auth/get-session", access=PUBLIC)
async def get_session(request: Request, people: PeopleOf) -> JsonAnswer:
    """The session of the cookie, or null."""
    cookie = session_cookie(request, people.sessions)
    session = None if cookie is None else await people.sessions.find(cookie)
    return JsonAnswer(None if session is None else session_members(session))


@routes.post("/api/auth/sign-out", access=PUBLIC, audit=[AuditAction.USER_SIGNED_OUT], errors=["ORIGIN_NOT_ALLOWED"])
async def sign_out(request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """End the session of the cookie, if there is one."""
    refuse_foreign_origin(request, people.web_url)
    cookie = session_cookie(request, people.sessions)
    ended = None if cookie is None else await people.sessions.end(await unit.begin(), cookie)
    if ended is not None:
        sign_as(unit, *ended)
        unit.record(AuditAction.USER_SIGNED_OUT, {"sessions": 1})
    answer = JsonAnswer({"success": True})
    clear_session_cookie(answer, people.sessions)
    return answer


@routes.get("/api/auth/csrf")
async def get_csrf(
    caller: Annotated[Caller, may(sessions_only=True, needs_workspace=False, needs_factor=False)],
) -> JsonAnswer:
    """The token that unsafe requests of this session repeat."""
    return JsonAnswer({"token": caller.csrf})


@routes.post(
    "/api/auth/reauthenticate",
    limit=RateLimit.SIGN_IN,
    audit=[AuditAction.USER_REAUTHENTICATED],
    errors=["INVALID_CODE", "INVALID_CREDENTIAL", "INVALID_PASSWORD", "TOO_MANY_ATTEMPTS", "UNAUTHORIZED"],
)
async def reauthenticate(
    caller: Annotated[Caller, may(sessions_only=True, needs_workspace=False, needs_factor=False)],
    body: ReauthenticateBody,
    request: Request,
    unit: UnitOfRequest,
    people: PeopleOf,
) -> JsonAnswer:
    """Confirm the password, a code of the app or a passkey, for what needs a recent sign-in."""
    cookie, user_id = session_cookie(request, people.sessions) or "", str(caller.user_id)
    if body.password is not None:
        auth_time = await people.sign_in.reauthenticate(unit, cookie, user_id, body.password)
    elif body.code is not None:
        auth_time = await people.second_step.reauthenticate_by_code(unit, cookie, user_id, body.code)
    else:
        flow, credential = flow_cookie(request), body.credential or {}
        auth_time = await people.second_step.reauthenticate_by_passkey(unit, cookie, user_id, flow, credential)
    return JsonAnswer({"authTime": wire_time(auth_time)})
