"""The routes of passkeys: adding one, the list, signing in. Source: contract/http.md section 14.3."""

import time
from typing import Annotated, Any, Final

from fastapi import Request

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC, RECENT_S, Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.ids import wire_time
from agenthifive.people.answers import user_members
from agenthifive.people.bodies import Name, SignInBody
from agenthifive.people.browser import (
    FLOW_COOKIE,
    PENDING_COOKIE,
    PeopleOf,
    clear_cookie,
    flow_cookie,
    pending_cookie,
    refuse_foreign_origin,
    session_cookie,
    set_flow_cookie,
    set_session_cookie,
)
from agenthifive.people.model import Passkey
from agenthifive.people.passkeys import Options
from agenthifive.people.service import People
from agenthifive.words import AuditAction, RateLimit

routes: Final = Routes("passkeys")
_OWN: Final = may(sessions_only=True, needs_workspace=False, needs_factor=False)
_OWN_RECENT: Final = may(sessions_only=True, needs_workspace=False, needs_factor=False, recent_s=RECENT_S)


class NewPasskeyBody(SignInBody):
    """What the browser made, and how its owner calls it."""

    credential: dict[str, Any]
    name: Name


class RenameBody(SignInBody):
    """Another name for a passkey."""

    name: Name


class OptionsBody(SignInBody):
    """Who wants to sign in, as far as is known. It changes nothing: the answer says nothing about accounts."""

    email: str | None = None


class CredentialBody(SignInBody):
    """What the authenticator answered."""

    credential: dict[str, Any]


@routes.post("/api/auth/passkey/register/options", errors=["reauth_required"])
async def begin_adding(
    caller: Annotated[Caller, _OWN_RECENT], request: Request, unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Options for `navigator.credentials.create`."""
    return _answer(people, await people.passkeys.creation_options(await unit.begin(), str(caller.user_id)))


@routes.post(
    "/api/auth/passkey/register/verify",
    status=201,
    audit=[AuditAction.PASSKEY_ADDED],
    errors=["reauth_required", "INVALID_CREDENTIAL", "CONFLICT"],
)
async def finish_adding(
    caller: Annotated[Caller, _OWN_RECENT],
    body: NewPasskeyBody,
    request: Request,
    unit: UnitOfRequest,
    people: PeopleOf,
) -> JsonAnswer:
    """Keep the passkey the browser made."""
    flow = flow_cookie(request)
    passkey = await people.passkeys.add(unit, str(caller.user_id), flow, body.credential, body.name)
    await people.own_account.tell_of_way_in(unit, str(caller.user_id), "a passkey")
    answer = JsonAnswer({"passkey": _members(passkey)}, 201)
    clear_cookie(answer, people.sessions, FLOW_COOKIE)
    return answer


@routes.get("/api/auth/passkeys")
async def list_passkeys(caller: Annotated[Caller, _OWN], unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """The caller's passkeys, oldest first."""
    passkeys = await people.passkeys.list_passkeys(await unit.begin(), str(caller.user_id))
    return JsonAnswer([_members(passkey) for passkey in passkeys])


@routes.patch("/api/auth/passkeys/{passkey_id}", errors=["NOT_FOUND"])
async def rename_passkey(
    passkey_id: str, caller: Annotated[Caller, _OWN], body: RenameBody, unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Give a passkey another name."""
    passkey = await people.passkeys.rename(unit, str(caller.user_id), passkey_id, body.name)
    return JsonAnswer(_members(passkey))


@routes.delete(
    "/api/auth/passkeys/{passkey_id}",
    audit=[AuditAction.PASSKEY_REMOVED],
    errors=["reauth_required", "NOT_FOUND", "LAST_SIGN_IN_METHOD"],
)
async def remove_passkey(
    passkey_id: str, caller: Annotated[Caller, _OWN_RECENT], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Remove a passkey. Sessions it opened go on."""
    await people.passkeys.remove(unit, str(caller.user_id), passkey_id)
    return JsonAnswer({"status": True})


@routes.post(
    "/api/auth/passkey/authenticate/options",
    access=PUBLIC,
    limit=RateLimit.PASSKEY,
    errors=["ORIGIN_NOT_ALLOWED"],
)
async def begin_proving(body: OptionsBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Options for `navigator.credentials.get`. Only who proved a first factor is told their own passkeys."""
    refuse_foreign_origin(request, people.web_url)
    user_id = await _known(request, unit, people)
    return _answer(people, await people.passkeys.request_options(await unit.begin(), user_id))


@routes.post(
    "/api/auth/passkey/authenticate/verify",
    access=PUBLIC,
    limit=RateLimit.PASSKEY,
    audit=[AuditAction.USER_SIGNED_IN, AuditAction.USER_SIGN_IN_FAILED],
    errors=["INVALID_CREDENTIAL", "ACCOUNT_DISABLED", "ORIGIN_NOT_ALLOWED"],
)
async def finish_proving(body: CredentialBody, request: Request, unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """Sign in with a passkey, or complete a sign-in with one."""
    refuse_foreign_origin(request, people.web_url)
    signed_in = await people.second_step.by_passkey(
        unit, pending_cookie(request), flow_cookie(request), body.credential
    )
    answer = JsonAnswer({"user": user_members(signed_in.user)})
    set_session_cookie(answer, people.sessions, signed_in.cookie, is_kept=signed_in.is_kept)
    clear_cookie(answer, people.sessions, FLOW_COOKIE)
    clear_cookie(answer, people.sessions, PENDING_COOKIE)
    return answer


async def _known(request: Request, unit: UnitOfRequest, people: People) -> str | None:
    """Who this browser already proved to be: half-way through a sign-in, or signed in."""
    cookie = session_cookie(request, people.sessions)
    session = None if cookie is None else await people.sessions.find(cookie)  # before this unit holds a connection
    pending = await people.pendings.find(await unit.begin(), pending_cookie(request), time.time())
    if pending is not None:
        return pending.user_id
    return None if session is None else session.user.id


def _answer(people: People, options: Options) -> JsonAnswer:
    answer = JsonAnswer(options.members)
    set_flow_cookie(answer, people.sessions, options.flow)
    return answer


def _members(passkey: Passkey) -> dict[str, Any]:
    return {
        "id": passkey.id,
        "name": passkey.name,
        "createdAt": wire_time(passkey.created_at),
        "lastUsedAt": wire_time(passkey.last_used_at),
    }
