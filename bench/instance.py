"""A server of our own: temporary home, embedded PostgreSQL, `agenthifive` as operators start it; gone afterwards.

temporary home -> `agenthifive up` (first start) -> ready -> ... kill, `agenthifive serve` ... -> SIGINT -> removed
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from psycopg.conninfo import make_conninfo

from agenthifive.secrets_env import read_secrets_env
from bench.client import Client
from bench.failures import BenchError
from bench.processes import list_processes, tree
from bench.programs import end, free_port, last_lines

_START_TIMEOUT_S: Final = 90.0
_STOP_TIMEOUT_S: Final = 60.0
_LOOK_AGAIN_S: Final = 0.01
_KEPT: Final = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "LANG")
_SETTINGS: Final[Mapping[str, str]] = {
    "AH5_ENV": "production",
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json",
    "SHUTDOWN_DELAY_SECONDS": "0",
    "AGENT_MAX_IN_FLIGHT": "1000",
    "RATE_LIMIT_TOKEN_PER_MINUTE": "100000",
    "RATE_LIMIT_BOOTSTRAP_PER_MINUTE": "100000",
    "RATE_LIMIT_LINKS_PER_MINUTE": "100000",
    "RATE_LIMIT_PRINCIPAL_PER_MINUTE": "10000000",
    "RATE_LIMIT_GLOBAL_PER_15_MINUTES": "10000000",
    "RATE_LIMIT_AUTH_FAILURES_PER_5_MINUTES": "10000000",
}
"""What operators set in production, and limits that would answer in place of the server out of the way."""


class Instance:
    """One home with its server. `process` is the one that was started last."""

    def __init__(self, home: Path, log: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        self.log = log
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.client = Client(self.port)
        own = {name: text for name, text in os.environ.items() if name in _KEPT or name.startswith("PYTHON")}
        own |= {"HOME": str(home), "AGENTHIFIVE_HOME": str(home), "API_PORT": str(self.port), "WEB_URL": self.base}
        self._environ = {**own, **_SETTINGS, **settings}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the server."""
        assert self.process is not None
        return self.process.pid

    def begin(self, command: str) -> None:
        """Start `up` or `serve` and return at once."""
        with self.log.open("ab") as log, self._said.open("wb") as said:
            self.process = subprocess.Popen(
                self._command("--json", command),
                env=self._environ,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is ours to handle: the server is stopped in order
            )

    def wait_until_healthy(self) -> None:
        """Return once /health is answered 200. Raises: BenchError."""
        assert self.process is not None
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError, BenchError):
                self.client.get("/health")
                return
            time.sleep(_LOOK_AGAIN_S)
        raise BenchError(f"The server did not start:\n{last_lines(self.log)}\n{last_lines(self._said)}")

    def read_setup_link(self) -> str:
        """The link the first start has printed. Raises: BenchError."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(ValueError):
                link: str = json.loads(self._said.read_text("utf-8"))["data"]["setupLink"]
                return link
            time.sleep(_LOOK_AGAIN_S)
        raise BenchError(f"The server printed no set-up link:\n{last_lines(self.log)}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line on this home, to its end."""
        return subprocess.run(
            self._command(*arguments), env=self._environ, cwd=self.home, capture_output=True, text=True, check=False
        )

    def stop(self) -> None:
        """End the server, and with it the database, in order."""
        if self.process is not None:
            end(self.process, signal.SIGINT, _STOP_TIMEOUT_S)

    def kill(self) -> None:
        """End the server without a word; the database stays up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_postgres(self) -> int | None:
        """End the database and all its processes without a word; the pid it had."""
        pid = self.postgres_pid()
        for victim in () if pid is None else sorted(tree(pid, list_processes())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        return pid

    def postgres_pid(self) -> int | None:
        """Of the embedded server, when there is one."""
        lines = self._postmaster()
        if not lines:
            return None
        pid = int(lines[0])
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return pid if str(self._data).encode() in command else None

    def admin_dsn(self) -> str:
        """How to reach the database as its superuser."""
        return make_conninfo(
            host=self._postmaster()[4],
            dbname="agenthifive",
            user="agenthifive_admin",
            password=read_secrets_env(self.home)["AGENTHIFIVE_DB_ADMIN_PASSWORD"],
        )

    def remove(self) -> None:
        """End what still runs and remove every file."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        pid = self.postgres_pid()  # left only by a server that was killed
        if pid is not None:
            os.kill(pid, signal.SIGINT)
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            while self.postgres_pid() is not None and time.monotonic() < deadline:
                time.sleep(_LOOK_AGAIN_S)
        if self._data.parent != self.home.resolve():  # the cluster of root lies elsewhere, see db/embedded.py
            shutil.rmtree(self._data.parent, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return (self.home / "pg").resolve()

    @property
    def _said(self) -> Path:
        return self.home / "said.json"

    def _postmaster(self) -> list[str]:
        """The lock file of PostgreSQL: line 1 is the pid, line 5 the folder of the socket."""
        try:
            return (self._data / "postmaster.pid").read_text("utf-8").splitlines()
        except FileNotFoundError:
            return []

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "agenthifive", *arguments]


@contextlib.contextmanager
def running_instance(settings: Mapping[str, str], log: Path | None) -> Iterator[Instance]:
    """A fresh instance, set up and healthy, for the length of a block.

    Shapes:
        log: where the server's log is kept; None: it goes with the home.
    Raises: BenchError.
    """
    home = Path(tempfile.mkdtemp(prefix="ah5-bench-"))
    instance = Instance(home, home / "server.log" if log is None else log.absolute(), settings)
    try:
        instance.begin("up")
        instance.wait_until_healthy()
        yield instance
    finally:
        instance.remove()
