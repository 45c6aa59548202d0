"""`keys rotate` beside a running server with its own database: the whole procedure, one command, nobody disturbed."""

import json
import os
from collections.abc import Iterator

import pytest
from bench.account import Agent, Connection, call_body, egress_settings, open_account
from bench.client import bearer
from bench.instance import Instance, running_instance

from agenthifive.secrets_env import read_secrets_env
from agenthifive.vault.envelope import Key
from cli.server import Script, serving


@pytest.fixture
def called() -> Iterator[tuple[Instance, Agent, Connection]]:
    """An instance whose agent may call a provider on loopback."""
    with serving(Script(200, b'{"ok":true}', {"content-type": "application/json"})) as provider:
        origin = provider.base.replace("127.0.0.1", "localhost")
        with running_instance(egress_settings(origin), None) as instance:
            account = open_account(instance)
            connection, agent = account.connect("Provider", origin), account.create_agent("Bot")
            account.allow(agent, connection)
            yield instance, agent, connection


def test_one_command_replaces_the_key_of_a_running_server(called: tuple[Instance, Agent, Connection]) -> None:
    instance, agent, connection = called

    def call() -> int:
        return instance.client.post("/v1/vault/execute", call_body(connection, "/v1/x"), bearer(agent.token)).status

    assert call() == 200
    old, pid = read_secrets_env(instance.home)["ENCRYPTION_KEY"], instance.pid
    done = instance.run("--json", "keys", "rotate")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)["data"]
    assert told["left"] == 0
    assert call() == 200
    new = read_secrets_env(instance.home)["ENCRYPTION_KEY"]
    assert new != old
    assert "," not in new
    assert old in (instance.home / f"secrets.env.bak-{told['retired'][0]}").read_text()
    status = json.loads(instance.run("--json", "keys", "status").stdout)["data"]
    states = {line["kid"]: (line["state"], line["records"]) for line in status["kids"]}
    assert states == {told["kid"]: ("active", 1), told["retired"][0]: ("retired", 0)}
    assert instance.process is not None
    assert (instance.pid, instance.process.poll()) == (pid, None)
    third = os.urandom(32)  # a rotation that was cut off after its first step is finished, not begun anew
    env = instance.home / "secrets.env"
    env.write_text(env.read_text().replace(new, f"{third.hex()},{new}"))
    done = instance.run("--json", "keys", "rotate")
    assert json.loads(done.stdout)["data"]["kid"] == Key(third).kid
    assert read_secrets_env(instance.home)["ENCRYPTION_KEY"] == third.hex()
    instance.stop()
    instance.begin("serve")
    instance.wait_until_healthy()
    assert call() == 200
