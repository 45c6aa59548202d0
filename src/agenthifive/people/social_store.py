"""Accounts elsewhere that people sign in with, in PostgreSQL. Source: contract/http.md section 14.2."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.rows import class_row

from agenthifive.db.database import Connection
from agenthifive.people.model import Email
from agenthifive.vault.keyring import SealedText

TABLE: Final = "t_accounts"
SEALED: Final = "sealed_tokens"

FIND: Final = """
    SELECT id::text, user_id::text FROM t_accounts
     WHERE issuer = %(issuer)s AND subject = %(subject)s FOR UPDATE
"""
INSERT: Final = """
    INSERT INTO t_accounts (id, user_id, issuer, subject, provider, email, sealed_tokens, sealed_tokens_kid,
                            last_used_at)
    VALUES (%(id)s, %(user_id)s, %(issuer)s, %(subject)s, %(provider)s, %(email)s, %(sealed)s, %(kid)s, now())
    ON CONFLICT (issuer, subject) DO NOTHING
"""
NOTE_USE: Final = """
    UPDATE t_accounts SET email = %(email)s, sealed_tokens = %(sealed)s, sealed_tokens_kid = %(kid)s,
           last_used_at = now()
     WHERE id = %(id)s
"""
FIND_HOLDER: Final = """
    SELECT id::text AS user_id, email_verified_at IS NOT NULL AS is_verified
      FROM t_users WHERE email_key = %(email_key)s
"""
LIST: Final = """
    SELECT id::text, provider, email, created_at, last_used_at FROM t_accounts
     WHERE user_id = %(user_id)s ORDER BY created_at, id
"""
# Held by whoever takes a way to sign in from a person, so that two do not take the last two at once.
LOCK_USER: Final = "SELECT FROM t_users WHERE id = %(user_id)s FOR NO KEY UPDATE"
GET: Final = "SELECT provider FROM t_accounts WHERE id = %(id)s AND user_id = %(user_id)s"
DELETE: Final = "DELETE FROM t_accounts WHERE id = %(id)s AND user_id = %(user_id)s"
# Every way to sign in that is left without this account; a provider that is no longer set up is none.
COUNT_OTHER_METHODS: Final = """
    SELECT (u.password_hash IS NOT NULL)::int
           + (SELECT count(*)::int FROM t_accounts a
               WHERE a.user_id = u.id AND a.id <> %(id)s AND a.provider = ANY(%(providers)s))
           + (SELECT count(*)::int FROM t_passkeys p WHERE p.user_id = u.id)
      FROM t_users u WHERE u.id = %(user_id)s
"""


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """Whose an account elsewhere is."""

    id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Holder:
    """The person here who has an e-mail address."""

    user_id: str
    is_verified: bool


@dataclass(frozen=True, slots=True)
class LinkedAccount:
    """An account elsewhere as its owner sees it."""

    id: str
    provider: str
    email: str | None
    created_at: datetime
    last_used_at: datetime


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A row of t_accounts to be."""

    id: str
    user_id: str
    issuer: str
    subject: str
    provider: str
    email: Email | None
    tokens: SealedText


async def find(connection: Connection, issuer: str, subject: str) -> KnownAccount | None:
    """Whose account this is; its row stays locked."""
    async with connection.cursor(row_factory=class_row(KnownAccount)) as cursor:
        await cursor.execute(FIND, {"issuer": issuer, "subject": subject})
        return await cursor.fetchone()


async def insert(connection: Connection, new: NewAccount) -> bool:
    """Link an account; false when it is linked already."""
    values = {
        "id": new.id,
        "user_id": new.user_id,
        "issuer": new.issuer,
        "subject": new.subject,
        "provider": new.provider,
        "email": None if new.email is None else new.email.text,
        "sealed": new.tokens.text,
        "kid": new.tokens.kid,
    }
    return (await connection.execute(INSERT, values)).rowcount == 1


async def note_use(connection: Connection, account_id: str, email: Email | None, tokens: SealedText) -> None:
    """Keep what the provider told this time."""
    values = {"id": account_id, "email": None if email is None else email.text, "sealed": tokens.text}
    await connection.execute(NOTE_USE, {**values, "kid": tokens.kid})


async def find_holder(connection: Connection, email: Email) -> Holder | None:
    """The person here who has this address."""
    async with connection.cursor(row_factory=class_row(Holder)) as cursor:
        await cursor.execute(FIND_HOLDER, {"email_key": email.key})
        return await cursor.fetchone()


async def list_of(connection: Connection, user_id: str) -> Sequence[LinkedAccount]:
    """The accounts of a person, the oldest first."""
    async with connection.cursor(row_factory=class_row(LinkedAccount)) as cursor:
        await cursor.execute(LIST, {"user_id": user_id})
        return await cursor.fetchall()


async def lock_user(connection: Connection, user_id: str) -> None:
    """Wait until nobody else takes a way to sign in from this person; held until the transaction ends."""
    await connection.execute(LOCK_USER, {"user_id": user_id})


async def get_provider(connection: Connection, user_id: str, account_id: str) -> str | None:
    """Where an account of this person is; None when it is not theirs."""
    cursor = await connection.execute(GET, {"id": account_id, "user_id": user_id})
    row = await cursor.fetchone()
    return None if row is None else str(row[0])


async def delete(connection: Connection, user_id: str, account_id: str) -> None:
    """Unlink an account."""
    await connection.execute(DELETE, {"id": account_id, "user_id": user_id})


async def count_other_methods(connection: Connection, user_id: str, account_id: str, providers: Sequence[str]) -> int:
    """How many ways to sign in remain without this account. Shapes: providers: those that are set up."""
    values = {"id": account_id, "user_id": user_id, "providers": list(providers)}
    row = await (await connection.execute(COUNT_OTHER_METHODS, values)).fetchone()
    return 0 if row is None else int(row[0])
