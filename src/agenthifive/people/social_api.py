"""The routes of sign-in with accounts elsewhere. Source: contract/http.md section 14.2."""

import time
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode

from fastapi import Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC, RECENT_S, Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.errors import AppError
from agenthifive.ids import wire_time
from agenthifive.people.browser import (
    FLOW_COOKIE,
    PeopleOf,
    clear_cookie,
    flow_cookie,
    refuse_foreign_origin,
    session_cookie,
    set_flow_cookie,
    set_pending_cookie,
    set_session_cookie,
)
from agenthifive.people.entrance import SecondFactorNeeded
from agenthifive.people.flows import Link
from agenthifive.people.providers import APPLE, CALLBACK_PATH
from agenthifive.people.redirects import require_own_path
from agenthifive.people.service import People
from agenthifive.people.social import Reply, Social, SocialRefused
from agenthifive.people.state import SocialOf
from agenthifive.words import AuditAction, RateLimit

_FORM: Final = "application/x-www-form-urlencoded"
_PARAMETERS: Final = ("state", "code", "iss", "error")
_PARAMETER_MAX: Final = 8192
_FIELDS_MAX: Final = 16
_HEADERS: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}

routes: Final = Routes("people")


class ProviderBody(BaseModel):
    """Which provider, and where to go afterwards."""

    model_config = ConfigDict(strict=True, extra="ignore")

    provider: str
    callback_url: str = Field(alias="callbackURL")
    disable_redirect: bool | None = Field(None, alias="disableRedirect")


class UnlinkBody(BaseModel):
    """Which account."""

    model_config = ConfigDict(strict=True, extra="ignore")

    account_id: str = Field(alias="accountId")


@routes.post(
    "/api/auth/sign-in/social",
    access=PUBLIC,
    limit=RateLimit.OAUTH_CALLBACK,
    errors=["INVALID_CALLBACK_URL", "ORIGIN_NOT_ALLOWED", "PROVIDER_NOT_FOUND"],
)
async def sign_in_social(body: ProviderBody, request: Request, people: PeopleOf, social: SocialOf) -> JsonAnswer:
    """Begin to sign in with an account elsewhere."""
    refuse_foreign_origin(request, people.web_url)
    return await _start(body, people, social, None)


@routes.post(
    "/api/auth/link-social",
    limit=RateLimit.OAUTH_CALLBACK,
    errors=["INVALID_CALLBACK_URL", "PROVIDER_NOT_FOUND", "reauth_required"],
)
async def link_social(
    caller: Annotated[Caller, may(sessions_only=True, recent_s=RECENT_S, needs_workspace=False)],
    body: ProviderBody,
    people: PeopleOf,
    social: SocialOf,
) -> JsonAnswer:
    """Begin to link an account elsewhere to one's own."""
    return await _start(body, people, social, Link(str(caller.user_id), str(caller.session_id)))


@routes.get(
    f"{CALLBACK_PATH}/{{provider}}",
    access=PUBLIC,
    status=302,
    limit=RateLimit.OAUTH_CALLBACK,
    audit=[
        AuditAction.SOCIAL_LINKED,
        AuditAction.USER_REGISTERED,
        AuditAction.USER_SIGNED_IN,
        AuditAction.USER_SIGN_IN_FAILED,
        AuditAction.WORKSPACE_CREATED,
    ],
)
async def finish_social(
    provider: str, request: Request, unit: UnitOfRequest, people: PeopleOf, social: SocialOf
) -> RedirectResponse:
    """Where a provider sends the browser back to."""
    if request.method == "HEAD":  # looking changes nothing
        return _redirect("/login")
    sealed, cookie = flow_cookie(request), session_cookie(request, people.sessions)
    reply = _read_reply(request.query_params.multi_items())
    try:
        landed = await social.finish(unit, provider, reply, sealed, cookie, time.time())
    except SocialRefused as refusal:
        await unit.release()
        answer = _redirect(f"/login?error={refusal.code}")
        if refusal.code != "state_mismatch":  # a link of somebody else's does not end a flow under way
            clear_cookie(answer, people.sessions, FLOW_COOKIE)
        return answer
    if landed.newly_linked_to is not None:
        await people.own_account.tell_of_way_in(unit, landed.newly_linked_to, f"an account at {provider}")
    if isinstance(landed.admitted, SecondFactorNeeded):
        answer = _redirect("/login?second_factor=1")
        set_pending_cookie(answer, people.sessions, landed.admitted.pending)
    else:
        answer = _redirect(landed.callback_url)
        if landed.admitted is not None:
            set_session_cookie(answer, people.sessions, landed.admitted.cookie)
    clear_cookie(answer, people.sessions, FLOW_COOKIE)
    return answer


