"""The canary: proof at start that the keys we were given open what the database holds.

Source: contract/operations.md section 1.3.
"""

from typing import Final

from agenthifive.db.database import Connection
from agenthifive.vault.envelope import EnvelopeError
from agenthifive.vault.keyring import Keyring

CANARIES: Final = "SELECT kid, envelope, state, seal_count FROM t_key_canaries"
INSERT: Final = """
    INSERT INTO t_key_canaries (kid, envelope, state) VALUES (%(kid)s, %(envelope)s, 'active')
    ON CONFLICT (kid) DO UPDATE SET state = 'active' RETURNING xmax = 0
"""
DEMOTE: Final = "UPDATE t_key_canaries SET state = 'previous' WHERE kid <> %(kid)s AND state = 'active'"
KIDS_IN_USE: Final = """
    SELECT encrypted_tokens_kid, count(*) FROM t_connections WHERE encrypted_tokens IS NOT NULL GROUP BY 1
    UNION ALL
    SELECT reply_kid, count(*) FROM t_idempotency_keys WHERE reply IS NOT NULL AND expires_at > now() GROUP BY 1
    UNION ALL
    SELECT secret_kid, count(*) FROM t_totp GROUP BY 1
"""
_PLACE: Final = ("t_key_canaries", "envelope")


class KeyRefused(RuntimeError):
    """The configured keys cannot open what is stored; the message names kid and variable."""


async def check_ring(connection: Connection, keyring: Keyring) -> bool:
    """Compare ring and database; True when the active key is new and has been put in force.

    Raises: KeyRefused, psycopg.Error.
    """
    cursor = await connection.execute(CANARIES)
    known = {kid: (envelope, state) for kid, envelope, state, _ in await cursor.fetchall()}
    cursor = await connection.execute(KIDS_IN_USE)
    in_use: dict[str, int] = {}
    for kid, count in await cursor.fetchall():
        in_use[kid] = in_use.get(kid, 0) + count
    for kid, count in in_use.items():
        if kid not in keyring.kids and kid != "v1":
            raise KeyRefused(
                f"ENCRYPTION_KEY (kid {keyring.active_kid}) cannot open {count} records sealed under kid {kid}. "
                f"Put the key with kid {kid} into ENCRYPTION_KEY_PREVIOUS (comma list) or restore the old "
                "ENCRYPTION_KEY."
            )
    for kid in keyring.kids:
        if kid in known and not _opens(keyring, known[kid][0], kid):
            raise KeyRefused(f"canary for kid {kid} is damaged")
    active = keyring.active_kid
    if active in known and known[active][1] == "active":
        return False
    sealed = keyring.seal(active.encode("ascii"), *_PLACE, active, None)
    await connection.execute(INSERT, {"kid": active, "envelope": known.get(active, (sealed.text,))[0]})
    await connection.execute(DEMOTE, {"kid": active})
    return True


async def is_ring_good(connection: Connection, keyring: Keyring) -> bool:
    """Whether the active key's canary still opens; asked by the health check."""
    cursor = await connection.execute(CANARIES)
    for kid, envelope, _, _ in await cursor.fetchall():
        if kid == keyring.active_kid:
            return _opens(keyring, envelope, kid)
    return False


def _opens(keyring: Keyring, envelope: str, kid: str) -> bool:
    try:
        return keyring.open(envelope, *_PLACE, kid, None).reveal() == kid.encode("ascii")
    except EnvelopeError:
        return False
