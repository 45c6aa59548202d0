"""A restore that fails leaves the target as it was; one that succeeds is what the manifest says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from bench.backup_log import write_log

from agenthifive.db.programs import ProgramError, Target
from agenthifive.operations import adoption, restore
from agenthifive.operations.backup import SEALED, Backup, BackupDamaged, BackupError, take_backup
from agenthifive.operations.manifest import Head, ManifestError
from agenthifive.operations.restore import KeysMissing, NotEmpty, TooNew, check_backup, require_kids, restore_backup
from agenthifive.vault.sealed_columns import SEALED_COLUMNS
from databases import TestDatabase, empty_database, fresh_database

ENVIRON = {"PATH": "/usr/bin:/bin"}
ROWS = 3000


def quiet(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def source(worker_id: str) -> Iterator[TestDatabase]:
    """A database with a log."""
    with fresh_database(f"source_{worker_id}") as made:
        with psycopg.connect(made.admin_dsn) as connection:
            connection.execute("INSERT INTO t_instance (system_identifier, database_oid) VALUES ('1', 1)")
        write_log(made.app_dsn, ROWS)
        yield made


@pytest.fixture(scope="module")
def backup(source: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    """A backup of it."""
    return take_backup(Target(source.app_dsn, ENVIRON), tmp_path_factory.mktemp("backups"), quiet)


@pytest.fixture
def target(worker_id: str) -> Iterator[Target]:
    """An empty database."""
    with empty_database(f"target_{worker_id}") as url:
        yield Target(url, ENVIRON)


def ask(target: Target, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(target.dsn) as connection:
        return connection.execute(statement).fetchall()


def test_a_dump_that_ends_half_way_leaves_the_target_empty(backup: Backup, target: Target, tmp_path: Path) -> None:
    cut = tmp_path / backup.dump.name
    content = backup.dump.read_bytes()
    for share in (0.4, 0.8, 0.98):
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ProgramError):
            restore_backup(cut, backup.manifest, target, quiet)
        restore.require_empty(target)


def test_a_restore_that_is_interrupted_leaves_the_target_empty(
    backup: Backup, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "_PIECE", 4096)

    def interrupt(what: str, done: int, total: int) -> None:
        if what == "Restoring" and done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_backup(backup.dump, backup.manifest, target, interrupt)
    assert ask(target, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


def test_a_full_target_is_refused_before_roles_are_touched(
    backup: Backup, source: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restore, "apply_roles", lambda *_: pytest.fail("roles.sql was run"))
    with pytest.raises(NotEmpty, match="Nothing was changed"):
        restore_backup(backup.dump, backup.manifest, Target(source.admin_dsn, ENVIRON), quiet)


def test_the_log_is_the_same_to_the_last_byte(backup: Backup, source: TestDatabase, target: Target) -> None:
    restore_backup(backup.dump, backup.manifest, target, quiet)
    whole = "SELECT count(*), md5(string_agg(e::text, '|' ORDER BY id)) FROM l_audit_events e"
    assert ask(target, whole) == ask(Target(source.admin_dsn, ENVIRON), whole)
    with psycopg.connect(target.dsn, autocommit=True) as connection:
        manifest = backup.manifest
        assert adoption.compare_with_anchor(connection, manifest) == []
        head = manifest.heads[0]
        further = msgspec.structs.replace(manifest, heads=[Head(head.chain_id, head.seq + 9, "00" * 32)])
        other = msgspec.structs.replace(manifest, heads=[Head(head.chain_id, head.seq - 1, "00" * 32)])
        foreign = msgspec.structs.replace(manifest, instance="7a1f0c52-3b6e-4c19-9d2a-0e5b8f4c6d11")
        said = [adoption.compare_with_anchor(connection, each)[0].split(" ")[0] for each in (further, other, foreign)]
        assert said == ["rollback:", "forked:", "the"]
        assert adoption.compare_with_anchor(connection, further) == [
            f"rollback: chain {head.chain_id} ends at row {head.seq}, the anchor knows {head.seq + 9}"
        ]


def test_an_adoption_opens_every_sealed_column_of_the_schema(source: TestDatabase) -> None:
    """A new one is one line in vault/sealed_columns.py."""
    found = ask(Target(source.app_dsn, ENVIRON), SEALED)
    assert sorted(found) == sorted((column.table, column.column) for column in SEALED_COLUMNS)


def test_the_checks_before_a_restore_are_in_order(backup: Backup, tmp_path: Path) -> None:
    manifest = backup.manifest
    assert check_backup(backup.dump, ["00"], "0002", quiet) == manifest
    with pytest.raises(TooNew, match="newer than this version's 0001"):
        check_backup(backup.dump, ["00"], "0001", quiet)
    with pytest.raises(ManifestError, match="cannot be read"):
        check_backup(tmp_path / "none.dump", ["00"], "0002", quiet)
    lonely = tmp_path / backup.dump.name
    (tmp_path / f"{lonely.stem}.manifest.json").write_bytes(manifest.as_bytes())
    with pytest.raises(BackupError, match="cannot be read"):
        check_backup(lonely, ["00"], "0002", quiet)
    lonely.write_bytes(b"PGDMP")
    with pytest.raises(BackupDamaged, match="not the dump its manifest describes"):
        check_backup(lonely, ["00"], "0002", quiet)


@pytest.mark.parametrize(
    ("kids", "ring", "said"),
    [
        (["9a", "1f"], ["1f"], "ENCRYPTION_KEY (kid 1f) cannot open what is sealed under kid 9a."),
        (["9a", "9b"], ["1f"], "under kid 9a and kid 9b."),
        (["9a"], [], "ENCRYPTION_KEY is missing; what is sealed needs the key with kid 9a."),
        ([], [], "ENCRYPTION_KEY is missing; set one."),
    ],
)
def test_keys_that_lack_are_named(kids: list[str], ring: list[str], said: str) -> None:
    with pytest.raises(KeysMissing) as caught:
        require_kids(kids, ring)
    assert said in str(caught.value)


def test_every_key_that_is_needed_may_be_a_previous_one() -> None:
    require_kids(["9a"], ["1f", "9a"])
    require_kids([], ["1f"])
