"""Backup and restore as an operator does them: files out, a database back, and nothing one-time works twice."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bench.backup_log import write_log
from psycopg.conninfo import make_conninfo

from agenthifive.db import embedded, migrate, programs
from agenthifive.ids import new_id
from agenthifive.operations.backup import take_backup
from agenthifive.secrets_env import read_secrets_env
from agenthifive.vault.keyring import Keyring
from cli.sealed import OTHER_KEY, add_connection
from cli.stage import KEY, Cli, Ground
from databases import PASSWORDS, empty_database

GRANTS = """
    SELECT c.relname, a.grantee::regrole::text, a.privilege_type FROM pg_class c, aclexplode(c.relacl) a
     WHERE c.relnamespace = 'public'::regnamespace
    UNION ALL SELECT c.relname, 'owner', c.relowner::regrole::text FROM pg_class c
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'S')
    UNION ALL SELECT 'public', a.grantee::regrole::text, a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a
     WHERE n.nspname = 'public'
    UNION ALL SELECT 'default', a.grantee::regrole::text, d.defaclobjtype::text || a.privilege_type
      FROM pg_default_acl d, aclexplode(d.defaclacl) a
    ORDER BY 1, 2, 3
"""


@dataclass(frozen=True)
class Target:
    """A database to restore into."""

    url: str

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def is_empty(self) -> bool:
        return self.ask("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [(0,)]


@pytest.fixture
def target(worker_id: str) -> Iterator[Target]:
    with empty_database(f"restored_{worker_id}") as url:
        yield Target(url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def command_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments of every program that is started."""
    seen: list[str] = []
    real = subprocess.Popen.__init__

    def listen(self: Any, arguments: Any, **options: Any) -> None:
        seen.extend(str(each) for each in arguments)
        real(self, arguments, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", listen)
    return seen


def add_one_time_things(ground: Ground, user_id: str, workspace_id: str) -> str:
    """One of each, all good; the id of the agent."""
    agent_id = new_id()
    ground.ask("INSERT INTO t_agents (id, workspace_id, name, status) VALUES (%s, %s, 'Bot', 'active')",
               agent_id, workspace_id)  # fmt: skip
    ground.ask(
        "INSERT INTO t_sessions (id, user_id, workspace_id, token_hash, expires_at)"
        " VALUES (%s, %s, %s, %s, now() + interval '1 day')", new_id(), user_id, workspace_id, new_id(),
    )  # fmt: skip
    ground.ask(
        "INSERT INTO t_agent_access_tokens (id, agent_id, workspace_id, token_hash, scopes, expires_at)"
        " VALUES (%s, %s, %s, %s, '{}', now() + interval '1 day')", new_id(), agent_id, workspace_id, new_id(),
    )  # fmt: skip
    ground.ask(
        "INSERT INTO t_agent_bootstrap_secrets (id, agent_id, secret_hash, expires_at)"
        " VALUES (%s, %s, %s, now() + interval '1 day')", new_id(), agent_id, new_id(),
    )  # fmt: skip
    ground.ask(
        "INSERT INTO t_one_time_links (token_hash, purpose, user_id, expires_at)"
        " VALUES (%s, 'reset', %s, now() + interval '1 day'), (%s, 'setup', NULL, now() + interval '1 day')",
        new_id(), user_id, new_id(),
    )  # fmt: skip
    ground.ask(
        "INSERT INTO t_personal_tokens (id, user_id, workspace_id, name, token_hash, hint_suffix, scopes, expires_at)"
        " VALUES (%s, %s, %s, 'script', %s, 'abcd', '{}', now() + interval '1 day')",
        new_id(), user_id, workspace_id, new_id(),
    )  # fmt: skip
    return agent_id


def make_backup(desk: Cli, folder: Path) -> Path:
    done = desk("db", "backup", "--out", str(folder), "--json")
    assert done.code == 0, done.out + done.err
    return Path(done.data["file"])


def manifest_of(dump: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(dump.with_name(f"{dump.stem}.manifest.json").read_text())
    return manifest


def rewrite_manifest(dump: Path, **members: Any) -> None:
    path = dump.with_name(f"{dump.stem}.manifest.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def test_a_backup_is_a_dump_and_a_manifest_that_holds_no_key(desk: Cli, ground: Ground, folder: Path) -> None:
    _, workspace_id = ground.add_workspace()
    add_connection(ground, workspace_id)
    dump = make_backup(desk, folder)
    manifest = manifest_of(dump)
    instance, epoch = ground.ask("SELECT id::text, epoch FROM t_instance")[0]
    heads = ground.ask("SELECT chain_id::text, max(chain_seq) FROM l_audit_events GROUP BY 1 ORDER BY 1")
    assert manifest == {
        "format": "agenthifive-backup",
        "v": 1,
        "instance": instance,
        "epoch": epoch,
        "revision": "0002",
        "createdAt": manifest["createdAt"],
        "sha256": hashlib.sha256(dump.read_bytes()).hexdigest(),
        "rows": manifest["rows"],
        "kids": [Keyring.parse(KEY, "").active_kid],
        "lastCheckpoint": None,
        "heads": manifest["heads"],
    }
    assert [(head["chainId"], head["seq"]) for head in manifest["heads"]] == heads
    assert manifest["rows"]["t_connections"] == manifest["rows"]["t_workspaces"] == 1
    assert sorted(path.name for path in folder.iterdir()) == [dump.name, f"{dump.stem}.manifest.json"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    content = dump.read_bytes() + dump.with_name(f"{dump.stem}.manifest.json").read_bytes()
    assert KEY.encode() not in content
    assert bytes.fromhex(KEY) not in content


def test_a_backup_is_remembered_with_the_kids_it_needs(desk: Cli, ground: Ground, folder: Path) -> None:
    make_backup(desk, folder)
    assert ground.ask("SELECT kind, kids FROM t_backups") == [("database", [])]


@pytest.mark.parametrize("name", [["backup"], ["db", "backup"]])
def test_backup_has_two_names(desk: Cli, ground: Ground, folder: Path, name: list[str]) -> None:
    ground.add_workspace()
    dump = desk(*name, "--out", str(folder), "--json").data["file"]
    assert desk(*name, "--verify", dump, "--json").data["rows"] > 0


@pytest.mark.parametrize("arguments", [[], ["--out", "a", "--verify", "b"]])
def test_backup_does_one_of_two_things(desk: Cli, arguments: list[str]) -> None:
    assert desk("db", "backup", *arguments, "--json").code == 2


def test_what_was_backed_up_comes_back(desk: Cli, ground: Ground, folder: Path, target: Target) -> None:
    user_id, workspace_id = ground.add_workspace()
    connection_id = add_connection(ground, workspace_id)
    add_one_time_things(ground, user_id, workspace_id)
    dump = make_backup(desk, folder)
    done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="")
    assert done.code == 0, done.out + done.err
    assert done.data["epoch"] == done.data["previousEpoch"] + 1 == 2
    spent = {kind: count for kind, count in done.data["voided"].items() if count}
    assert spent == {"sessions": 1, "agentTokens": 1, "bootstrapSecrets": 1, "links": 2}
    assert done.data["sealed"] == {"records": 1, "failed": 0, "unreadable": []}
    assert done.data["audit"]["ok"] is True
    assert [agent["name"] for agent in done.data["active"]["agents"]] == ["Bot"]
    assert [user["id"] for user in done.data["active"]["users"]] == [user_id]
    assert target.ask("SELECT id::text FROM t_connections") == [(connection_id,)]
    assert target.ask(GRANTS) == ground.ask(GRANTS)
    assert target.ask("SELECT count(*) FROM t_personal_tokens WHERE revoked_at IS NULL") == [(1,)]


def test_the_log_goes_on_after_a_restore_and_verifies(desk: Cli, ground: Ground, folder: Path, target: Target) -> None:
    ground.add_workspace()
    dump = make_backup(desk, folder)
    assert desk("restore", str(dump), "--to", target.url, DATABASE_URL="").code == 0
    url = programs.as_role(target.url, "agenthifive_app")
    assert desk("audit", "verify", "--json", DATABASE_URL=url).data["ok"] is True
    rows = target.ask(
        "SELECT e.action, c.epoch, e.metadata->>'epoch' FROM l_audit_events e JOIN l_audit_chains c USING (chain_id)"
        " WHERE e.action IN ('database_restored', 'audit_verified') ORDER BY e.id"
    )
    assert rows == [("database_restored", 2, "2"), ("audit_verified", 2, None), ("audit_verified", 2, None)]


def test_personal_tokens_are_revoked_on_demand(desk: Cli, ground: Ground, folder: Path, target: Target) -> None:
    add_one_time_things(ground, *ground.add_workspace())
    dump = make_backup(desk, folder)
    done = desk("db", "restore", str(dump), "--to", target.url, "--revoke-pats", "--json", DATABASE_URL="")
    assert done.data["revokedTokens"] == 1
    assert target.ask("SELECT count(*) FROM t_personal_tokens WHERE revoked_at IS NULL") == [(0,)]
    assert target.ask("SELECT count(*) FROM l_audit_events WHERE action = 'pat_revoked'") == [(1,)]


def test_a_restore_needs_every_key_before_it_begins(desk: Cli, ground: Ground, folder: Path, target: Target) -> None:
    _, workspace_id = ground.add_workspace()
    add_connection(ground, workspace_id)
    dump = make_backup(desk, folder)
    kid = Keyring.parse(KEY, "").active_kid
    for key, said in ((OTHER_KEY, "ENCRYPTION_KEY_PREVIOUS"), ("", "ENCRYPTION_KEY is missing")):
        done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="", ENCRYPTION_KEY=key)
        assert (done.code, done.json["code"]) == (6, "keys")
        assert kid in done.json["error"]
        assert said in done.json["error"]
    assert target.is_empty()


def test_a_restore_needs_a_key_even_when_nothing_is_sealed(desk: Cli, folder: Path) -> None:
    """No home is begun either: it would be one with a new key."""
    dump = make_backup(desk, folder)
    done = desk("restore", str(dump), "--json", DATABASE_URL="", ENCRYPTION_KEY="")
    assert (done.code, done.json["code"]) == (6, "keys")
    assert not (desk.home / "home").exists()
    assert desk("db", "adopt", "--json", ENCRYPTION_KEY="").json["code"] == "keys"


def test_the_old_key_may_be_a_previous_one(desk: Cli, ground: Ground, folder: Path, target: Target) -> None:
    _, workspace_id = ground.add_workspace()
    add_connection(ground, workspace_id)
    dump = make_backup(desk, folder)
    keys = {"ENCRYPTION_KEY": OTHER_KEY, "ENCRYPTION_KEY_PREVIOUS": KEY}
    assert desk("db", "restore", str(dump), "--to", target.url, DATABASE_URL="", **keys).code == 0


def test_a_changed_dump_is_refused(desk: Cli, ground: Ground, folder: Path, target: Target) -> None:
    ground.add_workspace()
    dump = make_backup(desk, folder)
    whole = dump.read_bytes()
    for changed in (whole[:-1], whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:], whole[: len(whole) // 2], b""):
        dump.write_bytes(changed)
        for command in (["--verify", str(dump)], None):
            arguments = ["backup", *command] if command else ["restore", str(dump), "--to", target.url]
            done = desk("db", *arguments, "--json", DATABASE_URL="")
            assert (done.code, done.json["code"]) == (6, "backup_damaged")
    assert target.is_empty()


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something-else"},
        {"v": 2},
        {"sha256": "0" * 64},
        {"unknown": 1},
        {"rows": "many"},
        {"kids": None},
    ],
)
def test_a_changed_manifest_is_refused_before_anything_happens(
    desk: Cli, ground: Ground, folder: Path, target: Target, change: dict[str, Any]
) -> None:
    dump = make_backup(desk, folder)
    rewrite_manifest(dump, **change)
    done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="")
    assert (done.code, done.json["code"]) == (6, "backup_damaged")
    assert target.is_empty()


