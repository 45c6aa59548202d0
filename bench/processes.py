"""CPU and memory of processes, as the kernel tells them in /proc.

The CPU of a tree is that of a process and all its descendants, those it has already waited for included. The kernel
counts in ticks of 10 ms: differences below 0.05 s say little.
"""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

QUIET_SHARE: Final = 0.08
"""Of one core: what other processes may use while we measure."""

_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_RESET_PEAK: Final = "5"
# of the first line of /proc/stat: user, nice, system, irq, softirq; not idle, not what other machines stole
_BUSY: Final = (0, 1, 2, 5, 6)


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its parent and the CPU seconds of itself and of children it has waited for."""

    parent: int
    cpu_s: float


def read_stat(text: str, ticks_per_s: int = _TICKS_PER_S) -> Process:
    """A line of /proc/PID/stat. The name in it may hold spaces and brackets. Source: proc(5)."""
    fields = text.rpartition(")")[2].split()
    return Process(int(fields[1]), sum(int(field) for field in fields[11:15]) / ticks_per_s)


def read_busy(text: str, ticks_per_s: int = _TICKS_PER_S) -> float:
    """CPU seconds the whole machine has worked since it started, from /proc/stat. Source: proc(5)."""
    counts = [int(field) for field in text.split("\n", 1)[0].split()[1:]]
    return sum(counts[place] for place in _BUSY) / ticks_per_s


def list_processes() -> Mapping[int, Process]:
    """Every process there is now."""
    found = {}
    for entry in os.listdir(_PROC):
        if entry.isdigit():
            try:
                found[int(entry)] = read_stat((_PROC / entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile
    return found


def tree(root: int, processes: Mapping[int, Process]) -> frozenset[int]:
    """The process and its descendants, as far as they live."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    found: set[int] = set()
    to_visit = [root] if root in processes else []
    while to_visit:
        pid = to_visit.pop()
        if pid not in found:
            found.add(pid)
            to_visit.extend(children.get(pid, ()))
    return frozenset(found)


def cpu_s(pids: Iterable[int], processes: Mapping[int, Process]) -> float:
    """CPU seconds these processes have used together."""
    return sum(processes[pid].cpu_s for pid in pids)


def machine_s() -> float:
    """CPU seconds the whole machine has worked since it started."""
    return read_busy((_PROC / "stat").read_text())


def memory_mib(pid: int) -> float:
    """What a process occupies now, shared pages included (VmRSS)."""
    return _status_mib(pid, "VmRSS:")


def peak_memory_mib(pid: int) -> float:
    """The most a process has occupied since `forget_peak` (VmHWM)."""
    return _status_mib(pid, "VmHWM:")


def forget_peak(pid: int) -> None:
    """Let the peak begin anew at what is occupied now."""
    (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)


def wait_until_gone(pid: int, timeout_s: float) -> None:
    """Return once a process that has ended was also waited for by its parent, or after the time."""
    end_s = time.monotonic() + timeout_s
    while (_PROC / str(pid)).exists() and time.monotonic() < end_s:
        time.sleep(0.01)


def _status_mib(pid: int, name: str) -> float:
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(f"process {pid} has ended")
