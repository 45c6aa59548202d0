"""Questions asked together: every asker gets the own answer, and trouble reaches exactly those it concerns."""

import asyncio
from collections.abc import Sequence

import psycopg
import pytest

from agenthifive.db.batch import BATCH_MAX
from agenthifive.db.database import Database, DatabaseOptions
from agenthifive.db.direct import Direct

DOUBLES = (
    b"SELECT json_agg(value::int * 2 ORDER BY n)"
    b" FROM json_array_elements_text($1::text::json) WITH ORDINALITY x(value, n)"
)


class Doubler:
    """Doubles numbers in the database, and remembers how they came."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.statement = DOUBLES

    async def __call__(self, wire: Direct, numbers: Sequence[int]) -> Sequence[int]:
        self.batches.append(len(numbers))
        answer = await wire.call(self.statement[:12], self.statement, [str(list(numbers)).encode()])
        return [int(text) for text in (answer or b"[]").strip(b"[]").split(b",")]


async def test_those_who_wait_together_are_asked_together(database: Database) -> None:
    doubler = Doubler()
    batch = database.batch(doubler)
    assert await batch.ask(21) == 42
    answers = await asyncio.gather(*(batch.ask(number) for number in range(BATCH_MAX + 50)))
    assert answers == [2 * number for number in range(BATCH_MAX + 50)]
    assert doubler.batches == [1, BATCH_MAX, 50]


async def test_one_kind_of_question_has_one_connection(database: Database) -> None:
    doubler = Doubler()
    assert database.batch(doubler) is database.batch(doubler)


async def test_an_error_reaches_all_of_the_batch_and_none_of_the_next(database: Database) -> None:
    doubler = Doubler()
    batch = database.batch(doubler)
    doubler.statement = b"SELECT 1 / (length($1::text) * 0)"
    failed = await asyncio.gather(batch.ask(1), batch.ask(2), return_exceptions=True)
    assert [type(error) for error in failed] == [psycopg.errors.DivisionByZero] * 2
    doubler.statement = DOUBLES
    assert await batch.ask(3) == 6


async def test_a_connection_that_was_cut_is_replaced(database: Database, admin_dsn: str) -> None:
    doubler = Doubler()
    batch = database.batch(doubler)
    assert await batch.ask(1) == 2
    assert batch._wire is not None
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [batch._wire._connection.info.backend_pid])
    async with asyncio.timeout(5):
        while True:
            try:
                assert await batch.ask(2) == 4
            except psycopg.OperationalError:
                continue
            break


async def test_without_an_answer_in_time_the_question_fails_and_the_next_one_is_not_mixed_up(app_dsn: str) -> None:
    impatient = Database(DatabaseOptions(app_dsn, pool_max=2, pool_timeout_ms=100, statement_timeout_ms=200))
    doubler = Doubler()
    batch = impatient.batch(doubler)
    doubler.statement = b"SELECT pg_sleep(5)::text || $1"
    with pytest.raises(psycopg.OperationalError):
        await batch.ask(1)
    doubler.statement = DOUBLES
    assert await batch.ask(4) == 8
    await impatient.close()


async def test_a_closed_database_leaves_nobody_waiting(app_dsn: str) -> None:
    short = Database(DatabaseOptions(app_dsn, pool_max=2))
    batch = short.batch(Doubler())
    asked = asyncio.create_task(batch.ask(1))
    await asyncio.sleep(0)
    await short.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
