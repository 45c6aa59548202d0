"""`agent enrol | token | call`: being an agent from the command line.

    enrol: key made here -> POST /v1/agents/bootstrap      token: assertion signed here -> POST /v1/agents/token
    call:  token, when there is none -> POST /v1/vault/execute -> status and body of the provider

Source: contract/agents.md sections 4 and 6, broker.md section 2.
"""

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import uuid4

import typer

from agenthifive.cli.arguments import misused, read_json
from agenthifive.cli.console import Terminal, begin, pretty_json

if TYPE_CHECKING:
    from agenthifive.cli.agent_keys import AgentKeys, Identity
    from agenthifive.cli.client import Answer, Client

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

AgentArgument = Annotated[
    str, typer.Argument(metavar="AGENT_ID", help="Id of the agent, or the name its key was stored under.")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Be an agent: enrol, get a token, make a call.", rich_markup_mode=None)
    group.command("enrol")(enrol)
    group.command("token")(print_token)
    group.command("call")(call)
    app.add_typer(group, name="agent")


def enrol(
    context: typer.Context,
    secret: Annotated[str, typer.Option(help="Bootstrap secret (ah5b_...), or - to read it from standard input.")],
    base: Annotated[str | None, typer.Option(help="Address of the server; without it, WEB_URL.")] = None,
    name: Annotated[str | None, typer.Option(help="Name to store the key under; without it, the agent's id.")] = None,
) -> None:
    """Make a key, register it with a bootstrap secret, and keep it here."""
    from agenthifive.cli.client import Client

    terminal = begin(context)
    keys, web_url = _keys(terminal)
    client = Client(base or web_url)
    given = sys.stdin.readline().strip() if secret == "-" else secret
    identity, path, thumbprint = enrol_agent(client, keys, given, name)
    terminal.finish(
        {"agentId": identity.agent_id, "name": identity.name, "publicKeyThumbprint": thumbprint, "keyFile": str(path)},
        f"Enrolled {identity.name} ({identity.agent_id}). Its key is in {path} and never left this machine.",
    )


def print_token(context: typer.Context, agent_id: AgentArgument) -> None:
    """Sign an assertion and print the access token it is worth."""
    terminal = begin(context)
    keys, _ = _keys(terminal)
    identity = keys.load(agent_id)
    members = exchange(_client(identity), keys, agent_id, identity)
    terminal.finish({"accessToken": members["access_token"], "expiresIn": members["expires_in"],
                     "scopes": members["scope"].split()}, members["access_token"])  # fmt: skip


def call(
    context: typer.Context,
    agent_id: AgentArgument,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, PUT, PATCH or DELETE.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Address at the provider.")],
    connection: Annotated[str | None, typer.Option(help="Id of the connection to use.")] = None,
    service: Annotated[str | None, typer.Option(help="Service to use, when it has one connection.")] = None,
    body: Annotated[str | None, typer.Option(help="JSON to send.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="'Name: value'; may be repeated.")] = None,
) -> None:
    """Make one call through the vault and print the provider's status and body."""
    terminal = begin(context)
    if (connection is None) == (service is None):
        raise misused("Name the connection or the service: --connection ID, or --service NAME.")
    request: dict[str, Any] = {"model": "B", "method": method.upper(), "url": url}
    request |= {"connectionId": connection} if connection is not None else {"service": service}
    if body is not None:
        request["body"] = read_json("--body", body)
    if header:
        request["headers"] = dict(_read_header(line) for line in header)
    keys, _ = _keys(terminal)
    identity = keys.load(agent_id)
    envelope = execute(_client(identity), keys, agent_id, identity, request).members({})
    content = envelope.get("body")
    shown = content if isinstance(content, str) else "" if content is None else pretty_json(content)
    terminal.finish(envelope, f"{envelope.get('status')}\n{shown}".rstrip())


def enrol_agent(client: "Client", keys: "AgentKeys", secret: str, name: str | None) -> "tuple[Identity, Any, str]":
    """Register a key of our own; who we are now, the key file, and the key's thumbprint.

    The same secret may be tried again after a failure: it is sent with the same key. Raises: CommandError.
    """
    from agenthifive.cli.agent_keys import Identity, public_part
    from agenthifive.cli.client import ServerRefused

    if name is not None:
        keys.path(name)  # a bad name is refused before anything is sent
    key = keys.pending_key(secret)
    try:
        answer = client.post("/v1/agents/bootstrap", {"bootstrapSecret": secret, "publicKey": public_part(key)})
    except ServerRefused as refused:
        if refused.status in (400, 401):
            keys.forget_pending(secret)
        raise
    members = answer.members({"agentId": str, "name": str, "publicKeyThumbprint": str})
    identity = Identity(members["agentId"], members["name"], client.base, key)
    path = keys.keep(secret, name or identity.agent_id, identity)
    return identity, path, members["publicKeyThumbprint"]


def exchange(client: "Client", keys: "AgentKeys", name: str, identity: "Identity") -> Mapping[str, Any]:
    """A fresh access token, which is kept. Raises: CommandError."""
    now_s = time.time()
    assertion = identity.assertion(client.base, now_s, str(uuid4()))
    members = client.post(
        "/v1/agents/token",
        {
            "grant_type": "client_assertion",
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": assertion,
        },
    ).members({"access_token": str, "expires_in": int, "scope": str})
    keys.keep_token(name, members["access_token"], now_s + members["expires_in"])
    return members


def execute(
    client: "Client", keys: "AgentKeys", name: str, identity: "Identity", request: Mapping[str, Any]
) -> "Answer":
    """Make a call with the token at hand, or a fresh one where that is no longer good. Raises: CommandError."""
    from agenthifive.cli.client import ServerRefused

    kept = keys.load_token(name, time.time())
    if kept is not None:
        try:
            return client.post("/v1/vault/execute", request, token=kept)
        except ServerRefused as refused:
            if refused.code != "invalid_token":
                raise
    token = exchange(client, keys, name, identity)["access_token"]
    return client.post("/v1/vault/execute", request, token=token)


def _read_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise misused(f"--header {line!r} is no 'Name: value'.")
    return name.strip(), value.strip()


def _keys(terminal: Terminal) -> "tuple[AgentKeys, str]":
    """The agents of this machine, and where the server is unless the options say otherwise."""
    from agenthifive.cli.agent_keys import AgentKeys

    settings = terminal.load().settings
    return AgentKeys(settings.agenthifive_home), settings.web_url


def _client(identity: "Identity") -> "Client":
    from agenthifive.cli.client import Client

    return Client(identity.base)
