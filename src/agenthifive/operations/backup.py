"""A backup of the database: pg_dump's custom format and a manifest, both of one moment.

    one exported snapshot -> counts, kids, chain heads ----+-> manifest
                          -> pg_dump -> `.partial` -> read back and counted -> renamed

A file with the name of a backup is whole: it was written under another name, flushed to the disk and read back
before. Source: contract/operations.md section 3.4.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Identifier

from agenthifive.db.programs import ProgramError, Programs, Target, find_programs, running, server_major
from agenthifive.operations.manifest import DUMP_SUFFIX, Head, Manifest, manifest_path, read_manifest

Watch = Callable[[str, int, int], None]
"""Hears of progress: what is being done, how far it is, of how much."""

SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
PATIENCE: Final = (
    "SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)"
)
EXPORT: Final = "SELECT pg_export_snapshot()"
FACTS: Final = """
    SELECT i.id::text, i.epoch, v.version_num, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
      FROM t_instance i, alembic_version v
"""
TABLES: Final = """
    SELECT c.relname FROM pg_class c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
"""
# a sealed column is one with a companion: `reply` and `reply_kid`
SEALED: Final = """
    SELECT k.table_name, left(k.column_name, -4) FROM information_schema.columns k
      JOIN information_schema.columns c USING (table_schema, table_name)
     WHERE k.table_schema = 'public' AND right(k.column_name, 4) = '_kid' AND c.column_name = left(k.column_name, -4)
     ORDER BY 1, 2
"""
COUNT: Final = SQL("SELECT count(*) FROM {}")
KIDS: Final = SQL("SELECT DISTINCT {} FROM {} WHERE {} IS NOT NULL AND {} IS NOT NULL")
HEADS: Final = """
    SELECT c.chain_id::text, e.chain_seq, encode(e.hash, 'hex') FROM l_audit_chains c CROSS JOIN LATERAL (
        SELECT chain_seq, hash FROM l_audit_events WHERE chain_id = c.chain_id ORDER BY chain_seq DESC LIMIT 1) e
     ORDER BY 1
"""
COPYING: Final = """
    SELECT relid::regclass::text, tuples_processed FROM pg_stat_progress_copy WHERE datname = current_database()
