"""Passkeys, and the challenges that were answered, in PostgreSQL.

Every statement of a person names the person. Source: contract/http.md section 14.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from psycopg.rows import class_row

from agenthifive.db.database import Connection
from agenthifive.people.model import Passkey

SPEND_CHALLENGE: Final = """
    INSERT INTO t_spent_challenges (challenge_hash) VALUES (%(challenge_hash)s) ON CONFLICT DO NOTHING
"""
# Held by whoever adds or removes a way in of this person, until the transaction ends.
LOCK_USER: Final = "SELECT FROM t_users WHERE id = %(user_id)s FOR NO KEY UPDATE"
_COLUMNS: Final = "id::text, name, created_at, last_used_at"
INSERT: Final = f"""
    INSERT INTO t_passkeys (id, user_id, credential_id, public_key, sign_count, transports, aaguid, name)
    SELECT %(id)s, %(user_id)s, %(credential_id)s, %(public_key)s, %(sign_count)s, %(transports)s, %(aaguid)s, %(name)s
     WHERE (SELECT count(*) FROM t_passkeys WHERE user_id = %(user_id)s) < %(most)s
    ON CONFLICT (credential_id) DO NOTHING
    RETURNING {_COLUMNS}
"""
LIST: Final = f"SELECT {_COLUMNS} FROM t_passkeys WHERE user_id = %(user_id)s ORDER BY created_at, id"
LIST_CREDENTIALS: Final = """
    SELECT credential_id, transports FROM t_passkeys WHERE user_id = %(user_id)s ORDER BY created_at, id
"""
FIND: Final = """
    SELECT p.id::text, p.user_id::text, p.credential_id, p.public_key, p.aaguid
      FROM t_passkeys p WHERE p.credential_id = %(credential_id)s
"""
# A counter that does not grow belongs to a copy of the authenticator; those that do not count stay at 0.
NOTE_USE: Final = """
    UPDATE t_passkeys SET sign_count = %(sign_count)s, last_used_at = now()
     WHERE id = %(id)s AND (sign_count < %(sign_count)s OR (sign_count = 0 AND %(sign_count)s = 0))
"""
RENAME: Final = f"""
    UPDATE t_passkeys SET name = %(name)s WHERE id = %(id)s AND user_id = %(user_id)s RETURNING {_COLUMNS}
"""
DELETE: Final = "DELETE FROM t_passkeys WHERE id = %(id)s AND user_id = %(user_id)s RETURNING name"
HAS_WAY_IN: Final = """
    SELECT EXISTS (SELECT FROM t_users WHERE id = %(user_id)s AND password_hash IS NOT NULL)
        OR EXISTS (SELECT FROM t_passkeys WHERE user_id = %(user_id)s)
"""
DELETE_ALL: Final = "DELETE FROM t_passkeys WHERE user_id = %(user_id)s"
SWEEP: Final = "DELETE FROM t_spent_challenges WHERE spent_at < now() - interval '1 hour'"


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """What an authenticator told of a credential it just made. Shapes: public_key: COSE."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: Sequence[str]
    aaguid: UUID


@dataclass(frozen=True, slots=True)
class KnownPasskey:
    """What an assertion is verified with. Shapes: public_key: COSE."""

    id: str
    user_id: str
    credential_id: bytes
    public_key: bytes
    aaguid: UUID


async def spend_challenge(connection: Connection, challenge_hash: str) -> bool:
    """Use a challenge up; false when it was used before."""
    return (await connection.execute(SPEND_CHALLENGE, {"challenge_hash": challenge_hash})).rowcount == 1


async def lock_user(connection: Connection, user_id: str) -> None:
    """Wait until nobody else changes the ways in of this person; held until the transaction ends."""
    await connection.execute(LOCK_USER, {"user_id": user_id})


async def insert(
    connection: Connection, passkey_id: str, user_id: str, name: str, new: NewPasskey, most: int
) -> Passkey | None:
    """Add a passkey; None when this credential is known already or the person has as many as allowed."""
    async with connection.cursor(row_factory=class_row(Passkey)) as cursor:
        await cursor.execute(
            INSERT,
            {
                "id": passkey_id,
                "user_id": user_id,
                "credential_id": new.credential_id,
                "public_key": new.public_key,
                "sign_count": new.sign_count,
                "transports": list(new.transports),
                "aaguid": new.aaguid,
                "name": name,
                "most": most,
            },
        )
        return await cursor.fetchone()


async def list_passkeys(connection: Connection, user_id: str) -> list[Passkey]:
    """The passkeys of a person, oldest first."""
    async with connection.cursor(row_factory=class_row(Passkey)) as cursor:
        await cursor.execute(LIST, {"user_id": user_id})
        return await cursor.fetchall()


async def list_credentials(connection: Connection, user_id: str) -> list[tuple[bytes, list[str]]]:
    """Credential ids of a person with the ways their authenticators are reached."""
    cursor = await connection.execute(LIST_CREDENTIALS, {"user_id": user_id})
    return [(bytes(credential_id), transports) for credential_id, transports in await cursor.fetchall()]


async def find(connection: Connection, credential_id: bytes) -> KnownPasskey | None:
    """The passkey with this credential id, whoever's it is."""
    async with connection.cursor(row_factory=class_row(KnownPasskey)) as cursor:
        await cursor.execute(FIND, {"credential_id": credential_id})
        return await cursor.fetchone()


async def note_use(connection: Connection, passkey_id: str, sign_count: int) -> bool:
    """Store a counter; false when it did not grow."""
    return (await connection.execute(NOTE_USE, {"id": passkey_id, "sign_count": sign_count})).rowcount == 1


async def rename(connection: Connection, user_id: str, passkey_id: str, name: str) -> Passkey | None:
    """Give a passkey another name; None when the person has no such passkey."""
    async with connection.cursor(row_factory=class_row(Passkey)) as cursor:
        await cursor.execute(RENAME, {"id": passkey_id, "user_id": user_id, "name": name})
        return await cursor.fetchone()


async def delete(connection: Connection, user_id: str, passkey_id: str) -> str | None:
    """Remove a passkey; its name, None when the person has no such passkey."""
    row = await (await connection.execute(DELETE, {"id": passkey_id, "user_id": user_id})).fetchone()
    return None if row is None else str(row[0])


async def has_way_in(connection: Connection, user_id: str) -> bool:
    """Whether a person can still sign in by a first factor."""
    row = await (await connection.execute(HAS_WAY_IN, {"user_id": user_id})).fetchone()
    return row is not None and row[0] is True


async def delete_all(connection: Connection, user_id: str) -> int:
    """Remove every passkey of a person; how many there were."""
    return (await connection.execute(DELETE_ALL, {"user_id": user_id})).rowcount
