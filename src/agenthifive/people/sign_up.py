"""Registering with an e-mail address and a password, without telling anybody which addresses are known.

    read -> may this address register? -> a person, not a bot? -> hash -> insert, or not
         -> new: link to confirm the address        known: a word to whoever reads its mail
         -> the same answer

Source: contract/http.md section 14.1 (sign-up/email).
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.notify import texts
from agenthifive.notify.mail import Mailer
from agenthifive.operations.ratelimit import RateLimiter, Window
from agenthifive.people import account_store, links, store
from agenthifive.people.accounts import Person, new_user, read_person, sign_as
from agenthifive.people.links import Purpose
from agenthifive.people.passwords import Passwords
from agenthifive.people.registration import Invitations, Registration
from agenthifive.people.turnstile import Turnstile
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import AuditAction, RateLimit

SIGN_IN_PATH: Final = "/login"
FORGOTTEN_PATH: Final = "/forgot-password"
MAILS: Final = Window(3, 3600)
"""Mails that strangers may set off to one address by registering it."""


@dataclass(frozen=True, slots=True)
class Application:
    """What somebody tells who wants an account. Shapes: invitation: the token of one. puzzle: of the bot check."""

    name: str
    email: str
    password: str
    invitation: str | None = None
    puzzle: str = ""
    ip: str = ""

    def __repr__(self) -> str:
        return f"Application({self.email!r})"


class SignUp:
    """Registers people."""

    def __init__(
        self,
        web_url: str,
        passwords: Passwords,
        registration: Registration,
        invitations: Invitations,
        turnstile: Turnstile | None,
        mailer: Mailer,
        limiter: RateLimiter,
    ) -> None:
        self._web_url = web_url
        self._passwords = passwords
        self._registration = registration
        self._invitations = invitations
        self._turnstile = turnstile
        self._mailer = mailer
        self._limiter = limiter

    async def register(self, unit: Unit, wish: Application) -> Person:
        """Make the account, or do nothing that the one who asks could notice; who they said they are.

        Raises: AppError (400 of the texts, 403 of the rule and the bot check, 503).
        """
        person = read_person(wish.email, wish.name, wish.password, self._passwords.min_length)
        connection = await unit.begin()
        await require_set_up(unit)
        is_invited = wish.invitation is not None and await self._invitations.invites(
            connection, wish.invitation, person.email
        )
        await unit.release()  # nobody waits for a connection while the puzzle is checked and the password hashed
        self._registration.check(person.email, is_invited=is_invited)
        if self._turnstile is not None:
            await self._turnstile.check(wish.puzzle, wish.ip)
        password_hash = await self._passwords.hash(wish.password)
        key = f"registered|{sha256_hex(person.email.key)}"
        may_mail = (await self._limiter.count(RateLimit.PASSWORD_RESET, key, window=MAILS)).allowed
        if not await self._insert(unit, person, password_hash) and may_mail:
            await self._tell_owner(unit, person)
        return person

    async def _insert(self, unit: Unit, person: Person, password_hash: str) -> bool:
        """Add the account and send its link; false when the address has one."""
        connection = await unit.begin()
        user = await store.insert_user(
            connection, new_user(person, password_hash, is_superadmin=False, is_verified=False)
        )
        if user is None:
            return False
        token = await links.issue(connection, Purpose.VERIFY, user.id, links.VERIFY_TTL_S)
        sign_as(unit, user.id, None)
        unit.record(AuditAction.USER_REGISTERED, {"method": "password", "email": user.email})
        mail = texts.verify_address(user.email, links.verify_url(self._web_url, token))
        unit.after_commit(partial(self._mailer.post, mail))
        return True

    async def _tell_owner(self, unit: Unit, person: Person) -> None:
        """Write to whoever reads the mail of a known address.

        When two registered an address that was never confirmed, neither password counts: whoever reads its mail
        chooses one, so that nobody can register an address before its owner and wait.
        """
        connection = await unit.begin()
        known = await account_store.find_recipient(connection, person.email)
        if known is None or known.is_disabled:
            return
        if known.is_verified:
            mail = texts.address_in_use(known.email, self._web_url + SIGN_IN_PATH, self._web_url + FORGOTTEN_PATH)
        else:
            await account_store.forget_unproven(connection, known.user_id)
            token = await links.issue(connection, Purpose.RESET, known.user_id, links.RESET_TTL_S)
            mail = texts.finish_registration(known.email, links.reset_url(self._web_url, token))
        unit.after_commit(partial(self._mailer.post, mail))


async def require_set_up(unit: Unit) -> None:
    """Refuse every registration before the set-up link was used: the first account is the superadmin's.

    Raises: AppError (403 REGISTRATION_CLOSED).
    """
    if not await store.has_users(await unit.begin()):
        raise AppError(
            "REGISTRATION_CLOSED", "This instance is not set up yet. Its operator has a link for the first account."
        )
