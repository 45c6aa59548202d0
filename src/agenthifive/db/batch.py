"""Questions that wait at the same moment are asked together: one statement, one round trip, one at a time.

    ask -> waiting -> run(wire, questions) -> answers -> whoever asked

For questions that many requests ask and that need no transaction of their own. While one batch is under way the next
one gathers, so the busier the process, the smaller a request's share of a round trip.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import psycopg

from agenthifive.db.direct import Direct

BATCH_MAX: Final = 256

Question = TypeVar("Question")
Answer = TypeVar("Answer")
Run = Callable[[Direct, Sequence[Question]], Awaitable[Sequence[Answer]]]


class Batch(Generic[Question, Answer]):
    """One kind of question on a connection of its own, opened when somebody asks.

    Shapes:
        run: answers in the order of the questions. deadline_s: for one batch, connecting included.
    """

    def __init__(self, connect: Callable[[], Awaitable[Direct]], run: Run[Question, Answer], deadline_s: float) -> None:
        self._connect = connect
        self._run = run
        self._deadline_s = deadline_s
        self._wire: Direct | None = None
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer. Raises: psycopg.Error; OperationalError when there was none in time."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
        return await future

    async def close(self) -> None:
        """Give up what waits, and the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for _, future in self._waiting:
            future.cancel()
        self._waiting = []
        await self._drop()

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            batch = [(question, future) for question, future in batch if not future.done()]
            try:
                answers = await self._put([question for question, _ in batch])
            except psycopg.Error as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            except BaseException:
                for _, future in batch:
                    future.cancel()
                raise
            else:
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)

    async def _put(self, questions: Sequence[Question]) -> Sequence[Answer]:
        if not questions:
            return ()
        try:
            async with asyncio.timeout(self._deadline_s):
                if self._wire is None or self._wire.closed:
                    await self._drop()
                    self._wire = await self._connect()
                return await self._run(self._wire, questions)
        except (OSError, TimeoutError, psycopg.OperationalError) as error:
            await self._drop()  # an answer that comes late must not be taken for that of the next question
            raise error if isinstance(error, psycopg.Error) else psycopg.OperationalError("no answer in time") from None

    async def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await wire.close()
