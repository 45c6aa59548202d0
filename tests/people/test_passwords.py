"""Passwords are hashed with the contract's cost, compared in constant work, and never more than two at a time."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2 import extract_parameters
from argon2.low_level import Type

from agenthifive.errors import AppError
from agenthifive.people import passwords
from agenthifive.people.passwords import Passwords, decoy_hash, find_fault


@pytest.fixture
def room() -> Iterator[Passwords]:
    made = Passwords(12)
    yield made
    made.close()


async def test_the_real_cost_is_that_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    room = Passwords(12)
    stored = await room.hash("orchid-lantern-gravel-77")
    found = extract_parameters(stored)
    assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (Type.ID, 65_536, 3, 1)
    assert extract_parameters(room._decoy).memory_cost == 65_536
    assert await room.is_right(stored, "orchid-lantern-gravel-77")
    assert not await room.is_right(stored, "orchid-lantern-gravel-78")
    room.close()


async def test_two_hashes_of_one_password_differ(room: Passwords) -> None:
    assert await room.hash("same") != await room.hash("same")


async def test_without_a_hash_the_same_work_is_done(room: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account that does not exist costs one comparison under the same parameters, which no password passes."""
    compared: list[str] = []
    compare = room._compare

    def count(stored: str, password: str) -> bool:
        compared.append(stored)
        return compare(stored, password)

    monkeypatch.setattr(room, "_compare", count)
    assert not await room.is_right(None, "orchid-lantern-gravel-77")
    real = extract_parameters(await room.hash("x"))
    decoy = extract_parameters(compared[0])
    assert len(compared) == 1
    assert (decoy.type, decoy.version) == (real.type, real.version)
    assert (decoy.memory_cost, decoy.time_cost, decoy.parallelism) == (
        real.memory_cost,
        real.time_cost,
        real.parallelism,
    )


def test_every_process_has_a_decoy_of_its_own() -> None:
    assert decoy_hash(1, 8, 1) != decoy_hash(1, 8, 1)


async def test_at_most_two_are_hashed_at_a_time(room: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock, release = 0, 0, threading.Lock(), threading.Event()
    two = threading.Event()

    def slow(_: str, __: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == 2:
                two.set()
        release.wait(10)
        with lock:
            running -= 1
        return False

    monkeypatch.setattr(room, "_compare", slow)
    tasks = [asyncio.create_task(room.is_right(None, "x")) for _ in range(8)]
    await asyncio.to_thread(two.wait, 10)
    for task in tasks[2:4]:
        task.cancel()  # a client that goes away frees no third thread
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most == 2


async def test_a_crowd_is_turned_away(room: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(room, "_compare", lambda *_: release.wait(10))
    monkeypatch.setattr(passwords, "WAITING_MAX", 3)
    tasks = [asyncio.create_task(room.is_right(None, "x")) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(AppError) as refused:
        await room.is_right(None, "x")
    assert (refused.value.code, refused.value.retry_after_s) == ("unavailable", 2)
    release.set()
    assert await asyncio.gather(*tasks) == [True, True, True]
    assert await room.is_right(None, "x")


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("kX9#mQ2$vL7", "PASSWORD_TOO_SHORT"),
        ("kX9#mQ2$vL7z", None),
        ("kX9#mQ2$vL7z" * 10 + "12345678", None),
        ("kX9#mQ2$vL7z" * 10 + "123456789", "INVALID_REQUEST"),
        ("password1234", "PASSWORD_TOO_COMMON"),
        ("Olga.Petrova@Example.com", "PASSWORD_TOO_COMMON"),
        ("olga petrova", "PASSWORD_TOO_COMMON"),
        (" Olga Petrova ", "PASSWORD_TOO_COMMON"),
    ],
)
def test_which_passwords_are_accepted(password: str, code: str | None) -> None:
    fault = find_fault(password, 12, "olga.petrova@example.com", "Olga Petrova")
    assert (fault and fault[0]) == code


def test_the_shortest_length_is_a_setting() -> None:
    assert find_fault("aK3$x9!q", 8) is None
    assert find_fault("aK3$x9!q", 9) is not None
