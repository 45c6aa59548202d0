"""The JSON routes for who has no session yet: register, confirm an address, choose a password by a link.

What a stranger learns here is the same for every address. Source: contract/http.md section 14.1.
"""

from datetime import UTC, datetime
from typing import Final

from fastapi import Request
from fastapi.responses import Response

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC
from agenthifive.edge.routing import Routes, UnitOfRequest
from agenthifive.ids import new_id
from agenthifive.people.answers import registered_members
from agenthifive.people.bodies import SignInBody
from agenthifive.people.browser import PeopleOf, refuse_foreign_origin
from agenthifive.people.redirects import require_own_path
from agenthifive.people.sign_up import Application
from agenthifive.words import AuditAction, RateLimit

routes: Final = Routes("people")
_NO_REFERRER: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}  # the address holds a token


class SignUpBody(SignInBody):
    """Who wants an account."""

    name: str
    email: str
    password: str
    invitation: str | None = None


class AddressBody(SignInBody):
    """Whose mail is meant; `redirectTo` is checked and not used: a reset link leads to one page only."""

    email: str
    redirect_to: str | None = None


class ResetBody(SignInBody):
    """The token of a reset link, and the password to be."""

    new_password: str
    token: str
    revoke_tokens: bool | None = None


@routes.post(
    "/api/auth/sign-up/email",
    access=PUBLIC,
    limit=RateLimit.SIGN_UP,
    audit=[AuditAction.USER_REGISTERED],
    errors=[
        "EMAIL_DOMAIN_NOT_ALLOWED",
        "INVALID_EMAIL",
        "ORIGIN_NOT_ALLOWED",
        "PASSWORD_TOO_COMMON",
        "PASSWORD_TOO_SHORT",
        "REGISTRATION_CLOSED",
        "TURNSTILE_FAILED",
        "TURNSTILE_UNAVAILABLE",
    ],
)
async def sign_up(body: SignUpBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Register. A known address gets the same answer, and its owner a mail."""
    refuse_foreign_origin(request, people.web_url)
    puzzle = request.headers.get("x-turnstile-token", "")
    ip = unit.signature.ip or ""
    wish = Application(body.name, body.email, body.password, body.invitation, puzzle, ip)
    person = await people.sign_up.register(unit, wish)
    user = registered_members(new_id(), person.name, person.email.text, datetime.now(UTC))
    return JsonAnswer({"token": None, "user": user})


@routes.get(
    "/api/auth/verify-email",
    access=PUBLIC,
    limit=RateLimit.ONE_TIME_LINK,
    audit=[AuditAction.USER_VERIFIED, AuditAction.WORKSPACE_CREATED],
    errors=["INVALID_CALLBACK_URL", "INVALID_TOKEN"],
)
async def verify_email(request: Request, unit: UnitOfRequest, people: PeopleOf) -> Response:
    """Confirm an address by the link that was sent to it. Signs nobody in; works again until the link is over."""
    query = request.query_params
    going_on = query.get("callbackURL")
    path = None if going_on is None else require_own_path(going_on)
    if request.method == "HEAD":
        await people.recovery.check_verify_link(unit, query.get("token", ""))
    else:
        await people.recovery.verify(unit, query.get("token", ""))
    if path is not None:
        return Response(status_code=302, headers={**_NO_REFERRER, "location": path})
    return JsonAnswer({"status": True}, headers=_NO_REFERRER)


@routes.post(
    "/api/auth/send-verification-email",
    access=PUBLIC,
    limit=RateLimit.ONE_TIME_LINK,
    errors=["ORIGIN_NOT_ALLOWED"],
)
async def send_verification(body: AddressBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Send another link to confirm an address, if an account waits for it; the answer does not tell."""
    refuse_foreign_origin(request, people.web_url)
    people.recovery.ask_for_verification(unit, body.email)
    return JsonAnswer({"status": True})


@routes.post(
    "/api/auth/request-password-reset",
    access=PUBLIC,
    limit=RateLimit.PASSWORD_RESET,
    audit=[AuditAction.PASSWORD_RESET_REQUESTED],
    errors=["INVALID_CALLBACK_URL", "ORIGIN_NOT_ALLOWED"],
)
async def request_reset(body: AddressBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Send a link for a new password to the account of an address, if there is one; the answer does not tell."""
    refuse_foreign_origin(request, people.web_url)
    if body.redirect_to is not None:
        require_own_path(body.redirect_to)
    people.recovery.ask_for_reset(unit, body.email)
    return JsonAnswer(
        {"status": True, "message": "If this address has an account, a link for a new password is on its way to it."}
    )


@routes.post(
    "/api/auth/reset-password",
    access=PUBLIC,
    limit=RateLimit.ONE_TIME_LINK,
    audit=[AuditAction.PASSWORD_RESET, AuditAction.USER_VERIFIED, AuditAction.WORKSPACE_CREATED],
    errors=["INVALID_TOKEN", "ORIGIN_NOT_ALLOWED", "PASSWORD_TOO_COMMON", "PASSWORD_TOO_SHORT"],
)
async def reset_password(body: ResetBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Choose a password by a link. Every session of the account ends, its tokens too where wished."""
    refuse_foreign_origin(request, people.web_url)
    await people.recovery.reset(unit, body.token, body.new_password, revokes_tokens=body.revoke_tokens is True)
    return JsonAnswer({"status": True})
