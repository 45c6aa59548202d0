"""Links to an address: confirm that it belongs to an account, or choose a password without knowing the old one.

    ask for a link: count, answer -> errand: is there such an account? -> issue -> record -> post
    use a link:     find it -> hash -> spend it, once -> password, sessions, tokens -> record

Source: contract/http.md sections 14.1, 15.13 and 16 (password_reset).
"""

from functools import partial
from typing import Final

from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.notify import texts
from agenthifive.notify.mail import Mail, Mailer
from agenthifive.operations.ratelimit import RateLimiter, Window
from agenthifive.people import account_store, links, session_store, store
from agenthifive.people.accounts import Accounts, check_new_password, sign_as
from agenthifive.people.errands import Errands
from agenthifive.people.links import Purpose
from agenthifive.people.model import Email, Recipient, User, read_email
from agenthifive.people.passwords import Passwords
from agenthifive.people.sign_in import SignIn
from agenthifive.people.sign_up import FORGOTTEN_PATH
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import AuditAction, RateLimit

_HOUR_S: Final = 3600


class Recovery:
    """Issues and takes back these links.

    Units: mails_per_hour: to one address, for each purpose.
    """

    def __init__(
        self,
        web_url: str,
        accounts: Accounts,
        passwords: Passwords,
        sign_in: SignIn,
        mailer: Mailer,
        errands: Errands,
        limiter: RateLimiter,
        mails_per_hour: int,
    ) -> None:
        self._web_url = web_url
        self._accounts = accounts
        self._passwords = passwords
        self._sign_in = sign_in
        self._mailer = mailer
        self._errands = errands
        self._limiter = limiter
        self._window = Window(mails_per_hour, _HOUR_S)

    def ask_for_reset(self, unit: Unit, email: str) -> None:
        """Send a link for a new password to the account of an address, if there is one. Returns at once."""
        self._ask(unit, email, Purpose.RESET)

    def ask_for_verification(self, unit: Unit, email: str) -> None:
        """Send another link to confirm an address, if an account waits for it. Returns at once."""
        self._ask(unit, email, Purpose.VERIFY)

    def _ask(self, unit: Unit, email: str, purpose: Purpose) -> None:
        address = read_email(email)
        if address is not None:
            self._errands.run(partial(self._send_link, unit.another(), address, purpose))

    async def _send_link(self, unit: Unit, address: Email, purpose: Purpose) -> None:
        key = f"{purpose}|{sha256_hex(address.key)}"
        if not (await self._limiter.count(RateLimit.PASSWORD_RESET, key, window=self._window)).allowed:
            return
        async with unit:
            known = await account_store.find_recipient(await unit.begin(), address)
            if known is None or known.is_disabled:
                return
            mail = await self._issue(unit, known, purpose)
            if mail is not None:
                unit.after_commit(partial(self._mailer.post, mail))

    async def _issue(self, unit: Unit, known: Recipient, purpose: Purpose) -> Mail | None:
        connection = await unit.begin()
        if purpose is Purpose.VERIFY:
            if known.is_verified:
                return None
            token = await links.issue(connection, purpose, known.user_id, links.VERIFY_TTL_S)
            return texts.verify_address(known.email, links.verify_url(self._web_url, token))
        token = await links.issue(connection, purpose, known.user_id, links.RESET_TTL_S)
        unit.record(AuditAction.PASSWORD_RESET_REQUESTED, {"userId": known.user_id})
        return texts.reset_password(known.email, links.reset_url(self._web_url, token))

    async def check_verify_link(self, unit: Unit, token: str) -> str:
        """The account whose address a link can still confirm. Changes nothing. Raises: AppError (401 INVALID_TOKEN)."""
        user_id = await links.find(await unit.begin(), Purpose.VERIFY, token)
        if user_id is None:
            raise AppError(
                "INVALID_TOKEN",
                "This link has expired, was replaced or is unknown. Ask for another one.",
                hint="POST /api/auth/send-verification-email",
            )
        return user_id

    async def verify(self, unit: Unit, token: str) -> None:
        """Confirm the address of a link's account; again and again until the link is over.

        Raises: AppError (401 INVALID_TOKEN).
        """
        await self._note_verified(unit, await self.check_verify_link(unit, token))

    async def reset(self, unit: Unit, token: str, new_password: str, *, revokes_tokens: bool) -> None:
        """Use a reset link: another password, and everything that was opened with the old one ends.

        The link came by mail, so that the address counts as confirmed too.

        Raises: AppError (400 INVALID_TOKEN and of the password, 503).
        """
        connection = await unit.begin()
        user_id = await links.find(connection, Purpose.RESET, token)
        user = None if user_id is None else await store.find_user(connection, user_id)
        if user is None:
            raise _invalid_reset()
        check_new_password(new_password, self._passwords.min_length, user)
        await unit.release()  # nobody waits for a connection while a password is hashed
        password_hash = await self._passwords.hash(new_password)
        connection = await unit.begin()
        if await links.spend(connection, Purpose.RESET, token) != user.id:
            raise _invalid_reset()
        if not await account_store.replace_password(connection, user.id, password_hash):
            raise _invalid_reset()
        await self._end_everything(unit, user, revokes_tokens=revokes_tokens)
        await self._note_verified(unit, user.id)

    async def _end_everything(self, unit: Unit, user: User, *, revokes_tokens: bool) -> None:
        connection = await unit.begin()
        ended = {"sessionsEnded": await session_store.delete_all(connection, user.id)}
        if revokes_tokens:
            ended["tokensRevoked"] = await account_store.revoke_tokens(connection, user.id)
        await self._sign_in.forget_tries(unit, user, at_the_door=True)
        sign_as(unit, user.id, None)
        unit.record(AuditAction.PASSWORD_RESET, ended)
        mail = texts.password_changed(user.email, self._web_url + FORGOTTEN_PATH)
        unit.after_commit(partial(self._mailer.post, mail))

    async def _note_verified(self, unit: Unit, user_id: str) -> None:
        """The first time: record it, and give the person the workspace they are to have."""
        user = await account_store.mark_verified(await unit.begin(), user_id)
        if user is None:
            return
        sign_as(unit, user.id, None)
        unit.record(AuditAction.USER_VERIFIED)
        await self._accounts.ensure_workspace(unit, user)


def _invalid_reset() -> AppError:
    return AppError(
        "INVALID_TOKEN",
        "This link was used, has expired or is unknown. Ask for another one at the sign-in.",
        hint="POST /api/auth/request-password-reset",
        status=400,
    )
