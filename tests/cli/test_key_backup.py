"""The keys in a file and back: nothing shown, nothing overwritten, and a row in the log."""

import io
import json
from pathlib import Path

import pytest

from agenthifive.settings_sources import parse_env
from agenthifive.vault.keyring import Keyring
from cli.sealed import OTHER_KEY, add_connection
from cli.stage import KEY, SIGN_IN_SECRET, Cli, Ground

PASSPHRASE = "orchid lantern gravel"
KID = Keyring.parse(KEY, "").active_kid
PEM = "-----BEGIN PRIVATE KEY-----\\nabc$def\\n-----END PRIVATE KEY-----"


@pytest.fixture
def keeper(desk: Cli) -> Cli:
    """A desk whose passphrase is set."""
    desk.environ["KEY_BACKUP_PASSPHRASE"] = PASSPHRASE
    return desk


def make(keeper: Cli, tmp_path: Path, **environ: str) -> Path:
    path = tmp_path / "keys.backup"
    done = keeper("keys", "backup", "--out", str(path), "--json", **environ)
    assert done.code == 0, done.out
    return path


def test_a_backup_is_made_once_and_recorded(keeper: Cli, ground: Ground, tmp_path: Path) -> None:
    path = make(keeper, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["kids"] == [KID]
    assert ground.ask("SELECT metadata->'kids' FROM l_audit_events WHERE action = 'key_backup_created'") == [([KID],)]
    assert ground.ask("SELECT kind, kids FROM t_backups") == [("keys", [KID])]
    content = path.read_bytes()
    done = keeper("keys", "backup", "--out", str(path), "--json")
    assert (done.code, done.json["code"]) == (1, "exists")
    assert path.read_bytes() == content


def test_no_command_shows_a_key(keeper: Cli, tmp_path: Path) -> None:
    said = ""
    path = tmp_path / "keys.backup"
    for arguments in (
        ["backup", "--out", str(path)],
        ["restore-check", str(path)],
        ["restore", str(path), "--env-file", str(tmp_path / "env")],
    ):
        for form in ([], ["--json"]):
            if arguments[0] == "backup":
                path.unlink(missing_ok=True)
            done = keeper("keys", *arguments, *form)
            assert done.code == 0, done.err + done.out
            said += done.out + done.err
    assert [each for each in (KEY, SIGN_IN_SECRET, PASSPHRASE) if each in said] == []


def test_what_cannot_be_recorded_is_not_left_lying_about(keeper: Cli, ground: Ground, tmp_path: Path) -> None:
    ground.ask("REVOKE INSERT ON t_backups FROM agenthifive_app")
    try:
        done = keeper("keys", "backup", "--out", str(tmp_path / "keys.backup"), "--json")
    finally:
        ground.ask("GRANT INSERT ON t_backups TO agenthifive_app")
    assert done.code == 5
    assert not (tmp_path / "keys.backup").exists()
    assert ground.ask("SELECT count(*) FROM l_audit_events WHERE action = 'key_backup_created'") == [(0,)]


def test_the_check_says_which_keys_lack(keeper: Cli, ground: Ground, tmp_path: Path) -> None:
    _, workspace_id = ground.add_workspace()
    add_connection(ground, workspace_id)
    path = make(keeper, tmp_path)
    covered = keeper("keys", "restore-check", str(path), "--json").data
    assert (covered["kids"], covered["inUse"], covered["missing"]) == ([KID], [KID], [])
    add_connection(ground, workspace_id, OTHER_KEY)
    done = keeper("keys", "restore-check", str(path), "--json")
    other = Keyring.parse(OTHER_KEY, "").active_kid
    assert (done.code, done.json["code"], done.json["data"]["missing"]) == (1, "not_covered", [other])


def test_the_settings_come_back_as_they_were(keeper: Cli, tmp_path: Path) -> None:
    path = make(keeper, tmp_path, ENCRYPTION_KEY_PREVIOUS=OTHER_KEY, JWT_PRIVATE_KEY=PEM, JWT_KID="2026-11")
    target = tmp_path / "env"
    assert keeper("keys", "restore", str(path), "--env-file", str(target)).code == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert parse_env(target.read_text(), target) == {
        "ENCRYPTION_KEY": KEY,
        "ENCRYPTION_KEY_PREVIOUS": OTHER_KEY,
        "BETTER_AUTH_SECRET": SIGN_IN_SECRET,
        "JWT_PRIVATE_KEY": PEM,
        "JWT_KID": "2026-11",
    }


def test_a_file_with_other_keys_is_left_as_it_is(keeper: Cli, tmp_path: Path) -> None:
    path, target = make(keeper, tmp_path), tmp_path / "env"
    target.write_text(f"ENCRYPTION_KEY={OTHER_KEY}\n")
    done = keeper("keys", "restore", str(path), "--env-file", str(target), "--json")
    assert (done.code, done.json["code"]) == (3, "exists")
    assert target.read_text() == f"ENCRYPTION_KEY={OTHER_KEY}\n"
    assert OTHER_KEY not in done.out


def test_what_a_file_lacks_is_added(keeper: Cli, tmp_path: Path) -> None:
    path, target = make(keeper, tmp_path), tmp_path / "env"
    target.write_text(f"# mine\nENCRYPTION_KEY={KEY}\nAPI_PORT=4001")
    for names in (["BETTER_AUTH_SECRET"], []):
        done = keeper("keys", "restore", str(path), "--env-file", str(target), "--json")
        assert done.data["names"] == names
    found = parse_env(target.read_text(), target)
    assert found == {"ENCRYPTION_KEY": KEY, "API_PORT": "4001", "BETTER_AUTH_SECRET": SIGN_IN_SECRET}
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_wrong_passphrase_and_a_changed_file_end_with_6(keeper: Cli, tmp_path: Path) -> None:
    path = make(keeper, tmp_path)
    done = keeper("keys", "restore-check", str(path), "--json", KEY_BACKUP_PASSPHRASE="some other words")
    assert (done.code, done.json["code"]) == (6, "key_backup")
    path.write_bytes(path.read_bytes()[:-40])
    target = tmp_path / "env"
    done = keeper("keys", "restore", str(path), "--env-file", str(target), "--json")
    assert (done.code, done.json["code"]) == (6, "key_backup")
    assert not target.exists()


def test_nobody_to_ask_is_said(desk: Cli, tmp_path: Path) -> None:
    done = desk("keys", "backup", "--out", str(tmp_path / "keys.backup"), "--json")
    assert (done.code, done.json["code"]) == (3, "passphrase")
    assert not (tmp_path / "keys.backup").exists()


@pytest.mark.parametrize(
    ("typed", "code"), [([PASSPHRASE, PASSPHRASE], 0), ([PASSPHRASE, "something else, long"], 3), (["short"], 3)]
)
def test_a_person_is_asked_twice(
    desk: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], code: int
) -> None:
    answers = iter(typed)
    monkeypatch.setattr("getpass.getpass", lambda _: next(answers))
    monkeypatch.setattr(io, "StringIO", type("Watched", (io.StringIO,), {"isatty": lambda _: True}))
    assert desk("keys", "backup", "--out", str(tmp_path / "keys.backup"), "--json").code == code
    assert list(answers) == []
    assert (tmp_path / "keys.backup").exists() is (code == 0)


def test_without_a_key_there_is_nothing_to_back_up(keeper: Cli, tmp_path: Path) -> None:
    done = keeper("keys", "backup", "--out", str(tmp_path / "keys.backup"), "--json", ENCRYPTION_KEY="")
    assert (done.code, done.json["code"]) == (3, "settings_refused")