@pytest.mark.parametrize("member", ["instance", "epoch", "kids", "heads", "rows"])
def test_a_manifest_that_tells_of_another_database_is_found_out(
    desk: Cli, ground: Ground, folder: Path, target: Target, member: str
) -> None:
    _, workspace_id = ground.add_workspace()
    add_connection(ground, workspace_id)
    ground.ask("SELECT 1")
    assert desk("setup-link").code != 0
    assert desk("audit", "verify").code == 0
    dump = make_backup(desk, folder)
    told = manifest_of(dump)
    changes: dict[str, Any] = {
        "instance": new_id(),
        "epoch": 7,
        "kids": [],
        "heads": [],
        "rows": {**told["rows"], "t_users": 5},
    }
    rewrite_manifest(dump, **{member: changes[member]})
    done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="")
    assert (done.code, done.json["code"]) == (6, "backup_damaged")


def test_a_dump_without_its_manifest_is_refused(desk: Cli, folder: Path, target: Target) -> None:
    dump = make_backup(desk, folder)
    dump.with_name(f"{dump.stem}.manifest.json").unlink()
    done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="")
    assert (done.code, done.json["code"]) == (6, "backup_damaged")
    assert target.is_empty()


@pytest.mark.parametrize("there", ["CREATE TABLE mine (n int)", "CREATE SCHEMA s CREATE VIEW v AS SELECT 1 AS n",
                                   "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"])  # fmt: skip
