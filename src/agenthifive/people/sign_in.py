"""Signing in with e-mail and password, and proving again that one is there.

    count the try -> compare the password (always the same work) -> wrong: record, refuse
                                                                 -> right: forget the tries, open a session

A try is counted before the password is looked at and forgotten when it was right: a hundred tries at once are a
hundred tries. No database connection is held while a password is compared.
Source: contract/http.md sections 14.1 and 16 (sign_in_account).
"""

from datetime import datetime

from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.people import store
from agenthifive.people.entrance import Entrance, Proof, SecondFactorNeeded, SignedIn
from agenthifive.people.failures import Failures
from agenthifive.people.model import PasswordAccount, read_email
from agenthifive.people.passwords import Passwords
from agenthifive.people.sessions import Sessions
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import AuditAction, AuditDecision


class SignIn:
    """Compares passwords, counts failures, opens sessions."""

    def __init__(
        self, passwords: Passwords, sessions: Sessions, entrance: Entrance, failures: Failures, lock_after: int
    ) -> None:
        self._passwords = passwords
        self._entrance = entrance
        self._sessions = sessions
        self._failures = failures
        self._lock_after = lock_after

    async def sign_in(
        self, unit: Unit, email: str, password: str, *, is_kept: bool = True
    ) -> SignedIn | SecondFactorNeeded:
        """Let the account of an e-mail address in, or ask for its second factor.

        Raises: AppError (401 INVALID_EMAIL_OR_PASSWORD, 403 ACCOUNT_DISABLED, 429 TOO_MANY_ATTEMPTS, 503).
        """
        address = read_email(email)
        email_hash = sha256_hex(email.strip().casefold() if address is None else address.key)
        connection = await unit.begin()
        locked_s = await store.count_try(connection, email_hash, self._lock_after)
        account = await store.find_password_by_email(connection, address)
        await unit.finish()
        if locked_s:
            await self._note_failure(unit, "locked", email_hash, account)
            raise _too_many(locked_s)
        stored = None if account is None else account.password_hash
        is_right = await self._passwords.is_right(stored, password)
        if account is None or stored is None or not is_right:
            reason = "unknown_email" if account is None else "wrong_password"
            await self._note_failure(unit, reason, email_hash, account)
            raise AppError("INVALID_EMAIL_OR_PASSWORD", "The e-mail address or the password is wrong. Try again.")
        if account.is_disabled:
            await self._note_failure(unit, "account_disabled", email_hash, account)
            raise AppError("ACCOUNT_DISABLED", "This account is disabled. Ask an administrator of this instance.")
        connection = await unit.begin()
        proof = Proof("password", ["password"], stored, is_kept)
        admitted = await self._entrance.admit(unit, account.user_id, proof)
        if admitted is None:
            raise AppError("INVALID_EMAIL_OR_PASSWORD", "The account has just changed. Sign in again.")
        await store.forget_tries(connection, email_hash)
        return admitted

    async def reauthenticate(self, unit: Unit, cookie: str, user_id: str, password: str) -> datetime:
        """Confirm the password of a running session; the instant from which "recent" counts.

        Its tries are counted apart from those at the sign-in, so that a stranger cannot lock a signed-in person out.

        Raises: AppError (401 INVALID_PASSWORD or UNAUTHORIZED, 429 TOO_MANY_ATTEMPTS, 503).
        """
        key = sha256_hex(f"reauthenticate|{user_id}")
        connection = await unit.begin()
        locked_s = await store.count_try(connection, key, self._lock_after)
        account = await store.find_password_by_id(connection, user_id)
        await unit.finish()
        if locked_s:
            raise _too_many(locked_s)
        if not await self._passwords.is_right(None if account is None else account.password_hash, password):
            unit.record(AuditAction.USER_REAUTHENTICATED, {"method": "password"}, decision=AuditDecision.DENIED)
            await unit.finish()
            raise AppError("INVALID_PASSWORD", "The password is wrong. Try again.")
        connection = await unit.begin()
        auth_time = await self._sessions.confirm(connection, cookie, user_id)
        if auth_time is None:
            raise AppError("UNAUTHORIZED", "This session has ended. Sign in again.")
        await store.forget_tries(connection, key)
        unit.record(AuditAction.USER_REAUTHENTICATED, {"method": "password"})
        return auth_time

    async def _note_failure(self, unit: Unit, reason: str, email_hash: str, account: PasswordAccount | None) -> None:
        await self._failures.note(unit, reason, email_hash, None if account is None else account.user_id)


def _too_many(locked_s: int) -> AppError:
    return AppError(
        "TOO_MANY_ATTEMPTS",
        f"Too many failed attempts for this account. Try again in {locked_s} seconds.",
        retry_after_s=locked_s,
    )
