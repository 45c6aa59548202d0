"""`create-user` and `setup-link`: accounts made on the database, shown once, recorded under the operator's name."""

import re
from hashlib import sha256

import pytest

from agenthifive.cli.console import os_user
from agenthifive.cli.people import generate_password
from agenthifive.db import migrate
from agenthifive.words import PAT_SCOPES
from cli.stage import SIGN_IN_SECRET, Cli, Ground

OLGA = ("create-user", "olga@example.com", "--name", "Olga")
PASSWORD = "four unrelated words here"
SECRET_LINES = re.compile(r"^── (.+?) ─+\n(.+)\n(.+)\n─+$", re.MULTILINE)


def test_the_first_person_owns_a_workspace_and_the_instance(desk: Cli, ground: Ground) -> None:
    done = desk(*OLGA)
    assert (done.code, done.err) == (0, "")
    [(user_id, workspace_id, role)] = ground.ask(
        "SELECT u.id::text, m.workspace_id::text, u.platform_role FROM t_users u JOIN t_members m ON m.user_id = u.id"
    )
    assert role == "superadmin"
    [(title, password, note)] = SECRET_LINES.findall(done.out)
    assert title == "Password"
    assert note == "Shown this once. Hand it over safely."
    assert re.fullmatch(r"[a-z0-9]{5}(-[a-z0-9]{5}){3}", password)
    assert done.out.splitlines()[:2] == [
        f"Olga <olga@example.com> is owner of workspace {workspace_id}.",
        "They may administer the instance.",
    ]
    assert user_id


def test_what_was_done_is_recorded_under_the_operators_name(desk: Cli, ground: Ground) -> None:
    desk(*OLGA, "--token")
    rows = ground.ask("SELECT action, actor, principal_type, principal_id FROM l_audit_events ORDER BY id")
    assert [row[0] for row in rows] == ["workspace_created", "user_created", "pat_created"]
    assert {row[1:] for row in rows} == {(f"cli:{os_user()}", "cli", os_user())}
    assert ground.ask("SELECT count(*) FROM t_audit_writers WHERE closed_at IS NULL") == [(0,)]


def test_the_generated_password_signs_in_and_is_stored_as_a_hash_only(desk: Cli, ground: Ground) -> None:
    from argon2 import PasswordHasher

    password = desk(*OLGA, "--json").data["password"]
    [(stored,)] = ground.ask("SELECT password_hash FROM t_users")
    assert PasswordHasher().verify(stored, password)


def test_a_given_password_is_not_shown(desk: Cli) -> None:
    done = desk(*OLGA, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert done.code == 0
    assert "Password" not in done.out
    assert PASSWORD not in done.out + done.err
    other = desk("create-user", "adam@example.com", "--name", "Adam", "--password-stdin", "--json", stdin=PASSWORD)
    assert other.data["password"] is None


def test_the_answer_as_json(desk: Cli, ground: Ground) -> None:
    data = desk(*OLGA, "--token", "--json").data
    assert list(data) == ["user", "workspaceId", "role", "password", "token"]
    assert list(data["user"]) == ["id", "email", "name", "platformRole"]
    assert list(data["token"]) == ["plainToken", "scopes", "expiresAt"]
    assert (data["role"], data["user"]["platformRole"]) == ("owner", "superadmin")
    [(stored, scopes)] = ground.ask("SELECT token_hash, scopes FROM t_personal_tokens")
    assert stored == sha256(data["token"]["plainToken"].encode()).hexdigest()
    assert data["token"]["scopes"] == scopes == list(PAT_SCOPES)


def test_a_token_is_framed_once_with_its_scopes_by_name(desk: Cli) -> None:
    done = desk(*OLGA, "--token", "--scope", "audit:read", "--scope", "agents:write")
    titles = [title for title, _, _ in SECRET_LINES.findall(done.out)]
    assert titles == ["Password", "Personal access token"]
    assert len(re.findall(r"ah5p_[A-Za-z0-9_-]{43}", done.out)) == 1
    assert done.out.splitlines()[-1] == "Scopes: agents:write, audit:read"


def test_a_person_may_join_a_workspace(desk: Cli, ground: Ground) -> None:
    _, workspace_id = ground.add_workspace()
    data = desk("create-user", "vera@example.com", "--name", "Vera", "--workspace", workspace_id, "--json").data
    assert (data["workspaceId"], data["role"], data["user"]["platformRole"]) == (workspace_id, "viewer", "user")
    other = desk(
        "create-user", "adam@example.com", "--name", "Adam", "--workspace", workspace_id, "--role", "approver",
        "--superadmin", "--json",
    )  # fmt: skip
    assert (other.data["role"], other.data["user"]["platformRole"]) == ("approver", "superadmin")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--role", "admin"], 2, "usage"),
        (["--scope", "audit:read"], 2, "usage"),
        (["--token", "--scope", "connections:revoke"], 2, "usage"),
        (["--password-stdin"], 2, "usage"),
        (["--workspace", "0192f0c1-7e3a-7b52-9d1e-3f6a0c5b8d11"], 1, "not_found"),
    ],
)
def test_what_cannot_be_done_leaves_nothing_behind(
    desk: Cli, ground: Ground, arguments: list[str], code: int, word: str
) -> None:
    done = desk(*OLGA, *arguments, "--json")
    assert (done.code, done.json["code"]) == (code, word)
    assert ground.ask("SELECT (SELECT count(*) FROM t_users) + (SELECT count(*) FROM l_audit_events)") == [(0,)]


