"""`agent enrol | token | call`: the key stays here, the assertion is one the server accepts, answers are shown."""

import json
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agenthifive.agents.assertion import accepted_audiences, parse_assertion, verify_assertion
from agenthifive.agents.public_key import read_public_key
from cli.server import Received, Script, Server, serving
from cli.stage import Cli

AGENT_ID = "0192f0c1-7e3a-7b52-9d1e-3f6a0c5b8d11"
CONNECTION_ID = "0192f0c1-7e3a-7b52-9d1e-3f6a0c5b8d22"
SECRET = "ah5b_" + "s" * 43
URL = "https://api.example.com/v1/x"


def reply(body: Any, status: int = 200) -> Script:
    return Script(status, json.dumps(body).encode(), {"content-type": "application/json"})


@dataclass
class Vault:
    """What an AgentHiFive server would answer; assertions are judged by the server's own code."""

    base: str = ""
    key: Mapping[str, str] | None = None
    tokens: list[str] = field(default_factory=list)
    jtis: list[str] = field(default_factory=list)
    calls: list[Received] = field(default_factory=list)
    expires_in: int = 7200
    refusals: dict[str, list[Script]] = field(default_factory=dict)
    envelope: Any = field(default_factory=lambda: {"model": "B", "status": 200, "headers": {}, "body": {"a": [1]},
                                                   "auditId": "x"})  # fmt: skip

    def __call__(self, received: Received) -> Script:
        if self.refusals.get(received.path):
            return self.refusals[received.path].pop(0)
        routes: dict[str, Callable[[Received], Script]] = {
            "/v1/agents/bootstrap": self.enrol,
            "/v1/agents/token": self.exchange,
            "/v1/vault/execute": self.execute,
        }
        return routes[received.path](received)

    def enrol(self, received: Received) -> Script:
        assert received.body["bootstrapSecret"] == SECRET
        self.key = received.body["publicKey"]
        members = {"agentId": AGENT_ID, "name": "Bot", "status": "active", "workspaceId": AGENT_ID}
        return reply({**members, "publicKeyThumbprint": read_public_key(self.key).thumbprint})

    def exchange(self, received: Received) -> Script:
        assert self.key is not None
        assertion = parse_assertion(received.body["client_assertion"])
        claims = verify_assertion(
            assertion,
            read_public_key(self.key),
            audiences=accepted_audiences(self.base, None, (), False),
            max_lifetime_s=60,
            now_s=time.time(),
        )
        assert claims.agent_id == AGENT_ID
        assert claims.jti not in self.jtis
        self.jtis.append(claims.jti)
        self.tokens.append(f"ah5t_{len(self.tokens)}")
        return reply({"access_token": self.tokens[-1], "token_type": "Bearer", "expires_in": self.expires_in,
                      "scope": "vault:execute approvals:read"})  # fmt: skip

    def execute(self, received: Received) -> Script:
        self.calls.append(received)
        if received.headers["authorization"] != f"Bearer {self.tokens[-1]}":
            return reply({"error": "This token is not valid.", "code": "invalid_token"}, 401)
        return reply(self.envelope)


@dataclass
class Machine:
    """The agent's machine and the server it talks to."""

    cli: Cli
    vault: Vault
    server: Server

    @property
    def agents(self) -> Path:
        return self.cli.home / "home" / "agents"

    def call(self, *arguments: str) -> Any:
        return self.cli("agent", "call", AGENT_ID, "get", URL, "--connection", CONNECTION_ID, *arguments)


@pytest.fixture
def machine(cli: Cli) -> Any:
    vault = Vault()
    with serving(vault) as server:
        vault.base = server.base
        yield Machine(cli, vault, server)


@pytest.fixture
def enrolled(machine: Machine) -> Machine:
    done = machine.cli("agent", "enrol", "--secret", SECRET, "--base", machine.server.base)
    assert done.code == 0, done.err
    return machine


def test_the_private_key_is_kept_for_its_owner_and_never_sent(enrolled: Machine) -> None:
    path = enrolled.agents / f"{AGENT_ID}.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(enrolled.agents.stat().st_mode) == 0o700
    members = json.loads(path.read_text())
    assert enrolled.vault.key == {name: members["key"][name] for name in ("kty", "crv", "x", "y")}
    assert members["key"]["d"] not in str(enrolled.server.received)
    assert [each.name for each in enrolled.agents.iterdir()] == [path.name]


def test_enrolment_as_it_is_told(machine: Machine) -> None:
    done = machine.cli("agent", "enrol", "--secret", "-", "--name", "planner", stdin=f"{SECRET}\n",
                       WEB_URL=machine.server.base)  # fmt: skip
    path = machine.agents / "planner.json"
    assert done.out == f"Enrolled Bot ({AGENT_ID}). Its key is in {path} and never left this machine.\n"
    assert SECRET not in done.out + path.read_text()


