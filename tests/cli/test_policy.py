"""`policy explain`: the decision a call would get, told from the database alone."""

import json
from dataclasses import dataclass

import msgspec
import pytest

from agenthifive.ids import new_id
from agenthifive.vault.keyring import Keyring
from cli.stage import KEY, Cli, Ground, Result

ORIGIN = "https://api.example.com"
DOCUMENT = {
    "enforcement": "enforce",
    "allowedModels": ["B"],
    "vendStaticCredentials": False,
    "defaultMode": "read_write",
    "stepUpApproval": "never",
    "allowlists": [{"baseUrl": ORIGIN, "methods": ["GET", "POST"], "pathPatterns": ["/v1/**"]}],
    "rateLimits": None,
    "timeWindows": [],
    "rules": {
        "request": [
            {
                "id": "r1",
                "label": "No orders",
                "match": {"body": [{"path": "kind", "op": "eq", "value": "order"}]},
                "action": "deny",
            }
        ],
        "response": [],
        "fieldStepUpEnabled": False,
    },
    "providerConstraints": None,
}


@dataclass
class Case:
    """An agent with a policy on a connection."""

    cli: Cli
    ground: Ground
    agent_id: str
    connection_id: str

    def explain(self, *arguments: str) -> Result:
        return self.cli("policy", "explain", "--agent", self.agent_id, "--connection", self.connection_id, *arguments)


@pytest.fixture
def case(desk: Cli, ground: Ground) -> Case:
    _, workspace_id = ground.add_workspace()
    agent_id, connection_id = new_id(), new_id()
    payload = msgspec.json.encode({"authType": "bearer", "apiKey": "k" * 20})
    sealed = Keyring.parse(KEY, "").seal(payload, "t_connections", "encrypted_tokens", connection_id, workspace_id)
    ground.ask("INSERT INTO t_agents (id, workspace_id, name, status) VALUES (%s, %s, 'Bot', 'active')",
               agent_id, workspace_id)  # fmt: skip
    ground.ask(
        "INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status, encrypted_tokens,"
        " encrypted_tokens_kid, metadata)"
        " VALUES (%s, %s, 'http', 'generic-http', 'http', 'Test', 'healthy', %s, %s, %s)",
        connection_id, workspace_id, sealed.text, sealed.kid, json.dumps({"params": {"baseUrl": ORIGIN}}),
    )  # fmt: skip
    ground.ask(
        "INSERT INTO t_policies (id, workspace_id, agent_id, connection_id, document) VALUES (%s, %s, %s, %s, %s)",
        new_id(), workspace_id, agent_id, connection_id, json.dumps(DOCUMENT),
    )  # fmt: skip
    return Case(desk, ground, agent_id, connection_id)


def test_a_call_that_would_go_out(case: Case) -> None:
    data = case.explain("GET", f"{ORIGIN}/v1/x", "--json").data
    assert data["decision"] == "allow"
    assert data["canonical"]["url"] == f"{ORIGIN}/v1/x"


def test_a_rule_is_named_with_its_place(case: Case) -> None:
    done = case.explain("post", f"{ORIGIN}/v1/x", "--body", '{"kind":"order"}')
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "deny (rule_denied)"
    assert "rule: 0 No orders" in lines
    assert next(line for line in lines if line.startswith("GATE")).split() == ["GATE", "RESULT", "DETAIL"]
    assert any(line.split()[:2] == ["rule", "terminal"] for line in lines)


def test_what_the_allowlist_lacks(case: Case) -> None:
    data = case.explain("DELETE", f"{ORIGIN}/v1/x", "--json").data
    assert (data["decision"], data["code"], data["detail"]) == ("deny", "allowlist_denied", "method")


def test_nothing_is_recorded_or_counted(case: Case) -> None:
    case.explain("GET", f"{ORIGIN}/v1/x")
    rows = "SELECT (SELECT count(*) FROM l_audit_events) + (SELECT count(*) FROM t_call_minutes)"
    assert case.ground.ask(rows) == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "code"),
    [
        (["GET", "https://api.example.com\\@evil.test/"], 2, "invalid_url"),
        (["GET", f"{ORIGIN}/v1/x", "--body", "{"], 2, "usage"),
        (["FLY", f"{ORIGIN}/v1/x"], 2, "invalid_request"),
    ],
)
def test_calls_that_cannot_be_read(case: Case, arguments: list[str], exit_code: int, code: str) -> None:
    done = case.explain(*arguments, "--json")
    assert (done.code, done.json["code"]) == (exit_code, code)


@pytest.mark.parametrize("unknown", ["agent_id", "connection_id"])
@pytest.mark.parametrize("text", ["0192f0c1-7e3a-7b52-9d1e-3f6a0c5b8d11", "no id"])
def test_unknown_ids_are_a_no(case: Case, unknown: str, text: str) -> None:
    setattr(case, unknown, text)
    done = case.explain("GET", f"{ORIGIN}/v1/x", "--json")
    assert (done.code, done.json["code"]) == (1, "not_found")
