"""The set-up of a fresh instance: a one-time link, and the first person who follows it.

    issue_link -> WEB_URL/setup?token=... -> redeem: spend the link, be the first user, own the first workspace

Who is first is decided by the database: link and user are written under one lock, in one transaction.
Source: contract/http.md sections 14.1 (POST setup) and 15.13, operations.md section 10 (first start).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.people import store
from agenthifive.people.accounts import new_user, open_workspace, read_person, sign_as
from agenthifive.people.model import Account, Owner
from agenthifive.people.passwords import Passwords
from agenthifive.people.sessions import Sessions
from agenthifive.people.tokens import DAYS_DEFAULT, IssuedToken, NewToken, Tokens
from agenthifive.vault.hashing import new_token, sha256_hex
from agenthifive.words import PAT_SCOPES, AuditAction

LINK_TTL_S: Final = 24 * 3600
SETUP_PATH: Final = "/setup"


@dataclass(frozen=True, slots=True)
class FirstPerson:
    """What the first person tells about themselves."""

    token: str
    name: str
    email: str
    password: str

    def __repr__(self) -> str:
        return f"FirstPerson({self.email!r})"


@dataclass(frozen=True, slots=True)
class Established:
    """The instance as it was just set up: its first account, signed in."""

    account: Account
    cookie: str

    def __repr__(self) -> str:
        return f"Established({self.account!r})"


class SetUp:
    """Issues and redeems set-up links.

    Shapes:
        release: version, gitSha and revision of this instance, for the record.
    """

    def __init__(
        self, web_url: str, passwords: Passwords, sessions: Sessions, tokens: Tokens, release: Mapping[str, str]
    ) -> None:
        self._web_url = web_url
        self._passwords = passwords
        self._sessions = sessions
        self._tokens = tokens
        self._release = release

    async def has_users(self, connection: Connection) -> bool:
        """Whether this instance was set up."""
        return await store.has_users(connection)

    async def issue_link(self, unit: Unit) -> str:
        """Make the one set-up link that works, for 24 hours; earlier ones are void.

        Raises: AppError (409 ALREADY_SET_UP).
        """
        connection = await unit.begin()
        await store.lock_first_user(connection)
        if await store.has_users(connection):
            raise _already_set_up()
        token = new_token("")
        await store.replace_link(connection, sha256_hex(token), LINK_TTL_S)
        return f"{self._web_url}{SETUP_PATH}?token={token}"

    async def is_link_live(self, connection: Connection, token: str) -> bool:
        """Whether a link can be used. Changes nothing."""
        return await store.is_link_live(connection, sha256_hex(token)) and not await store.has_users(connection)

    async def redeem(self, unit: Unit, first: FirstPerson) -> Established:
        """Make the holder of a set-up link the superadmin of this instance and owner of its first workspace.

        Raises: AppError (400 of the texts, 409 ALREADY_SET_UP, 410 GONE, 503).
        """
        person = read_person(first.email, first.name, first.password, self._passwords.min_length)
        token_hash = sha256_hex(first.token)
        if not await store.is_link_live(await unit.begin(), token_hash):
            raise _gone()
        await unit.release()  # nobody waits for a connection while a password is hashed
        password_hash = await self._passwords.hash(first.password)
        connection = await unit.begin()
        await store.lock_first_user(connection)
        if not await store.use_link(connection, token_hash):
            raise _gone()
        if await store.has_users(connection):
            raise _already_set_up()
        user = await store.insert_user(connection, new_user(person, password_hash, is_superadmin=True))
        if user is None:
            raise _already_set_up()
        sign_as(unit, user.id, None)
        unit.record(AuditAction.INSTANCE_SET_UP, self._release)
        account = await open_workspace(unit, user)
        sign_as(unit, user.id, account.workspace_id)
        unit.record(AuditAction.USER_REGISTERED, {"method": "setup", "email": user.email})
        opened = await self._sessions.open(unit, user.id, ["password"], password_hash)
        if opened is None:
            raise _already_set_up()
        return Established(account, opened.cookie)

    async def create_first_token(self, unit: Unit, account: Account, *, via: str) -> IssuedToken:
        """A token with every scope its owner's role can use, so that the first steps need no second one."""
        owner = Owner(account.user.id, account.workspace_id)
        new = NewToken("First steps", PAT_SCOPES, DAYS_DEFAULT)
        return await self._tokens.create(unit, owner, account.role, new, via=via)


def _gone() -> AppError:
    return AppError(
        "GONE",
        "This set-up link was used, has expired or is unknown. Print a new one with: agenthifive setup-link",
        hint="agenthifive setup-link",
    )


def _already_set_up() -> AppError:
    return AppError("ALREADY_SET_UP", "This instance is set up already. Sign in with your account.")