def test_enrolment_as_json(machine: Machine) -> None:
    done = machine.cli("agent", "enrol", "--secret", SECRET, "--base", machine.server.base, "--json")
    assert machine.vault.key is not None
    assert done.data == {
        "agentId": AGENT_ID,
        "name": "Bot",
        "publicKeyThumbprint": read_public_key(machine.vault.key).thumbprint,
        "keyFile": str(machine.agents / f"{AGENT_ID}.json"),
    }


def test_after_a_lost_answer_the_same_key_is_sent_again(machine: Machine) -> None:
    machine.vault.refusals["/v1/agents/bootstrap"] = [Script(502, b"gateway")]
    enrol = ("agent", "enrol", "--secret", SECRET, "--base", machine.server.base)
    assert machine.cli(*enrol).code == 1
    assert machine.cli(*enrol).code == 0
    first, second = (received.body["publicKey"] for received in machine.server.received)
    assert first == second


def test_a_refused_key_is_dropped(machine: Machine) -> None:
    refusal = {"error": "Not valid. Ask a person for a new one.", "code": "invalid_bootstrap_secret"}
    machine.vault.refusals["/v1/agents/bootstrap"] = [reply(refusal, 401)]
    done = machine.cli("agent", "enrol", "--secret", SECRET, "--base", machine.server.base)
    assert done.code == 1
    assert done.err == "error: Not valid. Ask a person for a new one.\ncode: invalid_bootstrap_secret\n"
    assert list(machine.agents.iterdir()) == []


@pytest.mark.parametrize("name", ["../../etc/cron", "a/b", ".hidden", "", "x" * 101, "a\nb"])
def test_a_name_that_is_no_file_name_is_misuse_before_anything_is_sent(machine: Machine, name: str) -> None:
    done = machine.cli("agent", "enrol", "--secret", SECRET, "--base", machine.server.base, "--name", name)
    assert done.code == 2
    assert machine.server.received == []
    assert machine.cli("agent", "token", name).code == 2


def test_secrets_do_not_travel_in_the_clear(machine: Machine) -> None:
    done = machine.cli("agent", "enrol", "--secret", SECRET, "--base", "http://agents.example.com")
    assert done.code == 2
    assert "https" in done.err
    assert not machine.agents.exists()


def test_the_token_is_printed_alone(enrolled: Machine) -> None:
    done = enrolled.cli("agent", "token", AGENT_ID)
    assert (done.code, done.out, done.err) == (0, "ah5t_0\n", "")
    data = enrolled.cli("agent", "token", AGENT_ID, "--json").data
    assert data == {"accessToken": "ah5t_1", "expiresIn": 7200, "scopes": ["vault:execute", "approvals:read"]}
    token_file = enrolled.agents / f"{AGENT_ID}.token"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600


def test_an_unknown_agent_says_how_to_become_known(machine: Machine) -> None:
    done = machine.cli("agent", "token", AGENT_ID, "--json")
    assert (done.code, done.json["code"]) == (1, "unknown_agent")
    assert "agenthifive agent enrol" in done.json["hint"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "\xff", '{"agentId":"a"}', '{"agentId":"a","name":"b","base":"c","key":{}}']
)
def test_a_broken_key_file_is_named(enrolled: Machine, content: str) -> None:
    path = enrolled.agents / f"{AGENT_ID}.json"
    path.write_text(content, "latin-1")
    done = enrolled.cli("agent", "token", AGENT_ID)
    assert done.code == 1
    assert str(path) in done.err


@pytest.mark.parametrize("answer", [[], {}, {"agentId": 1, "name": "Bot", "publicKeyThumbprint": "x"}])
def test_a_server_that_answers_something_else_is_not_believed(machine: Machine, answer: Any) -> None:
    machine.vault.refusals["/v1/agents/bootstrap"] = [reply(answer)]
    done = machine.cli("agent", "enrol", "--secret", SECRET, "--base", machine.server.base, "--json")
    assert (done.code, done.json["code"]) == (1, "unexpected_answer")


def test_a_server_cannot_choose_where_the_key_is_written(machine: Machine) -> None:
    answer = {"agentId": "../../outside", "name": "Bot", "publicKeyThumbprint": "x"}
    machine.vault.refusals["/v1/agents/bootstrap"] = [reply(answer)]
    assert machine.cli("agent", "enrol", "--secret", SECRET, "--base", machine.server.base).code == 2
    assert [path.name for path in machine.cli.home.rglob("*.json") if not path.name.startswith(".pending-")] == []


