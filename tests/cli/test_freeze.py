"""`freeze` and `unfreeze`: the database for all replicas, the file for this machine."""

from pathlib import Path

import pytest

from agenthifive.cli.console import os_user
from agenthifive.ids import new_id
from cli.stage import Cli, Ground


@pytest.fixture
def file(desk: Cli) -> Path:
    return Path(desk.environ["AGENTHIFIVE_HOME"]) / "FREEZE"


def freezes(ground: Ground) -> list[tuple[str, str | None]]:
    return ground.ask("SELECT scope, reason FROM t_freezes ORDER BY scope")


def test_everything_is_frozen_by_file_and_database_and_lifted_from_both(desk: Cli, ground: Ground, file: Path) -> None:
    done = desk("freeze", "--all", "--reason", "key found in public", "--json")
    assert done.data == {
        "scope": "instance",
        "targetId": None,
        "reason": "key found in public",
        "file": str(file),
    }
    assert file.read_text() == "key found in public\n"
    assert freezes(ground) == [("instance", "key found in public")]
    lifted = desk("unfreeze", "--all", "--json")
    assert (lifted.data["fileRemoved"], lifted.data["databaseLifted"]) == (True, True)
    assert not file.exists()
    assert freezes(ground) == []
    rows = ground.ask("SELECT action, actor, metadata FROM l_audit_events ORDER BY id")
    assert rows == [
        ("freeze_activated", f"cli:{os_user()}", {"scope": "instance", "reason": "key found in public"}),
        ("freeze_lifted", f"cli:{os_user()}", {"scope": "instance"}),
    ]


def test_one_workspace_or_agent_is_frozen_in_the_database_only(desk: Cli, ground: Ground, file: Path) -> None:
    _, workspace_id = ground.add_workspace()
    assert desk("freeze", "--workspace", workspace_id).code == 0
    assert freezes(ground) == [("workspace", None)]
    assert not file.exists()
    unknown = desk("freeze", "--agent", new_id(), "--json")
    assert (unknown.code, unknown.json["code"]) == (1, "not_found")
    assert desk("unfreeze", "--workspace", workspace_id).code == 0
    again = desk("unfreeze", "--workspace", workspace_id, "--json")
    assert (again.code, again.json["code"]) == (1, "conflict")


def test_the_file_alone_needs_no_database(cli: Cli) -> None:
    cli.environ["DATABASE_URL"] = "postgresql://agenthifive_app:x@127.0.0.1:1/nothing"
    file = Path(cli.environ["AGENTHIFIVE_HOME"]) / "FREEZE"
    assert cli("freeze", "--all", "--local").code == 0
    assert file.exists()
    assert cli("unfreeze", "--all", "--local").code == 0
    assert not file.exists()
    gone = cli("unfreeze", "--all", "--local", "--json")
    assert (gone.code, gone.json["code"]) == (1, "conflict")


def test_without_the_database_the_file_is_written_all_the_same_and_the_rest_is_said(cli: Cli) -> None:
    cli.environ["DATABASE_URL"] = "postgresql://agenthifive_app:x@127.0.0.1:1/nothing"
    done = cli("freeze", "--all", "--json")
    assert done.code == 4
    assert "Only the processes of this machine are frozen." in done.json["error"]
    assert Path(done.json["data"]["file"]).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all", "--workspace", "x"),
        ("--agent", "nobody"),
        ("--workspace", new_id(), "--local"),
        ("--all", "--reason", "x" * 501),
    ],
)
def test_what_is_unclear_freezes_nothing(desk: Cli, ground: Ground, file: Path, arguments: tuple[str, ...]) -> None:
    assert desk("freeze", *arguments).code == 2
    assert freezes(ground) == []
    assert not file.exists()
