"""What people change about their own accounts, and what strangers set off with an address.

Source: contract/http.md section 14.1.
"""

from typing import Final

from psycopg.rows import class_row

from agenthifive.db.database import Connection
from agenthifive.people.model import Email, Recipient, User

FIND_RECIPIENT: Final = """
    SELECT id::text AS user_id, email, disabled_at IS NOT NULL AS is_disabled,
           email_verified_at IS NOT NULL AS is_verified
      FROM t_users WHERE email_key = %(email_key)s
"""
MARK_VERIFIED: Final = """
    UPDATE t_users SET email_verified_at = now(), updated_at = now()
     WHERE id = %(user_id)s AND email_verified_at IS NULL
    RETURNING id::text, email, name, platform_role, email_verified_at, created_at, updated_at, image
"""
FORGET_UNPROVEN: Final = """
    WITH contested AS (
        UPDATE t_users SET password_hash = NULL, updated_at = now()
         WHERE id = %(user_id)s AND email_verified_at IS NULL
        RETURNING id)
    DELETE FROM t_one_time_links l USING contested c WHERE l.user_id = c.id
"""
LOCK_USER: Final = "SELECT FROM t_users WHERE id = %(user_id)s FOR UPDATE"
REPLACE_PASSWORD: Final = """
    UPDATE t_users SET password_hash = %(password_hash)s, updated_at = now()
     WHERE id = %(user_id)s AND (%(compared_hash)s::text IS NULL OR password_hash = %(compared_hash)s)
"""
REVOKE_TOKENS: Final = """
    UPDATE t_personal_tokens SET revoked_at = now()
     WHERE user_id = %(user_id)s AND revoked_at IS NULL AND expires_at > now()
"""
UPDATE_PROFILE: Final = """
    UPDATE t_users
       SET name = coalesce(%(name)s, name),
           image = CASE WHEN %(has_image)s THEN %(image)s ELSE image END,
           updated_at = now()
     WHERE id = %(user_id)s
    RETURNING id::text, email, name, platform_role, email_verified_at, created_at, updated_at, image
"""


async def find_recipient(connection: Connection, email: Email) -> Recipient | None:
    """The account of an address."""
    async with connection.cursor(row_factory=class_row(Recipient)) as cursor:
        await cursor.execute(FIND_RECIPIENT, {"email_key": email.key})
        return await cursor.fetchone()


async def mark_verified(connection: Connection, user_id: str) -> User | None:
    """Note that an address belongs to its account; the user the first time, None afterwards."""
    async with connection.cursor(row_factory=class_row(User)) as cursor:
        await cursor.execute(MARK_VERIFIED, {"user_id": user_id})
        return await cursor.fetchone()


async def forget_unproven(connection: Connection, user_id: str) -> None:
    """Take password and links from an account whose address nobody confirmed; a confirmed one is left alone."""
    await connection.execute(FORGET_UNPROVEN, {"user_id": user_id})


async def lock_user(connection: Connection, user_id: str) -> None:
    """Wait until nobody else is changing this account; held until the transaction ends."""
    await connection.execute(LOCK_USER, {"user_id": user_id})


async def replace_password(
    connection: Connection, user_id: str, password_hash: str, compared_hash: str | None = None
) -> bool:
    """Give an account another password; false when the compared one is no longer in force, or the account is gone."""
    values = {"user_id": user_id, "password_hash": password_hash, "compared_hash": compared_hash}
    return (await connection.execute(REPLACE_PASSWORD, values)).rowcount == 1


async def revoke_tokens(connection: Connection, user_id: str) -> int:
    """End every personal access token of a user; how many."""
    return (await connection.execute(REVOKE_TOKENS, {"user_id": user_id})).rowcount


async def update_profile(
    connection: Connection, user_id: str, *, name: str | None, image: str | None, has_image: bool
) -> User | None:
    """Change what an account is shown as; a name that is None stays. None when the account is gone."""
    async with connection.cursor(row_factory=class_row(User)) as cursor:
        values = {"user_id": user_id, "name": name, "image": image, "has_image": has_image}
        await cursor.execute(UPDATE_PROFILE, values)
        return await cursor.fetchone()
