"""Links that prove an e-mail address belongs to somebody: verify it, or set a new password.

    issue -> token in a link, SHA-256 of it in the database -> spend: the account it was for, once

A new link of a purpose voids the earlier ones of the same account. Set-up links have no account yet and live in
`setup.py`; invitations have no account either and live with the workspaces.
Source: contract/http.md sections 14.1 and 15.13.
"""

from enum import StrEnum
from typing import Final

from agenthifive.db.database import Connection
from agenthifive.vault.hashing import new_token, sha256_hex

VERIFY_TTL_S: Final = 24 * 3600
RESET_TTL_S: Final = 3600
SET_PASSWORD_TTL_S: Final = 24 * 3600

VOID: Final = "DELETE FROM t_one_time_links WHERE user_id = %(user_id)s AND purpose = %(purpose)s"
INSERT: Final = """
    INSERT INTO t_one_time_links (token_hash, purpose, user_id, expires_at)
    VALUES (%(token_hash)s, %(purpose)s, %(user_id)s, now() + make_interval(secs => %(ttl_s)s))
"""
FIND: Final = """
    SELECT user_id::text FROM t_one_time_links
     WHERE token_hash = %(token_hash)s AND purpose = %(purpose)s AND used_at IS NULL AND expires_at > now()
"""
SPEND: Final = """
    UPDATE t_one_time_links SET used_at = now()
     WHERE token_hash = %(token_hash)s AND purpose = %(purpose)s AND used_at IS NULL AND expires_at > now()
    RETURNING user_id::text
"""
VERIFY_PATH: Final = "/verify-email"
RESET_PATH: Final = "/reset-password"


class Purpose(StrEnum):
    """What a link is for."""

    VERIFY = "verify"
    RESET = "reset"


async def issue(connection: Connection, purpose: Purpose, user_id: str, ttl_s: float) -> str:
    """The token of a new link; earlier ones of this purpose no longer work."""
    token = new_token("")
    values = {"purpose": purpose.value, "user_id": user_id}
    await connection.execute(VOID, values)
    await connection.execute(INSERT, {**values, "token_hash": sha256_hex(token), "ttl_s": ttl_s})
    return token


def verify_url(web_url: str, token: str) -> str:
    """The page that confirms an address at the press of a button: a program that opens every link confirms nothing."""
    return f"{web_url}{VERIFY_PATH}?token={token}"


def reset_url(web_url: str, token: str) -> str:
    """The page with the form for a new password."""
    return f"{web_url}{RESET_PATH}?token={token}"


async def find(connection: Connection, purpose: Purpose, token: str) -> str | None:
    """The account a link is for, while it can be used. Changes nothing."""
    return await _user_id(connection, FIND, purpose, token)


async def spend(connection: Connection, purpose: Purpose, token: str) -> str | None:
    """The account a link was for; it cannot be used again. None when it was used, is over, or never was."""
    return await _user_id(connection, SPEND, purpose, token)


async def _user_id(connection: Connection, statement: str, purpose: Purpose, token: str) -> str | None:
    cursor = await connection.execute(statement, {"purpose": purpose.value, "token_hash": sha256_hex(token)})
    row = await cursor.fetchone()
    return None if row is None else str(row[0])