@routes.post(
    f"{CALLBACK_PATH}/{APPLE}",
    access=PUBLIC,
    accepts_form=True,
    status=303,
    limit=RateLimit.OAUTH_CALLBACK,
)
async def receive_posted_reply(request: Request) -> RedirectResponse:
    """Apple's page posts its reply, and browsers keep our cookies from such a request: ask again with them.

    Nothing is decided here; the values go into the address the other providers use.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise AppError("unsupported_media_type", "This route takes the form that Apple's page sends.", hint=_FORM)
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX)
    except ValueError:
        pairs = []
    known = [(name, value) for name, value in pairs if name in _PARAMETERS and len(value) <= _PARAMETER_MAX]
    return _redirect(f"{CALLBACK_PATH}/{APPLE}?{urlencode(known[: len(_PARAMETERS)])}", 303)


@routes.get("/api/auth/list-accounts")
async def list_accounts(
    caller: Annotated[Caller, may(sessions_only=True, needs_workspace=False)], unit: UnitOfRequest, social: SocialOf
) -> JsonAnswer:
    """The accounts elsewhere one can sign in with."""
    accounts = await social.list_accounts(unit, str(caller.user_id))
    return JsonAnswer(
        [
            {
                "id": account.id,
                "provider": account.provider,
                "email": account.email,
                "createdAt": wire_time(account.created_at),
                "lastUsedAt": wire_time(account.last_used_at),
            }
            for account in accounts
        ]
    )


@routes.post(
    "/api/auth/unlink-account",
    audit=[AuditAction.SOCIAL_UNLINKED],
    errors=["LAST_SIGN_IN_METHOD", "NOT_FOUND"],
)
async def unlink_account(
    caller: Annotated[Caller, may(sessions_only=True, needs_workspace=False)],
    body: UnlinkBody,
    unit: UnitOfRequest,
    social: SocialOf,
) -> JsonAnswer:
    """Take an account elsewhere away from one's own."""
    await social.unlink(unit, str(caller.user_id), body.account_id)
    return JsonAnswer({"status": True})


async def _start(body: ProviderBody, people: People, social: Social, link: Link | None) -> JsonAnswer:
    started = await social.start(body.provider, require_own_path(body.callback_url), link, time.time())
    answer = JsonAnswer({"url": started.url, "redirect": body.disable_redirect is not True})
    set_flow_cookie(answer, people.sessions, started.flow)
    return answer


def _read_reply(pairs: list[tuple[str, str]]) -> Reply:
    """The parameters we know; one that occurs twice, or is endless, counts as none."""
    values = {
        name: found[0] if len(found := [value for key, value in pairs if key == name]) == 1 else None
        for name in _PARAMETERS
    }
    state, code, iss = (_bounded(values[name]) for name in ("state", "code", "iss"))
    return Reply(state, code, iss, any(name == "error" for name, _ in pairs))


def _bounded(value: str | None) -> str | None:
    return value if value is not None and len(value) <= _PARAMETER_MAX else None


def _redirect(path: str, status: int = 302) -> RedirectResponse:
    return RedirectResponse(path, status, _HEADERS)
