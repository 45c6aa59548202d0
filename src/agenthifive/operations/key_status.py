"""How the keys stand: the ring, the records under each key, the job, the processes. Shown by the API and the command
line. Source: contract/operations.md section 1.6 (progress)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agenthifive.db.database import Connection
from agenthifive.ids import wire_time
from agenthifive.operations import key_store as store
from agenthifive.operations.reencryption import SILENT_S
from agenthifive.vault.keyring import Keyring


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One key. Shapes: state: active, previous, retired or unknown (records name it and nobody has it)."""

    kid: str
    state: str
    records: int
    seals: int
    is_loaded: bool


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Everything. Shapes: job_state: idle, running or stalled (records are left and nobody is at it)."""

    mode: str
    active_kid: str
    keys: Sequence[KeyLine]
    job_state: str
    job: store.Reencryption | None
    replicas: Sequence[store.Replica]

    @property
    def left(self) -> int:
        """Records that are not under the active key."""
        return sum(line.records for line in self.keys if line.kid != self.active_kid)

    def wire(self) -> dict[str, Any]:
        """As `GET /v1/admin/encryption` answers."""
        job = self.job
        return {
            "mode": self.mode,
            "activeKid": self.active_kid,
            "kids": [{"kid": line.kid, "state": line.state, "records": line.records} for line in self.keys],
            "job": {
                "state": self.job_state,
                "done": 0 if job is None else job.done,
                "total": 0 if job is None else job.total,
                "failed": 0 if job is None else job.failed,
                "startedAt": None if job is None else wire_time(job.started_at),
            },
        }


async def read_status(link: Connection, keyring: Keyring, mode: str) -> KeyStatus:
    """Count and compare. Raises: psycopg.Error."""
    known, totals = await store.canaries(link), await store.totals(link)
    job, is_running = await store.reencryption(link), await store.is_held(link, store.REENCRYPTION_LOCK)
    kids = dict.fromkeys([*keyring.kids, *known, *totals])
    keys = [_line(kid, keyring, known, totals) for kid in kids]
    status = KeyStatus(mode, keyring.active_kid, keys, "", job, await store.replicas(link, SILENT_S))
    left = status.left - (job.failed if job is not None and job.finished_at is not None else 0)
    state = "running" if is_running else "stalled" if left > 0 else "idle"
    return KeyStatus(mode, keyring.active_kid, keys, state, job, status.replicas)


def _line(kid: str, keyring: Keyring, known: Mapping[str, store.Canary], totals: Mapping[str, int]) -> KeyLine:
    is_loaded, canary, records = kid in keyring.kids, known.get(kid), totals.get(kid, 0)
    if kid == keyring.active_kid:
        state = "active"
    elif canary is not None and canary.state == "retired" and not records:
        state = "retired"
    else:
        state = "previous" if is_loaded or kid == store.NO_KID or not records else "unknown"
    seals = canary.seal_count if canary is not None else 0
    return KeyLine(kid, state, records, keyring.sealed_count if kid == keyring.active_kid else seals, is_loaded)
