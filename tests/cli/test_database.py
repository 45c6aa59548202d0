"""What commands do when the database is not there, not theirs, or not what it should be."""

import fcntl
import socket
from pathlib import Path

import psycopg
import pytest

from agenthifive.cli.console import CommandError, Exit
from agenthifive.cli.database import failures_translated
from agenthifive.db import migrate
from agenthifive.errors import STATUS, AppError
from agenthifive.settings import SettingsRefused
from cli.stage import Cli, Ground, settings_for

NEEDING_A_DATABASE = [
    ["audit", "list"],
    ["audit", "verify"],
    ["audit", "export", "--format", "csv"],
    ["create-user", "olga@example.com", "--name", "Olga"],
    ["setup-link"],
    ["policy", "explain", "--agent", "a", "--connection", "c", "GET", "https://example.com/"],
]


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("arguments", [*NEEDING_A_DATABASE, ["migrate"], ["serve"], ["up"]])
def test_an_unreachable_database_ends_with_4(cli: Cli, arguments: list[str]) -> None:
    url = f"postgresql://agenthifive_app:secret-of-the-role@127.0.0.1:{_closed_port()}/agenthifive"
    done = cli(*arguments, "--json", **settings_for(url), DB_START_TIMEOUT_SECONDS="1")
    assert (done.code, done.json["code"]) == (4, "unreachable")
    assert "secret-of-the-role" not in done.out + done.err


@pytest.mark.parametrize("arguments", NEEDING_A_DATABASE)
def test_no_command_makes_a_database_by_accident(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments, "--json")
    assert (done.code, done.json["code"]) == (4, "no_database")
    assert not (cli.home / "home").exists()


def test_migrating_a_current_database_changes_nothing(desk: Cli, ground: Ground) -> None:
    assert desk("migrate", "--json").data == {"revision": migrate.HEAD, "changed": False}
    assert desk("migrate").out == f"The database is at revision {migrate.HEAD}; nothing to do.\n"
    assert ground.ask("SELECT count(*) FROM l_audit_events") == [(0,)]


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (AppError("invalid_request", "Bad."), Exit.USAGE, "invalid_request"),
        (AppError("conflict", "Taken."), Exit.SAID_NO, "conflict"),
        (AppError("unavailable", "Down."), Exit.UNREACHABLE, "unavailable"),
        (SettingsRefused(["A: wrong", "B: wrong"]), Exit.REFUSED, "settings_refused"),
        (psycopg.OperationalError("host=10.0.0.1 password=x"), Exit.UNREACHABLE, "unreachable"),
        (psycopg.errors.InsufficientPrivilege("t_users"), Exit.NOT_PERMITTED, "not_permitted"),
    ],
)
def test_each_failure_has_its_exit_code(error: Exception, exit_code: Exit, code: str) -> None:
    with pytest.raises(CommandError) as caught, failures_translated():
        raise error
    assert (caught.value.exit_code, caught.value.code) == (exit_code, code)
    assert "password" not in caught.value.message


def test_every_code_of_the_rooms_becomes_an_exit_code() -> None:
    for code in STATUS:
        with pytest.raises(CommandError), failures_translated():
            raise AppError(code, "Text.")


def test_a_defect_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), failures_translated():
        raise ZeroDivisionError


def test_a_role_without_rights_ends_with_5(desk: Cli, ground: Ground) -> None:
    ground.ask("REVOKE SELECT ON l_audit_events FROM agenthifive_app")
    try:
        done = desk("audit", "list", "--json")
    finally:
        ground.ask("GRANT SELECT ON l_audit_events TO agenthifive_app")
    assert (done.code, done.json["code"]) == (5, "not_permitted")


def test_a_second_server_of_one_home_is_refused(cli: Cli, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    cli("init")
    with (home / "serve.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = cli("serve", "--json")
    assert (done.code, done.json["code"]) == (3, "running")
    assert not (home / "pg").exists()
