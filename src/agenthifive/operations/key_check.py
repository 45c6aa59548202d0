"""Do the configured keys fit the database? Asked at start, before other keys are loaded, and all the time.

    canaries open?  ->  every kid in use is in the ring?  ->  is the active key new here?  ->  activate it

Source: contract/operations.md section 1.3.
"""

from typing import Final

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.operations import key_store as store
from agenthifive.vault.canary import ACTIVE_VARIABLES, KeyRefused, opens_canary, seal_canary
from agenthifive.vault.envelope import EnvelopeError
from agenthifive.vault.keyring import Keyring
from agenthifive.vault.sealed_columns import SEALED_COLUMNS
from agenthifive.words import AuditAction

_SAMPLE: Final = 20


async def check_ring(link: Connection, keyring: Keyring, mode: str = "env") -> bool:
    """Compare ring and database without changing either; True when the ring's active key is the database's too.

    Shapes: mode: of ENCRYPTION_KEY_MODE; a refusal names the variables of this mode.
    Raises: KeyRefused, psycopg.Error.
    """
    known = await store.canaries(link)
    for kid in keyring.kids:
        if kid in known and not opens_canary(keyring, known[kid].envelope, kid):
            raise KeyRefused(f"canary for kid {kid} is damaged")
    in_use = await store.kids_in_use(link)
    missing = sorted(in_use - set(keyring.kids) - {store.NO_KID})
    if missing:
        raise KeyRefused(await _describe(link, keyring, missing[0], ACTIVE_VARIABLES[mode]))
    if store.NO_KID in in_use:
        await _try_unnamed(link, keyring, ACTIVE_VARIABLES[mode])
    active = keyring.active_kid
    return active in known and known[active].state == "active"


async def put_in_force(unit: Unit, keyring: Keyring, mode: str) -> bool:
    """Check the ring, and make its active key the database's; True when it was not.

    Raises: KeyRefused, psycopg.Error.
    """
    link = await unit.begin()
    await store.hold(link, store.ACTIVATION_LOCK)
    if await check_ring(link, keyring, mode):
        return False
    kid = keyring.active_kid
    known = (await store.canaries(link)).get(kid)
    await store.activate(link, kid, seal_canary(keyring) if known is None else known.envelope)
    unit.record(AuditAction.ENCRYPTION_KEY_ACTIVATED, {"kid": kid, "mode": mode})
    return True


async def is_ring_good(link: Connection, keyring: Keyring) -> bool:
    """Whether the active key's canary opens and nothing else was found wrong; asked by the health check."""
    canary = (await store.canaries(link)).get(keyring.active_kid)
    return keyring.fault is None and canary is not None and opens_canary(keyring, canary.envelope, canary.kid)


async def _describe(link: Connection, keyring: Keyring, kid: str, variable: str) -> str:
    records = (await store.totals(link)).get(kid, 0)
    return (
        f"{variable} (kid {keyring.active_kid}) cannot open {records} records sealed under kid {kid}. Put the key "
        f"with kid {kid} into {variable}_PREVIOUS (comma list) or restore the old {variable}."
    )


async def _try_unnamed(link: Connection, keyring: Keyring, variable: str) -> None:
    """Envelopes of version 1 name no key, so some are opened: if none of them does, the key is not here."""
    tried = 0
    for column in SEALED_COLUMNS:
        for record in await store.unnamed(link, column, _SAMPLE):
            tried += 1
            try:
                keyring.open(record.text, column.table, column.column, record.id, record.workspace_id)
            except EnvelopeError:
                continue
            return
    if tried:
        raise KeyRefused(
            f"{variable} (kid {keyring.active_kid}) cannot open the records sealed without a kid (version 1). "
            f"Put the key they were sealed with into {variable}_PREVIOUS (comma list) or restore the old {variable}."
        )
