"""Sessions: the cookie a signed-in browser holds, and what it stands for.

    cookie = token "." signature  --signature checked-->  SHA-256 of the token  --one statement-->  LiveSession

The signature lets a changed secret end every session at once, without asking the database.
Source: contract/http.md section 8, operations.md section 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.ids import new_id
from agenthifive.people import session_store
from agenthifive.people.model import LiveSession
from agenthifive.vault import base64url
from agenthifive.vault.hashing import constant_time_equal, hkdf, hmac_sha256, new_token, sha256_hex
from agenthifive.words import PrincipalType

_COOKIE: Final = "ah5_session"
_COOKIE_ON_HTTPS: Final = "__Host-ah5_session"
_COOKIE_PURPOSE: Final = b"agenthifive session cookie v1"
_CSRF_PURPOSE: Final = b"agenthifive csrf token v1"
_TOKEN_LENGTH: Final = 43


class SessionKeys:
    """What the sign-in secret is used for: one key that signs cookies, another that makes CSRF tokens."""

    def __init__(self, secret: bytes) -> None:
        self._cookie_key = hkdf(secret, purpose=_COOKIE_PURPOSE)
        self._csrf_key = hkdf(secret, purpose=_CSRF_PURPOSE)

    def sign(self, token: str) -> str:
        """The cookie value of a session token."""
        return f"{token}.{base64url.encode(hmac_sha256(self._cookie_key, token.encode('ascii')))}"

    def read(self, cookie: str) -> str | None:
        """The session token in a cookie value; None when we did not sign it."""
        token = cookie[:_TOKEN_LENGTH]
        if not token.isascii() or not constant_time_equal(cookie, self.sign(token)):
            return None
        return token

    def csrf_token(self, session_id: str) -> str:
        """What the pages of this session must repeat in X-AH5-CSRF."""
        return base64url.encode(hmac_sha256(self._csrf_key, session_id.encode("ascii")))


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was just opened: its cookie value, and the workspace it starts in."""

    cookie: str
    workspace_id: str | None


class Sessions:
    """Opens, finds and ends sessions.

    Shapes: factor_rule: who must have a second factor: off, admins or all.
    Units: idle_s, max_s in seconds; a session ends when it is unused this long, and this long after the sign-in.
    """

    def __init__(
        self,
        database: Database,
        keys: SessionKeys,
        *,
        idle_s: float,
        max_s: float,
        is_https: bool,
        factor_rule: str = "off",
    ) -> None:
        self._database = database
        self._keys = keys
        self.idle_s = idle_s
        self.max_s = max_s
        self.is_https = is_https
        self.factor_rule = factor_rule
        self.cookie_name = _COOKIE_ON_HTTPS if is_https else _COOKIE

    async def open(
        self, unit: Unit, user_id: str, methods: Sequence[str], password_hash: str | None = None
    ) -> Opened | None:
        """Open a session for somebody who has proven who they are.

        Shapes: password_hash: the hash a password was compared with, when one was.
        Answers None when the account is disabled, or its password changed since it was compared.
        """
        token = new_token("")
        row = await session_store.insert(
            await unit.begin(),
            session_id=new_id(),
            user_id=user_id,
            password_hash=password_hash,
            token_hash=sha256_hex(token),
            methods=list(methods),
            ip=unit.signature.ip,
            user_agent=unit.signature.user_agent,
            max_s=self.max_s,
        )
        return None if row is None else Opened(self._keys.sign(token), row[0])

    async def find(self, cookie: str) -> LiveSession | None:
        """The session in force behind a cookie; it counts as used. Raises: psycopg.Error, PoolTimeout."""
        token = self._keys.read(cookie)
        if token is None:
            return None
        async with self._database.transaction() as connection:
            return await session_store.find_live(connection, sha256_hex(token), self.idle_s, self.factor_rule)

    async def caller_by_session(self, cookie: str) -> Caller | None:
        """The person behind a cookie. Raises: psycopg.Error, PoolTimeout."""
        session = await self.find(cookie)
        if session is None:
            return None
        return Caller(
            kind=PrincipalType.USER,
            id=session.user.id,
            workspace_id="" if session.workspace_id is None or session.role is None else session.workspace_id,
            user_id=session.user.id,
            role=session.role,
            platform_role=session.user.platform_role,
            auth_time_s=session.auth_time.timestamp(),
            csrf=self._keys.csrf_token(session.id),
            session_id=session.id,
            lacks_factor=session.lacks_factor,
        )

    async def end(self, connection: Connection, cookie: str) -> tuple[str, str | None] | None:
        """End the session of a cookie; its user and workspace, None when there was none."""
        token = self._keys.read(cookie)
        return None if token is None else await session_store.delete(connection, sha256_hex(token))

    async def confirm(self, connection: Connection, cookie: str, user_id: str) -> datetime | None:
        """Restart the clock of recent sign-ins for a session of this user."""
        token = self._keys.read(cookie)
        return None if token is None else await session_store.confirm(connection, sha256_hex(token), user_id)