"""
_LOOK_S: Final = 0.5
_PIECE: Final = 1024 * 1024
_COPY: Final = re.compile(rb'COPY public\."?([a-z0-9_]+)"? ')
UNNAMED_KID: Final = "v1"
"""Of envelopes that name no key."""


class BackupError(RuntimeError):
    """A backup is not what it should be, or cannot be made; the message says why."""


class BackupDamaged(BackupError):
    """A backup is not what was written, or not what its manifest says."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup on disk."""

    dump: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Files:
    """The places of one backup: while it is written, and once it is whole."""

    dump: Path

    @property
    def partial(self) -> Path:
        """The dump while it is written."""
        return self.dump.with_name(f".{self.dump.name}.partial")

    @classmethod
    def reserve(cls, folder: Path, created_at: str) -> "Files":
        """Names for a backup of that moment, and an empty partial file only we may read. Raises: BackupError."""
        stamp = f"{created_at[:19]}Z".replace("-", "").replace(":", "")
        files = cls(folder / f"backup-{stamp}{DUMP_SUFFIX}")
        for path in (files.dump, manifest_path(files.dump)):
            if path.exists():
                raise BackupError(f"{path} exists already, and a backup is never overwritten.")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            os.close(os.open(files.partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise BackupError(f"{files.partial} cannot be written ({error.strerror}).") from None
        return files

    def complete(self, manifest: Manifest) -> None:
        """Give both files their names, the dump last: where a dump has its name, its manifest is there."""
        path = manifest_path(self.dump)
        draft = self.partial.with_suffix(".manifest")
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(manifest.as_bytes())
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
            self.partial.rename(self.dump)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise BackupError(f"{self.dump} cannot be written ({error.strerror}).") from None
        _flush(self.dump.parent)


def take_backup(target: Target, folder: Path, watch: Watch) -> Backup:
    """Write a backup into a folder, which is made when it is missing.

    Raises: BackupError, ProgramError, psycopg.Error; then no file with the name of a backup is left.
    """
    programs = find_programs(server_major(target.dsn), target.environ)[0]
    with psycopg.connect(target.dsn, connect_timeout=5) as connection:
        connection.execute(SNAPSHOT)
        connection.execute(PATIENCE)
        snapshot = _one(connection, EXPORT)[0]
        facts = _one(connection, FACTS)
        rows = _count(connection, watch)
        kids, heads = read_kids(connection), read_heads(connection)
        files = Files.reserve(folder, facts[3])
        try:
            _dump(programs, target, files.partial, snapshot, rows, watch)
            _flush(files.partial)
            manifest = Manifest(
                instance=facts[0],
                epoch=facts[1],
                revision=facts[2],
                created_at=facts[3],
                sha256=hash_file(files.partial, watch),
                rows=rows,
                kids=kids,
                heads=heads,
            )
            _check_rows(programs, files.partial, manifest, watch)
            files.complete(manifest)
        except OSError as error:
            raise BackupError(f"{files.dump} cannot be written ({error.strerror}).") from None
        finally:
            files.partial.unlink(missing_ok=True)
    return Backup(files.dump, manifest)


def verify_backup(dump: Path, environ: Mapping[str, str], watch: Watch) -> Manifest:
    """Read a backup to its end and compare it with its manifest; no database is needed.

    Raises: BackupError, ManifestError, ProgramError.
    """
    manifest = read_manifest(manifest_path(dump))
    check_hash(dump, manifest, watch)
    _check_rows(reader_of(dump, find_programs(0, environ)), dump, manifest, watch)
    return manifest


def check_hash(dump: Path, manifest: Manifest, watch: Watch) -> None:
    """Raises: BackupDamaged unless the dump is the one of the manifest, BackupError when it cannot be read."""
    try:
        found = hash_file(dump, watch)
    except OSError as error:
        raise BackupError(f"{dump} cannot be read ({error.strerror}).") from None
    if found != manifest.sha256:
        raise BackupDamaged(
            f"{dump} is not the dump its manifest describes: its SHA-256 is {found}, the manifest says "
            f"{manifest.sha256}. It was changed or cut short; use another backup."
        )


def reader_of(dump: Path, candidates: Iterable[Programs]) -> Programs:
    """The first programs whose pg_restore can list a dump. Raises: ProgramError."""
    problem = ProgramError("There is no pg_restore.")
    for programs in candidates:
        try:
            with running(programs.path("pg_restore"), ["--list", str(dump)]):
                pass
        except ProgramError as error:
            problem = error
        else:
            return programs
    raise problem


def hash_file(path: Path, watch: Watch) -> str:
    """The SHA-256 of a file as hex. Raises: OSError."""
    total, done, digest = path.stat().st_size, 0, hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            watch("Hashing", done, total)
    return digest.hexdigest()


def read_kids(connection: psycopg.Connection[Any]) -> list[str]:
    """The kids under which anything is sealed; envelopes that name no key do not count. Raises: psycopg.Error."""
    kids: set[str] = set()
    for table, column in connection.execute(SEALED).fetchall():
        kid, sealed = Identifier(f"{column}_kid"), Identifier(column)
        kids.update(row[0] for row in connection.execute(KIDS.format(kid, Identifier(table), kid, sealed)))
    return sorted(kids - {UNNAMED_KID})


def read_heads(connection: psycopg.Connection[Any]) -> list[Head]:
    """The last row of each chain. Raises: psycopg.Error."""
    return [Head(*row) for row in connection.execute(HEADS)]


def count_rows(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Table -> rows. Raises: psycopg.Error."""
    return _count(connection, lambda _what, _done, _total: None)


def _count(connection: psycopg.Connection[Any], watch: Watch) -> dict[str, int]:
    tables = [name for (name,) in connection.execute(TABLES).fetchall()]
    counts = {}
    for number, table in enumerate(tables, 1):
        counts[table] = _one(connection, COUNT.format(Identifier(table)))[0]
        watch("Counting", number, len(tables))
    return counts


def _dump(programs: Programs, target: Target, path: Path, snapshot: str, rows: dict[str, int], watch: Watch) -> None:
    arguments = ["--format=custom", f"--snapshot={snapshot}", f"--file={path}"]
    total, behind, current = max(1, sum(rows.values())), 0, ""
    with (
        psycopg.connect(target.dsn, autocommit=True, connect_timeout=5) as onlooker,
        running(programs.path("pg_dump"), arguments, target) as process,
    ):
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_S)
                break
            for table, copied in onlooker.execute(COPYING).fetchall():
                if table != current:
                    behind, current = behind + rows.get(current, 0), table
                watch("Dumping", min(total, behind + copied), total)
    watch("Dumping", total, total)


def _check_rows(programs: Programs, dump: Path, manifest: Manifest, watch: Watch) -> None:
    """Unpack the whole dump and count. Raises: BackupError, ProgramError."""
    reader = reader_of(dump, [programs])
    arguments = ["--data-only", "--file=-", str(dump)]
    with running(reader.path("pg_restore"), arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = count_copied(process.stdout, sum(manifest.rows.values()), watch)
        process.stdout.close()
    compare_rows(manifest, found)


def compare_rows(manifest: Manifest, found: dict[str, int]) -> None:
    """Raises: BackupDamaged naming the first table with another number of rows."""
    for table in sorted(manifest.rows.keys() | found.keys()):
        expected, there = manifest.rows.get(table), found.get(table)
        if expected != there:
            raise BackupDamaged(
                f"{table}: {'no such table' if there is None else f'{there} rows'}; the manifest says "
                f"{'that there is no such table' if expected is None else f'{expected} rows'}."
            )


def count_copied(script: Iterable[bytes], total: int, watch: Watch) -> dict[str, int]:
    """Rows per table of a restore script. A row is a line: line feeds in values are escaped."""
    counts: dict[str, int] = {}
    table, done = None, 0
    for line in script:
        if table is None:
            if (begun := _COPY.match(line)) is not None:
                table, rows = begun[1].decode("ascii"), 0
        elif line == b"\\.\n":
            counts[table], table = rows, None
            done += rows
            watch("Reading back", done, total)
        else:
            rows += 1
            if rows % 50_000 == 0:
                watch("Reading back", done + rows, total)
    return counts


def _one(connection: psycopg.Connection[Any], statement: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(statement).fetchone()
    if row is None:
        raise BackupError("This database belongs to no installation yet; start the server once.")
    return row


def _flush(path: Path) -> None:
    """Make sure of a file's content, or a folder's names. Raises: OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
