"""`policy export | diff | apply | simulate`: policies as files, over the API of a server, in the name of a person.

    export:             GET policies, agents -> one document per policy
    diff, apply:        files -> ids of the agents and connections they name -> POST /v1/policies/apply, all or none
    simulate:           files -> the same ids -> POST /v1/policies/simulate for each

Source: contract/operations.md section 15, policy.md section 15.4.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agenthifive.cli.arguments import misused
from agenthifive.cli.console import CommandError, Terminal, begin, table

if TYPE_CHECKING:
    from agenthifive.cli.client import Client

_TOKEN_VARIABLE: Final = "AH5_TOKEN"
_STANDARD_INPUT: Final = "-"
_FORM: Final = "docs/how-to/policies-as-code.md shows the form; `agenthifive policy export` writes it."
_SIGNS: Final = {"created": "+", "updated": "~", "unchanged": "="}
_COUNTS: Final = (
    ("same", "same"),
    ("newlyDenied", "newly denied"),
    ("newlyHeld", "newly held"),
    ("newlyAllowed", "newly allowed"),
    ("undetermined", "undetermined"),
)

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Files of policies, or - for standard input.")]
Base = Annotated[str | None, typer.Option(help="Address of the server; without it, WEB_URL.")]
Token = Annotated[
    str | None,
    typer.Option(help="Personal access token, or - to read it from standard input; without it, AH5_TOKEN."),
]


def register(group: typer.Typer) -> None:
    """Add these commands to the group `policy`."""
    group.command("export")(export)
    group.command("diff")(diff)
    group.command("apply")(apply)
    group.command("simulate")(simulate)


def export(
    context: typer.Context,
    agent: Annotated[str | None, typer.Option(help="Only policies of this agent (id).")] = None,
    connection: Annotated[str | None, typer.Option(help="Only policies of this connection (id).")] = None,
    base: Base = None,
    token: Token = None,
) -> None:
    """Print the policies of the workspace as YAML, one document each. No secret is in them."""
    from agenthifive.cli.policy_yaml import write_yaml
    from agenthifive.policies.documents import write_document

    terminal = begin(context)
    server = _connect(terminal, base, token)
    names = server.agents()
    policies = [
        policy for policy in server.get("/v1/policies", "policies")
        if agent in (None, policy["agentId"]) and connection in (None, policy["connectionId"])
    ]  # fmt: skip
    documents = [write_document(policy, names.get(policy["agentId"], "")) for policy in policies]
    documents.sort(key=lambda each: [str(each[head][name]) for head in ("agent", "connection")
                                     for name in ("name", "label", "id") if name in each[head]])  # fmt: skip
    text = write_yaml(documents) if documents else ""
    if not terminal.is_json:
        sys.stdout.write(text)
    terminal.finish({"policies": documents})


def diff(context: typer.Context, files: Files, base: Base = None, token: Token = None) -> None:
    """Show what `apply` would change. Nothing is changed."""
    _apply(begin(context), files, base, token, dry_run=True)


def apply(
    context: typer.Context,
    files: Files,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    base: Base = None,
    token: Token = None,
) -> None:
    """Make the policies what the files say, all of them or none. Policies that no file names stay as they are."""
    _apply(begin(context), files, base, token, dry_run=dry_run)


def simulate(
    context: typer.Context,
    files: Files,
    last: Annotated[int, typer.Option(min=1, max=500, help="How many recorded calls at most.")] = 100,
    base: Base = None,
    token: Token = None,
) -> None:
    """Say how recorded calls would be decided by the policies in the files. Nothing is changed."""
    terminal = begin(context)
    server = _connect(terminal, base, token)
    documents = _read_files(terminal, files)
    simulated = []
    for document, entry in zip(documents, _entries(server, documents), strict=True):
        draft = {name: value for name, value in entry.items() if name not in ("agentId", "connectionId")}
        pair = {"agentId": entry["agentId"], "connectionId": entry["connectionId"]}
        answer = server.post("/v1/policies/simulate", {**pair, "draft": _whole(draft), "last": last})
        simulated.append({**pair, **answer})
        _show_simulation(terminal, document, answer)
    terminal.finish({"policies": simulated})


def _apply(terminal: Terminal, files: Sequence[str], base: str | None, token: str | None, *, dry_run: bool) -> None:
    server = _connect(terminal, base, token)
    documents = _read_files(terminal, files)
    answer = server.post("/v1/policies/apply", {"policies": list(_entries(server, documents)), "dryRun": dry_run})
    applied: Sequence[Mapping[str, Any]] = answer["policies"]
    for document, each in zip(documents, applied, strict=True):
        _show_change(terminal, document, each)
    changed = sum(each["change"] != "unchanged" for each in applied)
    done = "would change" if dry_run else "changed"
    terminal.finish({"dryRun": dry_run, "policies": applied}, f"{changed} of {len(applied)} policies {done}.")


@dataclass(frozen=True, slots=True)
class _Document:
    """A policy in a file. Shapes: where: file and number, for messages."""

    where: str
    content: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Whose it is."""
        agent, connection = self.content["agent"], self.content["connection"]
        return f"{agent.get('name') or agent.get('id')} on {connection.get('label') or connection.get('id')}"


