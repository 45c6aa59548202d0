"""`audit list | verify | export`: the operator's view of the whole log, and the proof of it."""

import csv
import io
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from agenthifive.audit.export import COLUMNS
from agenthifive.audit.record import Record
from agenthifive.ids import new_id
from cli.stage import Cli, Ground

SOMEBODY = "0192f0c1-7e3a-7b52-9d1e-3f6a0c5b8d11"


@pytest.fixture
def log(desk: Cli, ground: Ground) -> Cli:
    """A command line on an instance that has five rows in one chain for each command."""
    desk("create-user", "olga@example.com", "--name", "Olga", "--token")
    desk("create-user", "adam@example.com", "--name", "Adam")
    return desk


def test_rows_are_shown_newest_first(log: Cli) -> None:
    done = log("audit", "list")
    assert (done.code, done.err) == (0, "")
    head, *rows = done.out.splitlines()
    assert head.split() == ["TIME", "ACTION", "DECISION", "WHO", "WHAT"]
    assert [row.split()[1] for row in rows] == [
        "user_created", "workspace_created", "pat_created", "user_created", "workspace_created",
    ]  # fmt: skip
    times = [row.split()[0] for row in rows]
    assert times == sorted(times, reverse=True)
    assert all(re.fullmatch(r"\S{10}T\S{12}Z", time) for time in times)


def test_rows_as_json_are_those_of_the_api(log: Cli) -> None:
    events = log("audit", "list", "--json", "--limit", "2").data["events"]
    assert [event["action"] for event in events] == ["user_created", "workspace_created"]
    wire_names = ["".join([first, *map(str.title, more)]) for first, *more in
                  (name.split("_") for name in Record.__struct_fields__)]  # fmt: skip
    assert list(events[0]) == wire_names


def test_filters_narrow_what_is_shown(log: Cli, ground: Ground) -> None:
    [(workspace_id,)] = ground.ask("SELECT id::text FROM t_workspaces WHERE starts_with(name, 'Adam')")
    for arguments, count in (
        (["--action", "user_created"], 2),
        (["--workspace", workspace_id], 2),
        (["--workspace", workspace_id, "--action", "user_created"], 1),
        (["--decision", "denied"], 0),
        (["--agent", SOMEBODY], 0),
        (["--connection", SOMEBODY], 0),
    ):
        assert len(log("audit", "list", "--json", *arguments).data["events"]) == count, arguments
    assert log("audit", "list", "--decision", "denied").out == "No row fits.\n"


@pytest.mark.parametrize("option", ["--workspace", "--agent", "--connection"])
def test_what_is_no_id_is_misuse(desk: Cli, option: str) -> None:
    done = desk("audit", "list", option, "' OR true --")
    assert done.code == 2
    assert option in done.err


def test_people_and_agents_are_named(desk: Cli, ground: Ground) -> None:
    user_id, workspace_id = ground.add_workspace("Olga")
    agent_id, connection_id = new_id(), new_id()
    ground.ask("INSERT INTO t_agents (id, workspace_id, name, status) VALUES (%s, %s, 'Bot', 'active')",
               agent_id, workspace_id)  # fmt: skip
    add = (
        "INSERT INTO l_audit_events (audit_id, timestamp, actor, agent_id, action, decision, metadata, workspace_id,"
        " principal_type, connection_id, chain_id, chain_seq, prev_hash, hash) VALUES"
        " (%s, now(), %s, %s, %s, 'allowed', %s, %s, %s, %s, %s, 1, sha256(''), sha256(''))"
    )
    call = json.dumps({"method": "GET", "path": "/v1/\u001b[2Jx", "host": "api.example.com"})
    ground.ask(
        add, new_id(), user_id, agent_id, "agent_created", '{"name":"Bot"}', workspace_id, "user", None, new_id()
    )
    ground.ask(add, new_id(), f"agent:{agent_id}", agent_id, "execution_requested", call, workspace_id, "agent",
               connection_id, new_id())  # fmt: skip
    lines = desk("audit", "list").out.splitlines()
    assert lines[1].split()[1:] == ["execution_requested", "allowed", "Bot", "GET", "/v1/\\u001b[2Jx"]
    assert lines[2].split()[1:] == ["agent_created", "allowed", "Olga", "Bot"]


def test_a_whole_log_is_verified(log: Cli) -> None:
    done = log("audit", "verify")
    assert (done.code, done.out, done.err) == (0, "verified 5 rows in 2 chains\n", "")