def test_only_an_empty_database_is_filled(desk: Cli, folder: Path, target: Target, there: str) -> None:
    dump = make_backup(desk, folder)
    target.ask(there)
    before = target.ask("SELECT oid FROM pg_class UNION ALL SELECT oid FROM pg_proc ORDER BY 1")
    done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="")
    assert (done.code, done.json["code"]) == (1, "not_empty")
    assert target.ask("SELECT oid FROM pg_class UNION ALL SELECT oid FROM pg_proc ORDER BY 1") == before


def test_a_database_in_use_is_not_overwritten_by_its_own_backup(desk: Cli, ground: Ground, folder: Path) -> None:
    ground.add_workspace()
    dump = make_backup(desk, folder)
    users = ground.ask("SELECT * FROM t_users")
    done = desk("db", "restore", str(dump), "--to", ground.admin_dsn, "--json", DATABASE_URL="")
    assert (done.code, done.json["code"]) == (1, "not_empty")
    assert ground.ask("SELECT * FROM t_users") == users
    assert ground.ask("SELECT epoch FROM t_instance") == [(1,)]


def test_a_backup_of_a_newer_version_is_refused(desk: Cli, folder: Path, target: Target) -> None:
    dump = make_backup(desk, folder)
    rewrite_manifest(dump, revision="0999")
    done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="")
    assert (done.code, done.json["code"]) == (3, "schema")
    assert target.is_empty()


