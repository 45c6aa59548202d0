"""What a serving process does about its keys: prove them, load others while calls go on, count seals, re-encrypt.

    start:  check -> activate -> appear among the replicas            every 2 s:  appear
    reload: read -> check -> hold -> (all replicas hold it?)          every 10 s: write down seals, check,
            -> activate -> forget grants -> drop what left later                  re-encrypt if old kids are in use

A key that becomes active is first only held: no replica meets a kid it cannot open. A key that leaves opens for some
seconds more what calls in flight carry. Source: contract/operations.md sections 1.3, 1.5 and 1.6.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.ids import new_id
from agenthifive.operations import key_store as store
from agenthifive.operations.jobs import Job
from agenthifive.operations.key_check import check_ring, is_ring_good, put_in_force
from agenthifive.operations.reencryption import SILENT_S, Pace, Reencryptor, Run
from agenthifive.vault.canary import KeyRefused
from agenthifive.vault.keyring import Keyring

WATCH_S: Final = 10.0
PRESENCE_S: Final = 2.0
LINGER_S: Final = 30.0
_PATIENCE_S: Final = 10.0
_ASK_AGAIN_S: Final = 0.1
_COUNT_EVERY: Final = 30  # rounds
_TELL_EVERY: Final = 10_000  # records
_LISTED: Final = 100

log = structlog.get_logger(__name__)


class KeyDuty:
    """The keys of this process. `on_loaded` is called when other keys are in force."""

    def __init__(
        self,
        database: Database,
        make_unit: Callable[[], Unit],
        keyring: Keyring,
        read: Callable[[], Keyring] | None,
        *,
        mode: str,
        pace: Pace,
    ) -> None:
        """`read` reads the keys of the settings again; it may block and raises ValueError naming the problem."""
        self.keyring = keyring
        self.mode = mode
        self.records: Mapping[str, int] = {}
        self.on_loaded: Callable[[], None] = lambda: None
        self._database = database
        self._make_unit = make_unit
        self._read = read
        self._reencryptor = Reencryptor(database, make_unit, keyring, pace)
        self._id = new_id()
        self._problem: str | None = None
        self._request = 0
        self._owes_reload = False
        self._has_warned = False
        self._unreadable = 0
        self._rounds = 0
        self._told = 0
        self._reload_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._work: asyncio.Task[None] | None = None

    @property
    def jobs(self) -> Sequence[Job]:
        """The timers of this room."""
        return (
            Job("key_presence", PRESENCE_S, self.be_present, is_shared=False),
            Job("key_watch", WATCH_S, self.watch, is_shared=False),
        )

    async def start(self) -> None:
        """Prove the keys, and put a new one in force. Raises: KeyRefused, psycopg.Error."""
        async with self._make_unit() as unit:
            await put_in_force(unit, self.keyring, self.mode)
            link = await unit.begin()
            self._request = await store.request(link)
            for kid, canary in (await store.canaries(link)).items():
                self.keyring.settle_count(kid, 0, canary.seal_count)
                if kid in self.keyring.kids and canary.state == "retired":
                    log.warning("retired_key_loaded", kid=kid)
            await self._appear(link)
            if await self._is_called_for(link):
                unit.after_commit(self.begin_reencryption)

    async def close(self) -> None:
        """End what runs, write down the seals, and disappear from the replicas."""
        for task in (*self._tasks, *([self._work] if self._work is not None else [])):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        with contextlib.suppress(psycopg.Error, PoolTimeout, OSError):
            async with self._make_unit() as unit:
                await self._write_seals(unit)
                await store.vanish(await unit.begin(), self._id)

    def request_reload(self) -> None:
        """Load the keys of the settings soon; never raises."""
        self._spawn(self.reload())

    async def reload(self) -> None:
        """Load the keys of the settings; whatever is wrong with them, those in force stay, and the log says why."""
        async with self._reload_lock:
            self._owes_reload, request = False, self._request
            try:
                async with self._database.transaction(read_only=True) as link:
                    request = await store.request(link)
                self._problem = await self._load()
            except (KeyRefused, ValueError, AppError) as error:
                self._problem = str(error)
            except (psycopg.Error, PoolTimeout, OSError) as error:
                self._owes_reload, self._problem = True, f"the database failed ({type(error).__name__})"
            self._request = request
            if self._problem is not None:
                log.error("keys_not_loaded", problem=self._problem)
            with contextlib.suppress(psycopg.Error, PoolTimeout, OSError):
                async with self._database.transaction() as link:
                    await self._check(link)
                    await self._appear(link)
                    is_called_for = await self._is_called_for(link)
                if is_called_for:
                    self.begin_reencryption()

    async def be_present(self, unit: Unit) -> None:
        """Stay among the replicas."""
        await self._appear(await unit.begin())

    async def watch(self, unit: Unit) -> None:
        """The regular round."""
        if self._owes_reload:
            self.request_reload()
        await self._write_seals(unit)
        link = await unit.begin()
        await self._check(link)
        if await self._is_called_for(link):
            unit.after_commit(self.begin_reencryption)

    async def is_good(self, link: Connection) -> bool:
        """For the health check; looks closer at once when something was wrong."""
        if self.keyring.fault is not None:
            await self._check(link)
        return await is_ring_good(link, self.keyring)

    def begin_reencryption(self) -> None:
        """Start the job in this process, unless it runs here."""
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._reencrypt(), name="reencryption")

    async def _load(self) -> str | None:
        """The way of a reload; what keeps it from its end, or None."""
        if self._read is None:
            return "this process was started without a way to read its keys again"
        wanted = await asyncio.to_thread(self._read)
        if wanted.kids == self.keyring.kids:
            return None
        async with self._database.transaction(read_only=True) as link:
            await check_ring(link, wanted, self.mode)
        if wanted.active_kid != self.keyring.active_kid:
            held = self.keyring.copy()
            held.load(held, lingering=wanted)
            self.keyring.load(held)
            without = await self._wait_for_replicas(wanted.active_kid)
            if without:
                self._owes_reload = True
                return (
                    f"the key with kid {wanted.active_kid} is loaded, but seals nothing until every replica has it; "
                    f"{len(without)} lack it. Give it to all of them, then: agenthifive keys reload"
                )
        async with self._make_unit() as unit:
            await put_in_force(unit, wanted, self.mode)
        self._swap(wanted)
        return None

    def _swap(self, wanted: Keyring) -> None:
        leaving = sorted(set(self.keyring.kids) - set(wanted.kids))
        self.keyring.load(wanted, lingering=self.keyring.copy())
        self.keyring.fault = None
        self.on_loaded()
        log.info("keys_loaded", activeKid=wanted.active_kid, kids=list(wanted.kids))
        if leaving:
            self._spawn(self._drop_later(wanted))

    async def _drop_later(self, wanted: Keyring) -> None:
        await asyncio.sleep(LINGER_S)
        if self.keyring.active_kid == wanted.active_kid and self.keyring.kids[: len(wanted.kids)] == wanted.kids:
            self.keyring.load(wanted)

    async def _wait_for_replicas(self, kid: str) -> Sequence[store.Replica]:
        """The processes that still lack a key after some patience."""
        deadline_s = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            async with self._database.transaction() as link:
                await self._appear(link)
                without = lacking(await store.replicas(link, SILENT_S), kid)
            if not without or asyncio.get_running_loop().time() > deadline_s:
                return without
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _appear(self, link: Connection) -> None:
        ring = self.keyring
        await store.appear(link, store.Replica(self._id, ring.active_kid, ring.kids, self._request, self._problem))

    async def _check(self, link: Connection) -> None:
        before = self.keyring.fault
        try:
            await check_ring(link, self.keyring, self.mode)
        except KeyRefused as refused:
            self.keyring.fault = str(refused)
        else:
            self.keyring.fault = None
        if self.keyring.fault is not None and self.keyring.fault != before:
            log.error("keys_refused", problem=self.keyring.fault)
        if self.keyring.fault is None and before is not None:
            log.info("keys_good_again")

    async def _is_called_for(self, link: Connection) -> bool:
        """Whether the job has something to do, may run in this process, and everybody could read what it writes."""
        active = self.keyring.active_kid
        is_old_in_use = bool(await store.kids_in_use(link) - {active})
        self._rounds += 1
        if is_old_in_use or self._rounds % _COUNT_EVERY == 1:
            self.records = await store.totals(link)
        canary = (await store.canaries(link)).get(active)
        if not is_old_in_use or self.keyring.fault is not None or canary is None or canary.state != "active":
            return False
        without = lacking(await store.replicas(link, SILENT_S), active)
        if without:
            log.warning("reencryption_waits", kid=active, replicas=len(without))
            return False
        return sum(records for kid, records in self.records.items() if kid != active) > self._unreadable

    async def _reencrypt(self) -> None:
        try:
            run = await self._reencryptor.run(self._note_progress)
        except (psycopg.Error, PoolTimeout, OSError, AppError) as error:
            log.warning("reencryption_interrupted", error=type(error).__name__)
            return
        self._unreadable = 0 if run is None else len(run.unreadable)
        if run is not None and run.total:
            unreadable = sorted(run.unreadable)[:_LISTED]
            say = log.info if run.is_complete else log.error
            say("reencryption_ended", isComplete=run.is_complete, done=run.done, unreadable=unreadable)
            async with self._database.transaction(read_only=True) as link:
                self.records = await store.totals(link)

    def _note_progress(self, run: Run) -> None:
        """Tell every so often."""
        if run.done // _TELL_EVERY > self._told // _TELL_EVERY or not self._told:
            log.info("reencryption_progress", done=run.done, total=run.total)
        self._told = run.done

    async def _write_seals(self, unit: Unit) -> None:
        """Add what this process has sealed to what all have; learn the sum."""
        link, fresh = await unit.begin(), self.keyring.fresh_counts()
        for kid, seals in fresh.items():
            total = await store.count_seals(link, kid, seals)
            if total is not None:
                unit.after_commit(partial(self.keyring.settle_count, kid, seals, total))
        active = self.keyring.active_kid
        if active not in fresh:
            canary = (await store.canaries(link)).get(active)
            self.keyring.settle_count(active, 0, 0 if canary is None else canary.seal_count)
        if self.keyring.is_worn and not self._has_warned:
            self._has_warned = True
            log.warning("key_worn", kid=active, seals=self.keyring.sealed_count)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def lacking(replicas: Sequence[store.Replica], kid: str) -> Sequence[store.Replica]:
    """The processes that could not open what is sealed under this kid."""
    return [replica for replica in replicas if kid not in replica.kids]
