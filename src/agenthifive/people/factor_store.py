"""Authenticator apps, recovery codes and half-finished sign-ins in PostgreSQL.

What works once is spent by one conditional statement. Source: contract/http.md sections 8, 14.3 and 16.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.rows import class_row

from agenthifive.db.database import Connection

LIST_METHODS: Final = """
    SELECT EXISTS (SELECT FROM t_totp WHERE user_id = %(user_id)s AND confirmed_at IS NOT NULL),
           EXISTS (SELECT FROM t_passkeys WHERE user_id = %(user_id)s)
"""
HAS_FACTOR: Final = "SELECT has_second_factor(%(user_id)s)"
FIND_TOTP: Final = """
    SELECT secret, confirmed_at, created_at > now() - make_interval(secs => %(setup_s)s) AS is_fresh
      FROM t_totp WHERE user_id = %(user_id)s
"""
# An app that was confirmed stays: a new set-up replaces only one that was never finished.
PUT_TOTP: Final = """
    INSERT INTO t_totp AS t (user_id, secret, secret_kid) VALUES (%(user_id)s, %(secret)s, %(kid)s)
    ON CONFLICT (user_id) DO UPDATE
       SET secret = excluded.secret, secret_kid = excluded.secret_kid, last_step = NULL, created_at = now()
     WHERE t.confirmed_at IS NULL
"""
CONFIRM_TOTP: Final = """
    UPDATE t_totp SET confirmed_at = now(), last_step = %(step)s
     WHERE user_id = %(user_id)s AND secret = %(secret)s AND confirmed_at IS NULL
       AND created_at > now() - make_interval(secs => %(setup_s)s)
"""
TAKE_STEP: Final = """
    UPDATE t_totp SET last_step = %(step)s
     WHERE user_id = %(user_id)s AND secret = %(secret)s AND confirmed_at IS NOT NULL AND last_step < %(step)s
"""
DELETE_TOTP: Final = "DELETE FROM t_totp WHERE user_id = %(user_id)s RETURNING confirmed_at IS NOT NULL"
LOCK_TOTP: Final = "SELECT FROM t_totp WHERE user_id = %(user_id)s AND confirmed_at IS NOT NULL FOR UPDATE"
DELETE_CODES: Final = "DELETE FROM t_recovery_codes WHERE user_id = %(user_id)s"
INSERT_CODES: Final = """
    INSERT INTO t_recovery_codes (user_id, code_hash) SELECT %(user_id)s, unnest(%(hashes)s::text[])
"""
SPEND_CODE: Final = """
    UPDATE t_recovery_codes SET used_at = now()
     WHERE user_id = %(user_id)s AND code_hash = %(code_hash)s AND used_at IS NULL
"""
COUNT_CODES: Final = "SELECT count(*) FROM t_recovery_codes WHERE user_id = %(user_id)s AND used_at IS NULL"
# The conditions are those under which the first factor was proven.
INSERT_PENDING: Final = """
    INSERT INTO t_pending_sign_ins (id, user_id, expires_at)
    SELECT %(id)s, id, now() + make_interval(secs => %(ttl_s)s) FROM t_users
     WHERE id = %(user_id)s AND disabled_at IS NULL
       AND (%(password_hash)s::text IS NULL OR password_hash = %(password_hash)s)
"""
IS_PENDING: Final = """
    SELECT FROM t_pending_sign_ins
     WHERE id = %(id)s AND used_at IS NULL AND expires_at > now() AND tries < %(tries_max)s
"""
COUNT_TRY: Final = """
    UPDATE t_pending_sign_ins SET tries = tries + 1
     WHERE id = %(id)s AND used_at IS NULL AND expires_at > now() AND tries < %(tries_max)s
"""
SPEND_PENDING: Final = """
    UPDATE t_pending_sign_ins SET used_at = now() WHERE id = %(id)s AND used_at IS NULL AND expires_at > now()
"""
DELETE_PENDING: Final = "DELETE FROM t_pending_sign_ins WHERE user_id = %(user_id)s"
FIND_ACCOUNT: Final = """
    SELECT id::text AS user_id, email, email_key, name, password_hash, disabled_at IS NOT NULL AS is_disabled
      FROM t_users WHERE id = %(user_id)s
"""
# Whoever signs in holds the account before its factors, as those do who change them: nobody waits in a circle.
HOLD_ACCOUNT: Final = f"{FIND_ACCOUNT} FOR NO KEY UPDATE"
END_SESSIONS: Final = """
    DELETE FROM t_sessions WHERE user_id = %(user_id)s AND id IS DISTINCT FROM %(kept_id)s::uuid
"""
SWEEP_PENDING: Final = "DELETE FROM t_pending_sign_ins WHERE expires_at < now()"
SWEEP_TOTP: Final = """
    DELETE FROM t_totp WHERE confirmed_at IS NULL AND created_at < now() - make_interval(secs => %(setup_s)s)
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """A person as the second step sees them. Never shown."""

    user_id: str
    email: str
    email_key: str
    name: str
    password_hash: str | None
    is_disabled: bool

    def __repr__(self) -> str:
        return f"Holder({self.user_id})"


@dataclass(frozen=True, slots=True)
class StoredTotp:
    """An authenticator app. Shapes: secret: sealed. is_fresh: whether a set-up can still be confirmed."""

    secret: str
    confirmed_at: datetime | None
    is_fresh: bool

    def __repr__(self) -> str:
        return f"StoredTotp({self.confirmed_at!r})"


