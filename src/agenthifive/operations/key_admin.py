"""What an operator does about keys beyond the settings: look, start the job, retire a key.

Source: contract/operations.md sections 1.5 and 1.6, contract/http.md section 15.11.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.operations import key_store as store
from agenthifive.operations.key_duty import KeyDuty, lacking
from agenthifive.operations.key_status import KeyStatus, read_status
from agenthifive.operations.reencryption import SILENT_S
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AuditAction

PublicKeys = Callable[[Connection], Awaitable[Sequence[Mapping[str, Any]]]]
"""Lists the public parts of the keys that sign tokens."""


class KeyAdmin:
    """The verbs of the API. The log is not signed in this release, so there are no keys of its own to show."""

    def __init__(self, duty: KeyDuty, list_jwt_keys: PublicKeys) -> None:
        self._duty = duty
        self._list_jwt_keys = list_jwt_keys

    async def encryption(self, link: Connection) -> KeyStatus:
        """The state of the encryption keys."""
        return await read_status(link, self._duty.keyring, self._duty.mode)

    async def every_key(self, link: Connection) -> Mapping[str, Any]:
        """The public parts of every key of the instance."""
        encryption = (await self.encryption(link)).wire()
        return {"encryption": encryption, "jwt": list(await self._list_jwt_keys(link)), "audit": []}

    async def reencrypt(self, unit: Unit) -> KeyStatus:
        """Start the job in this process once the request is done. Raises: AppError (conflict)."""
        link = await unit.begin()
        status = await self.encryption(link)
        if status.job_state == "running":
            raise AppError("conflict", "Records are being re-encrypted already. Look at GET /v1/admin/encryption.")
        require_readers(status)
        unit.after_commit(self._duty.begin_reencryption)
        return status


async def retire(unit: Unit, keyring: Keyring, kid: str, mode: str) -> None:
    """Note that a key is done: nothing is sealed with it, and nobody seals with it.

    Raises: AppError (not_found, conflict).
    """
    link = await unit.begin()
    await store.hold(link, store.ACTIVATION_LOCK)
    canary = (await store.canaries(link)).get(kid)
    if canary is None:
        raise AppError("not_found", f"This database has known no key with kid {kid}.", hint="agenthifive keys status")
    sealing = [each for each in await store.replicas(link, SILENT_S) if each.active_kid == kid]
    if canary.state == "active" or kid == keyring.active_kid or sealing:
        raise AppError(
            "conflict",
            f"The key with kid {kid} is still sealing. Make another key the active one first: agenthifive keys rotate",
        )
    records = (await store.totals(link)).get(kid, 0)
    if records:
        raise AppError(
            "conflict",
            f"{records} records are still sealed under kid {kid}. Re-encrypt them first: agenthifive keys reencrypt",
        )
    if canary.state == "retired":
        return
    await store.retire(link, kid)
    unit.record(AuditAction.ENCRYPTION_KEY_RETIRED, {"kid": kid, "mode": mode})


def require_readers(status: KeyStatus) -> None:
    """Every process must be able to open what is about to be written. Raises: AppError (conflict)."""
    without = lacking(status.replicas, status.active_kid)
    if without:
        raise AppError(
            "conflict",
            f"{len(without)} of {len(status.replicas)} replicas do not have the key with kid {status.active_kid}. "
            "Give it to them, then: agenthifive keys reload",
        )
