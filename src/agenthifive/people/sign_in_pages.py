"""The pages of those who are not signed in yet: sign in, register, reset a password, confirm an address.

The pages hold forms; what the forms do is done by the JSON routes of `/api/auth/*`, so a rule has one place.
Source: contract/http.md sections 1 (pages), 7 and 14.
"""

from typing import Final

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from agenthifive.edge.callers import PUBLIC
from agenthifive.edge.pages import render
from agenthifive.edge.routing import Routes, UnitOfRequest
from agenthifive.people import links
from agenthifive.people.browser import PeopleOf, session_cookie
from agenthifive.people.links import Purpose
from agenthifive.people.model import EMAIL_MAX, NAME_MAX
from agenthifive.people.passwords import PASSWORD_MAX
from agenthifive.people.redirects import own_path
from agenthifive.people.state import SocialOf
from agenthifive.words import RateLimit

LANDING: Final = "/dashboard"
_FORMS: Final = ("api.js", "forms.js")
_ERRORS: Final = {
    "state_mismatch": "The sign-in took too long or was started in another browser. Start again.",
    "provider_error": "The other site did not confirm who you are. Start again, or sign in another way.",
    "email_not_verified": "The other site does not vouch for your e-mail address. Sign in another way.",
    "account_exists": "An account with this address exists. Sign in to it, then link the other one under Security.",
    "registration_closed": "Nobody can register here of their own accord. Ask an administrator for an invitation.",
    "account_disabled": "This account is disabled. Ask an administrator of this instance.",
}

routes: Final = Routes("pages")


@routes.get("/", access=PUBLIC)
async def go_on(request: Request, people: PeopleOf) -> Response:
    """To the dashboard, or to the sign-in."""
    cookie = session_cookie(request, people.sessions)
    is_signed_in = cookie is not None and await people.sessions.find(cookie) is not None
    return RedirectResponse(LANDING if is_signed_in else "/login", 302)


@routes.get("/login", access=PUBLIC)
async def show_login(request: Request, people: PeopleOf, social: SocialOf) -> HTMLResponse:
    """The ways to sign in; `next` is a path of ours to go on to, `error` a word of ours to explain."""
    asked = request.query_params
    notice = _ERRORS.get(asked.get("error", ""))
    if asked.get("verified") == "true":
        notice = "Your address is confirmed. Sign in."
    return render(
        "login.html",
        scripts=(*_FORMS, "passkeys.js"),
        next=own_path(asked.get("next", "")) or LANDING,
        notice=notice,
        social=social.offers,
        may_register=people.registration.gives_workspace,
        is_second_step=asked.get("second_factor") == "1",
        email_max=EMAIL_MAX,
        password_max=PASSWORD_MAX,
    )


@routes.get("/register", access=PUBLIC)
async def show_register(people: PeopleOf) -> HTMLResponse:
    """The form of a new account, where anybody may have one."""
    rule = people.registration
    domains = ", ".join(sorted(rule.domains))
    return render(
        "register.html",
        scripts=_FORMS,
        may_register=rule.gives_workspace and "turnstileSiteKey" not in people.describe_ways_in(),
        domains_hint=f"Of one of these domains: {domains}" if domains else None,
        name_max=NAME_MAX,
        email_max=EMAIL_MAX,
        password_min=people.passwords.min_length,
        password_max=PASSWORD_MAX,
    )


@routes.get("/forgot-password", access=PUBLIC)
async def show_forgot_password() -> HTMLResponse:
    """Where one asks for a reset link."""
    return render("forgot-password.html", scripts=_FORMS, email_max=EMAIL_MAX)


@routes.get("/reset-password", access=PUBLIC, limit=RateLimit.ONE_TIME_LINK)
async def show_reset_password(request: Request, unit: UnitOfRequest, people: PeopleOf) -> HTMLResponse:
    """The form behind a reset link. Looking changes nothing."""
    token = request.query_params.get("token", "")
    is_live = await links.find(await unit.begin(), Purpose.RESET, token) is not None
    return render(
        "reset-password.html",
        200 if is_live else 410,
        has_token=True,
        scripts=_FORMS if is_live else (),
        is_live=is_live,
        token=token,
        password_min=people.passwords.min_length,
        password_max=PASSWORD_MAX,
    )


@routes.get("/verify-email", access=PUBLIC)
async def show_verify_email(request: Request) -> HTMLResponse:
    """The button behind a verification link. Looking changes nothing, so a mail scanner confirms nothing."""
    token = request.query_params.get("token", "")
    return render("verify-email.html", has_token=True, scripts=_FORMS, token=token)
