"""The routes by which programs come to act for a person: JWTs made from sessions, and sign-in by a code.

Source: contract/http.md sections 13 and 14.4.
"""

import time
from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import Field

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC, RECENT_S, Access, Caller, authorise
from agenthifive.edge.credentials import presented
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.errors import AppError
from agenthifive.ids import is_id, wire_time, wire_time_of
from agenthifive.people.bodies import Name, SignInBody
from agenthifive.people.browser import PeopleOf, refuse_foreign_origin, session_cookie
from agenthifive.people.device import INTERVAL_S, TTL_S, Approval, StillWaiting, shown
from agenthifive.people.model import Membership
from agenthifive.people.service import People
from agenthifive.people.state import ProgramsOf
from agenthifive.people.tokens import DAYS_DEFAULT, DAYS_MAX, needs_recent_sign_in, usable_scopes
from agenthifive.people.tokens_api import Scopes, scopes_of
from agenthifive.words import PAT_DEFAULT_SCOPES, PAT_SCOPES, AuditAction, RateLimit, Role, Scope

routes: Final = Routes("people")
DEVICE_PATH: Final = "/device"
_CLIENT_NAME: Final = "Command line"
_RECENT: Final = Access(pats=False, sessions_only=True, recent_s=RECENT_S)


class ExchangeBody(SignInBody):
    """Where a JWT is to act."""

    workspace_id: str | None = None


class StartBody(SignInBody):
    """How a program calls itself."""

    client_name: Name | None = None


class PollBody(SignInBody):
    """The code a program was given."""

    device_code: str


class DecisionBody(SignInBody):
    """What a person decides about a program."""

    user_code: str
    approve: bool
    workspace_id: str | None = None
    scopes: Scopes | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=DAYS_MAX)] | None = None


@routes.post(
    "/api/auth/token",
    access=PUBLIC,
    limit=RateLimit.SESSION_JWT,
    audit=[AuditAction.WORKSPACE_CREATED],
    errors=["UNAUTHORIZED", "ORIGIN_NOT_ALLOWED", "ACCOUNT_DISABLED", "NOT_A_MEMBER"],
)
async def make_jwt(
    body: ExchangeBody, request: Request, unit: UnitOfRequest, people: PeopleOf, programs: ProgramsOf
) -> JsonAnswer:
    """A JWT of the session in the cookie, for five minutes."""
    refuse_foreign_origin(request, people.web_url)
    cookie = session_cookie(request, people.sessions)
    if presented(request.scope["headers"]) is not None:
        cookie = None  # a cookie counts only where no header credential is sent
    issued = await programs.session_tokens.exchange(unit, cookie, body.workspace_id)
    return JsonAnswer({"token": issued.text, "expiresAt": wire_time_of(issued.expires_at_s)})


@routes.post("/api/auth/device-code", access=PUBLIC, limit=RateLimit.DEVICE_START, errors=["ORIGIN_NOT_ALLOWED"])
async def start_device_login(
    body: StartBody, request: Request, unit: UnitOfRequest, people: PeopleOf, programs: ProgramsOf
) -> JsonAnswer:
    """Ask to sign in by a code that a person confirms."""
    refuse_foreign_origin(request, people.web_url)
    started = await programs.device_logins.start(unit, body.client_name or _CLIENT_NAME)
    code, page = shown(started.user_code), f"{people.web_url}{DEVICE_PATH}"
    return JsonAnswer(
        {
            "deviceCode": started.device_code,
            "userCode": code,
            "verificationUri": page,
            "verificationUriComplete": f"{page}?code={code}",
            "expiresIn": TTL_S,
            "interval": INTERVAL_S,
        }
    )


@routes.post(
    "/api/auth/device-code/poll",
    access=PUBLIC,
    audit=[AuditAction.PAT_CREATED],
    errors=["ACCESS_DENIED", "GONE", "insufficient_role", "token_limit"],
)
async def poll_device_login(body: PollBody, unit: UnitOfRequest, programs: ProgramsOf) -> JsonAnswer:
    """Ask whether a person confirmed; the first time after they did, the answer is the token."""
    polled = await programs.device_logins.poll(unit, body.device_code)
    if isinstance(polled, StillWaiting):
        return JsonAnswer({"status": "pending", "interval": polled.interval_s}, 202)
    return JsonAnswer({"token": polled.plain, "expiresAt": wire_time(polled.token.expires_at)})


