"""The instance of the demonstration: a home of its own, an embedded PostgreSQL, a server process; gone afterwards.

home with secrets -> `agenthifive serve` in an environment and session of its own -> ready -> ... -> removed
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agenthifive.cli.client import Client
from agenthifive.cli.console import CommandError, Exit, Terminal
from agenthifive.cli.interrupts import ignore_interrupts
from agenthifive.secrets_env import init_secrets

START_TIMEOUT_S: Final = 90.0
STOP_TIMEOUT_S: Final = 40.0
_LOOK_AGAIN_S: Final = 0.05
_LOG_LINES: Final = 8
_KEPT: Final = ("PATH", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class DemoInstance:
    """A server of our own with nothing in it."""

    home: Path
    base: str
    environ: Mapping[str, str]
    process: subprocess.Popen[bytes]

    @property
    def terminal(self) -> Terminal:
        """For commands on the database of this instance; they say nothing."""
        return Terminal(self.environ, self.home, is_json=True)

    def wait_until_ready(self) -> None:
        """Return once the server takes requests. Raises: CommandError."""
        client, deadline = Client(self.base, timeout_s=5), time.monotonic() + START_TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                client.get("/health/ready")
            except CommandError:
                time.sleep(_LOOK_AGAIN_S)
            else:
                return
        lines = _log_of(self.home).read_text("utf-8", "replace").strip().splitlines()[-_LOG_LINES:]
        raise CommandError(
            "The temporary instance did not start:\n" + "\n".join(lines),
            exit_code=Exit.UNREACHABLE,
            code="demo_start",
            hint="Does `agenthifive up` start?",
        )


@contextlib.contextmanager
def starting_instance(environ: Mapping[str, str], settings: Mapping[str, str]) -> Iterator[DemoInstance]:
    """A server with these settings, on its way up, for the length of a block; nothing of it is left afterwards."""
    with contextlib.ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="ah5-demo-"))
        stack.callback(_remove, home)
        init_secrets(home, os.urandom)
        port = _free_port()
        base = f"http://127.0.0.1:{port}"
        own = {name: text for name, text in environ.items() if name in _KEPT or name.startswith("PYTHON")}
        own |= {"HOME": str(home), "AGENTHIFIVE_HOME": str(home), "API_PORT": str(port), "WEB_URL": base, **settings}
        process = _start(home, own)
        stack.callback(_stop, process, home)
        stack.callback(ignore_interrupts)  # what follows runs before the two above
        yield DemoInstance(home, base, own, process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(home: Path, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with _log_of(home).open("wb") as log:
        return subprocess.Popen(
            (sys.executable, "-m", "agenthifive", "serve"),
            env=dict(environ),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C is ours to handle: the server is stopped in order
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
