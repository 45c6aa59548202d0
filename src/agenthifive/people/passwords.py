"""Passwords: which are accepted, how they are kept, and how they are compared.

Argon2id takes 64 MiB and a tenth of a second on purpose, so it runs in two threads of its own: never more than two at
a time in a process, and the event loop goes on. Source: contract/http.md section 14.1.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from agenthifive.errors import AppError
from agenthifive.people.common_passwords import is_common
from agenthifive.vault.hashing import new_token

PASSWORD_MAX: Final = 128
MEMORY_KIB: Final = 64 * 1024
TIME_COST: Final = 3
PARALLELISM: Final = 1
AT_A_TIME: Final = 2
WAITING_MAX: Final = 64
T = TypeVar("T")


class Passwords:
    """Hashes and compares passwords. Close it last."""

    def __init__(self, min_length: int) -> None:
        self.min_length = min_length
        self._hasher = PasswordHasher(TIME_COST, MEMORY_KIB, PARALLELISM)
        self._decoy = decoy_hash(TIME_COST, MEMORY_KIB, PARALLELISM)
        self._threads = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="password")
        self._waiting = 0

    def close(self) -> None:
        """Wait for running work and end the threads."""
        self._threads.shutdown()

    async def hash(self, password: str) -> str:
        """The text under which a password is stored. Raises: AppError (503 unavailable)."""
        return await self._run(lambda: self._hasher.hash(password))

    async def is_right(self, stored: str | None, password: str) -> bool:
        """Whether this is the password of a stored hash; without one it is not, after the same work.

        Raises: AppError (503 unavailable).
        """
        return await self._run(lambda: self._compare(stored or self._decoy, password))

    def _compare(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise AppError("unavailable", "Too many sign-ins at once. Try again in a moment.", retry_after_s=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def decoy_hash(time_cost: int, memory_kib: int, parallelism: int) -> str:
    """A hash that no password has; comparing with it costs what comparing with a real one does."""
    salt, digest = (new_token("").replace("-", "+").replace("_", "/") for _ in range(2))
    return f"$argon2id$v=19$m={memory_kib},t={time_cost},p={parallelism}${salt}${digest}"


def find_fault(password: str, min_length: int, *known_texts: str) -> tuple[str, str] | None:
    """Code and advice when a new password is not acceptable, None when it is.

    Shapes:
        known_texts: what a guesser would try for this person, such as e-mail and name.
    """
    if len(password) < min_length:
        return "PASSWORD_TOO_SHORT", f"The password needs at least {min_length} characters."
    if len(password) > PASSWORD_MAX:
        return "INVALID_REQUEST", f"The password may have at most {PASSWORD_MAX} characters."
    folded = password.strip().casefold()
    if is_common(password) or any(folded == known.strip().casefold() for known in known_texts):
        return (
            "PASSWORD_TOO_COMMON",
            "This password is easy to guess. Use several unrelated words, or let a password manager make one.",
        )
    return None
