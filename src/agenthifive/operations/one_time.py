"""Everything that works once or for a while, in one list: what a restored database must not hold any more.

A dump brings back what was spent, revoked or used since it was taken, so a restore spends all of it again. A table of
a later release that is not there yet is passed over. Source: contract/operations.md section 3.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agenthifive.db.database import Connection

EXISTS: Final = "SELECT to_regclass(%s) IS NOT NULL"


@dataclass(frozen=True, slots=True)
class OneTime:
    """One kind of thing. Shapes: name: its member of `voided`. statement: spends all there are; idempotent."""

    name: str
    table: str
    statement: str


SPENT: Final = (
    OneTime("sessions", "t_sessions", "DELETE FROM t_sessions"),
    OneTime("pendingSignIns", "t_pending_sign_ins", "DELETE FROM t_pending_sign_ins"),
    OneTime("recoveryCodes", "t_recovery_codes", "UPDATE t_recovery_codes SET used_at = now() WHERE used_at IS NULL"),
    OneTime("links", "t_one_time_links", "UPDATE t_one_time_links SET used_at = now() WHERE used_at IS NULL"),
    OneTime("invitations", "t_invitations", "UPDATE t_invitations SET used_at = now() WHERE used_at IS NULL"),
    OneTime("deviceCodes", "t_device_logins", "DELETE FROM t_device_logins"),
    OneTime("agentTokens", "t_agent_access_tokens", "DELETE FROM t_agent_access_tokens"),
    OneTime(
        "bootstrapSecrets",
        "t_agent_bootstrap_secrets",
        "UPDATE t_agent_bootstrap_secrets SET revoked_at = now() WHERE consumed_at IS NULL AND revoked_at IS NULL",
    ),
)
"""In the order of locking: whoever spends takes the tables in this order."""

KEPT: Final[Mapping[str, str]] = {
    "t_personal_tokens.token_hash": "works until it expires or is revoked; --revoke-pats revokes all",
    "t_users.password_hash": "a password is used again and again",
    "t_spent_flows.flow_hash": "what is there is spent",
    "t_spent_challenges.challenge_hash": "what is there is spent",
}
"""Columns with hashes of things that are not one-time, and why."""


async def spend_all(connection: Connection) -> dict[str, int]:
    """Spend everything in the caller's transaction; how many of each kind there were. Raises: psycopg.Error."""
    voided: dict[str, int] = {}
    for kind in SPENT:
        found = await (await connection.execute(EXISTS, [kind.table])).fetchone()
        if found == (True,):
            voided[kind.name] = max(0, (await connection.execute(kind.statement)).rowcount)
    return voided