def test_a_backup_of_an_older_version_is_brought_up_to_date(
    desk: Cli, worker_id: str, folder: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    with empty_database(f"older_{worker_id}") as url, monkeypatch.context() as patch:
        old = programs.Target(url, dict(os.environ))
        programs.apply_roles(programs.find_programs(15, old.environ)[0], old)
        patch.setattr(migrate, "HEAD", "0001")
        migrate.upgrade(old.as_role("agenthifive_owner").dsn, lambda _: None)
        Target(url).ask("INSERT INTO t_instance (system_identifier, database_oid) VALUES ('1', 1)")
        made = take_backup(old.as_role("agenthifive_app"), folder, lambda *_: None)
    assert made.manifest.revision == "0001"
    done = desk("db", "restore", str(made.dump), "--to", target.url, "--json", DATABASE_URL="")
    assert done.code == 0, done.out
    assert target.ask("SELECT version_num FROM alembic_version") == [(migrate.HEAD,)]
    moved = target.ask("SELECT metadata FROM l_audit_events WHERE action = 'database_migrated'")
    assert moved == [({"from": "0001", "to": migrate.HEAD},)]


def test_a_changed_log_row_fails_the_adoption(desk: Cli, ground: Ground, folder: Path, target: Target) -> None:
    assert desk("audit", "verify").code == 0
    ground.tamper("UPDATE l_audit_events SET actor = 'cli:mallory'")
    dump = make_backup(desk, folder)
    done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="")
    assert (done.code, done.json["code"]) == (6, "adopt_failed")
    assert done.json["data"]["audit"]["problems"][0]["code"] == "row_altered"
    assert target.ask("SELECT epoch FROM t_instance") == [(2,)]


