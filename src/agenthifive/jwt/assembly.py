"""How this room is put together from the settings."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from agenthifive.jwt.fetch import make_fetch
from agenthifive.jwt.keys import KeySet
from agenthifive.jwt.service import SignedTokens
from agenthifive.jwt.source import RemoteKeys
from agenthifive.settings import Settings
from agenthifive.vault.secret import Secret
from agenthifive.vault.signing import UnusableKey, new_rsa_pem
from agenthifive.vault.token_keys import SigningKey, read_signing_key

if TYPE_CHECKING:
    from agenthifive.app import Application

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JwtRoom:
    """The tokens, and how to let go of what they stand on."""

    signed_tokens: SignedTokens
    close: Callable[[], Awaitable[None]]


async def open_jwt(app: "Application") -> JwtRoom:
    """The room of an application, its signing key registered.

    Raises: ValueError naming the variable, psycopg.Error, PoolTimeout.
    """
    settings = app.settings
    own = await asyncio.to_thread(read_own_key, settings)
    keys = KeySet(app.database, own, token_ttl_s=settings.agent_token_ttl_seconds)
    async with app.unit() as unit:
        warning = await keys.register(unit, settings.web_url, settings.ah5_env)
    if warning is not None:
        log.warning("jwt_key_shared", message=warning)
    if settings.web_jwks_url is None:
        return JwtRoom(SignedTokens(settings.web_url, keys, keys), _nothing)
    is_internal = settings.is_production and not settings.web_jwks_allow_public
    fetch, close = make_fetch(settings.web_jwks_url, settings.egress_ca_bundle, internal_only=is_internal)
    return JwtRoom(SignedTokens(settings.web_url, keys, RemoteKeys(fetch, keys.is_removed)), close)


def read_own_key(settings: Settings) -> SigningKey:
    """The key of the settings; in development a new one for this process. Raises: ValueError naming the variable."""
    configured = settings.jwt_private_key
    if configured is None:
        if settings.is_production:
            raise ValueError("JWT_PRIVATE_KEY: missing; generate one with: agenthifive jwt generate [JWT-KEY]")
        return read_signing_key(new_rsa_pem())
    try:
        return read_signing_key(Secret(configured.get_secret_value()), settings.jwt_kid)
    except UnusableKey as fault:
        raise ValueError(f"JWT_PRIVATE_KEY: {fault} [JWT-KEY]") from None


async def _nothing() -> None:
    """There is nothing to let go of."""
