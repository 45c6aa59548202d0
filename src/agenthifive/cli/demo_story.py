"""The story of the demonstration: what is done, in order, and the facts it leaves.

    person: connect a service -> create agent and policy
    agent:  enrol -> allowed call -> denied call -> call inside
    person: read the log -> verify it -> search all that the agent heard for the key

The person and the agent talk to the server over HTTP like anybody else; nothing here reaches into it.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from agenthifive.audit.record import Record
from agenthifive.cli.agent import enrol_agent, execute
from agenthifive.cli.agent_keys import AgentKeys, Identity
from agenthifive.cli.audit import verify_and_record
from agenthifive.cli.audit_log import Entry
from agenthifive.cli.client import Client, ServerRefused
from agenthifive.cli.demo_instance import DemoInstance
from agenthifive.cli.demo_provider import DETOUR_PATH, FORECAST_PATH, METADATA, ORDERS_PATH, DemoProvider
from agenthifive.cli.people import Wish, create_account, generate_password
from agenthifive.words import PrincipalType

PERSON: Final = "Olga"
EMAIL: Final = "olga@example.com"
AGENT: Final = "Picnic planner"
LABEL: Final = "Weather service"
_AGENT_MACHINE: Final = "agent-machine"


class Narrator(Protocol):
    """Who tells the story."""

    def step(self, title: str) -> None:
        """Begin a step."""

    def say(self, line: str) -> None:
        """A sentence of it."""

    def lay_out(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table of it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was refused, and whether it reached anybody. Units: requests at the provider."""

    tried: str
    code: str
    error: str
    reached_provider: int

    def wire(self) -> dict[str, Any]:
        """For `--json`."""
        return {"tried": self.tried, "code": self.code, "error": self.error, "reachedProvider": self.reached_provider}


@dataclass
class Facts:
    """What happened. Every claim the demonstration makes is computed from these."""

    agent_id: str = ""
    thumbprint: str = ""
    allowed_status: int = 0
    provider_saw_key: bool = False
    echoed: str = ""
    denied: Refusal | None = None
    guarded: list[Refusal] = field(default_factory=list)
    detour: Refusal | None = None
    events: Sequence[Mapping[str, Any]] = ()
    verified: Mapping[str, Any] = field(default_factory=dict)
    heard_bytes: int = 0
    finds_at_agent: int = 0
    finds_at_provider: int = 0
    seconds: float = 0.0

    @property
    def broken_promises(self) -> list[str]:
        """What did not turn out as promised; empty when all did."""
        refusals = [refusal for refusal in (self.denied, *self.guarded) if refusal is not None]
        promises = {
            "the allowed call was answered": self.allowed_status == 200,
            "the provider was sent the key": self.provider_saw_key,
            "the key in the reply was masked": bool(self.echoed) and "[REDACTED" in self.echoed,
            "the call outside the policy was refused": self.denied is not None,
            "addresses inside were refused": len(self.guarded) == 2,
            "refused calls reached nobody": not any(refusal.reached_provider for refusal in refusals),
            "the detour ended at the provider": self.detour is not None and self.detour.reached_provider == 1,
            "the log is whole": self.verified.get("ok") is True,
            "the agent never saw the key": self.finds_at_agent == 0 and self.heard_bytes > 0,
        }
        return [promise for promise, is_kept in promises.items() if not is_kept]

    def wire(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "agent": {"id": self.agent_id, "name": AGENT, "publicKeyThumbprint": self.thumbprint},
            "allowed": {
                "status": self.allowed_status,
                "providerSawKey": self.provider_saw_key,
                "agentSawInstead": self.echoed,
            },
            "denied": None if self.denied is None else self.denied.wire(),
            "guarded": [refusal.wire() for refusal in self.guarded],
            "detour": None if self.detour is None else self.detour.wire(),
            "audit": {"events": list(self.events), "verification": dict(self.verified)},
            "secret": {
                "findsAtProvider": self.finds_at_provider,
                "findsAtAgent": self.finds_at_agent,
                "bytesHeardByAgent": self.heard_bytes,
            },
            "brokenPromises": self.broken_promises,
            "seconds": round(self.seconds, 1),
        }


