"""`user ...`: accounts by their address, on the database itself, recorded under the operator's name."""

import re

import pytest

from agenthifive.cli.console import os_user
from cli.stage import Cli, Ground

OLGA, ADAM = "olga@example.com", "adam@example.com"
PASSWORD = "four unrelated words here"


@pytest.fixture
def staffed(desk: Cli, ground: Ground) -> Cli:
    """Olga, the superadmin, and Adam."""
    for email, name in ((OLGA, "Olga"), (ADAM, "Adam")):
        done = desk("user", "create", email, "--name", name, "--password-stdin", stdin=PASSWORD)
        assert done.code == 0, done.err
    return desk


def test_without_a_password_the_account_gets_a_link_that_sets_it(desk: Cli, ground: Ground) -> None:
    done = desk("user", "create", OLGA, "--name", "Olga", "--json")
    assert done.data["user"]["platformRole"] == "superadmin"
    assert re.fullmatch(r"http://localhost:4000/reset-password\?token=[A-Za-z0-9_-]{43}", done.data["setPasswordUrl"])
    assert ground.ask("SELECT password_hash FROM t_users") == [(None,)]
    assert ground.ask("SELECT purpose FROM t_one_time_links") == [("reset",)]
    assert done.data["password"] is None


def test_accounts_are_listed(staffed: Cli) -> None:
    data = staffed("user", "list", "--json").data
    assert [(one["email"], one["platformRole"], one["disabledAt"]) for one in data["users"]] == [
        (OLGA, "superadmin", None),
        (ADAM, "user", None),
    ]
    assert data["total"] == 2
    assert staffed("user", "list", "--search", "adam", "--json").data["total"] == 1
    assert OLGA in staffed("user", "list").out


def test_an_account_is_disabled_and_enabled_by_its_address(staffed: Cli, ground: Ground) -> None:
    done = staffed("user", "disable", ADAM.upper(), "--json")
    assert (done.data["sessionsEnded"], done.data["tokensStopped"]) == (0, 0)
    assert ground.ask("SELECT disabled_at IS NOT NULL FROM t_users WHERE email = %s", ADAM) == [(True,)]
    assert staffed("user", "disable", ADAM).code == 1
    assert staffed("user", "enable", ADAM).code == 0
    rows = ground.ask("SELECT action, actor FROM l_audit_events WHERE action LIKE 'user_%%abled' ORDER BY id")
    assert rows == [("user_disabled", f"cli:{os_user()}"), ("user_enabled", f"cli:{os_user()}")]


def test_the_last_superadmin_stays(staffed: Cli, ground: Ground) -> None:
    for arguments in (("disable", OLGA), ("set-role", OLGA, "user")):
        refused = staffed("user", *arguments, "--json")
        assert (refused.code, refused.json["code"]) == (1, "conflict")
    assert staffed("user", "set-role", ADAM, "superadmin").code == 0
    assert staffed("user", "set-role", OLGA, "user").code == 0
    assert ground.ask("SELECT email FROM t_users WHERE platform_role = 'superadmin'") == [(ADAM,)]
    assert staffed("user", "set-role", ADAM, "king").code == 2


def test_a_reset_link_is_good_for_an_hour_and_recorded(staffed: Cli, ground: Ground) -> None:
    done = staffed("user", "reset-link", ADAM, "--json")
    assert "/reset-password?token=" in done.data["resetUrl"]
    assert ground.ask("SELECT extract(epoch FROM expires_at - created_at)::int FROM t_one_time_links") == [(3600,)]
    assert ground.ask("SELECT count(*) FROM l_audit_events WHERE action = 'password_reset_requested'") == [(1,)]


def test_somebody_is_signed_out_and_loses_second_factors(staffed: Cli, ground: Ground) -> None:
    assert staffed("user", "sign-out", ADAM, "--json").data["sessionsEnded"] == 0
    assert staffed("user", "reset-two-factor", ADAM).code == 0
    actions = [row[0] for row in ground.ask("SELECT action FROM l_audit_events ORDER BY id")]
    assert actions[-2:] == ["user_signed_out", "two_factor_reset"]


@pytest.mark.parametrize("verb", ["disable", "enable", "sign-out", "reset-link", "reset-two-factor"])
def test_who_has_no_account_is_named_as_such(staffed: Cli, verb: str) -> None:
    for email in ("nobody@example.com", "nobody"):
        refused = staffed("user", verb, email, "--json")
        assert (refused.code, refused.json["code"]) == (1, "not_found")
