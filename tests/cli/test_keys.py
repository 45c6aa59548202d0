"""`keys ...`: what each command says, and what it leaves behind when it refuses."""

import stat
from pathlib import Path

import pytest

from agenthifive.vault.envelope import Key
from agenthifive.vault.keyring import Keyring
from cli.stage import KEY, Cli, Ground

KID = Keyring.parse(KEY, "").active_kid
OTHER = "ab" * 15 + "0c" * 17
OTHER_KID = Key(bytes.fromhex(OTHER)).kid


@pytest.fixture
def env(desk: Cli, tmp_path: Path) -> Path:
    """The key in ./.env instead of the process environment, and a first start behind us."""
    del desk.environ["ENCRYPTION_KEY"]
    path = tmp_path / ".env"
    path.write_text(f"# ours\nLOG_LEVEL=error\nENCRYPTION_KEY={KEY}\nAPI_PORT=4001\n")
    path.chmod(0o640)
    assert desk("keys", "reencrypt").code == 0
    return path


def add_record(ground: Ground, key: str = KEY, text: str | None = None) -> str:
    """A sealed credential in a workspace of Olga's."""
    from agenthifive.ids import new_id

    _, workspace_id = ground.add_workspace()
    row_id = new_id()
    sealed = Keyring.parse(key, "").seal(b"{}", "t_connections", "encrypted_tokens", row_id, workspace_id)
    ground.ask(
        "INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status, encrypted_tokens,"
        " encrypted_tokens_kid) VALUES (%s, %s, 'http', 'generic-http', 'bearer', 'C', 'healthy', %s, %s)",
        row_id, workspace_id, text or sealed.text, sealed.kid,
    )  # fmt: skip
    return row_id


def keys_in(path: Path) -> list[str]:
    """The kids of ENCRYPTION_KEY in a file."""
    [line] = [line for line in path.read_text().splitlines() if line.startswith("ENCRYPTION_KEY=")]
    return [Key(bytes.fromhex(key)).kid for key in line.partition("=")[2].split(",")]


def test_generate_prints_32_random_bytes(cli: Cli) -> None:
    first, second = (cli("keys", "generate").out.strip() for _ in range(2))
    assert len(bytes.fromhex(first)) == 32
    assert first != second


def test_status_ends_with_0_when_nothing_is_left_and_with_1_while_something_is(desk: Cli, ground: Ground) -> None:
    add_record(ground)
    done = desk("--json", "keys", "status")
    assert (done.code, done.data["left"], done.data["activeKid"]) == (0, 0, KID)
    assert done.data["kids"] == [{"kid": KID, "state": "active", "records": 1}]
    done = desk("--json", "keys", "status", ENCRYPTION_KEY=f"{OTHER},{KEY}")
    assert (done.code, done.json["code"], done.json["data"]["left"]) == (1, "old_kids", 1)
    assert KEY not in done.out + done.err


def test_status_names_a_key_nobody_has(desk: Cli, ground: Ground) -> None:
    add_record(ground)
    done = desk("keys", "status", ENCRYPTION_KEY=OTHER)
    assert done.code == 1
    assert f"{KID}  unknown" in done.out


def test_check_opens_every_record_and_lists_those_that_do_not(desk: Cli, ground: Ground) -> None:
    add_record(ground)
    assert desk("--json", "keys", "check").data["opened"]["t_connections.encrypted_tokens"] == 1
    damaged = add_record(ground, text="{}")
    done = desk("--json", "keys", "check")
    assert (done.code, done.json["code"]) == (6, "unreadable")
    assert done.json["data"]["unreadable"] == [
        {"table": "t_connections", "column": "encrypted_tokens", "id": damaged, "kid": KID}
    ]
    assert desk("keys", "check", ENCRYPTION_KEY=OTHER).code == 6


def test_rotate_changes_the_file_as_a_whole_and_keeps_the_old_one(desk: Cli, env: Path) -> None:
    before = env.read_text()
    done = desk("--json", "keys", "rotate", "--env-file", ".env")
    assert done.code == 0, done.err
    assert keys_in(env) == [done.data["kid"], KID]
    assert env.read_text().splitlines()[:2] == ["# ours", "LOG_LEVEL=error"]
    assert env.read_text().endswith("\nAPI_PORT=4001\n")
    assert stat.S_IMODE(env.stat().st_mode) == 0o640
    copy = env.with_name(f".env.bak-{KID}")
    assert copy.read_text() == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(path.name for path in env.parent.glob(".env*")) == [".env", copy.name]
    assert not any(key in done.out + done.err for key in env.read_text().split("KEY=")[1].split("\n")[0].split(","))


