"""`up` and `serve`: from nothing to a server that answers, and in order to its end."""

import json
import os
import signal
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from agenthifive.cli.client import Client
from agenthifive.cli.demo_instance import _free_port
from agenthifive.cli.interrupts import interrupted_once
from agenthifive.db import migrate
from agenthifive.vault.keyring import Keyring
from cli.stage import KEY, SIGN_IN_SECRET, Cli, Ground, settings_for


def test_up_serves_until_it_is_told_to_stop(cli: Cli, ground: Ground, tmp_path: Path) -> None:
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "agenthifive", "up", "--json", "--port", str(port)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AGENTHIFIVE_HOME": str(tmp_path / "home"),
             "DATABASE_URL": ground.app_dsn, "WEB_URL": f"http://127.0.0.1:{port}"},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        client = Client(f"http://127.0.0.1:{port}")
        assert client.get("/health/ready").json()["status"] == "ok"
        served = client.get("/openapi.json").json()
    finally:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, b""), err
    assert ready["command"] == "up"
    assert ready["data"]["url"] == f"http://127.0.0.1:{port}"
    token = ready["data"]["setupLink"].partition("/setup?token=")[2]
    assert ground.ask("SELECT token_hash FROM t_one_time_links") == [(sha256(token.encode()).hexdigest(),)]
    assert (tmp_path / "home" / "secrets.env").exists()
    assert cli("openapi", "--json").data == served
    actions = [action for (action,) in ground.ask("SELECT action FROM l_audit_events ORDER BY id")]
    assert (actions[-2], actions[-1]) == ("instance_started", "instance_stopped")


def test_up_makes_the_secrets_where_the_env_file_says_home_is(cli: Cli, tmp_path: Path) -> None:
    del cli.environ["AGENTHIFIVE_HOME"]
    (tmp_path / ".env").write_text(f"AGENTHIFIVE_HOME={tmp_path}/from-the-file\n")
    url = "postgresql://agenthifive_app:a-long-password@127.0.0.1:1/agenthifive"
    done = cli("up", DATABASE_URL=url, DB_START_TIMEOUT_SECONDS="1")
    assert done.code == 4
    assert f"Generated ENCRYPTION_KEY in {tmp_path}/from-the-file/secrets.env" in done.err
    assert not (tmp_path / ".local").exists()


def test_serve_makes_no_secrets(cli: Cli, tmp_path: Path) -> None:
    done = cli("serve", "--json")
    assert (done.code, done.json["code"]) == (3, "start_refused")
    assert len(done.json["data"]["problems"]) == 2
    assert not (tmp_path / "home").exists()


def test_serve_in_production_names_every_defect_and_starts_nothing(cli: Cli) -> None:
    settings = settings_for("postgresql://app:app@db.example.com/agenthifive")
    done = cli("serve", **settings, WEB_URL="http://agents.example.com", API_BIND_HOST="0.0.0.0")
    assert done.code == 3
    for check in ("WEB-HTTPS", "DB-TLS", "DB-PASSWORD", "BIND-HOST"):
        assert f"[{check}]" in done.err
    assert SIGN_IN_SECRET not in done.err


def test_options_are_stronger_than_the_environment(cli: Cli) -> None:
    done = cli("serve", "--host", "not-an-address", "--port", "4001", API_PORT="99999", API_BIND_HOST="127.0.0.1")
    assert done.code == 3
    assert "API_BIND_HOST: " in done.err
    assert "API_PORT" not in done.err


def test_a_port_that_is_taken_is_refused_by_name(desk: Cli, ground: Ground) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = desk("serve", "--json", "--port", port)
    assert (done.code, done.json["code"]) == (3, "listen")
    assert port in done.json["error"]


def test_a_server_with_another_key_ends_with_6(desk: Cli, ground: Ground) -> None:
    kid = Keyring.parse(KEY, "").active_kid
    ground.ask("INSERT INTO t_key_canaries (kid, envelope, state) VALUES (%s, 'not ours', 'active')", kid)
    done = desk("serve", "--json", API_PORT=str(_free_port()))
    assert (done.code, done.json["code"]) == (6, "keys")


def test_an_old_schema_is_refused_without_leave_to_migrate(desk: Cli, ground: Ground) -> None:
    ground.ask("UPDATE alembic_version SET version_num = '0000'")
    try:
        done = desk("serve", "--json", AUTO_MIGRATE="false")
    finally:
        ground.ask("UPDATE alembic_version SET version_num = %s", migrate.HEAD)
    assert (done.code, done.json["code"]) == (3, "schema")


def test_the_first_interrupt_ends_the_block_and_the_second_does_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    steps = []

    def work() -> None:
        with interrupted_once():
            try:
                signal.raise_signal(signal.SIGTERM)
                steps.append("not reached")
            finally:
                signal.raise_signal(signal.SIGINT)
                steps.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["cleaned up"]
    assert signal.getsignal(signal.SIGTERM) == before
