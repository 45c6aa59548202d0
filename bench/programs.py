"""Programs that are started and surely ended: where they are, and their processes for the length of a block."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.failures import BenchError, NotInstalled

ROOT: Final = Path(__file__).resolve().parent.parent
_DEBIAN: Final[Mapping[str, str]] = {"nginx": "nginx-light", "wrk": "wrk"}
_SBIN: Final = "/usr/local/sbin:/usr/sbin:/sbin"  # where Debian keeps nginx, outside a user's PATH
_START_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.02


def require_programs() -> None:
    """Raises: NotInstalled, naming everything that is missing and how to get it."""
    missing = [name for name in _DEBIAN if _find(name) is None]
    if missing:
        packages = " ".join(_DEBIAN[name] for name in missing)
        raise NotInstalled(f"{' and '.join(missing)} not found. On Debian: apt-get install {packages}")


def program(name: str) -> str:
    """The full path of nginx or wrk. Raises: NotInstalled."""
    found = _find(name)
    if found is None:
        raise NotInstalled(f"{name} not found. On Debian: apt-get install {_DEBIAN[name]}")
    return found


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that listens on a port of this machine, for the length of a block. Raises: BenchError."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        _wait_until_listening(process, port, log)
        yield process
    finally:
        end(process, signal.SIGTERM)


def end(process: subprocess.Popen[bytes], number: signal.Signals, timeout_s: float = _STOP_TIMEOUT_S) -> None:
    """Ask a process to end, and end it when it does not."""
    process.send_signal(number)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log, for a message."""
    return "\n".join(log.read_text("utf-8", "replace").strip().splitlines()[-count:])


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1.0):
            return
        time.sleep(_LOOK_AGAIN_S)
    raise BenchError(f"{log.stem} did not start:\n{last_lines(log)}")
