"""PostgreSQL's programs: never older than the server, and nobody sees a password."""

import subprocess
from pathlib import Path

import psycopg
import pytest

from agenthifive.db import embedded, programs
from agenthifive.db.programs import ProgramError, Target, as_role, find_programs, running, server_major


def _put_programs(folder: Path, version: str) -> Path:
    folder.mkdir()
    path = folder / "pg_dump"
    path.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")
    path.chmod(0o755)
    return folder


def _embedded_is(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    def answer() -> Path:
        if folder is None:
            raise embedded.EmbeddedError("not installed")
        return folder

    monkeypatch.setattr(embedded, "binaries_path", answer)


def test_older_programs_are_refused_with_their_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _embedded_is(monkeypatch, _put_programs(tmp_path / "a", "15.3"))
    path = _put_programs(tmp_path / "b", "16.1 (Debian 16.1-1)")
    with pytest.raises(ProgramError) as caught:
        find_programs(17, {"PATH": str(path)})
    assert "must not be older than the server, PostgreSQL 17" in str(caught.value)
    assert f"15.3 in {tmp_path / 'a'}, 16.1 in {path}" in str(caught.value)


def test_the_nearest_version_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _embedded_is(monkeypatch, _put_programs(tmp_path / "a", "18.1"))
    path = _put_programs(tmp_path / "b", "16.1")
    assert [each.major for each in find_programs(16, {"PATH": str(path)})] == [16, 18]
    assert [each.version for each in find_programs(17, {"PATH": str(path)})] == ["18.1"]


def test_no_program_at_all_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _embedded_is(monkeypatch, None)
    with pytest.raises(ProgramError, match="found: none"):
        find_programs(15, {"PATH": str(tmp_path)})


def test_what_does_not_answer_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _embedded_is(monkeypatch, tmp_path)
    with pytest.raises(ProgramError, match="found: none"):
        find_programs(15, {})


def test_the_server_of_these_tests_is_recent(app_dsn: str) -> None:
    assert server_major(app_dsn) >= programs.MIN_MAJOR


def test_a_session_can_act_as_another_role(admin_dsn: str) -> None:
    with psycopg.connect(as_role(admin_dsn, "agenthifive_app")) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("agenthifive_app",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM l_audit_events")
    kept = as_role("host=x options='-c work_mem=1MB'", "agenthifive_app")
    assert "work_mem=1MB -c role=agenthifive_app" in kept


def test_the_password_and_nothing_else_secret_is_in_the_environment(tmp_path: Path) -> None:
    program = tmp_path / "show"
    program.write_text('#!/bin/sh\necho "$*"\nenv\n')
    program.chmod(0o755)
    target = Target(
        "host=db.internal user=app password=geheim", {"PATH": "/usr/bin:/bin", "ENCRYPTION_KEY": "k", "PGSSLMODE": "x"}
    )
    with running(program, ["--list"], target, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        arguments, *environ = process.stdout.read().decode().splitlines()
        process.stdout.close()
    assert arguments == "--list --dbname user=app host=db.internal"
    assert "PGPASSWORD=geheim" in environ
    assert "PGSSLMODE=x" in environ
    assert [line for line in environ if line.startswith("ENCRYPTION_KEY")] == []


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\necho one >&2\necho 'error: no space left' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(ProgramError, match=r"pg_dump failed: one \| error: no space left"), running(program, []):
        pass


def test_a_program_does_not_outlive_its_block(tmp_path: Path) -> None:
    program = tmp_path / "wait"
    program.write_text("#!/bin/sh\nexec cat\n")
    program.chmod(0o755)
    with pytest.raises(KeyError), running(program, [], stdin=subprocess.PIPE) as process:
        raise KeyError
    assert process.returncode == -9