class Story:
    """One run of the demonstration."""

    def __init__(self, instance: DemoInstance, provider: DemoProvider, key: str, narrator: Narrator) -> None:
        """`key`: the secret of this run, which the agent must never see."""
        self._instance = instance
        self._provider = provider
        self._key = key
        self._say, self._step, self._lay_out = narrator.say, narrator.step, narrator.lay_out
        self._heard: list[bytes] = []
        self._keys = AgentKeys(instance.home / _AGENT_MACHINE)
        self._person = Client(instance.base)
        self._agent = Client(instance.base, hear=self._heard.append)
        self.facts = Facts()

    def tell(self) -> Facts:
        """Everything, in order. Raises: CommandError where the story cannot go on."""
        token = self.create_person()
        connection_id = self.connect(token)
        secret = self.create_agent(token, connection_id)
        identity = self.enrol(secret)
        self.call_allowed(identity, connection_id)
        self.call_denied(identity, connection_id)
        self.call_private(identity, connection_id, token)
        self.read_log(token)
        self.search()
        return self.facts

    def create_person(self) -> str:
        """Olga and a token of hers."""
        self._step("A person gets an account")
        wish = Wish(EMAIL, PERSON, generate_password(), has_token=True)
        _, issued, _ = create_account(self._instance.terminal, wish)
        assert issued is not None  # a token was wished for
        self._say(f"agenthifive create-user {EMAIL} --name {PERSON} --token")
        return issued.plain

    def connect(self, token: str) -> str:
        """The weather service with its key; the id of the connection."""
        self._step("She connects a service")
        answer = self._person.post(
            "/v1/connections/http",
            {"label": LABEL, "baseUrl": self._provider.origin, "authType": "bearer", "apiKey": self._key},
            token=token,
        ).json()
        self._say(f'{PERSON} connects "{LABEL}" at {self._provider.origin} and enters its API key, once.')
        self._say("The key is sealed with AES-256-GCM, bound to its row; nobody is shown it again.")
        connection_id: str = answer["connection"]["id"]
        return connection_id

    def create_agent(self, token: str, connection_id: str) -> str:
        """The agent and what it may do; its bootstrap secret."""
        self._step("She creates an agent and says what it may do")
        answer = self._person.post("/v1/agents", {"name": AGENT}, token=token).json()
        self.facts.agent_id = answer["agent"]["id"]
        allowlist = {"baseUrl": self._provider.origin, "methods": ["GET"], "pathPatterns": [f"{FORECAST_PATH}*"]}
        self._person.post(
            "/v1/policies",
            {
                "agentId": self.facts.agent_id,
                "connectionId": connection_id,
                "allowlists": [allowlist],
                "defaultMode": "read_write",
                "stepUpApproval": "never",
                "rateLimits": {"maxRequestsPerHour": 100},
            },
            token=token,
        )
        self._say(f'{PERSON} creates the agent "{AGENT}". Its policy: GET {FORECAST_PATH}, 100 calls an hour.')
        secret: str = answer["bootstrapSecret"]
        return secret

    def enrol(self, secret: str) -> Identity:
        """The agent's own key, registered with the secret it was handed."""
        self._step("The agent enrols with a key of its own")
        identity, _, self.facts.thumbprint = enrol_agent(self._agent, self._keys, secret, None)
        self._say("The agent makes a P-256 key on its own machine and registers the public half:")
        self._say(f"agenthifive agent enrol --secret {secret[:9]}...  ->  {self.facts.thumbprint}")
        return identity

    def call_allowed(self, identity: Identity, connection_id: str) -> None:
        """What the policy allows goes out with the key, and comes back without it."""
        self._step("A call the policy allows")
        reply = self._call(identity, connection_id, "GET", f"{self._provider.origin}{FORECAST_PATH}?city=Oslo")
        body = reply["body"]
        self.facts.allowed_status = reply["status"]
        self.facts.provider_saw_key = self._provider.seen[-1].authorization == f"Bearer {self._key}"
        self.facts.echoed = str(body["youSent"].get("authorization"))
        self._say(f"GET {FORECAST_PATH}?city=Oslo  ->  {reply['status']}, {body['forecast']}")
        answer = "yes" if self.facts.provider_saw_key else "NO"
        self._say(f"Was the provider sent the key? {answer}; it even repeats it in its answer.")
        self._say(f"What the agent gets to see of it: {self.facts.echoed}")

    def call_denied(self, identity: Identity, connection_id: str) -> None:
        """What the policy does not name is refused, with advice."""
        self._step("A call the policy does not name")
        url = f"{self._provider.origin}{ORDERS_PATH}"
        self.facts.denied = self._refused(
            f"POST {ORDERS_PATH}", lambda: self._call(identity, connection_id, "POST", url, {"balloons": 1})
        )

    def call_private(self, identity: Identity, connection_id: str, token: str) -> None:
        """Addresses inside are out of reach: for the agent, for a connection, and by a detour over the provider."""
        self._step("Addresses inside")
        inside = f"https://{METADATA}"
        entry = {"label": "Inside", "baseUrl": inside, "authType": "none"}
        url = f"{inside}/latest/meta-data/"
        attempts: Sequence[tuple[str, Callable[[], Any]]] = (
            (f"the agent: GET {url}", lambda: self._call(identity, connection_id, "GET", url)),
            (f"{PERSON}: connect {inside}", lambda: self._person.post("/v1/connections/http", entry, token=token)),
        )
        refusals = [self._refused(tried, attempt) for tried, attempt in attempts]
        self.facts.guarded = [refusal for refusal in refusals if refusal is not None]
        detour = f"{self._provider.origin}{DETOUR_PATH}"
        tried = f"the provider sends GET {DETOUR_PATH} on to http://{METADATA}"
        self.facts.detour = self._refused(tried, lambda: self._call(identity, connection_id, "GET", detour))

    def read_log(self, token: str) -> None:
        """The rows of the workspace, and the proof that they are what was written."""
        self._step("The audit log")
        self.facts.events = self._person.get("/v1/audit?limit=50", token=token).json()["events"]
        entries = [self._entry(event) for event in reversed(self.facts.events)]
        self._lay_out(
            ("TIME", "ACTION", "DECISION", "WHO", "WHAT"),
            [(one.at, one.record.action, one.record.decision, one.who, one.what) for one in entries],
        )
        self.facts.verified = verified = verify_and_record(self._instance.terminal).as_json()
        verdict = "each is what was written" if verified.get("ok") else "NOT what was written"
        self._say(f"agenthifive audit verify  ->  {verified.get('rows')} rows, chained by hashes: {verdict}")

    def search(self) -> None:
        """Look for the key, in several forms, in all that the agent heard and keeps."""
        self._step("The proof")
        kept = [path.read_bytes() for path in (self._instance.home / _AGENT_MACHINE).rglob("*") if path.is_file()]
        heard = b"\n".join((*self._heard, *kept))
        facts = self.facts
        facts.heard_bytes = len(heard)
        facts.finds_at_agent = sum(heard.count(form) for form in forms_of(self._key))
        facts.finds_at_provider = sum(self._key in (seen.authorization or "") for seen in self._provider.seen)
        self._say(f"All that the agent heard from AgentHiFive and keeps on its disk: {facts.heard_bytes} bytes.")
        self._say(f"The API key in it, in plain, hex or base64: {facts.finds_at_agent} times.")
        self._say(f"Requests that reached the provider with it: {facts.finds_at_provider}.")

    def _entry(self, event: Mapping[str, Any]) -> Entry:
        """A row of the log with the names of this story."""
        record = msgspec.convert(event, Record)
        agent = AGENT if record.agent_id == self.facts.agent_id else None
        actor = agent if record.principal_type == PrincipalType.AGENT else None
        if record.principal_type in (PrincipalType.USER, PrincipalType.PAT):
            actor = PERSON
        return Entry(record, actor, agent, LABEL if record.connection_id is not None else None)

    def _call(
        self, identity: Identity, connection_id: str, method: str, url: str, body: Any = None
    ) -> Mapping[str, Any]:
        request = {"model": "B", "connectionId": connection_id, "method": method, "url": url}
        if body is not None:
            request["body"] = body
        reply: Mapping[str, Any] = execute(self._agent, self._keys, identity.agent_id, identity, request).json()
        return reply

    def _refused(self, tried: str, attempt: Callable[[], Any]) -> Refusal | None:
        before = len(self._provider.seen)
        try:
            attempt()
        except ServerRefused as refused:
            reached = len(self._provider.seen) - before
            self._say(f"{tried}  ->  {refused.status} {refused.code}")
            self._say(refused.message)
            return Refusal(tried, refused.code, refused.message, reached)
        self._say(f"{tried}  ->  NOT refused")
        return None


def forms_of(secret: str) -> Sequence[bytes]:
    """A secret as it might hide: plain, hex, and base64 at each of its three alignments."""
    plain = secret.encode()
    shifted = (base64.b64encode(b"x" * shift + plain)[4 if shift else 0 : -4] for shift in range(3))
    return (plain, plain.hex().encode(), *shifted)