class _Server:
    """The API as these commands use it."""

    def __init__(self, client: "Client", token: str) -> None:
        self._client = client
        self._token = token

    def get(self, path: str, member: str) -> Sequence[Mapping[str, Any]]:
        """A list the server has."""
        found: Sequence[Mapping[str, Any]] = self._client.get(path, token=self._token).members({member: list})[member]
        return found

    def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the server answers."""
        return self._client.post(path, body, token=self._token).members({})

    def agents(self) -> Mapping[str, str]:
        """Name by id."""
        return {agent["id"]: agent["name"] for agent in self.get("/v1/agents", "agents")}

    def connections(self) -> Mapping[str, str]:
        """Label by id."""
        labels: dict[str, str] = {}
        cursor = ""
        while True:
            answer = self._client.get(f"/v1/connections?limit=500{cursor}", token=self._token)
            members = answer.members({"connections": list})
            labels |= {each["id"]: each["label"] for each in members["connections"]}
            if members.get("nextCursor") is None:
                return labels
            cursor = f"&cursor={members['nextCursor']}"


def _connect(terminal: Terminal, base: str | None, token: str | None) -> _Server:
    from agenthifive.cli.client import Client

    if token == _STANDARD_INPUT:
        token = sys.stdin.readline().strip()
    token = token or terminal.environ.get(_TOKEN_VARIABLE)
    if not token:
        raise misused("No token: set AH5_TOKEN, or give --token.", "POST /v1/tokens issues one.")
    return _Server(Client(base or terminal.load().settings.web_url), token)


def _read_files(terminal: Terminal, files: Sequence[str]) -> list[_Document]:
    documents = [document for name in files for document in _read_file(terminal, name)]
    if not documents:
        raise misused("There is no policy in the files.")
    return documents


def _read_file(terminal: Terminal, name: str) -> Iterator[_Document]:
    from agenthifive.cli.policy_yaml import InvalidYaml, read_yaml

    try:
        text = sys.stdin.read() if name == _STANDARD_INPUT else Path(terminal.cwd, name).read_text("utf-8")
        contents = read_yaml(text)
    except OSError as error:
        raise misused(f"{name} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise misused(f"{name} is not UTF-8.") from None
    except InvalidYaml as error:
        raise misused(f"{name}: {error}.", _FORM) from None
    for number, content in enumerate(contents, 1):
        where = f"{name}, policy {number}"
        if not isinstance(content, dict) or "allowlists" not in content:
            raise misused(f"{where} is no policy: expected members such as agent, connection and allowlists.", _FORM)
        for head, called in (("agent", "name"), ("connection", "label")):
            named = content.get(head)
            if not isinstance(named, dict) or not all(isinstance(value, str) for value in named.values()):
                raise misused(f"{where}: {head} must be an object of texts.", _FORM)
            if not named.get("id") and not named.get(called):
                raise misused(f"{where}: {head} needs {called} or id.", _FORM)
        yield _Document(where, content)


def _entries(server: _Server, documents: Sequence[_Document]) -> Iterator[dict[str, Any]]:
    """The documents with ids in the place of names."""
    from agenthifive.policies.documents import HEADS

    agents, connections = server.agents(), server.connections()
    for document in documents:
        yield {
            "agentId": _find(document, "agent", "name", agents),
            "connectionId": _find(document, "connection", "label", connections),
            **{name: value for name, value in document.content.items() if name not in HEADS},
        }


def _find(document: _Document, head: str, called: str, known: Mapping[str, str]) -> str:
    """The id of what a document names. An id that bears another name is another thing than meant."""
    named: Mapping[str, str] = document.content[head]
    given, name = named.get("id"), named.get(called)
    if given is not None:
        if given not in known:
            raise _unknown(document, f"there is no {head} {given}")
        if name is not None and known[given] != name:
            raise _unknown(document, f"the {head} {given} is called {known[given]}, not {name}")
        return given
    fitting = [each for each, label in known.items() if label == name]
    if len(fitting) != 1:
        raise _unknown(document, f"{len(fitting) or 'no'} {head}s are called {name}; give its id")
    return fitting[0]


def _unknown(document: _Document, reason: str) -> CommandError:
    return CommandError(f"{document.where}: {reason}.", code="not_found", hint="Nothing was changed.")


def _whole(facets: Mapping[str, Any]) -> Mapping[str, Any]:
    """The draft in which what a document leaves out is the default, as when it is applied."""
    from agenthifive.policies.documents import DEFAULT_FACETS

    return {**DEFAULT_FACETS, **{name: value for name, value in facets.items() if value is not None}}


def _show_change(terminal: Terminal, document: _Document, applied: Mapping[str, Any]) -> None:
    from agenthifive.cli.policy_yaml import write_yaml
    from agenthifive.policies.documents import facets_to_write

    lines = [f"{_SIGNS[applied['change']]} {document.title} ({applied['change']})"]
    if applied["change"] != "unchanged":
        before = "" if applied["before"] is None else write_yaml([facets_to_write(applied["before"])])
        after = write_yaml([facets_to_write(applied["after"])])
        found = unified_diff(before.splitlines()[1:], after.splitlines()[1:], n=2, lineterm="")
        lines += [f"    {line}" for line in list(found)[2:]]
    terminal.show("\n".join(lines))
    for warning in applied["warnings"]:
        terminal.warn(f"{document.title}: {warning['path']}: {warning['message']}")


def _show_simulation(terminal: Terminal, document: _Document, answer: Mapping[str, Any]) -> None:
    summary = answer["summary"]
    counts = ", ".join(f"{summary[name]} {words}" for name, words in _COUNTS if summary[name])
    terminal.show(f"{document.title}: {summary['calls']} calls{': ' if counts else ''}{counts}")
    rows = [
        (each["at"], each["method"], each["path"], _describe(each["before"]), _describe(each["after"]))
        for each in answer["results"]
    ]
    if rows:
        terminal.show(table(("TIME", "METHOD", "PATH", "BEFORE", "AFTER"), rows))


def _describe(outcome: Mapping[str, Any]) -> str:
    parts = (outcome["code"], outcome["rule"], outcome.get("dependsOn"))
    detail = ", ".join(part for part in parts if part)
    return f"{outcome['decision']} ({detail})" if detail else str(outcome["decision"])
