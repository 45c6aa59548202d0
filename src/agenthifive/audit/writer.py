"""The broker's audit writer: waiting rows are chained and written together, two batches in flight.

    intend / refuse / conclude -> queue -> lane 1: link, one statement, commit -> waiters go on
                                        -> lane 2: the same, on a chain of its own

The statement that appends intents also reserves their rate units and claims their idempotency keys, so a call has
one durable write before and one after, shared with its neighbours. Source: contract/audit.md section 4, broker.md
sections 3 (gate 15) and 16.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agenthifive.audit.lane import BATCH_MAX, Entry, Kind, Lane, NewToken, NotWritten
from agenthifive.audit.model import Event

OUTCOME_PATIENCE_S: Final = 1.0
SECOND_LANE_AT: Final = 24
"""Rows that must wait before a second batch goes out beside the first: few large batches cost less than many small."""

_TICK_S: Final = 0.05
_RETRY_S: Final = 0.2


class AuditUnavailable(Exception):
    """The row could not be made durable in time; nothing may leave, nothing may be claimed to have happened."""


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """Units: seconds, rows. lanes: chains of this writer; their names are `{name}-1` and so on."""

    deadline_s: float = 2.0
    queue_max: int = 10_000
    name: str = "broker"
    lanes: int = 2


class Writer:
    """Takes rows from calls and makes them durable. One per process."""

    def __init__(
        self, make_lane: Callable[[str], Lane], undo: Callable[[Event], Event], options: WriterOptions
    ) -> None:
        """`undo` makes the outcome row of an intent whose caller had given up before its commit was confirmed."""
        self._lanes = [make_lane(f"{options.name}-{number}") for number in range(1, options.lanes + 1)]
        self._undo = undo
        self._options = options
        self._queue: deque[Entry] = deque()
        self._waiting: dict[Kind, deque[Entry]] = {kind: deque() for kind in Kind}
        self._idle: deque[asyncio.Event] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._ticking = False

    @property
    def chain_ids(self) -> list[str]:
        """The chains of this process, for the heartbeat: calls whose intent is in a chain given up may still run."""
        return [chain_id for lane in self._lanes for chain_id in lane.opened]

    @property
    def depth(self) -> int:
        """Rows waiting, for metrics."""
        return len(self._queue)

    @property
    def is_healthy(self) -> bool:
        """Whether at least one lane last succeeded."""
        return any(lane.is_up for lane in self._lanes)

    async def start(self) -> None:
        """Open the chains before the first row wants them. Raises: psycopg.Error, OSError."""
        for lane in self._lanes:
            await lane.connect()

    async def close(self, patience_s: float = 5.0) -> None:
        """Write what waits, then stop."""
        self._closing = True
        for wake in self._idle:
            wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*self._tasks)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes:
            await lane.close()

    async def append(self, entry: Entry) -> None:
        """Make an intent or a refusal durable.

        Raises: AuditUnavailable; lane.BudgetExceeded and lane.KeyTaken for an intent that must not go out,
            lane.TokenRefused for a token that must not be issued (then no row was written).
        """
        self._put(entry)
        await entry.future

    async def conclude(self, entry: Entry) -> bool:
        """Make an outcome durable; False when that takes longer than a second: it is then written later."""
        try:
            self._put(entry)
        except AuditUnavailable:
            return False
        return await entry.future

    def entry(self, kind: Kind, event: Event, token: NewToken | None = None) -> Entry:
        """A row on its way, bound to the running loop."""
        return Entry(kind, event, asyncio.get_running_loop().create_future(), token=token)

    def _put(self, entry: Entry) -> None:
        if self._closing or len(self._queue) >= self._options.queue_max:
            raise AuditUnavailable
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._run(lane)) for lane in self._lanes]
        entry.entered_at = asyncio.get_running_loop().time()
        self._queue.append(entry)
        self._waiting[entry.kind].append(entry)
        if self._idle and (len(self._idle) == len(self._lanes) or len(self._queue) >= SECOND_LANE_AT):
            self._idle.popleft().set()
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        """Answer those who waited too long; runs only while somebody waits."""
        now = asyncio.get_running_loop().time()
        if self._queue and self._idle:  # the lane at work is held up: the other one takes what waits
            self._idle.popleft().set()
        for kind, waiting in self._waiting.items():
            patience_s = OUTCOME_PATIENCE_S if kind is Kind.OUTCOME else self._options.deadline_s - 2 * _TICK_S
            while waiting and (waiting[0].future.done() or now - waiting[0].entered_at >= patience_s):
                entry = waiting.popleft()
                if entry.future.done():
                    continue
                if kind is Kind.OUTCOME:
                    entry.future.set_result(False)
                else:
                    entry.has_given_up = True
                    entry.future.set_exception(AuditUnavailable())
        self._ticking = any(self._waiting.values())
        if self._ticking:
            asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    async def _run(self, lane: Lane) -> None:
        wake = asyncio.Event()
        while True:
            batch = self._take()
            if batch:
                await self._write(lane, batch)
            elif self._closing:
                return
            else:
                wake.clear()
                self._idle.append(wake)
                await wake.wait()

    def _take(self) -> list[Entry]:
        batch: list[Entry] = []
        while self._queue and len(batch) < BATCH_MAX:
            entry = self._queue.popleft()
            if entry.kind is Kind.OUTCOME or not (entry.has_given_up or entry.future.cancelled()):
                batch.append(entry)
        return batch

    async def _write(self, lane: Lane, batch: list[Entry]) -> None:
        try:
            await lane.write(batch, self._options.deadline_s)
        except NotWritten:
            self._give_back(batch)
            self._undo_given_up(batch)
            if not self._closing:
                await asyncio.sleep(_RETRY_S)
        else:
            self._undo_given_up(batch)

    def _undo_given_up(self, batch: list[Entry]) -> None:
        """Intents that became durable although their callers were refused get their outcome."""
        for entry in batch:
            if entry.is_written and entry.kind is Kind.INTENT and (entry.has_given_up or entry.future.cancelled()):
                with contextlib.suppress(AuditUnavailable):
                    self._put(self.entry(Kind.OUTCOME, self._undo(entry.event)))

    def _give_back(self, batch: list[Entry]) -> None:
        """Outcomes wait for better times at the head of the queue; calls are refused at once."""
        for entry in reversed(batch):
            if entry.is_written:
                continue
            if entry.kind is Kind.OUTCOME:
                self._queue.appendleft(entry)
            elif not entry.future.done():
                entry.has_given_up = True
                entry.future.set_exception(AuditUnavailable())