async def list_methods(connection: Connection, user_id: str) -> list[str]:
    """What completes a sign-in of this person, empty when one factor suffices."""
    cursor = await connection.execute(LIST_METHODS, {"user_id": user_id})
    has_totp, has_passkeys = await cursor.fetchone() or (False, False)
    return [word for word, is_there in (("totp", has_totp), ("passkey", has_passkeys)) if is_there]


async def has_factor(connection: Connection, user_id: str) -> bool:
    """Whether this person has any second factor."""
    row = await (await connection.execute(HAS_FACTOR, {"user_id": user_id})).fetchone()
    return row is not None and row[0] is True


async def find_account(connection: Connection, user_id: str) -> Holder | None:
    """The account whose second factor is asked for."""
    return await _account(connection, FIND_ACCOUNT, user_id)


async def hold_account(connection: Connection, user_id: str) -> Holder | None:
    """The same; it stays as it is until the transaction ends."""
    return await _account(connection, HOLD_ACCOUNT, user_id)


async def find_totp(connection: Connection, user_id: str, setup_s: float) -> StoredTotp | None:
    """The authenticator app of a person, finished or not."""
    async with connection.cursor(row_factory=class_row(StoredTotp)) as cursor:
        await cursor.execute(FIND_TOTP, {"user_id": user_id, "setup_s": setup_s})
        return await cursor.fetchone()


async def put_totp(connection: Connection, user_id: str, secret: str, kid: str) -> bool:
    """Begin a set-up; false when an app is confirmed already."""
    return await _changes(connection, PUT_TOTP, user_id=user_id, secret=secret, kid=kid)


async def confirm_totp(connection: Connection, user_id: str, secret: str, step: int, setup_s: float) -> bool:
    """Finish a set-up; false when it is over, was finished, or another one began meanwhile."""
    return await _changes(connection, CONFIRM_TOTP, user_id=user_id, secret=secret, step=step, setup_s=setup_s)


async def take_step(connection: Connection, user_id: str, secret: str, step: int) -> bool:
    """Use up a step of an app; false when it, or a later one, was used."""
    return await _changes(connection, TAKE_STEP, user_id=user_id, secret=secret, step=step)


async def delete_totp(connection: Connection, user_id: str) -> bool:
    """Remove an app; whether it was a confirmed one."""
    row = await (await connection.execute(DELETE_TOTP, {"user_id": user_id})).fetchone()
    return row is not None and row[0] is True


async def lock_totp(connection: Connection, user_id: str) -> bool:
    """Whether an app is confirmed; nobody else changes it until the transaction ends."""
    return await _changes(connection, LOCK_TOTP, user_id=user_id)


async def replace_codes(connection: Connection, user_id: str, hashes: Sequence[str]) -> None:
    """Put these recovery codes in the place of all earlier ones."""
    await connection.execute(DELETE_CODES, {"user_id": user_id})
    await connection.execute(INSERT_CODES, {"user_id": user_id, "hashes": list(hashes)})


async def spend_code(connection: Connection, user_id: str, code_hash: str) -> bool:
    """Spend a recovery code; false when it is unknown or spent."""
    return await _changes(connection, SPEND_CODE, user_id=user_id, code_hash=code_hash)


async def count_codes(connection: Connection, user_id: str) -> int:
    """How many recovery codes are left."""
    row = await (await connection.execute(COUNT_CODES, {"user_id": user_id})).fetchone()
    return 0 if row is None else int(row[0])


async def insert_pending(
    connection: Connection, pending_id: str, user_id: str, password_hash: str | None, ttl_s: float
) -> bool:
    """Begin to wait for a second factor; false when the account is disabled, gone, or its password changed."""
    return await _changes(
        connection, INSERT_PENDING, id=pending_id, user_id=user_id, password_hash=password_hash, ttl_s=ttl_s
    )


async def is_pending(connection: Connection, pending_id: str, tries_max: int) -> bool:
    """Whether a half-finished sign-in can be completed. Changes nothing."""
    return await _changes(connection, IS_PENDING, id=pending_id, tries_max=tries_max)


async def count_try(connection: Connection, pending_id: str, tries_max: int) -> bool:
    """Count a try; false when there are no more, or the sign-in is over."""
    return await _changes(connection, COUNT_TRY, id=pending_id, tries_max=tries_max)


async def spend_pending(connection: Connection, pending_id: str) -> bool:
    """Complete a half-finished sign-in; false when that was done, or it is over."""
    return await _changes(connection, SPEND_PENDING, id=pending_id)


async def delete_pending(connection: Connection, user_id: str) -> None:
    """Let every half-finished sign-in of a person end."""
    await connection.execute(DELETE_PENDING, {"user_id": user_id})


async def end_sessions(connection: Connection, user_id: str, *, kept_id: str | None = None) -> int:
    """End the sessions of a person, all but one; how many ended."""
    return (await connection.execute(END_SESSIONS, {"user_id": user_id, "kept_id": kept_id})).rowcount


async def _account(connection: Connection, statement: str, user_id: str) -> Holder | None:
    async with connection.cursor(row_factory=class_row(Holder)) as cursor:
        await cursor.execute(statement, {"user_id": user_id})
        return await cursor.fetchone()


async def _changes(connection: Connection, statement: str, **values: object) -> bool:
    return (await connection.execute(statement, values)).rowcount > 0
