"""Users, workspaces, set-up links and failed sign-ins in PostgreSQL.

Source: contract/http.md sections 12, 14.1, 15.2 and 16 (sign_in_account).
"""

from dataclasses import dataclass
from typing import Final

from psycopg.rows import class_row

from agenthifive.db.database import Connection
from agenthifive.people.model import Email, Membership, PasswordAccount, User
from agenthifive.words import Role

# Held by whoever issues or uses a set-up link or creates a user, until the transaction ends.
LOCK_FIRST_USER: Final = "SELECT pg_advisory_xact_lock(hashtextextended('people: first user', 7))"
HAS_USERS: Final = "SELECT EXISTS (SELECT FROM t_users)"
INSERT_USER: Final = """
    INSERT INTO t_users (id, email, email_key, name, password_hash, platform_role, email_verified_at)
    VALUES (%(id)s, %(email)s, %(email_key)s, %(name)s, %(password_hash)s, %(platform_role)s,
            CASE WHEN %(is_verified)s THEN now() END)
    ON CONFLICT (email_key) DO NOTHING
    RETURNING id::text, email, name, platform_role, email_verified_at, created_at, updated_at, image
"""
INSERT_WORKSPACE: Final = """
    WITH workspace AS (
        INSERT INTO t_workspaces (id, name, owner_id) VALUES (%(id)s, %(name)s, %(owner_id)s) RETURNING id)
    INSERT INTO t_members (workspace_id, user_id, role) SELECT id, %(owner_id)s, 'owner' FROM workspace
"""
INSERT_MEMBER: Final = """
    INSERT INTO t_members (workspace_id, user_id, role)
    SELECT id, %(user_id)s, %(role)s FROM t_workspaces WHERE id = %(workspace_id)s
"""
FIND_USER: Final = """
    SELECT id::text, email, name, platform_role, email_verified_at, created_at, updated_at, image
      FROM t_users WHERE id = %(user_id)s
"""
LIST_MEMBERSHIPS: Final = """
    SELECT w.id::text, w.name, w.owner_id::text, m.role, w.created_at, w.updated_at
      FROM t_members m JOIN t_workspaces w ON w.id = m.workspace_id
     WHERE m.user_id = %(user_id)s
     ORDER BY m.joined_at, w.id
"""
FIND_MEMBERSHIP: Final = """
    SELECT w.id::text, w.name, w.owner_id::text, m.role, w.created_at, w.updated_at
      FROM t_members m JOIN t_workspaces w ON w.id = m.workspace_id
     WHERE m.user_id = %(user_id)s AND m.workspace_id = %(workspace_id)s
"""
REPLACE_LINK: Final = """
    WITH voided AS (DELETE FROM t_one_time_links WHERE purpose = 'setup')
    INSERT INTO t_one_time_links (token_hash, purpose, expires_at)
    VALUES (%(token_hash)s, 'setup', now() + make_interval(secs => %(ttl_s)s))
"""
IS_LINK_LIVE: Final = """
    SELECT EXISTS (SELECT FROM t_one_time_links
                    WHERE token_hash = %(token_hash)s AND purpose = 'setup' AND used_at IS NULL
                      AND expires_at > now())
"""
USE_LINK: Final = """
    UPDATE t_one_time_links SET used_at = now()
     WHERE token_hash = %(token_hash)s AND purpose = 'setup' AND used_at IS NULL AND expires_at > now()
    RETURNING true
"""
FIND_PASSWORD_BY_EMAIL: Final = """
    SELECT id::text AS user_id, password_hash, disabled_at IS NOT NULL AS is_disabled,
           email_verified_at IS NOT NULL AS is_verified
      FROM t_users WHERE email_key = %(email_key)s
"""
FIND_PASSWORD_BY_ID: Final = """
    SELECT id::text AS user_id, password_hash, disabled_at IS NOT NULL AS is_disabled,
           email_verified_at IS NOT NULL AS is_verified
      FROM t_users WHERE id = %(user_id)s
"""
# A try is counted before the password is looked at, so that tries side by side cannot share one count. `locked_until`
# is when the next try is welcome (at once, below the limit). A series is forgotten after 15 quiet minutes, once it
# was locked after a day.
COUNT_TRY: Final = """
    WITH tried AS (
        INSERT INTO t_sign_in_failures AS f (account_key, failures, first_at, locked_until)
        VALUES (%(account_key)s, 1, now(), now())
        ON CONFLICT (account_key) DO UPDATE SET (failures, locks, first_at, locked_until) = (
            SELECT n.failures,
                   n.locks + CASE WHEN n.is_over THEN 1 ELSE 0 END,
                   CASE WHEN n.is_stale THEN now() ELSE f.first_at END,
                   now() + CASE WHEN n.is_over THEN make_interval(mins => least(60, 2 ^ least(n.locks, 6))::int)
                                ELSE interval '0' END
              FROM (SELECT s.is_stale,
                           CASE WHEN s.is_stale THEN 0 ELSE f.locks END AS locks,
                           CASE WHEN s.is_stale THEN 1 ELSE f.failures + 1 END AS failures,
                           NOT s.is_stale AND f.failures + 1 >= %(lock_after)s AS is_over
                      FROM (SELECT f.locked_until < now() - CASE WHEN f.locks > 0 THEN interval '24 hours'
                                                                 ELSE interval '15 minutes' END AS is_stale) s) n)
         WHERE f.locked_until <= clock_timestamp()
        RETURNING true)
    SELECT EXISTS (SELECT FROM tried),
           (SELECT ceil(extract(epoch FROM locked_until - now()))::int
              FROM t_sign_in_failures WHERE account_key = %(account_key)s)
"""
FORGET_TRIES: Final = "DELETE FROM t_sign_in_failures WHERE account_key = %(account_key)s"
SWEEP_TRIES: Final = "DELETE FROM t_sign_in_failures WHERE locked_until < now() - interval '24 hours'"
SWEEP_LINKS: Final = "DELETE FROM t_one_time_links WHERE expires_at < now() - interval '7 days'"


