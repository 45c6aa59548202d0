"""What a person does before an agent can call: account, token, connections, agents, policies - all over the API.

    set-up link -> session -> personal access token -> connection -> agent -> its key -> policy -> access token

Source: contract/http.md sections 8, 14.1 and 15; contract/agents.md sections 4 and 6.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    """A person who owns a workspace. Shapes: session: headers of their session; what else they do is by a token."""

    def __init__(self, client: Client, audience: str, session: Mapping[str, str]) -> None:
        self.session = session
        self._client = client
        self._audience = audience
        token = client.post("/v1/tokens", {"name": "bench", "scopes": ["*"]}, session).body["plainToken"]
        self._headers = bearer(token)

    def connect(self, label: str, origin: str) -> Connection:
        """Connect an API that takes a bearer key."""
        body = {"label": label, "baseUrl": origin, "authType": "bearer", "apiKey": "bench-key-0123456789abcdef"}
        return Connection(self.post("/v1/connections/http", body)["connection"]["id"], origin)

    def create_agent(self, name: str) -> Agent:
        """An agent with a key of its own and an access token."""
        created = self.post("/v1/agents", {"name": name})
        key, agent_id = AgentKey.generate(), created["agent"]["id"]
        self._client.post(
            "/v1/agents/bootstrap", {"bootstrapSecret": created["bootstrapSecret"], "publicKey": key.public_jwk()}
        )
        return self.renew(Agent(agent_id, key, ""))

    def renew(self, agent: Agent) -> Agent:
        """The same agent with another access token."""
        issued = self._client.post("/v1/agents/token", token_request(agent.key, agent.id, self._audience)).body
        return replace(agent, token=issued["access_token"])

    def allow(self, agent: Agent, connection: Connection, max_per_hour: int | None = None) -> str:
        """Let an agent read from a connection without asking anybody; the id of the policy."""
        body: dict[str, Any] = {
            "agentId": agent.id,
            "connectionId": connection.id,
            "allowlists": allowlists(connection, "/v1/**"),
            "defaultMode": "read_write",
            "stepUpApproval": "never",
        }
        if max_per_hour is not None:
            body["rateLimits"] = {"maxRequestsPerHour": max_per_hour}
        policy_id: str = self.post("/v1/policies", body)["policy"]["id"]
        return policy_id

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the API answers to this person's token. Raises: BenchError for any status but 2xx."""
        return self._client.post(path, body, self._headers).body

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """The same for PUT."""
        return self._client.put(path, body, self._headers).body

    def administer(self, path: str, body: Mapping[str, Any]) -> Any:
        """The same as a superadmin, in person."""
        return self._client.post(path, body, self.session).body


def allowlists(connection: Connection, paths: str) -> list[dict[str, Any]]:
    """Reading what lies below these paths."""
    return [{"baseUrl": connection.origin, "methods": ["GET"], "pathPatterns": [paths]}]


def open_account(instance: Instance) -> Account:
    """Be the first person of a fresh instance. Raises: BenchError."""
    client = instance.client
    link_token = parse_qs(urlsplit(instance.read_setup_link()).query)["token"][0]
    person = {"token": link_token, "name": "Olga", "email": "olga@example.com", "password": PASSWORD}
    return _enter(instance, client.post("/api/auth/setup", person).cookie)


def invite(instance: Instance, owner: Account, email: str) -> tuple[str, Account]:
    """Another person with a workspace of their own, and the id of their account. Raises: BenchError."""
    made = owner.administer("/v1/admin/users", {"email": email, "name": "Mallory"})
    token = parse_qs(urlsplit(made["setPasswordUrl"]).query)["token"][0]
    instance.client.post("/api/auth/reset-password", {"token": token, "newPassword": PASSWORD})
    cookie = instance.client.post("/api/auth/sign-in/email", {"email": email, "password": PASSWORD}).cookie
    return made["user"]["id"], _enter(instance, cookie)


def _enter(instance: Instance, cookie: str) -> Account:
    csrf = instance.client.get("/api/auth/csrf", {"cookie": cookie}).body["token"]
    return Account(instance.client, instance.base, {"cookie": cookie, "x-ah5-csrf": csrf})


def call_body(connection: Connection, path_and_query: str, **more: Any) -> dict[str, Any]:
    """A brokered GET."""
    url = f"{connection.origin}{path_and_query}"
    return {"model": "B", "connectionId": connection.id, "method": "GET", "url": url, **more}


def egress_settings(*origins: str) -> Mapping[str, str]:
    """The guard refuses loopback unless the operator names host and port."""
    return {"SSRF_ALLOWLIST_HOSTS": ",".join(f"{urlsplit(one).netloc}=127.0.0.0/8|::1/128" for one in origins)}
