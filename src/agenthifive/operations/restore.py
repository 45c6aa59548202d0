"""Bringing a backup back, into an empty database only.

    manifest, sha256, kids -> the target is empty -> roles.sql -> pg_restore, one transaction -> counts -> roles.sql

Whatever fails before the transaction commits leaves the target as it was. What follows (this version's schema, a new
epoch, the proofs) is `adoption.py`. Source: contract/operations.md section 3.4.
"""

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psycopg

from agenthifive.db.programs import Programs, Target, apply_roles, find_programs, running, server_major
from agenthifive.operations.backup import (
    BackupDamaged,
    BackupError,
    Watch,
    check_hash,
    compare_rows,
    count_rows,
    read_heads,
    read_kids,
    reader_of,
)
from agenthifive.operations.manifest import Manifest, manifest_path, read_manifest

OWNER: Final = "agenthifive_owner"
APP: Final = "agenthifive_app"
# whatever a person or a program may have put there; what an extension brings along does not count
OCCUPIED: Final = """
    SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
       AND NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    UNION ALL
    SELECT n.nspname || '.' || p.proname || '()' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
     ORDER BY 1
"""
ANALYZE: Final = "ANALYZE"
INSTANCE: Final = "SELECT i.id::text, i.epoch, v.version_num FROM t_instance i, alembic_version v"
_PIECE: Final = 256 * 1024


class NotEmpty(RuntimeError):
    """The target holds something already."""


class KeysMissing(RuntimeError):
    """The ring does not open what the backup holds. Shapes: kids: the ones that lack."""

    def __init__(self, kids: Sequence[str], ring: Sequence[str]) -> None:
        named = " and ".join(f"kid {kid}" for kid in kids)
        super().__init__(
            f"ENCRYPTION_KEY (kid {ring[0]}) cannot open what is sealed under {named}. Put the key with that kid into "
            "ENCRYPTION_KEY_PREVIOUS (comma list) or restore the old ENCRYPTION_KEY."
            if ring
            else f"ENCRYPTION_KEY is missing; {f'what is sealed needs the key with {named}' if kids else 'set one'}."
        )


class TooNew(BackupError):
    """The backup was made by a newer version."""


def check_backup(dump: Path, ring: Sequence[str], head: str, watch: Watch) -> Manifest:
    """The manifest of a dump that may be restored with these keys; nothing is touched.

    Shapes: ring: kids, the active one first. head: the newest revision this version knows.
    Raises: ManifestError, BackupError, TooNew, KeysMissing.
    """
    manifest = read_manifest(manifest_path(dump))
    if manifest.revision > head:
        raise TooNew(
            f"The backup is of revision {manifest.revision}, newer than this version's {head}. Upgrade AgentHiFive."
        )
    require_kids(manifest.kids, ring)
    check_hash(dump, manifest, watch)
    return manifest


def require_kids(kids: Sequence[str], ring: Sequence[str]) -> None:
    """Raises: KeysMissing unless there is a ring with every kid in it."""
    lacking = [kid for kid in kids if kid not in ring]
    if lacking or not ring:
        raise KeysMissing(lacking, ring)


def require_empty(target: Target) -> None:
    """Raises: NotEmpty, psycopg.Error."""
    with psycopg.connect(target.dsn, connect_timeout=5) as connection:
        found = [name for (name,) in connection.execute(OCCUPIED).fetchall()]
    if found:
        raise NotEmpty(
            f"The target holds {len(found)} tables, sequences or functions already, {found[0]} among them. "
            "Nothing was changed. Restore into a new, empty database or a fresh home."
        )


def restore_backup(dump: Path, manifest: Manifest, target: Target, watch: Watch) -> Programs:
    """Fill an empty database from a checked dump, with the owners and rights of roles.sql.

    Shapes: target: as an administrator of the server, who may create roles and act as them.
    Raises: NotEmpty, BackupDamaged, ProgramError, psycopg.Error.
    """
    candidates = find_programs(server_major(target.dsn), target.environ)
    require_empty(target)
    programs = reader_of(dump, candidates)
    apply_roles(programs, target)
    _pour(programs, dump, target, watch)
    with psycopg.connect(target.as_role(OWNER).dsn, autocommit=True, connect_timeout=5) as connection:
        watch("Analyzing", 0, 1)
        connection.execute(ANALYZE)
        _compare(connection, manifest)
        watch("Analyzing", 1, 1)
    apply_roles(programs, target)
    return programs


def _pour(programs: Programs, dump: Path, target: Target, watch: Watch) -> None:
    arguments = ["--no-owner", "--no-privileges", f"--role={OWNER}", "--exit-on-error", "--single-transaction"]
    total, done = dump.stat().st_size, 0
    with (
        dump.open("rb") as file,
        running(programs.path("pg_restore"), arguments, target, stdin=subprocess.PIPE) as process,
    ):
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:  # it has ended: its exit code says how
            while piece := file.read(_PIECE):
                process.stdin.write(piece)
                done += len(piece)
                watch("Restoring", done, total)
        watch("Building indexes", 0, 1)
        process.wait()
        watch("Building indexes", 1, 1)


def _compare(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    compare_rows(manifest, count_rows(connection))
    found = connection.execute(INSTANCE).fetchone()
    facts = (manifest.instance, manifest.epoch, manifest.revision)
    if found != facts:
        raise BackupDamaged(f"Instance, epoch and revision are {found}; the manifest says {facts}.")
    if read_kids(connection) != manifest.kids:
        raise BackupDamaged("The records are sealed under other kids than the manifest says.")
    if read_heads(connection) != manifest.heads:
        raise BackupDamaged("The chains of the log end elsewhere than the manifest says.")