@dataclass(frozen=True, slots=True)
class NewUser:
    """A row of t_users to be. Whoever writes `is_verified` vouches for the e-mail address."""

    id: str
    email: Email
    name: str
    password_hash: str | None
    platform_role: str
    is_verified: bool = True


async def lock_first_user(connection: Connection) -> None:
    """Wait until nobody else is creating a user or handling set-up links; held until the transaction ends."""
    await connection.execute(LOCK_FIRST_USER)


async def has_users(connection: Connection) -> bool:
    """Whether anybody has an account here."""
    return await _is_true(connection, HAS_USERS)


async def insert_user(connection: Connection, new: NewUser) -> User | None:
    """Add a user; None when the address already has an account."""
    async with connection.cursor(row_factory=class_row(User)) as cursor:
        await cursor.execute(
            INSERT_USER,
            {
                "id": new.id,
                "email": new.email.text,
                "email_key": new.email.key,
                "name": new.name,
                "password_hash": new.password_hash,
                "platform_role": new.platform_role,
                "is_verified": new.is_verified,
            },
        )
        return await cursor.fetchone()


async def insert_workspace(connection: Connection, workspace_id: str, name: str, owner_id: str) -> None:
    """Add a workspace with its owner."""
    await connection.execute(INSERT_WORKSPACE, {"id": workspace_id, "name": name, "owner_id": owner_id})


async def insert_member(connection: Connection, workspace_id: str, user_id: str, role: Role) -> bool:
    """Add somebody to a workspace; false when there is no such workspace."""
    cursor = await connection.execute(
        INSERT_MEMBER, {"workspace_id": workspace_id, "user_id": user_id, "role": role.value}
    )
    return cursor.rowcount == 1


async def find_user(connection: Connection, user_id: str) -> User | None:
    """The account with this id."""
    async with connection.cursor(row_factory=class_row(User)) as cursor:
        await cursor.execute(FIND_USER, {"user_id": user_id})
        return await cursor.fetchone()


async def list_memberships(connection: Connection, user_id: str) -> list[Membership]:
    """The workspaces somebody belongs to, the one joined first at the head."""
    async with connection.cursor(row_factory=class_row(Membership)) as cursor:
        await cursor.execute(LIST_MEMBERSHIPS, {"user_id": user_id})
        return await cursor.fetchall()


async def find_membership(connection: Connection, user_id: str, workspace_id: str) -> Membership | None:
    """A workspace as this person sees it; None when they do not belong to it."""
    async with connection.cursor(row_factory=class_row(Membership)) as cursor:
        await cursor.execute(FIND_MEMBERSHIP, {"user_id": user_id, "workspace_id": workspace_id})
        return await cursor.fetchone()


async def replace_link(connection: Connection, token_hash: str, ttl_s: int) -> None:
    """Store a set-up link; earlier ones are void from now on."""
    await connection.execute(REPLACE_LINK, {"token_hash": token_hash, "ttl_s": ttl_s})


async def is_link_live(connection: Connection, token_hash: str) -> bool:
    """Whether a set-up link can still be used."""
    return await _is_true(connection, IS_LINK_LIVE, token_hash=token_hash)


async def use_link(connection: Connection, token_hash: str) -> bool:
    """Spend a set-up link; false when it is unknown, expired or spent."""
    return await _is_true(connection, USE_LINK, token_hash=token_hash)


async def find_password_by_email(connection: Connection, email: Email | None) -> PasswordAccount | None:
    """What the account of an address signs in with; nothing belongs to a text that is no address."""
    async with connection.cursor(row_factory=class_row(PasswordAccount)) as cursor:
        await cursor.execute(FIND_PASSWORD_BY_EMAIL, {"email_key": None if email is None else email.key})
        return await cursor.fetchone()


async def find_password_by_id(connection: Connection, user_id: str) -> PasswordAccount | None:
    """What an account signs in with."""
    async with connection.cursor(row_factory=class_row(PasswordAccount)) as cursor:
        await cursor.execute(FIND_PASSWORD_BY_ID, {"user_id": user_id})
        return await cursor.fetchone()


async def count_try(connection: Connection, account_key: str, lock_after: int) -> int:
    """Count a try as failed until it is forgotten. Answers 0, or how many seconds the account is still locked."""
    cursor = await connection.execute(COUNT_TRY, {"account_key": account_key, "lock_after": lock_after})
    row = await cursor.fetchone()
    is_counted, locked_s = row or (False, None)
    return 0 if is_counted else max(1, locked_s or 1)


async def forget_tries(connection: Connection, account_key: str) -> None:
    """A right password clears the count."""
    await connection.execute(FORGET_TRIES, {"account_key": account_key})


async def _is_true(connection: Connection, statement: str, **values: str) -> bool:
    cursor = await connection.execute(statement, values)
    row = await cursor.fetchone()
    return row is not None and row[0] is True
