"""`python -m bench.backup`: how long a backup and a restore take, with a log of a million rows.

    a temporary home, its log filled -> `db backup` -> `restore` into a fresh home -> `audit verify` there

Every command is a process of its own, as an operator starts it, its database server included. Everything is removed
afterwards, and no command may last longer than a quarter of an hour.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agenthifive.db import embedded, migrate
from agenthifive.secrets_env import init_secrets, read_secrets_env
from bench.backup_log import write_log
from bench.failures import BenchError

ROWS: Final = 1_000_000
COMMAND_TIMEOUT_S: Final = 900.0
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Home:
    """A place for an instance of its own."""

    path: Path
    environ: Mapping[str, str]

    def run(self, *arguments: str) -> tuple[dict[str, Any], float, float]:
        """One command; its data, its seconds, and those of all processors. Raises: BenchError."""
        before, began = _children_cpu_s(), time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-m", "agenthifive", *arguments, "--json"],
                env=dict(self.environ), cwd=self.path, capture_output=True, text=True, check=False,
                timeout=COMMAND_TIMEOUT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise BenchError(f"{' '.join(arguments[:2])} took longer than {COMMAND_TIMEOUT_S:.0f} s.") from None
        if done.returncode != 0:
            raise BenchError(f"{' '.join(arguments[:2])} ended with {done.returncode}: {done.stdout}{done.stderr}")
        data: dict[str, Any] = json.loads(done.stdout)["data"]
        return data, time.monotonic() - began, _children_cpu_s() - before


@contextlib.contextmanager
def _fresh_home(parent: Path, name: str, **environ: str) -> Iterator[Home]:
    """A home for the length of a block, its database removed wherever it is."""
    path = parent / name
    path.mkdir(mode=0o700)
    found = {"PATH": os.environ.get("PATH", ""), "HOME": str(path), "AGENTHIFIVE_HOME": str(path / "home"), **environ}
    try:
        yield Home(path, found)
    finally:
        shutil.rmtree((path / "home" / "pg").resolve().parent, ignore_errors=True)


def measure(rows: int) -> dict[str, Any]:
    """Fill, back up, restore, verify; the figures. Raises: BenchError."""
    with contextlib.ExitStack() as stack:
        parent = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ah5-bench-backup-")))
        source = stack.enter_context(_fresh_home(parent, "source"))
        _say(f"Filling the log with {rows:,} rows")
        key, filled_s = _fill(parent / "source" / "home", rows)
        _say("Backing up")
        made, backup_s, backup_cpu_s = source.run("db", "backup", "--out", str(parent / "backups"))
        dump = Path(made["file"])
        _say("Checking the backup")
        _, check_s, _ = source.run("db", "backup", "--verify", str(dump))
        target = stack.enter_context(_fresh_home(parent, "target", ENCRYPTION_KEY=key))
        _say("Restoring into a fresh home")
        restored, restore_s, restore_cpu_s = target.run("restore", str(dump))
        _say("Verifying the log once more")
        verified, verify_s, _ = target.run("audit", "verify")
        return {
            "rows": rows,
            "dumpMiB": round(dump.stat().st_size / _MIB, 1),
            "fillSeconds": round(filled_s, 1),
            "backupSeconds": round(backup_s, 1),
            "backupClientCpuSeconds": round(backup_cpu_s, 1),
            "checkSeconds": round(check_s, 1),
            "restoreSeconds": round(restore_s, 1),
            "restoreClientCpuSeconds": round(restore_cpu_s, 1),
            "verifySeconds": round(verify_s, 1),
            "isWhole": restored["audit"]["ok"] and verified["ok"] and verified["rows"] >= rows,
            "epoch": restored["epoch"],
        }


def main() -> int:
    """Measure and tell; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.backup", description="Time a backup and a restore.")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"rows of the log (default: {ROWS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    try:
        figures = measure(options.rows)
    except BenchError as error:
        _say(str(error))
        return 1
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(f"{text}\n")
    return 0 if figures["isWhole"] else 1


def _fill(home: Path, rows: int) -> tuple[str, float]:
    """Make an instance's database and its log; the key, and how long the rows took."""
    init_secrets(home, os.urandom)
    secrets = read_secrets_env(home)
    passwords = {role: secrets[f"AGENTHIFIVE_DB_{role.upper()}_PASSWORD"] for role in ("owner", "app", "admin")}
    cluster = embedded.start(home, passwords, _say)
    try:
        embedded.apply_roles(cluster)
        migrate.upgrade(cluster.dsn("owner"), _say)
        embedded.apply_roles(cluster)
        began = time.monotonic()
        write_log(cluster.dsn("app"), rows)
        return secrets["ENCRYPTION_KEY"], time.monotonic() - began
    finally:
        embedded.stop(cluster)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _say(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