def test_a_staged_key_opens_first_and_seals_after_the_next_rotate(desk: Cli, env: Path) -> None:
    staged = desk("--json", "keys", "rotate", "--stage").data["kid"]
    assert keys_in(env) == [KID, staged]
    assert desk("keys", "rotate", "--stage").code == 1
    assert desk("--json", "keys", "rotate").data["kid"] == staged
    assert keys_in(env) == [staged, KID]


def test_the_whole_way_by_hand(desk: Cli, env: Path, ground: Ground) -> None:
    """rotate, re-encrypt, 0 left, retire; then the old key is not needed any more."""
    add_record(ground)
    new = desk("--json", "keys", "rotate").data["kid"]
    refused = desk("keys", "retire", KID)
    assert refused.code == 1
    assert desk("--json", "keys", "reencrypt", "--rate", "0").data["left"] == 0
    assert desk("keys", "status").out.rstrip().endswith("Records under old kids: 0")
    done = desk("keys", "retire", KID, "--env-file", ".env")
    assert done.code == 0, done.err
    assert keys_in(env) == [new]
    assert desk("keys", "check").code == 0
    states = dict(ground.ask("SELECT kid, state FROM t_key_canaries"))
    assert states == {KID: "retired", new: "active"}
    actions = [action for (action,) in ground.ask("SELECT action FROM l_audit_events ORDER BY id")]
    assert actions[-5:] == [
        "encryption_key_activated", "encryption_key_activated", "key_reencryption_started",
        "key_reencryption_completed", "encryption_key_retired",
    ]  # fmt: skip
    [(actor,)] = ground.ask("SELECT DISTINCT actor FROM l_audit_events WHERE action = 'encryption_key_retired'")
    assert actor.startswith("cli:")


def test_retire_refuses_while_records_carry_the_key(desk: Cli, env: Path, ground: Ground) -> None:
    desk("keys", "rotate")
    desk("keys", "reencrypt")
    add_record(ground)
    refused = desk("keys", "retire", KID, "--env-file", ".env")
    assert refused.code == 1
    assert "1 records are still sealed" in refused.err
    assert len(keys_in(env)) == 2
    assert dict(ground.ask("SELECT kid, state FROM t_key_canaries"))[KID] == "previous"


def test_retire_refuses_a_key_it_never_saw(desk: Cli, env: Path) -> None:
    done = desk("--json", "keys", "retire", OTHER_KID)
    assert (done.code, done.json["code"]) == (1, "not_found")


def test_a_second_rotation_waits_for_the_end_of_the_first(desk: Cli, env: Path, ground: Ground) -> None:
    add_record(ground)
    desk("keys", "rotate")
    before = env.read_text()
    refused = desk("keys", "rotate")
    assert refused.code == 1
    assert "agenthifive keys reencrypt --wait" in refused.err
    assert env.read_text() == before


def test_a_key_in_the_process_environment_cannot_be_changed_by_a_command(desk: Cli, ground: Ground) -> None:
    done = desk("--json", "keys", "rotate")
    assert (done.code, done.json["code"]) == (3, "key_file")
    assert "process environment" in done.json["error"]


def test_a_key_in_a_file_of_its_own_is_replaced_there(desk: Cli, env: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    env.write_text(f"ENCRYPTION_KEY_FILE={tmp_path}/key\n")
    new = desk("--json", "keys", "rotate").data["kid"]
    kids = [Key(bytes.fromhex(key)).kid for key in (tmp_path / "key").read_text().strip().split(",")]
    assert kids == [new, KID]


def test_previous_keys_move_into_the_one_entry(desk: Cli, env: Path) -> None:
    env.write_text(env.read_text() + f"ENCRYPTION_KEY_PREVIOUS={OTHER}\n")
    desk("keys", "rotate")
    assert keys_in(env)[1:] == [KID, OTHER_KID] or keys_in(env) == [OTHER_KID, KID]
    assert "ENCRYPTION_KEY_PREVIOUS=\n" in env.read_text()


def test_reload_without_a_server_says_so(desk: Cli, env: Path) -> None:
    done = desk("keys", "reload")
    assert done.code == 0
    assert "No server is running" in done.out


def test_reencrypt_with_the_wrong_key_ends_with_6_and_changes_nothing(desk: Cli, ground: Ground) -> None:
    row_id = add_record(ground)
    done = desk("--json", "keys", "reencrypt", ENCRYPTION_KEY=OTHER)
    assert (done.code, done.json["code"]) == (6, "keys")
    assert f"Put the key with kid {KID} into ENCRYPTION_KEY_PREVIOUS" in done.json["error"]
    assert ground.ask("SELECT encrypted_tokens_kid FROM t_connections WHERE id = %s", row_id) == [(KID,)]
    assert ground.ask("SELECT kid FROM t_key_canaries") == []