def test_a_place_that_cannot_be_written_is_named_before_anything_is_sent(machine: Machine) -> None:
    (machine.cli.home / "home").mkdir()
    machine.agents.write_text("a file where a folder should be")
    done = machine.cli("agent", "enrol", "--secret", SECRET, "--base", machine.server.base, "--json")
    assert (done.code, done.json["code"]) == (1, "unwritable")
    assert machine.server.received == []


def test_a_call_shows_status_and_body(enrolled: Machine) -> None:
    done = enrolled.call()
    assert (done.code, done.err) == (0, "")
    assert done.out == '200\n{\n  "a": [\n    1\n  ]\n}\n'
    [received] = enrolled.vault.calls
    assert received.body == {"model": "B", "method": "GET", "url": URL, "connectionId": CONNECTION_ID}


def test_a_call_as_json_is_the_servers_envelope(enrolled: Machine) -> None:
    assert enrolled.call("--json").data == enrolled.vault.envelope


@pytest.mark.parametrize(
    ("body", "shown"), [("plain\x1b[2J", "201\nplain\\u001b[2J\n"), (None, "201\n"), ("", "201\n")]
)
def test_bodies_that_are_no_json(enrolled: Machine, body: Any, shown: str) -> None:
    enrolled.vault.envelope = {"model": "B", "status": 201, "headers": {}, "body": body, "auditId": "x"}
    assert enrolled.call().out == shown


def test_body_headers_and_service_are_passed_on(enrolled: Machine) -> None:
    done = enrolled.cli("agent", "call", AGENT_ID, "POST", URL, "--service", "slack", "--body", '{"n":1.5}',
                        "--header", "Accept: text/plain", "--header", "x-two:2")  # fmt: skip
    assert done.code == 0
    assert enrolled.vault.calls[0].body == {
        "model": "B",
        "method": "POST",
        "url": URL,
        "service": "slack",
        "body": {"n": 1.5},
        "headers": {"Accept": "text/plain", "x-two": "2"},
    }


@pytest.mark.parametrize(
    "arguments",
    [[], ["--connection", CONNECTION_ID, "--service", "slack"], ["--connection", CONNECTION_ID, "--body", "{'a':1}"],
     ["--connection", CONNECTION_ID, "--header", "no-colon"]],
)  # fmt: skip
def test_a_call_that_makes_no_sense_is_not_sent(enrolled: Machine, arguments: list[str]) -> None:
    assert enrolled.cli("agent", "call", AGENT_ID, "GET", URL, *arguments).code == 2
    assert enrolled.vault.calls == []


def test_a_token_is_used_until_it_is_about_to_end(enrolled: Machine) -> None:
    for _ in range(3):
        assert enrolled.call().code == 0
    assert enrolled.vault.tokens == ["ah5t_0"]
    enrolled.vault.expires_in = 30
    enrolled.cli("agent", "token", AGENT_ID)
    enrolled.call()
    assert enrolled.vault.tokens == ["ah5t_0", "ah5t_1", "ah5t_2"]


def test_a_revoked_token_is_replaced_once(enrolled: Machine) -> None:
    enrolled.call()
    enrolled.vault.tokens.append("ah5t_revoked-behind-our-back")
    assert enrolled.call().code == 0
    assert len(enrolled.vault.calls) == 3
    expired = reply({"error": "This token is not valid.", "code": "invalid_token"}, 401)
    enrolled.vault.refusals["/v1/vault/execute"] = [expired, expired]
    done = enrolled.call("--json")
    assert (done.code, done.json["code"]) == (1, "invalid_token")


def test_a_refused_call_shows_error_hint_and_code_and_is_not_repeated(enrolled: Machine) -> None:
    body = {"error": "POST is not allowed. Use GET.", "code": "allowlist_denied", "hint": "Ask the owner.",
            "detail": "method", "auditId": "a"}  # fmt: skip
    enrolled.vault.refusals["/v1/vault/execute"] = [reply(body, 403), reply(body, 403)]
    done = enrolled.call()
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: POST is not allowed. Use GET.\nhint: Ask the owner.\ncode: allowlist_denied\n"
    assert enrolled.call("--json").json["data"] == body
    assert enrolled.vault.calls == []


def test_the_server_that_is_gone_is_unreachable(cli: Cli) -> None:
    vault = Vault()
    with serving(vault) as server:
        vault.base = server.base
        assert cli("agent", "enrol", "--secret", SECRET, "--base", server.base).code == 0
    done = cli("agent", "token", AGENT_ID, "--json")
    assert (done.code, done.json["code"]) == (4, "unreachable")
