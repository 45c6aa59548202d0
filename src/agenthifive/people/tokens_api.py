"""Personal access tokens: `/v1/tokens`. Source: contract/http.md sections 11 and 15.3."""

import time
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import RECENT_S, Access, Caller, authorise
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.errors import not_found
from agenthifive.ids import wire_time
from agenthifive.people.bodies import ManagementBody, Name
from agenthifive.people.browser import PeopleOf
from agenthifive.people.model import Owner, PersonalToken
from agenthifive.people.tokens import (
    DAYS_DEFAULT,
    DAYS_MAX,
    DESCRIPTIONS,
    NewToken,
    check_role,
    needs_recent_sign_in,
)
from agenthifive.words import (
    PAT_DEFAULT_SCOPES,
    PAT_SCOPES,
    SENSITIVE_SCOPES,
    AuditAction,
    PrincipalType,
    RateLimit,
    Role,
    Scope,
)

routes: Final = Routes("tokens")
_EVERYTHING: Final = "*"
_RECENT: Final = Access(pats=False, recent_s=RECENT_S)


def _accept_scopes(words: list[str]) -> list[str]:
    if not words:
        raise ValueError("must name at least one scope; leave it out for the default")
    if not {_EVERYTHING, *PAT_SCOPES}.issuperset(words):
        raise ValueError("must be scopes of GET /v1/tokens/scopes, or *")
    return words


Scopes = Annotated[list[str], AfterValidator(_accept_scopes)]


class NewTokenBody(ManagementBody):
    """A token to be."""

    name: Name
    expires_in_days: Annotated[int, Field(ge=1, le=DAYS_MAX)] | None = None
    scopes: Scopes | None = None


class RenameBody(ManagementBody):
    """Another name for a token."""

    name: Name


@routes.post(
    "/v1/tokens",
    audit=[AuditAction.PAT_CREATED],
    errors=["reauth_required", "insufficient_role", "token_limit", "rate_limited"],
)
async def create_token(
    caller: Annotated[Caller, may(pats=False)], body: NewTokenBody, unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """Issue a token to the caller, for this workspace. Its text is in this answer only."""
    limit_headers = await people.limiter.take(RateLimit.PAT_CREATE, str(caller.user_id))
    scopes = scopes_of(body.scopes)
    role = Role(str(caller.role))
    check_role(role, scopes)
    if needs_recent_sign_in(scopes):
        authorise(caller, _RECENT, time.time())
    new = NewToken(body.name, scopes, body.expires_in_days or DAYS_DEFAULT)
    issued = await people.tokens.create(unit, _owner(caller), role, new)
    return JsonAnswer({"token": _members(issued.token), "plainToken": issued.plain}, headers=limit_headers)


@routes.get("/v1/tokens")
async def list_tokens(caller: Annotated[Caller, may(pats=False)], unit: UnitOfRequest, people: PeopleOf) -> JsonAnswer:
    """The caller's tokens in this workspace."""
    tokens = await people.tokens.list_tokens(await unit.begin(), _owner(caller))
    return JsonAnswer({"tokens": [_members(token) for token in tokens]})


@routes.get("/v1/tokens/scopes")
async def list_scopes(caller: Annotated[Caller, may(pats=False)]) -> JsonAnswer:
    """What a token can be allowed to do."""
    return JsonAnswer(
        {
            "scopes": [
                {"id": scope, "description": DESCRIPTIONS[scope], "sensitive": scope in SENSITIVE_SCOPES}
                for scope in PAT_SCOPES
            ],
            "default": list(PAT_DEFAULT_SCOPES),
        }
    )


@routes.delete("/v1/tokens/current", audit=[AuditAction.PAT_REVOKED], errors=["not_found"])
async def revoke_current(
    caller: Annotated[Caller, may(persons=False)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """End the token that makes this request. For a person there is no token of this name."""
    if caller.kind is not PrincipalType.PAT:
        raise not_found("token", "/v1/tokens")
    await people.tokens.revoke(unit, _owner(caller), caller.id)
    return JsonAnswer({"success": True})


@routes.put("/v1/tokens/{token_id}", audit=[AuditAction.PAT_RENAMED], errors=["not_found"])
async def rename_token(
    token_id: str,
    caller: Annotated[Caller, may(pats=False)],
    body: RenameBody,
    unit: UnitOfRequest,
    people: PeopleOf,
) -> JsonAnswer:
    """Give one of the caller's tokens another name."""
    await people.tokens.rename(unit, _owner(caller), token_id, body.name)
    return JsonAnswer({"token": {"id": token_id, "name": body.name}})


@routes.delete("/v1/tokens/{token_id}", audit=[AuditAction.PAT_REVOKED], errors=["not_found"])
async def revoke_token(
    token_id: str, caller: Annotated[Caller, may(pats=False)], unit: UnitOfRequest, people: PeopleOf
) -> JsonAnswer:
    """End one of the caller's tokens."""
    await people.tokens.revoke(unit, _owner(caller), token_id)
    return JsonAnswer({"success": True})


def _owner(caller: Caller) -> Owner:
    return Owner(str(caller.user_id), caller.workspace_id)


def scopes_of(words: list[str] | None) -> tuple[Scope, ...]:
    """The scopes asked for, in the order of the vocabulary, each once."""
    if words is None:
        return PAT_DEFAULT_SCOPES
    return tuple(scope for scope in PAT_SCOPES if _EVERYTHING in words or scope in words)


def _members(token: PersonalToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": list(token.scopes),
        "expiresAt": wire_time(token.expires_at),
        "lastUsedAt": wire_time(token.last_used_at),
        "createdAt": wire_time(token.created_at),
        "isExpired": token.is_expired,
        "hintSuffix": token.hint_suffix,
    }
