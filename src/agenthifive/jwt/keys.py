"""The key set of the installation: the key this process signs with, and all that verifiers accept.

    start: register --> every process of the installation knows the key within a second
    sign:  signer() --> noted in the database at most once a minute: what was signed decides how long a key is published
    verify: find(kid) --> what the database said at most a second ago; an unknown kid asks it again at once

A key that another one replaced stays published until no token of it can be alive. A retired key signs nothing more; a
removed one is accepted by nobody. Source: contract/http.md section 13 "Keys".
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.jwt import store
from agenthifive.jwt.model import USER_TTL_S, ListedKey
from agenthifive.vault.signing import VerifyingKey, load_public_jwk
from agenthifive.vault.token_keys import SigningKey
from agenthifive.words import AuditAction

FRESH_S: Final = 1.0
NOTE_EVERY_S: Final = 60.0
PUBLISHED_MAX: Final = 20
_OVERLAP_S: Final = 3600


class KeyRegistrationRefused(ValueError):
    """The configured key may not sign here; the message names the variable."""


class VerifyingKeys(Protocol):
    """Where verifiers find keys: in process (`KeySet`), or at WEB_JWKS_URL (`RemoteKeys`)."""

    async def find(self, kid: str) -> VerifyingKey | None:
        """The key of this name, None when there is none. Raises: AppError (503), psycopg.Error, PoolTimeout."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What the database said."""

    asked_at_s: float = float("-inf")
    keys: Mapping[str, VerifyingKey] = field(default_factory=dict)
    jwks: Sequence[Mapping[str, str]] = ()
    removed: frozenset[str] = frozenset()
    may_sign: bool = False


class KeySet:
    """One process's view of the key set."""

    def __init__(
        self, database: Database, own: SigningKey, *, token_ttl_s: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`token_ttl_s`: how long agent tokens live. `clock`: seconds that never go back."""
        self._database = database
        self._own = own
        self._overlap_s = overlap_s(token_ttl_s)
        self._clock = clock
        self._snapshot = _Snapshot()
        self._loading = asyncio.Lock()
        self._noted_at_s = float("-inf")

    async def register(self, unit: Unit, web_url: str, environment: str) -> str | None:
        """Make our key known; a warning when it was first used elsewhere.

        Raises: KeyRegistrationRefused, psycopg.Error, PoolTimeout.
        """
        connection = await unit.begin()
        await store.lock(connection)
        if await store.is_retired(connection, self._own.jwk):
            raise KeyRegistrationRefused(
                "JWT_PRIVATE_KEY: this key was retired and signs nothing any more; expected another key; "
                "generate one with: agenthifive jwt generate [JWT-KEY]"
            )
        before = await store.newest(connection)
        first = await store.register(connection, self._own, web_url, environment)
        if first is None:
            raise KeyRegistrationRefused(
                f"JWT_KID: {self._own.kid} already names another key; choose a new JWT_KID when you rotate "
                "JWT_PRIVATE_KEY [JWT-KEY]"
            )
        if before != self._own.kid:
            unit.record(AuditAction.JWT_KEY_ACTIVATED, {"kid": self._own.kid})
        if first != (web_url, environment):
            return (
                f"JWT_PRIVATE_KEY: this key was first used at {first[0]} ({first[1]}); "
                "do not share keys across environments [JWT-KEY]"
            )
        return None

    async def signer(self) -> SigningKey:
        """Our key, its use noted. Raises: AppError (503) when it was retired; psycopg.Error, PoolTimeout."""
        snapshot = await self._fresh(self._clock() - FRESH_S)
        if not snapshot.may_sign:
            raise _retired()
        now_s = self._clock()
        if now_s - self._noted_at_s >= NOTE_EVERY_S:
            async with self._database.transaction() as connection:
                if not await store.note_signed(connection, self._own.kid):
                    raise _retired()
            self._noted_at_s = now_s
        return self._own

    async def find(self, kid: str) -> VerifyingKey | None:
        """The published key of this name. Raises: psycopg.Error, PoolTimeout."""
        asked_at_s = self._clock()
        snapshot = await self._fresh(asked_at_s - FRESH_S)
        if kid not in snapshot.keys and kid not in snapshot.removed:
            snapshot = await self._fresh(asked_at_s)  # another process may have started with it just now
        return snapshot.keys.get(kid)

    async def is_removed(self, kid: str) -> bool:
        """Whether an operator took a key away at once. Raises: psycopg.Error, PoolTimeout."""
        return kid in (await self._fresh(self._clock() - FRESH_S)).removed

    async def document(self) -> dict[str, Any]:
        """The JWKS: public members of what is published, our own key first. Raises: psycopg.Error, PoolTimeout."""
        return {"keys": list((await self._fresh(self._clock() - FRESH_S)).jwks)}

    async def list_keys(self, connection: Connection) -> Sequence[ListedKey]:
        """Every key there ever was, the newest first."""
        return await store.list_keys(connection, self._own.kid, self._overlap_s)

    async def retire(self, unit: Unit, kid: str, *, at_once: bool) -> None:
        """End a key. Raises: AppError (404, 409 conflict for the active key)."""
        await retire(unit, kid, self._own.kid, at_once=at_once)

    async def _fresh(self, not_before_s: float) -> _Snapshot:
        """What the database said at this instant or later; whoever asks at the same time waits for one answer."""
        if self._snapshot.asked_at_s < not_before_s:
            async with self._loading:
                if self._snapshot.asked_at_s < not_before_s:
                    self._snapshot = await self._load()
        return self._snapshot

    async def _load(self) -> _Snapshot:
        asked_at_s = self._clock()
        async with self._database.transaction() as connection:
            rows = await store.load(connection, self._own.kid, self._overlap_s)
        keys = {row.kid: load_public_jwk(row.jwk) for row in rows if not row.is_removed}
        return _Snapshot(
            asked_at_s,
            keys,
            [_published(row.kid, row.jwk, keys[row.kid].alg) for row in rows if not row.is_removed][:PUBLISHED_MAX],
            frozenset(row.kid for row in rows if row.is_removed),
            any(row.kid == self._own.kid and row.may_sign for row in rows),
        )


async def retire(unit: Unit, kid: str, own_kid: str | None, *, at_once: bool) -> None:
    """End a key; `at_once` also ends every token it signed. Raises: AppError (404, 409 conflict)."""
    connection = await unit.begin()
    await store.lock(connection)
    if not await store.retire(connection, kid, own_kid, at_once=at_once):
        if not await store.exists(connection, kid):
            raise AppError("not_found", "No signing key has this kid. List them with GET /v1/admin/jwt-keys.")
        raise AppError(
            "conflict",
            "This key signs tokens now. Start the servers with another JWT_PRIVATE_KEY and JWT_KID, then retire it.",
        )
    unit.record(AuditAction.JWT_KEY_RETIRED, {"kid": kid})


def overlap_s(token_ttl_s: int) -> int:
    """How long a key is published after it signed last. Units: seconds."""
    return max(token_ttl_s, USER_TTL_S) + _OVERLAP_S


def _published(kid: str, jwk: Mapping[str, str], alg: str) -> dict[str, str]:
    return {"kty": jwk["kty"], "use": "sig", "alg": alg, "kid": kid} | {
        name: value for name, value in jwk.items() if name != "kty"
    }


def _retired() -> AppError:
    return AppError(
        "unavailable",
        "The key that signs tokens here was retired. An operator must start this server with another JWT_PRIVATE_KEY.",
        retry_after_s=60,
    )
