"""Verification keys from WEB_JWKS_URL: fetched when needed, kept for a while, bridged when the source fails.

    find(kid) -> cache younger than 600 s and kid in it --------------------------------> the key
              -> too old, or kid unknown: one fetch for all who wait, at most one in 30 s -> the key, or none
              -> the source fails: the cache serves until it is an hour old, then 503

What a source says is believed as a whole or not at all: a document with a private member, a repeated kid or anything
else that no JWKS has counts as a failure. Nothing is accepted because a source failed.
Source: contract/http.md section 13 "WEB_JWKS_URL".
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from agenthifive import strict_json
from agenthifive.errors import AppError
from agenthifive.vault.signing import UnusableKey, VerifyingKey, load_public_jwk

CACHE_S: Final = 600.0
REFETCH_S: Final = 30.0
BRIDGE_S: Final = 3600.0
KEYS_MAX: Final = 100
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_RETRY_S: Final = 30

Fetch = Callable[[], Awaitable[bytes]]
log = structlog.get_logger(__name__)


class SourceFailed(Exception):
    """The source gave no JWKS; the message says why, for the log."""


class RemoteKeys:
    """The keys of a source. Implements `keys.VerifyingKeys`."""

    def __init__(
        self,
        fetch: Fetch,
        is_removed: Callable[[str], Awaitable[bool]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_removed`: whether an operator took a key away at once, whatever the source still says."""
        self._fetch = fetch
        self._is_removed = is_removed
        self._clock = clock
        self._keys: Mapping[str, VerifyingKey] = {}
        self._fetched_at_s = self._tried_at_s = float("-inf")
        self._lock = asyncio.Lock()

    async def find(self, kid: str) -> VerifyingKey | None:
        """The key of this name, None when the source has none. Raises: AppError (503), psycopg.Error, PoolTimeout."""
        if await self._is_removed(kid):
            return None
        if not self._knows(kid):
            async with self._lock:
                if not self._knows(kid) and self._clock() - self._tried_at_s >= REFETCH_S:
                    await self._refetch()
        has_failed = self._tried_at_s > self._fetched_at_s
        if self._clock() - self._fetched_at_s > (BRIDGE_S if has_failed else CACHE_S):
            raise _unavailable()
        if kid not in self._keys and has_failed:
            raise _unavailable()  # it may be a new key: nobody can tell now
        return self._keys.get(kid)

    def _knows(self, kid: str) -> bool:
        return kid in self._keys and self._clock() - self._fetched_at_s <= CACHE_S

    async def _refetch(self) -> None:
        self._tried_at_s = self._clock()
        try:
            keys = read_jwks(await self._fetch())
        except SourceFailed as failure:
            log.warning("jwks_source_failed", reason=str(failure))
            return
        self._keys, self._fetched_at_s = keys, self._tried_at_s


def read_jwks(body: bytes) -> Mapping[str, VerifyingKey]:
    """The signature keys of a JWKS by kid; kinds we do not use are left out. Raises: SourceFailed."""
    try:
        document = strict_json.loads(body)
    except strict_json.InvalidJson as fault:
        raise SourceFailed(f"not strict JSON: {fault}") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not 1 <= len(entries) <= KEYS_MAX:
        raise SourceFailed(f"not a JWKS of 1 to {KEYS_MAX} keys")
    keys: dict[str, VerifyingKey] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
            raise SourceFailed("a key without kid")
        if not _PRIVATE_MEMBERS.isdisjoint(entry):
            raise SourceFailed("a key with a private member")
        if entry["kid"] in keys:
            raise SourceFailed("a kid that occurs twice")
        key = _read_key(entry)
        if key is not None:
            keys[entry["kid"]] = key
    return keys


def _read_key(entry: Mapping[str, Any]) -> VerifyingKey | None:
    """The key, None when it is of a kind we do not use or not for signatures of its one algorithm."""
    try:
        key = load_public_jwk(entry)
    except UnusableKey:
        return None
    return key if entry.get("use", "sig") == "sig" and entry.get("alg", key.alg) == key.alg else None


def _unavailable() -> AppError:
    return AppError(
        "unavailable",
        "The keys that verify tokens cannot be read right now. Send the same request again shortly.",
        retry_after_s=_RETRY_S,
    )
