"""`jwt generate`, `jwt list`, `jwt retire`. Source: contract/operations.md section 15."""

import re
from typing import Any

import pytest

from agenthifive.cli.console import os_user
from agenthifive.settings_sources import parse_env
from agenthifive.vault.secret import Secret
from agenthifive.vault.token_keys import read_signing_key
from cli.stage import Cli, Ground
from signing_keys import environ, signing_key


def put(ground: Ground, name: str, age: str) -> None:
    """A key that a server of this name was started with so long ago."""
    key = signing_key(name)
    ground.ask(
        "INSERT INTO t_jwt_keys (kid, jwk, alg, first_web_url, environment, first_seen_at, activated_at)"
        " VALUES (%s, %s::jsonb, 'RS256', 'http://localhost:4000', 'development', now() - %s::interval,"
        " now() - %s::interval)",
        key.kid, str(dict(key.jwk)).replace("'", '"'), age, age,
    )  # fmt: skip


def state(ground: Ground, kid: str) -> tuple[Any, ...]:
    [row] = ground.ask("SELECT retired_at IS NOT NULL, removed_at IS NOT NULL FROM t_jwt_keys WHERE kid = %s", kid)
    return row


def test_a_new_key_is_shown_once_ready_for_the_env_file(cli: Cli) -> None:
    done = cli("jwt", "generate")
    assert (done.code, done.err) == (0, "")
    lines = "\n".join(line for line in done.out.splitlines() if line.startswith("JWT_"))
    values = parse_env(lines, cli.home)
    key = read_signing_key(Secret(values["JWT_PRIVATE_KEY"]))
    assert (key.alg, key.bits, key.kid) == ("RS256", 2048, values["JWT_KID"])
    other = cli("jwt", "generate", "--bits", "3072", "--json").data
    assert read_signing_key(Secret(other["privateKey"])).bits == 3072
    assert other["privateKey"].startswith("-----BEGIN PRIVATE KEY-----\n")
    assert other["kid"] != values["JWT_KID"]


@pytest.mark.parametrize("bits", ["1024", "8192", "many"])
def test_a_size_that_is_too_small_or_too_large_is_misuse(cli: Cli, bits: str) -> None:
    assert cli("jwt", "generate", "--bits", bits).code == 2


def test_the_keys_are_listed_newest_first(desk: Cli, ground: Ground) -> None:
    assert "No key has signed here yet" in desk("jwt", "list").out
    put(ground, "gone", "4 hours")
    put(ground, "old", "2 hours")
    put(ground, "new", "1 hour")
    keys = desk("jwt", "list", "--json").data["keys"]
    assert [(each["kid"], each["active"], each["removedAt"] is not None) for each in keys] == [
        ("new", True, False), ("old", False, False), ("gone", False, True),
    ]  # fmt: skip
    rows = desk("jwt", "list").out.splitlines()
    assert re.split(r"\s{2,}", rows[0].strip()) == ["KID", "ALG", "STATE", "FIRST SEEN", "LAST SIGNED"]
    assert [row.split()[:3] for row in rows[1:]] == [
        ["new", "RS256", "active"], ["old", "RS256", "published"], ["gone", "RS256", "removed"],
    ]  # fmt: skip


def test_a_replaced_key_is_retired_and_recorded_under_the_operators_name(desk: Cli, ground: Ground) -> None:
    put(ground, "old", "2 hours")
    put(ground, "new", "1 hour")
    assert desk("jwt", "retire", "old").code == 0
    assert state(ground, "old") == (True, False)
    assert "retired" in desk("jwt", "list").out
    done = desk("jwt", "retire", "old", "--now", "--json")
    assert done.data == {"kid": "old", "now": True}
    assert state(ground, "old") == (True, True)
    rows = ground.ask("SELECT action, actor, metadata FROM l_audit_events ORDER BY id")
    assert rows == [("jwt_key_retired", f"cli:{os_user()}", {"kid": "old"})] * 2


def test_the_key_that_signs_is_not_retired(desk: Cli, ground: Ground) -> None:
    put(ground, "old", "2 hours")
    put(ground, "new", "1 hour")
    for kid, settings in (("new", {}), ("old", environ("old"))):
        done = desk("jwt", "retire", kid, "--now", **settings)
        assert done.code == 1
        assert "signs tokens now" in done.err
        assert state(ground, kid) == (False, False)
    done = desk("jwt", "retire", "unknown")
    assert done.code == 1
    assert "No signing key has this kid" in done.err
    assert ground.ask("SELECT count(*) FROM l_audit_events") == [(0,)]