def test_a_verification_is_itself_recorded(log: Cli, ground: Ground) -> None:
    report = log("audit", "verify", "--json").data
    assert report == {"ok": True, "chains": 2, "rows": 5, "checkpoints": 0, "tailRows": 5, "lastCheckpoint": None,
                      "problems": []}  # fmt: skip
    [row] = ground.ask("SELECT decision, metadata FROM l_audit_events WHERE action = 'audit_verified'")
    assert row == ("allowed", {"chains": 2, "rows": 5, "checkpoints": 0, "firstProblem": None})
    assert log("audit", "verify").out == "verified 6 rows in 3 chains\n"


def test_an_altered_row_ends_with_6_and_is_named(log: Cli, ground: Ground) -> None:
    [(audit_id, chain_id, seq)] = ground.ask(
        "SELECT audit_id::text, chain_id::text, chain_seq FROM l_audit_events WHERE action = 'pat_created'"
    )
    ground.tamper("UPDATE l_audit_events SET metadata = '{}' WHERE audit_id = %s", audit_id)
    done = log("audit", "verify", "--json")
    assert (done.code, done.json["ok"], done.json["code"]) == (6, False, "audit_integrity")
    problem = {"code": "row_altered", "chainId": chain_id, "seq": seq, "n": None, "auditId": audit_id}
    assert done.json["data"]["problems"] == [problem]
    shown = log("audit", "verify")
    assert shown.code == 6
    assert shown.out.splitlines()[0] == f"row_altered: chain {chain_id} row {seq} (audit id {audit_id})"
    assert shown.err.startswith("error: The log is not what was written.\nhint: ")
    assert ground.ask("SELECT count(*) FROM l_audit_events WHERE action = 'audit_verified' AND decision = 'error'") == [
        (2,)
    ]


def test_a_removed_row_ends_with_6(log: Cli, ground: Ground) -> None:
    ground.tamper("DELETE FROM l_audit_events WHERE action = 'workspace_created'")
    done = log("audit", "verify", "--json")
    assert done.code == 6
    assert {problem["code"] for problem in done.json["data"]["problems"]} == {"row_missing"}


def test_that_a_verification_cannot_be_recorded_does_not_hide_what_it_found(log: Cli, ground: Ground) -> None:
    ground.tamper("DELETE FROM l_audit_events WHERE action = 'workspace_created'")
    ground.ask("REVOKE INSERT ON l_audit_chains FROM agenthifive_app")
    try:
        done = log("audit", "verify")
    finally:
        ground.ask("GRANT INSERT ON l_audit_chains TO agenthifive_app")
    assert done.code == 6
    assert "warning: The verification could not be recorded" in done.err


def test_an_export_to_a_file_is_for_its_owner_and_complete(log: Cli, ground: Ground, tmp_path: Path) -> None:
    done = log("audit", "export", "--format", "csv", "-o", "rows.csv", "--json")
    path = tmp_path / "rows.csv"
    assert done.data == {"file": str(path), "rows": 6}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    head, *rows = csv.reader(io.StringIO(path.read_text(), newline=""))
    assert tuple(head) == COLUMNS
    assert [row[COLUMNS.index("action")] for row in rows] == [
        "audit_exported", "user_created", "workspace_created", "pat_created", "user_created", "workspace_created",
    ]  # fmt: skip
    recorded = ground.ask("SELECT metadata FROM l_audit_events WHERE action = 'audit_exported' ORDER BY id")
    assert recorded == [
        ({"format": "csv", "filters": {}, "rows": None},),
        ({"format": "csv", "filters": {}, "rows": 6, "complete": True},),
    ]


def test_an_export_to_standard_output_is_nothing_but_the_file(log: Cli) -> None:
    done = log("audit", "export", "--format", "json", "--action", "user_created", "--json")
    rows: list[dict[str, Any]] = json.loads(done.out)
    assert [row["metadata"]["email"] for row in rows] == ["adam@example.com", "olga@example.com"]
    assert done.err == ""


def test_an_export_of_nothing_is_still_a_file(log: Cli) -> None:
    assert log("audit", "export", "--format", "json", "--agent", SOMEBODY).out == "[]"
    assert log("audit", "export", "--format", "csv", "--agent", SOMEBODY).out.strip() == ",".join(COLUMNS)


def test_an_export_says_which_forms_there_are(desk: Cli) -> None:
    done = desk("audit", "export", "--format", "xlsx")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: --format xlsx is neither csv nor json.")


def test_a_file_that_cannot_be_written_records_no_export(log: Cli, ground: Ground) -> None:
    done = log("audit", "export", "--format", "csv", "-o", "no/such/place.csv")
    assert done.code == 1
    assert "cannot be written" in done.err
    assert ground.ask("SELECT count(*) FROM l_audit_events WHERE action = 'audit_exported'") == [(0,)]