def test_a_record_that_does_not_open_fails_the_adoption(
    desk: Cli, ground: Ground, folder: Path, target: Target
) -> None:
    _, workspace_id = ground.add_workspace()
    one, other = add_connection(ground, workspace_id), add_connection(ground, workspace_id)
    ground.ask("UPDATE t_connections SET encrypted_tokens = (SELECT encrypted_tokens FROM t_connections WHERE id = %s)"
               " WHERE id = %s", one, other)  # fmt: skip
    dump = make_backup(desk, folder)
    done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="")
    assert (done.code, done.json["code"]) == (6, "adopt_failed")
    assert done.json["data"]["sealed"]["unreadable"] == [f"t_connections.encrypted_tokens {other}"]


def test_an_older_dump_is_found_out_by_the_manifest_of_a_newer_one(
    desk: Cli, ground: Ground, tmp_path: Path, target: Target
) -> None:
    assert desk("audit", "verify").code == 0
    old = make_backup(desk, tmp_path / "old")
    assert desk("audit", "verify").code == 0
    new = make_backup(desk, tmp_path / "new")
    assert desk("db", "restore", str(old), "--to", target.url, DATABASE_URL="").code == 0
    anchor = new.with_name(f"{new.stem}.manifest.json")
    url = programs.as_role(target.url, "agenthifive_app")
    done = desk("db", "adopt", "--anchor", str(anchor), "--json", DATABASE_URL=url)
    assert (done.code, done.json["code"]) == (6, "adopt_failed")
    assert done.json["data"]["rollback"][0].startswith("rollback: chain ")
    own = old.with_name(f"{old.stem}.manifest.json")
    assert desk("db", "adopt", "--anchor", str(own), "--json", DATABASE_URL=url).data["rollback"] == []


def test_a_dump_that_caught_a_call_half_way_still_verifies(
    desk: Cli, ground: Ground, folder: Path, target: Target
) -> None:
    """Its outcome is written by the adoption, as it is after a crash."""
    assert desk("audit", "verify").code == 0
    ground.tamper("DELETE FROM l_audit_events")
    ground.tamper("DELETE FROM l_audit_chains")
    ground.tamper("DELETE FROM t_audit_writers")
    write_log(ground.admin_dsn, 9, hours_ago=1)
    dump = make_backup(desk, folder)
    done = desk("db", "restore", str(dump), "--to", target.url, "--json", DATABASE_URL="")
    assert done.code == 0, done.out
    assert target.ask("SELECT metadata->>'outcome' FROM l_audit_events WHERE action = 'execution_completed'"
                      " AND decision = 'error'") == [("unknown",)]  # fmt: skip


def test_adopting_again_spends_nothing_unless_the_database_was_set_back(
    desk: Cli, ground: Ground, folder: Path
) -> None:
    ids = ground.add_workspace()
    assert desk("audit", "list").code == 0
    add_one_time_things(ground, *ids)
    assert desk("db", "adopt", "--json").data["voided"] is None
    assert ground.ask("SELECT count(*) FROM t_sessions") == [(1,)]
    done = desk("db", "adopt", "--set-back", "--json").data
    assert (done["epoch"], done["voided"]["sessions"]) == (2, 1)
    assert ground.ask("SELECT count(*) FROM t_sessions") == [(0,)]


def test_people_read_what_was_spent_and_whom_to_look_at(desk: Cli, ground: Ground) -> None:
    ids = ground.add_workspace()
    assert desk("audit", "list").code == 0
    agent_id = add_one_time_things(ground, *ids)
    done = desk("db", "adopt", "--set-back")
    assert "Epoch 2, was 1. Spent: 1 sessions, " in done.out
    assert ", 1 agent tokens, 1 bootstrap secrets.\n" in done.out
    assert f"  agent Bot ({agent_id})\n  user {ids[0]}@example.com ({ids[0]})\n" in done.out


