"""What a backup leaves on disk, whatever happens while it is made."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agenthifive.operations.backup import BackupDamaged, BackupError, Files, compare_rows, count_copied
from agenthifive.operations.manifest import Head, Manifest, ManifestError, manifest_path, read_manifest
from databases import TestDatabase, fresh_database

MANIFEST = Manifest(
    instance="7a1f0c52-3b6e-4c19-9d2a-0e5b8f4c6d11",
    epoch=1,
    revision="0002",
    created_at="2026-11-23T15:00:01.250Z",
    sha256="00" * 32,
    rows={"t_users": 2, "t_agents": 0},
    kids=["630dcd2966c43366"],
    heads=[Head("5d0c2f9e-8a47-4f3b-b1c6-2e9d7a604f38", 7, "ab" * 32)],
)
# a pg_dump that tells when half of its file is there, and waits
HALF = """#!/bin/sh
case "$1" in --version) echo "pg_dump (PostgreSQL) 18.1"; exit 0;; esac
for argument in "$@"; do case "$argument" in --file=*) file="${argument#--file=}";; esac; done
printf 'PGDMP half of it' > "$file"
echo half > "%(told)s"
read -r _ < "%(go)s"  # the shell itself waits, so that nothing is left when it is ended
printf ' and the rest' >> "$file"
"""
MAKE = """
import sys
from pathlib import Path
from agenthifive.cli.interrupts import interrupted_once
from agenthifive.db.programs import Programs, Target
from agenthifive.operations import backup
backup.find_programs = lambda *_: [Programs(Path(sys.argv[2]), 18, "18.1")]
with interrupted_once():
    backup.take_backup(Target(sys.argv[1], {"PATH": "/usr/bin:/bin"}), Path(sys.argv[3]), lambda *_: None)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_backup_killed_half_way_leaves_nothing_that_looks_whole(
    tmp_path: Path, worker_id: str, number: signal.Signals
) -> None:
    programs, folder = tmp_path / "bin", tmp_path / "backups"
    programs.mkdir()
    told, go = tmp_path / "told", tmp_path / "go"
    os.mkfifo(told)
    os.mkfifo(go)
    (programs / "pg_dump").write_text(HALF % {"told": told, "go": go})
    (programs / "pg_dump").chmod(0o700)
    with fresh_database(f"killed_{worker_id}") as database:
        _begin_instance(database)
        process = subprocess.Popen([sys.executable, "-c", MAKE, database.app_dsn, programs, folder],
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        assert told.read_text() == "half\n"
        half = [path for path in folder.iterdir() if path.name.endswith(".partial")]
        assert [path.read_bytes() for path in half] == [b"PGDMP half of it"]
        process.send_signal(number)
        assert process.wait() != 0
        if number == signal.SIGKILL:
            go.write_text("")  # pg_dump itself survives the kill of its parent, and writes on
    assert [path.name for path in folder.iterdir() if not path.name.startswith(".")] == []
    assert half[0].exists() is (number == signal.SIGKILL)


def _begin_instance(database: TestDatabase) -> None:
    import psycopg

    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("INSERT INTO t_instance (system_identifier, database_oid) VALUES ('1', 1)")


def test_names_are_of_the_moment_and_the_files_are_ours_alone(tmp_path: Path) -> None:
    files = Files.reserve(tmp_path / "new", "2026-11-23T15:00:01.250Z")
    assert files.dump == tmp_path / "new" / "backup-20261123T150001Z.dump"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert files.partial.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("suffix", [".dump", ".manifest.json"])
def test_nothing_is_overwritten(tmp_path: Path, suffix: str) -> None:
    there = tmp_path / f"backup-20261123T150001Z{suffix}"
    there.write_text("mine")
    with pytest.raises(BackupError, match="never overwritten"):
        Files.reserve(tmp_path, "2026-11-23T15:00:01.250Z")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there.name, "mine")]


def test_two_backups_of_one_second_do_not_share_a_file(tmp_path: Path) -> None:
    Files.reserve(tmp_path, "2026-11-23T15:00:01.250Z")
    with pytest.raises(BackupError, match="cannot be written"):
        Files.reserve(tmp_path, "2026-11-23T15:00:01.990Z")


def test_where_a_dump_has_its_name_its_manifest_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, order = Files.reserve(tmp_path, "2026-11-23T15:00:01.250Z"), []
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        order.append(target.name)
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    files.complete(MANIFEST)
    assert order == ["backup-20261123T150001Z.manifest.json", "backup-20261123T150001Z.dump"]
    assert read_manifest(manifest_path(files.dump)) == MANIFEST


def test_rows_of_a_script_are_counted_and_line_feeds_in_values_do_not_matter() -> None:
    script = (
        b"SET x = 1;\n\nCOPY public.t_users (id, name) FROM stdin;\n1\tA\\nB\n2\t\\\\.\n\\.\n\n"
        b"COPY public.t_agents (id) FROM stdin;\n\\.\nSELECT 1;\n"
    )
    told: list[tuple[str, int, int]] = []
    assert count_copied(script.splitlines(keepends=True), 2, lambda *step: told.append(step)) == MANIFEST.rows
    assert told[-1] == ("Reading back", 2, 2)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"t_users": 1, "t_agents": 0}, "t_users: 1 rows; the manifest says 2 rows"),
        ({"t_users": 2}, "t_agents: no such table"),
        ({"t_users": 2, "t_agents": 0, "t_more": 1}, "t_more: 1 rows; the manifest says that there is no such table"),
    ],
)
def test_other_rows_are_found(found: dict[str, int], said: str) -> None:
    with pytest.raises(BackupDamaged, match=said):
        compare_rows(MANIFEST, found)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"format": "agenthifive-key-backup", "v": 1})])
def test_any_other_file_is_no_manifest(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.manifest.json"
    path.write_text(content)
    with pytest.raises(ManifestError, match="not the manifest"):
        read_manifest(path)
