"""Routes of signing keys: the public key set, and their administration. Source: contract/http.md sections 13, 15.11."""

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from agenthifive.db.database import Connection
from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC, RECENT_S, Caller
from agenthifive.edge.routing import Routes, UnitOfRequest, may
from agenthifive.ids import wire_time
from agenthifive.jwt.keys import KeySet
from agenthifive.jwt.model import ListedKey
from agenthifive.jwt.service import SignedTokens
from agenthifive.words import AuditAction

routes: Final = Routes("signing keys")
_PUBLIC_FOR_MINUTES: Final = {"cache-control": "public, max-age=300"}


def _signed_tokens_of(request: Request) -> SignedTokens:
    signed_tokens: SignedTokens = request.app.state.signed_tokens
    return signed_tokens


SignedTokensOf = Annotated[SignedTokens, Depends(_signed_tokens_of)]


class RetireBody(BaseModel):
    """How a key ends; `now`: every token it signed ends with it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    now: bool | None = None


@routes.get("/.well-known/jwks.json", access=PUBLIC)
async def show_jwks(signed_tokens: SignedTokensOf) -> JsonAnswer:
    """The public keys that verify our tokens."""
    return JsonAnswer(await signed_tokens.keys.document(), headers=_PUBLIC_FOR_MINUTES)


@routes.get("/v1/admin/jwt-keys")
async def list_jwt_keys(
    caller: Annotated[Caller, may(superadmin=True)], unit: UnitOfRequest, signed_tokens: SignedTokensOf
) -> JsonAnswer:
    """Every key that signed tokens here."""
    return await _all_keys(unit, signed_tokens)


@routes.post(
    "/v1/admin/jwt-keys/{kid}/retire",
    audit=[AuditAction.JWT_KEY_RETIRED],
    errors=["unknown_field", "reauth_required", "not_found", "conflict"],
)
async def retire_jwt_key(
    caller: Annotated[Caller, may(superadmin=True, recent_s=RECENT_S)],
    kid: str,
    body: RetireBody,
    unit: UnitOfRequest,
    signed_tokens: SignedTokensOf,
) -> JsonAnswer:
    """End a key: it signs nothing more, and with `now` nobody accepts what it signed."""
    await signed_tokens.keys.retire(unit, kid, at_once=bool(body.now))
    return await _all_keys(unit, signed_tokens)


async def _all_keys(unit: UnitOfRequest, signed_tokens: SignedTokens) -> JsonAnswer:
    return JsonAnswer({"keys": await list_public(signed_tokens.keys, await unit.begin())})


async def list_public(keys: KeySet, connection: Connection) -> list[dict[str, Any]]:
    """Every key there ever was, as people see it."""
    return [key_members(key) for key in await keys.list_keys(connection)]


def key_members(key: ListedKey) -> dict[str, Any]:
    """A key as people see it."""
    return {
        "kid": key.kid,
        "alg": key.alg,
        "active": key.is_active,
        "firstSeenAt": wire_time(key.first_seen_at),
        "lastSignedAt": wire_time(key.last_signed_at),
        "retiredAt": wire_time(key.retired_at),
        "removedAt": wire_time(key.removed_at),
    }
