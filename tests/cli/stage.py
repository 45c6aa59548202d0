"""The command line as its user sees it: arguments in, exit code and two streams out; and databases to run it on."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agenthifive.cli.main import run
from agenthifive.ids import new_id

KEY = "5f" * 15 + "a1" * 17
SIGN_IN_SECRET = "0123456789abcdef-sign-in-secret-of-these-tests"


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object of --json."""
        assert self.out.count("\n") == 1, f"more or less than one line: {self.out!r}"
        answer: dict[str, Any] = json.loads(self.out)
        return answer

    @property
    def data(self) -> dict[str, Any]:
        """The data of a command that succeeded."""
        assert self.json["ok"] is True, self.out
        data: dict[str, Any] = self.json["data"]
        return data


@dataclass
class Cli:
    """Runs commands in this process."""

    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str = "", **environ: str) -> Result:
        """Run one command; keyword arguments are settings."""
        self.capture.readouterr()
        self.monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = run(arguments, {**self.environ, **environ}, self.home)
        out, err = self.capture.readouterr()
        return Result(code, out, err)


@dataclass(frozen=True)
class Ground:
    """A migrated database with nobody in it."""

    app_dsn: str
    admin_dsn: str

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, asked as the superuser."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def clear(self) -> None:
        """Take everything out, the log included: a superuser can."""
        with psycopg.connect(self.admin_dsn) as connection:
            connection.execute("SET session_replication_role = replica")
            tables = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
            )
            for (table,) in tables.fetchall():
                connection.execute(f"DELETE FROM {table}")

    def tamper(self, statement: str, *values: Any) -> None:
        """Change the log past the triggers that guard it."""
        with psycopg.connect(self.admin_dsn) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement, values)

    def add_workspace(self, name: str = "Olga") -> tuple[str, str]:
        """A person with a workspace: user id, workspace id."""
        user_id, workspace_id = new_id(), new_id()
        self.ask("INSERT INTO t_users (id, email, email_key, name) VALUES (%s, %s, %s, %s)",
                 user_id, f"{user_id}@example.com", f"{user_id}@example.com", name)  # fmt: skip
        self.ask("INSERT INTO t_workspaces (id, name, owner_id) VALUES (%s, 'Works', %s)", workspace_id, user_id)
        self.ask("INSERT INTO t_members (workspace_id, user_id, role) VALUES (%s, %s, 'owner')", workspace_id, user_id)
        return user_id, workspace_id


def settings_for(dsn: str) -> Mapping[str, str]:
    """Settings of an instance on this database."""
    return {"DATABASE_URL": dsn, "ENCRYPTION_KEY": KEY, "BETTER_AUTH_SECRET": SIGN_IN_SECRET}