@routes.get("/api/auth/device-code", errors=["NOT_FOUND", "GONE", "CONFLICT", "rate_limited"])
async def show_device_login(
    caller: Annotated[Caller, may(sessions_only=True)],
    unit: UnitOfRequest,
    people: PeopleOf,
    programs: ProgramsOf,
    code: str = "",
) -> JsonAnswer:
    """Which program asks with a code, and what it would get by default in each workspace."""
    limit_headers = await people.limiter.take(RateLimit.DEVICE_CODE_ENTRY, str(caller.session_id))
    connection = await unit.begin()
    found = await programs.device_logins.find(connection, code)
    memberships = await people.list_workspaces(connection, str(caller.user_id))
    return JsonAnswer(
        {
            "clientName": found.client_name,
            "ipAddress": found.ip,
            "userAgent": found.user_agent,
            "createdAt": wire_time(found.created_at),
            "ageSeconds": found.age_s,
            "expiresAt": wire_time(found.expires_at),
            "workspaceId": caller.workspace_id,
            "workspaces": [_workspace_members(one) for one in memberships],
            "expiresInDays": DAYS_DEFAULT,
        },
        headers=limit_headers,
    )


@routes.post(
    "/api/auth/device-code/decision",
    checks_csrf=True,
    audit=[AuditAction.DEVICE_LOGIN_APPROVED, AuditAction.DEVICE_LOGIN_DENIED],
    errors=["csrf_failed", "reauth_required", "insufficient_role", "NOT_A_MEMBER", "NOT_FOUND", "GONE", "CONFLICT",
            "rate_limited"],
)  # fmt: skip
async def decide_device_login(
    caller: Annotated[Caller, may(sessions_only=True)],
    body: DecisionBody,
    unit: UnitOfRequest,
    people: PeopleOf,
    programs: ProgramsOf,
) -> JsonAnswer:
    """Let a program act for the caller, or not."""
    limit_headers = await people.limiter.take(RateLimit.DEVICE_CODE_ENTRY, str(caller.session_id))
    approval = await _read_approval(caller, body, unit, people) if body.approve else None
    await programs.device_logins.decide(unit, str(caller.user_id), body.user_code, approval)
    return JsonAnswer({"status": "approved" if body.approve else "denied"}, headers=limit_headers)


async def _read_approval(caller: Caller, body: DecisionBody, unit: UnitOfRequest, people: People) -> Approval:
    """What a program may be given. Raises: AppError (403)."""
    workspace_id = caller.workspace_id if body.workspace_id is None else body.workspace_id
    memberships = await people.list_workspaces(await unit.begin(), str(caller.user_id)) if is_id(workspace_id) else []
    place = next((one for one in memberships if one.id == workspace_id), None)
    if place is None:
        raise AppError("NOT_A_MEMBER", "You do not belong to this workspace. Pick one of GET /v1/workspaces.")
    usable = usable_scopes(Role(place.role))
    if body.scopes is None:
        return Approval(place.id, _default_scopes(place), body.expires_in_days or DAYS_DEFAULT)
    wanted = scopes_of(body.scopes)
    beyond = [scope for scope in wanted if scope not in usable]
    if beyond:
        raise AppError(
            "insufficient_role",
            f"Your role ({place.role}) cannot use {', '.join(beyond)}. Leave these scopes out, or ask an admin.",
            hint=str(Role.ADMIN),
        )
    if needs_recent_sign_in(wanted):
        authorise(caller, _RECENT, time.time())
    return Approval(place.id, wanted, body.expires_in_days or DAYS_DEFAULT)


def _default_scopes(place: Membership) -> list[Scope]:
    """Of the default, what somebody with this role can use."""
    usable = usable_scopes(Role(place.role))
    return [scope for scope in PAT_DEFAULT_SCOPES if scope in usable]


def _workspace_members(place: Membership) -> dict[str, Any]:
    usable = usable_scopes(Role(place.role))
    return {
        "id": place.id,
        "name": place.name,
        "role": place.role,
        "scopes": [scope for scope in PAT_SCOPES if scope in usable],
        "defaultScopes": _default_scopes(place),
    }