def test_bad_texts_are_misuse_and_a_second_account_is_a_no(desk: Cli) -> None:
    assert desk("create-user", "nobody", "--name", "Olga").code == 2
    weak = desk(*OLGA, "--password-stdin", stdin="password1234")
    assert weak.code == 2
    assert "guess" in weak.err
    assert desk(*OLGA).code == 0
    again = desk(*OLGA, "--json")
    assert (again.code, again.json["code"]) == (1, "conflict")


def test_a_token_beyond_the_role_is_refused_and_so_is_the_account(desk: Cli, ground: Ground) -> None:
    _, workspace_id = ground.add_workspace()
    done = desk("create-user", "vera@example.com", "--name", "Vera", "--workspace", workspace_id, "--token", "--json")
    assert (done.code, done.json["code"]) == (1, "insufficient_role")
    assert ground.ask("SELECT count(*) FROM t_users") == [(1,)]


def test_the_set_up_link_is_new_each_time_until_somebody_has_an_account(desk: Cli, ground: Ground) -> None:
    first = desk("setup-link", "--json", WEB_URL="http://localhost:4321").data["setupLink"]
    done = desk("setup-link")
    [(title, second, _)] = SECRET_LINES.findall(done.out)
    assert title == "Set-up link"
    assert first.startswith("http://localhost:4321/setup?token=")
    token = second.partition("?token=")[2]
    live = "SELECT token_hash, expires_at - created_at > '23:59:00' FROM t_one_time_links WHERE used_at IS NULL"
    assert ground.ask(live) == [(sha256(token.encode()).hexdigest(), True)]
    desk(*OLGA)
    refused = desk("setup-link", "--json")
    assert (refused.code, refused.json["code"]) == (1, "ALREADY_SET_UP")


def test_passwords_are_typed_without_doubt_and_never_repeat() -> None:
    made = {generate_password() for _ in range(200)}
    assert len(made) == 200
    assert not set("".join(made)) & set("l1o0")


def test_without_a_sign_in_secret_nothing_is_created(desk: Cli, ground: Ground) -> None:
    assert desk.environ.pop("BETTER_AUTH_SECRET") == SIGN_IN_SECRET
    done = desk(*OLGA)
    assert done.code == 3
    assert "BETTER_AUTH_SECRET" in done.err
    assert ground.ask("SELECT count(*) FROM t_users") == [(0,)]


def test_an_unmigrated_database_is_refused(desk: Cli, ground: Ground) -> None:
    ground.ask("UPDATE alembic_version SET version_num = '0000'")
    try:
        done = desk(*OLGA, "--json")
    finally:
        ground.ask("UPDATE alembic_version SET version_num = %s", migrate.HEAD)
    assert (done.code, done.json["code"], done.json["hint"]) == (3, "schema", "Run: agenthifive migrate")
    assert migrate.HEAD in done.json["error"]
