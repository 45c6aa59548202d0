"""What a person does before an agent can call: account, token, connections, agents, policies - all over the API.

    set-up link -> session -> personal access token -> connection -> agent -> its key -> policy -> access token

Source: contract/http.md sections 8, 14.1 and 15; contract/agents.md sections 4 and 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from bench.assertions import AgentKey, token_request
from bench.client import Client, bearer
from bench.instance import Instance

PASSWORD: Final = "bench-only-9d2f61c07be4"


@dataclass(frozen=True, slots=True)
class Connection:
    """A service that was connected."""

    id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Agent:
    """An enrolled agent with an access token."""

    id: str
    key: AgentKey
    token: str


class Account:
    """The person who owns the instance, by their personal access token."""

    def __init__(self, client: Client, audience: str, token: str) -> None:
        self._client = client
        self._audience = audience
        self._headers = bearer(token)

    def connect(self, label: str, origin: str) -> Connection:
        """Connect an API that takes a bearer key."""
        body = {"label": label, "baseUrl": origin, "authType": "bearer", "apiKey": "bench-key-0123456789abcdef"}
        answer = self._client.post("/v1/connections/http", body, self._headers).body
        return Connection(answer["connection"]["id"], origin)

    def create_agent(self, name: str) -> Agent:
        """An agent with a key of its own and an access token."""
        created = self._client.post("/v1/agents", {"name": name}, self._headers).body
        key, agent_id = AgentKey.generate(), created["agent"]["id"]
        self._client.post(
            "/v1/agents/bootstrap", {"bootstrapSecret": created["bootstrapSecret"], "publicKey": key.public_jwk()}
        )
        issued = self._client.post("/v1/agents/token", token_request(key, agent_id, self._audience)).body
        return Agent(agent_id, key, issued["access_token"])

    def allow(self, agent: Agent, connection: Connection, max_per_hour: int | None = None) -> None:
        """Let an agent read from a connection without asking anybody."""
        allowlist = {"baseUrl": connection.origin, "methods": ["GET"], "pathPatterns": ["/v1/**"]}
        body: dict[str, Any] = {
            "agentId": agent.id,
            "connectionId": connection.id,
            "allowlists": [allowlist],
            "defaultMode": "read_write",
            "stepUpApproval": "never",
        }
        if max_per_hour is not None:
            body["rateLimits"] = {"maxRequestsPerHour": max_per_hour}
        self._client.post("/v1/policies", body, self._headers)


def open_account(instance: Instance) -> Account:
    """Be the first person of a fresh instance. Raises: BenchError."""
    client = instance.client
    link_token = parse_qs(urlsplit(instance.read_setup_link()).query)["token"][0]
    person = {"token": link_token, "name": "Olga", "email": "olga@example.com", "password": PASSWORD}
    session: Mapping[str, str] = {"cookie": client.post("/api/auth/setup", person).cookie}
    csrf = client.get("/api/auth/csrf", session).body["token"]
    signed = {**session, "x-ah5-csrf": csrf}
    token = client.post("/v1/tokens", {"name": "bench", "scopes": ["*"]}, signed).body["plainToken"]
    return Account(client, instance.base, token)


def call_body(connection: Connection, path_and_query: str, **more: Any) -> dict[str, Any]:
    """A brokered GET."""
    url = f"{connection.origin}{path_and_query}"
    return {"model": "B", "connectionId": connection.id, "method": "GET", "url": url, **more}


def egress_settings(*origins: str) -> Mapping[str, str]:
    """The guard refuses loopback unless the operator names host and port."""
    return {"SSRF_ALLOWLIST_HOSTS": ",".join(f"{urlsplit(one).netloc}=127.0.0.0/8|::1/128" for one in origins)}