def test_plain_pg_dump_as_the_app_role_and_a_restore_by_hand_end_well(
    desk: Cli, ground: Ground, tmp_path: Path, target: Target
) -> None:
    add_one_time_things(ground, *ground.add_workspace())
    assert desk("audit", "verify").code == 0
    bin_, dump = embedded.binaries_path(), tmp_path / "backup.dump"
    roles = Path(embedded.__file__).with_name("roles.sql")
    environ = {"PATH": os.environ["PATH"]}
    for command in (
        [bin_ / "pg_dump", ground.app_dsn, "--format=custom", f"--file={dump}"],
        [bin_ / "psql", "-X", "-d", target.url, "-f", roles],
        [bin_ / "pg_restore", "--no-owner", "--no-privileges", "--role=agenthifive_owner", "--exit-on-error",
         "-d", target.url, dump],
        [bin_ / "psql", "-X", "-d", target.url, "-f", roles],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        assert done.returncode == 0, done.stderr
    url = programs.as_role(target.url, "agenthifive_app")
    owner = programs.as_role(target.url, "agenthifive_owner")
    assert desk("migrate", DATABASE_URL=url, DATABASE_MIGRATION_URL=owner).code == 0
    adopted = desk("db", "adopt", "--json", DATABASE_URL=url)
    assert adopted.code == 0, adopted.out
    assert target.ask(GRANTS) == ground.ask(GRANTS)
    assert target.ask("SELECT epoch FROM t_instance") == [(2,)]


def test_a_fresh_home_takes_a_backup_in(desk: Cli, ground: Ground, folder: Path, command_lines: list[str]) -> None:
    """The embedded database is made for it, with the keys that were there before."""
    _, workspace_id = ground.add_workspace()
    add_connection(ground, workspace_id)
    dump = make_backup(desk, folder)
    done = desk("restore", str(dump), "--json", DATABASE_URL="")
    try:
        assert done.code == 0, done.out + done.err
        assert desk("audit", "verify", "--json", DATABASE_URL="").data["ok"] is True
        again = desk("restore", str(dump), "--to", "embedded", "--json", DATABASE_URL="")
        assert (again.code, again.json["code"]) == (1, "not_empty")
        secrets = list(read_secrets_env(desk.home / "home").values())
        assert secrets
        assert [each for each in command_lines for secret in secrets if secret in each] == []
    finally:
        shutil.rmtree((desk.home / "home" / "pg").resolve().parent, ignore_errors=True)


def test_a_restore_says_where(desk: Cli, folder: Path) -> None:
    dump = make_backup(desk, folder)
    assert desk("restore", str(dump), "--json").code == 2
    assert desk("restore", str(dump), "--to", "embedded", "--json").code == 2
    done = desk("restore", str(dump), "--to", "nonsense=1 password=geheim", "--json", DATABASE_URL="")
    assert done.code == 2
    assert "geheim" not in done.out + done.err


def test_no_password_is_on_a_command_line(desk: Cli, folder: Path, command_lines: list[str]) -> None:
    make_backup(desk, folder)
    assert any("pg_dump" in each for each in command_lines)
    assert [each for each in command_lines if PASSWORDS["app"] in each or KEY in each] == []


def test_a_full_disk_leaves_nothing_that_looks_whole(
    desk: Cli, ground: Ground, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump's file may not grow beyond a few bytes."""
    import resource

    ground.add_workspace()
    real = subprocess.Popen.__init__

    def limited(self: Any, arguments: Any, **options: Any) -> None:
        if "--format=custom" in arguments:
            options["preexec_fn"] = lambda: (
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
            )
        real(self, arguments, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", limited)
    done = desk("db", "backup", "--out", str(folder), "--json")
    assert (done.code, done.json["code"]) == (1, "backup")
    assert list(folder.iterdir()) == []
    assert ground.ask("SELECT count(*) FROM t_backups") == [(0,)]


def test_an_unwritable_folder_is_said(desk: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = desk("db", "backup", "--out", str(tmp_path / "file"), "--json")
    assert (done.code, done.json["code"]) == (1, "backup")


def test_an_unreachable_target_ends_with_4(desk: Cli, folder: Path, tmp_path: Path) -> None:
    dump = make_backup(desk, folder)
    url = make_conninfo(host=str(tmp_path), dbname="x", user="y")
    done = desk("db", "restore", str(dump), "--to", url, "--json", DATABASE_URL="")
    assert (done.code, done.json["code"]) == (4, "unreachable")
