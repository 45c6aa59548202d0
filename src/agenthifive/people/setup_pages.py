"""The set-up page: the form behind a set-up link, and the first token it ends with.

    GET /setup?token=...  -> form | "this link cannot be used"
    POST /setup           -> form with what is wrong | first token, shown once

Source: contract/http.md sections 7 (browser headers), 14.1 (POST setup) and 15.13.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.responses import HTMLResponse

from agenthifive.edge.callers import PUBLIC
from agenthifive.edge.pages import render
from agenthifive.edge.routing import Routes, UnitOfRequest
from agenthifive.errors import AppError
from agenthifive.people.browser import PeopleOf, refuse_foreign_origin, set_session_cookie
from agenthifive.people.model import EMAIL_MAX, NAME_MAX
from agenthifive.people.passwords import PASSWORD_MAX
from agenthifive.people.setup import SETUP_PATH, FirstPerson
from agenthifive.people.tokens import DAYS_DEFAULT
from agenthifive.words import AuditAction, RateLimit

_FORM: Final = "application/x-www-form-urlencoded"
_FIELDS: Final = ("token", "name", "email", "password")
routes: Final = Routes("pages")


@routes.get(SETUP_PATH, access=PUBLIC, limit=RateLimit.ONE_TIME_LINK, errors=["GONE"])
async def show_setup(request: Request, unit: UnitOfRequest, people: PeopleOf) -> HTMLResponse:
    """The form, when the link can be used. Looking changes nothing."""
    token = request.query_params.get("token", "")
    if not await people.setup.is_link_live(await unit.begin(), token):
        return _render(410, state="dead", advice=None)
    return _form(200, {"token": token}, people.passwords.min_length, {})


@routes.post(
    SETUP_PATH,
    access=PUBLIC,
    accepts_form=True,
    limit=RateLimit.ONE_TIME_LINK,
    audit=[
        AuditAction.INSTANCE_SET_UP,
        AuditAction.USER_REGISTERED,
        AuditAction.WORKSPACE_CREATED,
        AuditAction.PAT_CREATED,
    ],
    errors=[
        "ALREADY_SET_UP",
        "GONE",
        "INVALID_EMAIL",
        "PASSWORD_TOO_COMMON",
        "PASSWORD_TOO_SHORT",
        "origin_not_allowed",
    ],
)
async def finish_setup(request: Request, unit: UnitOfRequest, people: PeopleOf) -> HTMLResponse:
    """Use the link, sign its holder in, and show them their first token."""
    refuse_foreign_origin(request, people.web_url, allows_null=True)
    fields = _read_form(request, await request.body())
    first = FirstPerson(fields["token"], fields["name"], fields["email"], fields["password"])
    try:
        established = await people.setup.redeem(unit, first)
    except AppError as error:
        if error.status not in (400, 409, 410):
            raise
        await unit.release()
        if error.status == 400:
            faults = {fault["path"]: fault["message"] for fault in error.fields or ()}
            return _form(400, fields, people.passwords.min_length, faults)
        return _render(error.status, state="dead", advice=error.message)
    issued = await people.setup.create_first_token(unit, established.account, via="setup")
    answer = _render(
        200,
        state="done",
        user=established.account.user,
        workspace_id=established.account.workspace_id,
        plain=issued.plain,
        days=DAYS_DEFAULT,
        web_url=people.web_url,
    )
    set_session_cookie(answer, people.sessions, established.cookie)
    return answer


def _read_form(request: Request, body: bytes) -> dict[str, str]:
    """The fields of the form, absent ones empty. Raises: AppError (400, 415)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise AppError("unsupported_media_type", "Send this form from the set-up page.", hint=_FORM)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=len(_FIELDS))
    except ValueError:
        raise AppError("invalid_request", "The form could not be read. Open the set-up link again.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise AppError("invalid_request", "A field occurs twice. Open the set-up link again.")
    return {name: fields.get(name, "") for name in _FIELDS}


def _form(status: int, typed: Mapping[str, str], password_min: int, faults: Mapping[str, str]) -> HTMLResponse:
    """The form with what was typed, except the password."""
    return _render(
        status,
        state="form",
        token=typed["token"],
        name=typed.get("name", ""),
        email=typed.get("email", ""),
        faults=faults,
        name_max=NAME_MAX,
        email_max=EMAIL_MAX,
        password_min=password_min,
        password_max=PASSWORD_MAX,
    )


def _render(status: int, **values: Any) -> HTMLResponse:
    return render("setup.html", status, has_token=True, **values)
