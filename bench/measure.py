"""One measured run: who used how much CPU while a load ran, and whether the machine was quiet.

quiet second -> counters -> load -> counters
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.failures import BenchError
from bench.processes import QUIET_SHARE, cpu_s, list_processes, machine_s, tree

T = TypeVar("T")
_LOOK_S: Final = 1.0
_STRICT_TRIES: Final = 120


@dataclass(frozen=True, slots=True)
class Parties:
    """Processes that take part besides our own children: roots of their trees."""

    server: int
    postgres: int
    proxy: int


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used during a run, and how long it was. others_share: of one core, by processes not ours."""

    wall_s: float
    server_s: float
    postgres_s: float
    proxy_s: float
    others_share: float


@dataclass(frozen=True, slots=True)
class _Counters:
    at_s: float
    server_s: float
    postgres_s: float
    proxy_s: float
    others_s: float


class Meter:
    """Measures runs. Strict: a run waits for a quiet machine, else it only warns."""

    def __init__(self, parties: Parties, say: Callable[[str], None], *, is_strict: bool) -> None:
        self._parties = parties
        self._say = say
        self._is_strict = is_strict

    def measure(self, load: Callable[[], T]) -> tuple[T, Usage]:
        """Run a load once. Raises: BenchError when a strict meter waits in vain."""
        self._wait_until_quiet()
        before = self._read()
        result = load()
        return result, _difference(before, self._read())

    def _wait_until_quiet(self) -> None:
        for _ in range(_STRICT_TRIES):
            before = self._read()
            time.sleep(_LOOK_S)
            share = _difference(before, self._read()).others_share
            if share < QUIET_SHARE:
                return
            if not self._is_strict:
                self._say(f"not quiet: other processes use {share:.0%} of a core; do not trust this run")
                return
        raise BenchError(f"The machine was not quiet for {_STRICT_TRIES * _LOOK_S:.0f} s.")

    def _read(self) -> _Counters:
        processes = list_processes()
        postgres = tree(self._parties.postgres, processes)
        server = tree(self._parties.server, processes) - postgres  # the server is the parent of its database
        ours = tree(os.getpid(), processes) | postgres
        return _Counters(
            time.monotonic(),
            cpu_s(server, processes),
            cpu_s(postgres, processes),
            cpu_s(tree(self._parties.proxy, processes), processes),
            machine_s() - cpu_s(ours, processes),
        )


def _difference(before: _Counters, after: _Counters) -> Usage:
    wall_s = after.at_s - before.at_s
    return Usage(
        wall_s,
        after.server_s - before.server_s,
        after.postgres_s - before.postgres_s,
        after.proxy_s - before.proxy_s,
        max(0.0, (after.others_s - before.others_s) / wall_s),
    )
