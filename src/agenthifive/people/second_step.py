"""The second step of a sign-in, and proofs of presence other than the password.

    ah5_pending + code or recovery code --> the try is counted --> spent together with the code --> session
    passkey                             --> two factors by itself; a half-finished sign-in it completes is spent

Source: contract/http.md sections 14.1 (reauthenticate), 14.3 and 16 (second_factor).
"""

import time
from dataclasses import replace
from datetime import datetime

from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.people import factor_store, recovery_codes
from agenthifive.people.entrance import Entrance, Proof, SignedIn
from agenthifive.people.factor_store import Holder
from agenthifive.people.failures import Failures
from agenthifive.people.passkeys import Passkeys
from agenthifive.people.pending import TRIES_MAX, Pending, PendingSignIns
from agenthifive.people.sessions import Sessions
from agenthifive.people.totp import Totp
from agenthifive.people.webauthn import Wire
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import AuditAction, AuditDecision, RateLimit


class SecondStep:
    """Completes sign-ins, and confirms that a signed-in person is there."""

    def __init__(
        self,
        entrance: Entrance,
        pendings: PendingSignIns,
        totp: Totp,
        passkeys: Passkeys,
        limiter: RateLimiter,
        failures: Failures,
        sessions: Sessions,
    ) -> None:
        self._entrance = entrance
        self._pendings = pendings
        self._totp = totp
        self._passkeys = passkeys
        self._limiter = limiter
        self._failures = failures
        self._sessions = sessions

    async def by_code(self, unit: Unit, cookie: str | None, code: str, *, is_recovery: bool) -> SignedIn:
        """Complete a half-finished sign-in with a code of the app, or with a recovery code.

        Raises: AppError (401 INVALID_CODE, 403 ACCOUNT_DISABLED, 410 GONE, 429).
        """
        pending = self._pendings.read(cookie, time.time())
        if pending is None or not await factor_store.count_try(await unit.begin(), pending.id, TRIES_MAX):
            raise _gone()
        await unit.finish()  # the try counts, whatever comes of it
        await self._limiter.take(RateLimit.SECOND_FACTOR, pending.user_id)
        connection = await unit.begin()
        account = await factor_store.hold_account(connection, pending.user_id)
        if account is None or not pending.holds_for(account):
            raise _gone()
        if not await factor_store.spend_pending(connection, pending.id):
            raise _gone()
        if not await self._is_right(unit, account.user_id, code, is_recovery=is_recovery):
            await unit.release()
            await self._note_failure(unit, "wrong_recovery_code" if is_recovery else "wrong_code", account)
            raise _wrong_code()
        proof = _complete(pending, account, "recovery_code" if is_recovery else "totp")
        signed_in = await self._let_in(unit, account, proof)
        if is_recovery:
            remaining = await factor_store.count_codes(connection, account.user_id)
            unit.record(AuditAction.RECOVERY_CODE_USED, {"remaining": remaining})
        return signed_in

    async def by_passkey(self, unit: Unit, cookie: str | None, flow: str | None, credential: Wire) -> SignedIn:
        """Sign in with a passkey, alone or as the second factor of a half-finished sign-in.

        Raises: AppError (401 INVALID_CREDENTIAL, 403 ACCOUNT_DISABLED).
        """
        answer = await self._passkeys.prove(unit, flow, credential)
        connection = await unit.begin()
        account = None if answer.user_id is None else await factor_store.find_account(connection, answer.user_id)
        if account is None or not answer.is_proven:
            await unit.release()
            await self._note_failure(unit, "wrong_passkey", account)
            raise _wrong_credential()
        pending = self._pendings.read(cookie, time.time())
        proof = Proof("passkey", ["passkey"])
        if (
            pending is not None
            and pending.user_id == account.user_id
            and pending.holds_for(account)
            and await factor_store.spend_pending(connection, pending.id)
        ):
            proof = _complete(pending, account, "passkey")
        return await self._let_in(unit, account, proof)

    async def reauthenticate_by_code(self, unit: Unit, cookie: str, user_id: str, code: str) -> datetime:
        """Confirm presence with a code of the app. Raises: AppError (401 INVALID_CODE or UNAUTHORIZED, 429)."""
        await self._limiter.take(RateLimit.SECOND_FACTOR, user_id)
        if not await self._totp.check(unit, user_id, code):
            raise await self._absent(unit, "totp", _wrong_code())
        return await self._confirm(unit, cookie, user_id, "totp")

    async def reauthenticate_by_passkey(
        self, unit: Unit, cookie: str, user_id: str, flow: str | None, credential: Wire
    ) -> datetime:
        """Confirm presence with a passkey of this person. Raises: AppError (401 INVALID_CREDENTIAL, UNAUTHORIZED)."""
        answer = await self._passkeys.prove(unit, flow, credential)
        if not answer.is_proven or answer.user_id != user_id:
            raise await self._absent(unit, "passkey", _wrong_credential())
        return await self._confirm(unit, cookie, user_id, "passkey")

    async def _is_right(self, unit: Unit, user_id: str, code: str, *, is_recovery: bool) -> bool:
        if is_recovery:
            return await factor_store.spend_code(await unit.begin(), user_id, recovery_codes.code_hash(code))
        return await self._totp.check(unit, user_id, code)

    async def _let_in(self, unit: Unit, account: Holder, proof: Proof) -> SignedIn:
        signed_in = await self._entrance.open(unit, account.user_id, proof)
        if signed_in is not None:
            return signed_in
        await unit.release()
        if account.is_disabled:
            await self._note_failure(unit, "account_disabled", account)
            raise AppError("ACCOUNT_DISABLED", "This account is disabled. Ask an administrator of this instance.")
        raise _gone()

    async def _note_failure(self, unit: Unit, reason: str, account: Holder | None) -> None:
        if account is None:
            await self._failures.note(unit, reason, None, None)
        else:
            await self._failures.note(unit, reason, sha256_hex(account.email_key), account.user_id)

    async def _absent(self, unit: Unit, method: str, refusal: AppError) -> AppError:
        await unit.release()
        unit.record(AuditAction.USER_REAUTHENTICATED, {"method": method}, decision=AuditDecision.DENIED)
        await unit.finish()
        return refusal

    async def _confirm(self, unit: Unit, cookie: str, user_id: str, method: str) -> datetime:
        auth_time = await self._sessions.confirm(await unit.begin(), cookie, user_id)
        if auth_time is None:
            raise AppError("UNAUTHORIZED", "This session has ended. Sign in again.")
        unit.record(AuditAction.USER_REAUTHENTICATED, {"method": method})
        return auth_time


def _complete(pending: Pending, account: Holder, factor: str) -> Proof:
    """Both proofs as one; a session opens only while the password that was compared is in force."""
    proof = Proof(pending.method, [*pending.factors, factor], is_kept=pending.is_kept)
    return proof if pending.password_print is None else replace(proof, password_hash=account.password_hash)


def _gone() -> AppError:
    return AppError("GONE", "This sign-in took too long, was tried too often or is completed. Sign in again.")


def _wrong_code() -> AppError:
    return AppError("INVALID_CODE", "The code is wrong or was used. Enter the code that is shown now.")


def _wrong_credential() -> AppError:
    return AppError("INVALID_CREDENTIAL", "The passkey could not be verified. Try again, or sign in another way.")
