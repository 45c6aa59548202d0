"""Work after the answer: bounded, a few at a time, finished at the end, and never silently lost."""

import asyncio

import pytest
from structlog.testing import capture_logs

from agenthifive.people import errands
from agenthifive.people.errands import AT_A_TIME, Errands


async def test_errands_are_done_a_few_at_a_time() -> None:
    running, peak, done = 0, 0, 0

    async def work() -> None:
        nonlocal running, peak, done
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0)
        running, done = running - 1, done + 1

    made = Errands()
    for _ in range(20):
        made.run(work)
    await made.close()
    assert (done, peak) == (20, AT_A_TIME)


async def test_too_many_are_dropped_and_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "WAITING_MAX", 3)
    done = []

    async def work() -> None:
        done.append(1)

    made = Errands()
    with capture_logs() as logs:
        for _ in range(5):
            made.run(work)
        await made.close()
    assert (len(done), [line["event"] for line in logs]) == (3, ["errand_dropped"] * 2)


async def test_one_that_fails_is_logged_and_harms_no_other() -> None:
    done = []

    async def fail() -> None:
        raise OSError

    async def work() -> None:
        done.append(1)

    made = Errands()
    with capture_logs() as logs:
        made.run(fail)
        made.run(work)
        await made.close()
    assert (done, [line["event"] for line in logs]) == ([1], ["errand_failed"])


async def test_the_end_waits_a_few_seconds_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "CLOSE_S", 0.01)
    made = Errands()
    made.run(asyncio.Event().wait)  # type: ignore[arg-type]
    with capture_logs() as logs:
        await made.close()
    assert [(line["event"], line["count"]) for line in logs] == [("errand_dropped", 1)]
