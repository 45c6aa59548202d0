"""The instance of the demonstration: a home of its own, an embedded PostgreSQL, a server process; gone afterwards.

temporary home -> init -> `agenthifive serve` (own environment and process group) -> ready -> ... -> removed
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from agenthifive.cli.client import Client
from agenthifive.cli.console import CommandError, Exit

START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 40.0
_LOOK_AGAIN_S: Final = 0.05
_LOG_LINES: Final = 8
_KEPT: Final = ("PATH", "TMPDIR", "LD_LIBRARY_PATH")
_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class DemoInstance:
    """A running server with nothing in it."""

    home: Path
    base: str
    environ: Mapping[str, str]

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run one command of ours against this instance; its data. Raises: CommandError."""
        done = subprocess.run(
            _program(*arguments, "--json"), env=dict(self.environ), cwd=self.home, capture_output=True, check=False
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {"ok": False, "error": done.stderr.decode("utf-8", "replace").strip()[-500:], "code": "failed"}
        if not answer["ok"]:
            raise CommandError(f"agenthifive {arguments[0]} failed: {answer['error']}", code=answer["code"])
        data: dict[str, Any] = answer["data"]
        return data


@contextlib.contextmanager
def running_instance(
    environ: Mapping[str, str], settings: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[DemoInstance]:
    """A server with these settings, ready, for the length of a block; nothing of it is left. Raises: CommandError."""
    with contextlib.ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="ah5-demo-"))
        stack.callback(_remove, home)
        port = _free_port()
        base = f"http://127.0.0.1:{port}"
        own = {name: text for name, text in environ.items() if name in _KEPT or name.startswith("PYTHON")}
        own |= {"HOME": str(home), "AGENTHIFIVE_HOME": str(home), "API_PORT": str(port), "WEB_URL": base}
        instance = DemoInstance(home, base, own | dict(settings))
        say("Starting a temporary instance with a database of its own")
        instance.command("init")
        process = _start(instance)
        stack.callback(_stop, process, home)
        stack.callback(ignore_interrupts)  # what follows runs before the two above
        _wait_until_ready(instance, process)
        yield instance


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end the block, and none after it disturb the cleaning up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        ignore_interrupts()
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in _INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def ignore_interrupts() -> None:
    """From now on Ctrl-C and SIGTERM do nothing."""
    for number in _INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)


def _program(*arguments: str) -> Sequence[str]:
    return (sys.executable, "-m", "agenthifive", *arguments)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(instance: DemoInstance) -> subprocess.Popen[bytes]:
    with _log_of(instance.home).open("wb") as log:
        return subprocess.Popen(
            _program("serve"),
            env=dict(instance.environ),
            cwd=instance.home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C is ours to handle: the server is stopped in order
        )


def _wait_until_ready(instance: DemoInstance, process: subprocess.Popen[bytes]) -> None:
    client, deadline = Client(instance.base, timeout_s=5), time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.get("/health/ready")
        except CommandError:
            time.sleep(_LOOK_AGAIN_S)
        else:
            return
    lines = _log_of(instance.home).read_text("utf-8", "replace").strip().splitlines()[-_LOG_LINES:]
    raise CommandError(
        "The temporary instance did not start:\n" + "\n".join(lines),
        exit_code=Exit.UNREACHABLE,
        code="demo_start",
        hint="Does `agenthifive up` start?",
    )


def _stop(process: subprocess.Popen[bytes], home: Path) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):  # left only by a killed server
        pid = int((home / "pg" / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
        os.kill(pid, signal.SIGQUIT)


def _remove(home: Path) -> None:
    data = (home / "pg").resolve()
    if data.parent != home.resolve():  # the cluster of root lives elsewhere, see db/embedded.py
        shutil.rmtree(data.parent, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


def _log_of(home: Path) -> Path:
    return home / "server.log"
