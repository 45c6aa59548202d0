"""The public halves of signing keys in PostgreSQL. Source: contract/http.md section 13 "Keys"."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from agenthifive.db.database import Connection
from agenthifive.jwt.model import ListedKey
from agenthifive.vault.token_keys import SigningKey

# One process at a time decides which key is the newest.
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('jwt: keys', 7))"
NEWEST: Final = "SELECT kid FROM t_jwt_keys ORDER BY activated_at DESC, kid LIMIT 1"
IS_RETIRED: Final = "SELECT EXISTS (SELECT FROM t_jwt_keys WHERE jwk = %(jwk)s AND retired_at IS NOT NULL)"
REGISTER: Final = """
    INSERT INTO t_jwt_keys AS k (kid, jwk, alg, first_web_url, environment)
    VALUES (%(kid)s, %(jwk)s, %(alg)s, %(web_url)s, %(environment)s)
    ON CONFLICT (kid) DO UPDATE SET activated_at = clock_timestamp() WHERE k.jwk = excluded.jwk
    RETURNING first_web_url, environment
"""
NOTE_SIGNED: Final = "UPDATE t_jwt_keys SET last_signed_at = now() WHERE kid = %(kid)s AND retired_at IS NULL"
# A token can be alive as long after the last signature as tokens live; an hour more for clocks and caches.
_END: Final = "coalesce(last_signed_at, first_seen_at) + make_interval(secs => %(overlap_s)s)"
LOAD: Final = f"""
    SELECT kid, jwk, removed_at IS NOT NULL AS is_removed, retired_at IS NULL AS may_sign
      FROM t_jwt_keys
     WHERE kid = %(own_kid)s AND retired_at IS NULL OR removed_at IS NOT NULL OR {_END} > now()
     ORDER BY kid <> %(own_kid)s, activated_at DESC
"""
LIST: Final = f"""
    SELECT kid, alg, first_seen_at, last_signed_at, retired_at, is_active,
           coalesce(removed_at, CASE WHEN NOT is_active AND {_END} <= now() THEN {_END} END) AS removed_at
      FROM (SELECT *, kid = %(own_kid)s::text IS TRUE OR kid = ({NEWEST}) AS is_active FROM t_jwt_keys) k
     ORDER BY activated_at DESC, kid
"""
RETIRE: Final = f"""
    UPDATE t_jwt_keys SET retired_at = coalesce(retired_at, now()),
           removed_at = CASE WHEN %(at_once)s THEN coalesce(removed_at, now()) ELSE removed_at END
     WHERE kid = %(kid)s AND kid IS DISTINCT FROM %(own_kid)s::text AND kid <> ({NEWEST})
"""
EXISTS: Final = "SELECT EXISTS (SELECT FROM t_jwt_keys WHERE kid = %(kid)s)"


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as verifiers see it."""

    kid: str
    jwk: Mapping[str, str]
    is_removed: bool
    may_sign: bool


async def lock(connection: Connection) -> None:
    """Wait until no other process registers or retires a key; held until the transaction ends."""
    await connection.execute(LOCK)


async def newest(connection: Connection) -> str | None:
    """The kid of the key that a process was started with last."""
    row = await (await connection.execute(NEWEST)).fetchone()
    return None if row is None else str(row[0])


async def is_retired(connection: Connection, jwk: Mapping[str, str]) -> bool:
    """Whether an operator ended this key, whatever it was called."""
    return await _is_true(connection, IS_RETIRED, {"jwk": Jsonb(dict(jwk))})


async def register(connection: Connection, key: SigningKey, web_url: str, environment: str) -> tuple[str, str] | None:
    """Note a key that signs from now on; where it was used first, None when its kid names another key."""
    values = {
        "kid": key.kid,
        "jwk": Jsonb(dict(key.jwk)),
        "alg": key.alg,
        "web_url": web_url,
        "environment": environment,
    }
    row = await (await connection.execute(REGISTER, values)).fetchone()
    return None if row is None else (row[0], row[1])


async def note_signed(connection: Connection, kid: str) -> bool:
    """Note that a key signs now; false when it was retired."""
    return (await connection.execute(NOTE_SIGNED, {"kid": kid})).rowcount == 1


async def load(connection: Connection, own_kid: str, overlap_s: float) -> list[KnownKey]:
    """The keys that matter to a verifier: our own, those whose tokens may live, and those taken away at once."""
    async with connection.cursor(row_factory=class_row(KnownKey)) as cursor:
        await cursor.execute(LOAD, {"own_kid": own_kid, "overlap_s": overlap_s})
        return await cursor.fetchall()


async def list_keys(connection: Connection, own_kid: str | None, overlap_s: float) -> list[ListedKey]:
    """Every key there ever was, the newest first."""
    async with connection.cursor(row_factory=class_row(ListedKey)) as cursor:
        await cursor.execute(LIST, {"own_kid": own_kid, "overlap_s": overlap_s})
        return await cursor.fetchall()


async def retire(connection: Connection, kid: str, own_kid: str | None, *, at_once: bool) -> bool:
    """End a key that is not the active one; false when it is, or there is none of this name."""
    values = {"kid": kid, "own_kid": own_kid, "at_once": at_once}
    return (await connection.execute(RETIRE, values)).rowcount == 1


async def exists(connection: Connection, kid: str) -> bool:
    """Whether a key of this name was ever registered."""
    return await _is_true(connection, EXISTS, {"kid": kid})


async def _is_true(connection: Connection, statement: str, values: Mapping[str, Any]) -> bool:
    row = await (await connection.execute(statement, values)).fetchone()
    return row is not None and row[0] is True
