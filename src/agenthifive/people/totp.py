"""Authenticator apps: time-based codes, and the recovery codes that come with them.

    set_up -> secret, shown once -> confirm with a code -> recovery codes, shown once; other sessions end
    check: a code of the step now, before or after; each step is accepted once

Source: contract/http.md section 14.3, RFC 6238.
"""

import re
import time
from dataclasses import dataclass
from typing import Final

import pyotp

from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.people import factor_store, recovery_codes
from agenthifive.vault.envelope import EnvelopeError
from agenthifive.vault.hashing import constant_time_equal
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AuditAction

SETUP_S: Final = 600
_STEP_S: Final = 30
_ISSUER: Final = "AgentHiFive"
_CODE: Final = re.compile(r"[0-9]{6}", re.ASCII)
_TABLE: Final = "t_totp"
_COLUMN: Final = "secret"


@dataclass(frozen=True, slots=True)
class TotpSetUp:
    """A secret to be put into an app; shown this once."""

    secret: str
    uri: str

    def __repr__(self) -> str:
        return "TotpSetUp()"


class Totp:
    """Sets authenticator apps up, checks their codes, removes them."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def set_up(self, unit: Unit, user_id: str, email: str) -> TotpSetUp:
        """Begin with a new secret; an unfinished set-up of before is void. Raises: AppError (409 ALREADY_ENABLED)."""
        secret = pyotp.random_base32()
        sealed = self._keyring.seal(secret.encode("ascii"), _TABLE, _COLUMN, user_id, None)
        if not await factor_store.put_totp(await unit.begin(), user_id, sealed.text, sealed.kid):
            raise AppError("ALREADY_ENABLED", "An authenticator app is set up already. Disable it first.")
        return TotpSetUp(secret, pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=_ISSUER))

    async def confirm(self, unit: Unit, user_id: str, session_id: str | None, code: str) -> list[str]:
        """Finish a set-up; the recovery codes. Every other session of the person ends.

        Raises: AppError (400 INVALID_CODE).
        """
        connection = await unit.begin()
        stored = await factor_store.find_totp(connection, user_id, SETUP_S)
        step = None
        if stored is not None and stored.confirmed_at is None and stored.is_fresh:
            step = find_step(self._open(user_id, stored.secret), code, time.time())
        if (
            stored is None
            or step is None
            or not await factor_store.confirm_totp(connection, user_id, stored.secret, step, SETUP_S)
        ):
            raise AppError(
                "INVALID_CODE",
                "The code is wrong, or the set-up took longer than ten minutes. Enter the code that is shown now, or "
                "start the set-up again.",
                status=400,
            )
        codes = await self._replace_codes(unit, user_id)
        await factor_store.end_sessions(connection, user_id, kept_id=session_id)
        unit.record(AuditAction.TOTP_ENABLED, {"remaining": len(codes)})
        return codes

    async def check(self, unit: Unit, user_id: str, code: str) -> bool:
        """Whether this is a code of the person's app; it is used up."""
        connection = await unit.begin()
        stored = await factor_store.find_totp(connection, user_id, SETUP_S)
        if stored is None or stored.confirmed_at is None:
            return False
        step = find_step(self._open(user_id, stored.secret), code, time.time())
        return step is not None and await factor_store.take_step(connection, user_id, stored.secret, step)

    async def disable(self, unit: Unit, user_id: str) -> None:
        """Remove the app and the recovery codes, if there are any."""
        connection = await unit.begin()
        was_enabled = await factor_store.delete_totp(connection, user_id)
        await factor_store.replace_codes(connection, user_id, [])
        if was_enabled:
            unit.record(AuditAction.TOTP_DISABLED)

    async def renew_codes(self, unit: Unit, user_id: str) -> list[str]:
        """Ten new recovery codes; the earlier ones are void. Raises: AppError (404)."""
        if not await factor_store.lock_totp(await unit.begin(), user_id):
            raise AppError("NOT_FOUND", "No authenticator app is set up. Recovery codes come with one.")
        codes = await self._replace_codes(unit, user_id)
        unit.record(AuditAction.RECOVERY_CODES_REPLACED, {"remaining": len(codes)})
        return codes

    async def _replace_codes(self, unit: Unit, user_id: str) -> list[str]:
        codes = recovery_codes.new_codes()
        hashes = [recovery_codes.code_hash(code) for code in codes]
        await factor_store.replace_codes(await unit.begin(), user_id, hashes)
        return codes

    def _open(self, user_id: str, sealed: str) -> str:
        try:
            return self._keyring.open(sealed, _TABLE, _COLUMN, user_id, None).reveal().decode("ascii")
        except EnvelopeError:
            raise AppError(
                "key_unavailable",
                "The secret of the authenticator app cannot be read at the moment. Use a recovery code or a passkey, "
                "and ask the operator of this instance to look at its key status.",
                retry_after_s=60,
            ) from None


def find_step(secret: str, code: str, now_s: float) -> int | None:
    """The step whose code this is: the one now, or one beside it. None when it is none of these.

    Units: a step is 30 seconds since 1970.
    """
    digits = "".join(code.split())
    if _CODE.fullmatch(digits) is None:
        return None
    app = pyotp.TOTP(secret)
    now = int(now_s) // _STEP_S
    return next((step for step in (now, now - 1, now + 1) if constant_time_equal(app.generate_otp(step), digits)), None)
