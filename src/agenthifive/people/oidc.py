"""Signing in with a provider that speaks OpenID Connect: discovery, the way there, and the proof that comes back.

    authorization_url: discovery -> state, nonce, PKCE S256       check_issuer: the reply's `iss` (RFC 9207)
    prove: code + verifier -> token endpoint -> id_token -> provider's keys -> claims -> Identity

What a provider publishes is kept: its document for an hour, its keys for ten minutes, an unknown key is looked for at
most every thirty seconds. Source: OpenID Connect Core 1.0 section 3.1, Discovery 1.0, RFC 7636, RFC 9207;
contract/http.md section 14.2.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec

from agenthifive.people import id_tokens
from agenthifive.people.flows import Flow
from agenthifive.people.provider_http import ProviderHttp, read_https
from agenthifive.people.providers import Client, OpenIdRule, Proven, ProviderFailed
from agenthifive.vault.secret import Secret

METADATA_FRESH_S: Final = 3600.0
KEYS_FRESH_S: Final = 600.0
KEYS_AGAIN_S: Final = 30.0
REST_S: Final = 10.0  # after a failure nobody asks again
_POSTED: Final = "client_secret_post"
T = TypeVar("T")


class Provider(Protocol):
    """What sign-in needs of a provider. Each may raise ProviderFailed."""

    id: str
    name: str

    async def authorization_url(self, flow: Flow) -> str:
        """Where the browser goes."""

    async def check_issuer(self, iss: str | None) -> None:
        """Refuse a reply that another provider sent."""

    async def prove(self, flow: Flow, code: str) -> Proven:
        """Who the browser's owner is."""


class Metadata(msgspec.Struct, frozen=True):
    """What a provider says about itself, as far as it is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: Sequence[str] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class TokenReply(msgspec.Struct, frozen=True):
    """What a token endpoint answers, as far as it is used. Never shown."""

    access_token: str
    id_token: str | None = None
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return "TokenReply()"


class Kept(Generic[T]):
    """Something fetched when it is needed, by one asker at a time, and kept for a while."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], fresh_s: float, clock: Callable[[], float]) -> None:
        self._fetch = fetch
        self._fresh_s = fresh_s
        self._clock = clock
        self._lock = asyncio.Lock()
        self._value: tuple[T, float] | None = None
        self._failed_at: float | None = None

    async def get(self, fresh_s: float | None = None) -> T:
        """What is kept, unless it is older than this. Raises: ProviderFailed."""
        async with self._lock:
            now_s = self._clock()
            if self._value is not None and 0 <= now_s - self._value[1] < (fresh_s or self._fresh_s):
                return self._value[0]
            if self._failed_at is not None and 0 <= now_s - self._failed_at < REST_S:
                raise ProviderFailed("not_available")
            try:
                value = await self._fetch()
            except ProviderFailed:
                self._failed_at = now_s
                raise
            self._value, self._failed_at = (value, now_s), None
            return value


class OpenIdProvider:
    """One provider, under the name this instance has there."""

    def __init__(
        self,
        rule: OpenIdRule,
        client: Client,
        http: ProviderHttp,
        redirect_uri: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.id = rule.id
        self.name = rule.name
        self._rule = rule
        self._client = client
        self._http = http
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._metadata = Kept(self._discover, METADATA_FRESH_S, clock)
        self._keys = Kept(self._fetch_keys, KEYS_FRESH_S, clock)

    async def authorization_url(self, flow: Flow) -> str:
        """Where the browser goes. Raises: ProviderFailed."""
        endpoint = (await self._metadata.get()).authorization_endpoint
        asked = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": self._redirect_uri,
            "scope": self._rule.scopes,
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        if self._rule.posts_reply:
            asked["response_mode"] = "form_post"
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def check_issuer(self, iss: str | None) -> None:
        """Refuse a reply that another provider sent. Raises: ProviderFailed."""
        if iss is None:
            if (await self._metadata.get()).authorization_response_iss_parameter_supported:
                raise ProviderFailed("issuer_missing")
        elif not self._rule.is_issuer(iss):
            raise ProviderFailed("issuer_mismatch")

    async def prove(self, flow: Flow, code: str) -> Proven:
        """Exchange the code, and believe the id_token only as far as it was checked. Raises: ProviderFailed."""
        metadata = await self._metadata.get()
        reply = await self._exchange(metadata, flow, code)
        token = id_tokens.read_token(reply.id_token)
        key = id_tokens.find_key(await self._keys.get(), token.kid)
        if key is None:
            key = id_tokens.find_key(await self._keys.get(KEYS_AGAIN_S), token.kid)
        if key is None:
            raise ProviderFailed("id_token_key")
        expected = id_tokens.Expected(self._rule.is_issuer, self._client.id, flow.nonce, reply.access_token)
        claims = id_tokens.check_token(token, key, expected, self._clock())
        if self._rule.asks_userinfo and "email" not in claims and metadata.userinfo_endpoint is not None:
            claims = await self._add_userinfo(claims, metadata.userinfo_endpoint, reply.access_token)
        return Proven(self._rule.identify(claims), seal_ready(reply))

    async def _exchange(self, metadata: Metadata, flow: Flow, code: str) -> TokenReply:
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": flow.verifier,
        }
        if _POSTED in metadata.token_endpoint_auth_methods_supported:
            fields |= {"client_id": self._client.id, "client_secret": self._client.secret}
            return read_token_reply(await self._http.post(metadata.token_endpoint, fields))
        return read_token_reply(await self._http.post(metadata.token_endpoint, fields, self._client))

    async def _add_userinfo(self, claims: Mapping[str, Any], endpoint: str, access_token: str) -> Mapping[str, Any]:
        """What the id_token left out, when it speaks of the same person. Source: Core 1.0 section 5.3.2."""
        told = await self._http.get(endpoint, access_token)
        if not isinstance(told, dict) or told.get("sub") != claims.get("sub"):
            raise ProviderFailed("userinfo")
        return {**{name: told[name] for name in ("email", "email_verified", "name") if name in told}, **claims}

    async def _discover(self) -> Metadata:
        document = await self._http.get(f"{self._rule.base.removesuffix('/')}/.well-known/openid-configuration")
        try:
            metadata = msgspec.convert(document, Metadata)
        except msgspec.ValidationError:
            raise ProviderFailed("discovery") from None
        if metadata.issuer != self._rule.issuer:
            raise ProviderFailed("discovery_issuer")
        for address in (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri):
            read_https(address)
        return metadata

    async def _fetch_keys(self) -> Sequence[id_tokens.ProviderKey]:
        return id_tokens.read_keys(await self._http.get((await self._metadata.get()).jwks_uri))


def read_token_reply(answer: object) -> TokenReply:
    """The tokens in an answer. Raises: ProviderFailed."""
    try:
        reply = msgspec.convert(answer, TokenReply)
    except msgspec.ValidationError:
        raise ProviderFailed("token_reply") from None
    if not reply.access_token:
        raise ProviderFailed("token_reply")
    return reply


def seal_ready(reply: TokenReply) -> Secret[bytes]:
    """The provider's tokens as they are sealed; the id_token has served."""
    kept = {"accessToken": reply.access_token, "refreshToken": reply.refresh_token}
    return Secret(msgspec.json.encode(kept))
