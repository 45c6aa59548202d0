"""The routes of authenticator apps and recovery codes. Source: contract/http.md section 14.3."""

from typing import Annotated, Final, Self

from fastapi import Request
from pydantic import model_validator

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC, RECENT_S, Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.people.answers import user_members
from agenthifive.people.bodies import SignInBody
from agenthifive.people.browser import (
    PENDING_COOKIE,
    PeopleOf,
    clear_cookie,
    pending_cookie,
    refuse_foreign_origin,
    set_session_cookie,
)
from agenthifive.words import AuditAction

routes: Final = Routes("totp")
_OWN: Final = may(sessions_only=True, needs_workspace=False, needs_factor=False)
_OWN_RECENT: Final = may(sessions_only=True, needs_workspace=False, needs_factor=False, recent_s=RECENT_S)


class ConfirmBody(SignInBody):
    """The code the app shows now."""

    code: str


class VerifyBody(SignInBody):
    """A code of the app, or a recovery code."""

    code: str | None = None
    recovery_code: str | None = None

    @model_validator(mode="after")
    def _hold_one(self) -> Self:
        if (self.code is None) == (self.recovery_code is None):
            raise ValueError("send one of code and recoveryCode")
        return self


@routes.post("/api/auth/totp/setup", errors=["reauth_required", "ALREADY_ENABLED"])
async def begin_setup(caller: Annotated[Caller, _OWN_RECENT], unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """A secret for an authenticator app, in this answer only. It counts once it was confirmed."""
    user = await people.find_user(await unit.begin(), str(caller.user_id))
    made = await people.totp.set_up(unit, user.id, user.email)
    return JsonAnswer({"secret": made.secret, "otpauthUri": made.uri})


@routes.post("/api/auth/totp/confirm", audit=[AuditAction.TOTP_ENABLED], errors=["INVALID_CODE"])
async def confirm_setup(
    caller: Annotated[Caller, _OWN], body: ConfirmBody, unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Finish the set-up. The recovery codes are in this answer only; other sessions end."""
    codes = await people.totp.confirm(unit, str(caller.user_id), caller.session_id, body.code)
    await people.own_account.tell_of_way_in(unit, str(caller.user_id), "the codes of an authenticator app")
    return JsonAnswer({"recoveryCodes": codes})


@routes.post(
    "/api/auth/totp/verify",
    access=PUBLIC,
    audit=[AuditAction.USER_SIGNED_IN, AuditAction.USER_SIGN_IN_FAILED, AuditAction.RECOVERY_CODE_USED],
    errors=["INVALID_CODE", "ACCOUNT_DISABLED", "GONE", "ORIGIN_NOT_ALLOWED", "rate_limited"],
)
async def verify_code(body: VerifyBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Complete the sign-in of `ah5_pending`."""
    refuse_foreign_origin(request, people.web_url)
    is_recovery = body.code is None
    code = body.recovery_code or "" if body.code is None else body.code
    signed_in = await people.second_step.by_code(unit, pending_cookie(request), code, is_recovery=is_recovery)
    answer = JsonAnswer({"user": user_members(signed_in.user)})
    set_session_cookie(answer, people.sessions, signed_in.cookie, is_kept=signed_in.is_kept)
    clear_cookie(answer, people.sessions, PENDING_COOKIE)
    return answer


@routes.post("/api/auth/totp/disable", audit=[AuditAction.TOTP_DISABLED], errors=["reauth_required"])
async def disable(caller: Annotated[Caller, _OWN_RECENT], unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Remove the authenticator app and the recovery codes."""
    await people.totp.disable(unit, str(caller.user_id))
    return JsonAnswer({"status": True})


@routes.post(
    "/api/auth/totp/recovery-codes",
    audit=[AuditAction.RECOVERY_CODES_REPLACED],
    errors=["reauth_required", "NOT_FOUND"],
)
async def renew_codes(caller: Annotated[Caller, _OWN_RECENT], unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Ten new recovery codes, in this answer only; the earlier ones are void."""
    return JsonAnswer({"recoveryCodes": await people.totp.renew_codes(unit, str(caller.user_id))})
