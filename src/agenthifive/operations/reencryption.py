"""Re-encryption: every record under another kid is opened and sealed again with the active key, a batch at a time.

    lock (one worker) -> count -> per column: lock a batch, open, seal, write, commit ... -> count again: 0

What is left to do is in the kid columns and nowhere else, so it may end at any instant and go on anywhere.
Source: contract/operations.md section 1.6.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Unit
from agenthifive.operations import key_store as store
from agenthifive.vault.envelope import EnvelopeError
from agenthifive.vault.keyring import Keyring
from agenthifive.vault.sealed_columns import SEALED_COLUMNS, SealedColumn
from agenthifive.words import AuditAction, AuditDecision

SILENT_S: Final = 6.0
"""A process nobody has heard of for so long is gone."""

_SLICE_S: Final = 0.005
_AGAIN_S: Final = 0.2
_IDLE_PASSES: Final = 25


@dataclass(frozen=True, slots=True)
class Pace:
    """Units: rows, rows per second; 0 = as fast as it goes."""

    batch_rows: int = 200
    rows_per_s: int = 500


@dataclass(slots=True)
class Run:
    """A run under way.

    Shapes:
        unreadable: `table.column id` of records that could not be opened.
        is_complete: whether the count at the end was 0.
    """

    total: int
    kids: Sequence[str]
    done: int = 0
    unreadable: set[str] = field(default_factory=set)
    is_complete: bool = False


class Reencryptor:
    """Runs the job in this process. `make_unit` signs the audit rows."""

    def __init__(self, database: Database, make_unit: Callable[[], Unit], keyring: Keyring, pace: Pace) -> None:
        self._database = database
        self._make_unit = make_unit
        self._keyring = keyring
        self._pace = pace

    async def run(self, on_progress: Callable[[Run], None] = lambda _: None) -> Run | None:
        """Re-encrypt everything; None when another worker is at it.

        Ends early, without having finished, when another key becomes the active one.

        Raises: psycopg.Error, PoolTimeout; what was committed stays done.
        """
        guard = await self._database.dedicated()
        try:
            await guard.execute("BEGIN")
            await guard.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            if not await store.try_hold(guard, store.REENCRYPTION_LOCK):
                return None
            return await self._work(self._keyring.active_kid, on_progress)
        finally:
            await guard.close()

    async def _work(self, active: str, on_progress: Callable[[Run], None]) -> Run:
        left = await self._count_left(active)
        run = Run(sum(left.values()), sorted(left))
        if not left:
            run.is_complete = True
            return run
        async with self._make_unit() as unit:
            link = await unit.begin()
            if not await store.enter_batch(link, active):
                return run
            await store.begin_reencryption(link, run.total)
            unit.record(AuditAction.KEY_REENCRYPTION_STARTED, {"kids": [*run.kids], "records": run.total})
        idle = 0
        while sum(left.values()) > len(run.unreadable) and idle < _IDLE_PASSES:
            before = run.done + len(run.unreadable)
            if not await self._pass(active, run, on_progress):
                return run
            left = await self._count_left(active)
            if run.done + len(run.unreadable) == before:  # others hold the rows that are left
                idle += 1
                await asyncio.sleep(_AGAIN_S)
        await self._finish(run, left)
        return run

    async def _finish(self, run: Run, left: Mapping[str, int]) -> None:
        async with self._make_unit() as unit:
            await store.finish_reencryption(await unit.begin())
            if not left:
                unit.record(AuditAction.KEY_REENCRYPTION_COMPLETED, {"kids": [*run.kids], "records": run.done})
        run.is_complete = not left

    async def _pass(self, active: str, run: Run, on_progress: Callable[[Run], None]) -> bool:
        """Once through every column; False when it is over before its end."""
        for column in SEALED_COLUMNS:
            limit = min(self._pace.batch_rows, column.rows_at_once)
            after: str | None = None
            while True:
                started_s = time.monotonic()
                async with self._make_unit() as unit:
                    link = await unit.begin()
                    if self._keyring.active_kid != active or not await store.enter_batch(link, active):
                        return False
                    records = await store.lock_old(link, column, active, after, limit)
                    done, unreadable = await self._reseal(unit, link, column, records, run)
                run.done += done
                run.unreadable |= unreadable
                on_progress(run)
                if len(records) < limit:
                    break
                after = records[-1].id
                await self._rest(len(records), time.monotonic() - started_s)
        return True

    async def _reseal(
        self, unit: Unit, link: Connection, column: SealedColumn, records: Sequence[store.Record], run: Run
    ) -> tuple[int, set[str]]:
        """Seal a batch again; how many, and the names of those that do not open."""
        sealed: list[Mapping[str, str]] = []
        unreadable: dict[str, store.Record] = {}
        slice_end_s = time.monotonic() + _SLICE_S
        for record in records:
            place = (column.table, column.column, record.id, record.workspace_id)
            try:
                again = self._keyring.seal(self._keyring.open(record.text, *place), *place)
                sealed.append({"id": record.id, "text": again.text, "kid": again.kid})
            except EnvelopeError:
                unreadable[f"{column.name} {record.id}"] = record
            if time.monotonic() > slice_end_s:  # calls of others go on meanwhile
                await asyncio.sleep(0)
                slice_end_s = time.monotonic() + _SLICE_S
        fresh = {name: record for name, record in unreadable.items() if name not in run.unreadable}
        if sealed:
            await store.reseal(link, column, sealed)
        if sealed or fresh:
            await store.advance(link, len(sealed), [_listed(column, record) for record in fresh.values()])
        for record in fresh.values():
            members = {"table": column.table, "column": column.column, "rowId": record.id, "kid": record.kid}
            unit.record(AuditAction.KEY_REENCRYPTION_RECORD_FAILED, members, decision=AuditDecision.ERROR)
        return len(sealed), set(fresh)

    async def _count_left(self, active: str) -> Mapping[str, int]:
        async with self._database.transaction(read_only=True) as link:
            return {kid: records for kid, records in (await store.totals(link)).items() if kid != active}

    async def _rest(self, rows: int, took_s: float) -> None:
        wait_s = rows / self._pace.rows_per_s - took_s if self._pace.rows_per_s else 0.0
        await asyncio.sleep(max(0.0, wait_s))


def _listed(column: SealedColumn, record: store.Record) -> Mapping[str, str]:
    return {"table": column.table, "column": column.column, "id": record.id, "kid": record.kid}
