"""Checking an id_token: the header names a key, the key names the algorithm, then every claim in turn.

    text -> header -> key of the provider (its kid, its one algorithm) -> signature
         -> claims -> issuer, audience, times, nonce, access token

The signature is checked over the raw primitives, as assertions of agents are: a library would read header and payload
a second time, by laxer rules than ours. Source: OpenID Connect Core 1.0 sections 2, 3.1.3.7 and 3.1.3.8.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from agenthifive import strict_json
from agenthifive.people.providers import ProviderFailed
from agenthifive.vault import base64url
from agenthifive.vault.hashing import constant_time_equal
from agenthifive.vault.signing import UnusableKey, VerifyingKey, load_public_jwk

TOKEN_MAX: Final = 16 * 1024
KEYS_MAX: Final = 32
LEEWAY_S: Final = 60.0
AGE_MAX_S: Final = 900.0  # no older than the flow it answers


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """A key a provider signs with."""

    kid: str | None
    key: VerifyingKey


@dataclass(frozen=True, slots=True)
class Expected:
    """What an id_token must say. Shapes: access_token: the one it came with."""

    is_issuer: Callable[[object], bool]
    client_id: str
    nonce: str = field(repr=False)
    access_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IdToken:
    """An id_token that was taken apart; nothing of it is believed yet."""

    alg: str
    kid: str | None
    message: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    payload: bytes = field(repr=False)


def read_keys(document: object) -> Sequence[ProviderKey]:
    """The keys of a JWKS that are sound and meant for signatures; others are left out. Raises: ProviderFailed."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ProviderFailed("keys")
    keys = []
    for jwk in listed[:KEYS_MAX]:
        if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
            continue
        try:
            key = load_public_jwk(jwk)
        except UnusableKey:
            continue
        kid = jwk.get("kid")
        if jwk.get("alg", key.alg) == key.alg and (kid is None or isinstance(kid, str)):
            keys.append(ProviderKey(kid, key))
    return keys


def find_key(keys: Sequence[ProviderKey], kid: str | None) -> VerifyingKey | None:
    """The key a token names; without a name the only one there is."""
    named = {each.key for each in keys if kid is None or each.kid == kid}  # a key listed twice is loaded once
    return named.pop() if len(named) == 1 else None


def read_token(text: object) -> IdToken:
    """Take an id_token apart. Raises: ProviderFailed."""
    if not isinstance(text, str) or len(text) > TOKEN_MAX or text.count(".") != 2:
        raise ProviderFailed("id_token_form")
    head, payload, signature = text.split(".")
    try:
        header = strict_json.loads(base64url.decode(head))
        token = IdToken(
            header["alg"],
            header.get("kid"),
            f"{head}.{payload}".encode("ascii"),
            base64url.decode(signature),
            base64url.decode(payload),
        )
    except (base64url.NotBase64url, strict_json.InvalidJson, UnicodeEncodeError, AttributeError, KeyError, TypeError):
        raise ProviderFailed("id_token_form") from None
    if not isinstance(token.alg, str) or not isinstance(token.kid, str | None) or "crit" in header:
        raise ProviderFailed("id_token_form")
    return token


def check_token(token: IdToken, key: VerifyingKey, expected: Expected, now_s: float) -> Mapping[str, Any]:
    """The claims of a token that this key signed, for us, now, in this flow. Raises: ProviderFailed."""
    if token.alg != key.alg or not key.verifies(token.signature, token.message):
        raise ProviderFailed("id_token_signature")
    try:
        claims = strict_json.loads(token.payload)
    except strict_json.InvalidJson:
        claims = None
    if not isinstance(claims, dict):
        raise ProviderFailed("id_token_form")
    if not expected.is_issuer(claims.get("iss")):
        raise ProviderFailed("id_token_issuer")
    _check_audience(claims, expected.client_id)
    _check_times(claims, now_s)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not constant_time_equal(nonce, expected.nonce):
        raise ProviderFailed("id_token_nonce")
    if "at_hash" in claims and claims["at_hash"] != _half_hash(token.alg, expected.access_token):
        raise ProviderFailed("id_token_access_token")
    return claims


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or client_id not in named:
        raise ProviderFailed("id_token_audience")
    party = claims.get("azp")
    if (party is not None or len(named) > 1) and party != client_id:
        raise ProviderFailed("id_token_party")


def _check_times(claims: Mapping[str, Any], now_s: float) -> None:
    expires, issued, begins = claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)
    if not _is_time(expires) or not _is_time(issued) or not _is_time(begins):
        raise ProviderFailed("id_token_times")
    if now_s >= expires + LEEWAY_S or now_s < begins - LEEWAY_S:
        raise ProviderFailed("id_token_expired")
    if not issued - LEEWAY_S <= now_s <= issued + AGE_MAX_S:
        raise ProviderFailed("id_token_issued_at")


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _half_hash(alg: str, access_token: str) -> str:
    """The left half of the hash that goes with the algorithm. Source: OpenID Connect Core 1.0 section 3.1.3.6."""
    digest = hashlib.sha512 if alg == "EdDSA" else hashlib.sha256
    value = digest(access_token.encode()).digest()
    return base64url.encode(value[: len(value) // 2])
