"""What a person's second factors are as a whole: which there are, and how all of them go at once.

Source: contract/http.md sections 14.3 and 15.11 (reset-two-factor).
"""

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.people import factor_store, passkey_store
from agenthifive.words import AuditAction


class SecondFactors:
    """Looks at and removes second factors. Callers decide who may."""

    async def list_methods(self, connection: Connection, user_id: str) -> list[str]:
        """What completes a sign-in of this person: `totp`, `passkey`; empty when one factor suffices."""
        return await factor_store.list_methods(connection, user_id)

    async def has_any(self, connection: Connection, user_id: str) -> bool:
        """Whether this person has a second factor: `twoFactor` on the wire.

        Lists say it with the SQL function behind this, `has_second_factor(user_id)`.
        """
        return await factor_store.has_factor(connection, user_id)

    async def reset(self, unit: Unit, user_id: str) -> int:
        """Remove every passkey, the authenticator app and the recovery codes of somebody who lost them.

        Their sessions and half-finished sign-ins end. Answers how many sessions ended.
        """
        connection = await unit.begin()
        await passkey_store.lock_user(connection, user_id)
        await passkey_store.delete_all(connection, user_id)
        await factor_store.delete_totp(connection, user_id)
        await factor_store.replace_codes(connection, user_id, [])
        await factor_store.delete_pending(connection, user_id)
        ended = await factor_store.end_sessions(connection, user_id)
        unit.record(AuditAction.TWO_FACTOR_RESET, {"userId": user_id, "sessionsEnded": ended})
        return ended
