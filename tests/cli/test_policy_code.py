"""Policies as files, against a real server: written, compared, applied all or not at all, tried on the past."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from agenthifive.cli.policy_yaml import read_yaml, write_yaml
from agenthifive.ids import new_id
from agenthifive.words import Scope
from application import Place, run_application
from cli.server import Received, Script, serving
from cli.stage import Cli, Result
from databases import fresh_database
from house.source import ROOT

ORIGIN = "https://api.notion.com"
LISTED = [{"baseUrl": ORIGIN, "methods": ["GET", "PATCH"], "pathPatterns": ["/v1/pages/*", "/v1/blocks/**"]}]
RULES = {
    "request": [
        {"id": "archive", "label": "Archiving", "match": {"methods": ["PATCH"]}, "action": "require_approval"},
        {"id": "rest", "match": {}, "action": "allow"},
    ],
    "response": [],
}


@dataclass
class Office:
    """A command line that talks to an application, and what is in it."""

    cli: Cli
    place: Place
    base: str
    token: str
    workspace_id: str
    owner_id: str
    agent_id: str
    connection_id: str

    async def run(self, *arguments: str, stdin: str = "", **environ: str) -> Result:
        told = {"AH5_TOKEN": self.token, **environ}
        return await asyncio.to_thread(self.cli, "policy", *arguments, "--base", self.base, stdin=stdin, **told)

    async def policies(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.place.ask("GET", "/v1/policies", self.token)).json()["policies"]
        return found

    def write(self, name: str, *documents: Mapping[str, Any] | str) -> str:
        texts = [each if isinstance(each, str) else write_yaml([each]) for each in documents]
        (self.cli.home / name).write_text("".join(texts), "utf-8")
        return name

    def document(self, connection_id: str | None = None, **facets: Any) -> dict[str, Any]:
        return {
            "agent": {"id": self.agent_id},
            "connection": {"id": connection_id or self.connection_id},
            "allowlists": LISTED,
            **facets,
        }


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with fresh_database(f"policy_code_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path_factory.mktemp("server")) as place:
            yield place


@pytest_asyncio.fixture
async def office(cli: Cli, place: Place) -> AsyncIterator[Office]:
    """Olga's command line in a workspace of its own."""
    loop = asyncio.get_running_loop()

    def forward(received: Received) -> Script:
        headers = {"authorization": received.headers["authorization"]}
        asked = place.ask(received.method, received.path, body=received.body, headers=headers)
        answer = asyncio.run_coroutine_threadsafe(asked, loop).result(30)
        return Script(answer.status_code, answer.content, {"content-type": "application/json"})

    workspace_id = new_id()
    owner_id = await place.add_person("owner", workspace_id)
    token = await place.add_pat(owner_id, workspace_id=workspace_id)
    agent_id, _ = await place.add_agent(workspace_id)
    with serving(forward) as server:
        office = Office(cli, place, server.base, token, workspace_id, owner_id, agent_id, "")
        office.connection_id = await connect(office, "Wiki")
        yield office


async def connect(office: Office, label: str) -> str:
    """A connection to Notion, put in by hand."""
    connection_id = new_id()
    await office.place.execute(
        "INSERT INTO t_connections (id, workspace_id, provider, service, variant, label, status)"
        " VALUES (%s, %s, 'notion', 'notion', 'api_key', %s, 'healthy')",
        [connection_id, office.workspace_id, label],
    )
    return connection_id


async def test_a_file_is_applied_once_and_then_says_what_is(office: Office) -> None:
    name = office.write("policies.yaml", office.document(rules=RULES, defaultMode="read_write"))
    done = await office.run("apply", name)
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 of 1 policies changed."), done
    assert done.out.startswith(f"+ {office.agent_id} on {office.connection_id} (created)\n")
    assert "    +      label: Archiving" in done.out.splitlines()
    [policy] = await office.policies()
    assert (policy["rules"]["request"], policy["version"]) == (RULES["request"], 1)
    again = await office.run("apply", name)
    assert again.out == f"= {office.agent_id} on {office.connection_id} (unchanged)\n0 of 1 policies changed.\n"
    assert await office.policies() == [policy]
    recorded = "SELECT actor FROM l_audit_events WHERE action LIKE 'policy%%' AND workspace_id = %s"
    rows = await office.place.execute(recorded, [office.workspace_id])
    assert rows == [(office.owner_id,)]


async def test_what_is_exported_is_what_differs_and_applies_without_a_change(office: Office) -> None:
    second = await connect(office, "Archive")
    windows = [{"dayOfWeek": 1, "startHour": 9, "endHour": 17, "timezone": "Europe/Rome"}]
    name = office.write(
        "p.yaml",
        office.document(rules=RULES, rateLimits={"maxRequestsPerHour": 5}),
        office.document(second, timeWindows=windows, allowlists=[]),
    )
    assert (await office.run("apply", name)).code == 0
    before = await office.policies()
    exported = await office.run("export")
    assert exported.code == 0
    agent = {"name": "Bot", "id": office.agent_id}
    assert read_yaml(exported.out) == [
        {
            "agent": agent,
            "connection": {"label": "Archive", "service": "notion", "id": second},
            "allowlists": [],
            "timeWindows": windows,
        },
        {
            "agent": agent,
            "connection": {"label": "Wiki", "service": "notion", "id": office.connection_id},
            "allowlists": LISTED,
            "rateLimits": {"maxRequestsPerHour": 5},
            "rules": RULES,
        },
    ]
    again = await office.run("apply", "-", stdin=exported.out)
    assert again.out.splitlines()[-1] == "0 of 2 policies changed.", again
    assert await office.policies() == before
    assert (await office.run("export")).out == exported.out
    one = await office.run("export", "--connection", second, "--json")
    assert [each["connection"]["id"] for each in one.data["policies"]] == [second]


async def test_a_diff_shows_the_lines_that_change_and_changes_nothing(office: Office) -> None:
    await office.run("apply", office.write("p.yaml", office.document(rules=RULES)))
    before = await office.policies()
    tighter = {**RULES, "request": [{**RULES["request"][0], "action": "deny"}, RULES["request"][1]]}
    name = office.write("q.yaml", office.document(rules=tighter, enforcement="report"))
    for command in (("diff", name), ("apply", "--dry-run", name)):
        shown = await office.run(*command)
        lines = shown.out.splitlines()
        assert lines[0].startswith("~ ")
        assert "    +enforcement: report" in lines
        assert "    -      action: require_approval" in lines
        assert "    +      action: deny" in lines
        assert lines[-1] == "1 of 1 policies would change."
    assert "only recorded" in shown.err
    assert await office.policies() == before
    data = (await office.run("diff", name, "--json")).data
    assert (data["dryRun"], data["policies"][0]["change"]) == (True, "updated")


async def test_one_wrong_policy_in_any_file_stops_all(office: Office) -> None:
    second = await connect(office, "Archive")
    good = office.write("a.yaml", office.document())
    bad = office.write("b.yaml", office.document(second, defaultMode="fast"))
    done = await office.run("apply", good, bad)
    assert done.code == 1
    assert done.err.startswith("error: 1 of 2 policies cannot be applied, so none was. policies[1]: ")
    assert "defaultMode" in done.err
    assert await office.policies() == []
    refused = await office.run("apply", good, bad, "--json")
    assert refused.json["data"]["fields"][0]["path"] == "policies[1].defaultMode"


async def test_the_file_of_the_page_is_one(office: Office) -> None:
    page = (ROOT / "docs/how-to/policies-as-code.md").read_text("utf-8")
    [content] = read_yaml(page.partition("```yaml\n")[2].partition("```")[0])
    content["agent"]["id"], content["connection"]["id"] = office.agent_id, office.connection_id
    done = await office.run("apply", office.write("p.yaml", content))
    assert done.code == 0, done.err
    exported = await office.run("export")
    assert read_yaml(exported.out) == [content]
    assert list(read_yaml(exported.out)[0]) == list(content)


async def test_names_are_enough_where_they_are_clear(office: Office) -> None:
    named = {**office.document(), "agent": {"name": "Bot"}, "connection": {"label": "Wiki"}}
    assert (await office.run("apply", office.write("p.yaml", named))).code == 0
    assert len(await office.policies()) == 1
    await connect(office, "Wiki")
    unclear = await office.run("apply", "p.yaml")
    assert (unclear.code, unclear.err.splitlines()[0]) == (
        1, "error: p.yaml, policy 1: 2 connections are called Wiki; give its id.",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("head", "named", "message"),
    [
        ("agent", {"name": "Robot"}, "no agents are called Robot; give its id"),
        ("agent", {"id": "x", "name": "Bot"}, "there is no agent x"),
        ("connection", {"label": "Wiki", "id": None}, "connection must be an object of texts"),
        ("connection", {}, "connection needs label or id"),
        ("connection", "Wiki", "connection must be an object of texts"),
    ],
)
async def test_what_is_not_there_is_not_guessed(office: Office, head: str, named: Any, message: str) -> None:
    done = await office.run("apply", office.write("p.yaml", {**office.document(), head: named}))
    assert done.code in (1, 2)
    assert message in done.err
    assert await office.policies() == []


async def test_an_id_that_bears_another_name_is_another_thing_than_meant(office: Office) -> None:
    renamed = {**office.document(), "agent": {"id": office.agent_id, "name": "Robot"}}
    done = await office.run("apply", office.write("p.yaml", renamed))
    assert (done.code, f"the agent {office.agent_id} is called Bot, not Robot" in done.err) == (1, True)
    assert await office.policies() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "p.yaml: line 1: "),
        ("- 1", "p.yaml, policy 1 is no policy"),
        ("agent: {name: Bot}", "p.yaml, policy 1 is no policy"),
        ("", "There is no policy in the files"),
    ],
)
async def test_files_that_are_no_policies_are_refused_before_anything_is_sent(
    office: Office, text: str, message: str
) -> None:
    done = await office.run("apply", office.write("p.yaml", text))
    assert (done.code, message in done.err) == (2, True), done
    assert (await office.run("apply", "absent.yaml")).code == 2


async def test_a_draft_in_a_file_is_tried_on_recorded_calls(office: Office) -> None:
    await office.run("apply", office.write("p.yaml", office.document()))
    agent, token = await office.place.add_agent(office.workspace_id)
    await office.place.execute("UPDATE t_agent_access_tokens SET agent_id = %s WHERE agent_id = %s",
                               [office.agent_id, agent])  # fmt: skip
    call = {"model": "B", "connectionId": office.connection_id, "method": "PATCH", "url": f"{ORIGIN}/v1/pages/1"}
    for method in ("PATCH", "DELETE"):
        await office.place.ask("POST", "/v1/vault/execute", token, {**call, "method": method})
    closing = {**RULES, "request": [{**RULES["request"][0], "action": "require_approval"}]}
    name = office.write("q.yaml", office.document(rules=closing, defaultMode="read_write", stepUpApproval="never"))
    shown = await office.run("simulate", name)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0].endswith(": 2 calls: 1 same, 1 newly held")
    assert lines[2].split()[1:3] == ["PATCH", "/v1/pages/1"]
    assert lines[2].endswith("deny (read_only)  require_approval (rule_approval, Archiving)")
    data = (await office.run("simulate", name, "--last", "1", "--json")).data
    assert data["policies"][0]["summary"]["calls"] == 1


async def test_a_token_is_needed_and_is_that_of_a_person_who_may(office: Office) -> None:
    name = office.write("p.yaml", office.document())
    missing = await office.run("apply", name, AH5_TOKEN="")
    assert (missing.code, missing.err.startswith("error: No token")) == (2, True)
    reading = await office.place.add_pat(
        office.owner_id, (Scope.POLICIES_READ, Scope.AGENTS_READ, Scope.CONNECTIONS_READ), office.workspace_id
    )
    refused = await office.run("apply", name, "--token", "-", stdin=reading + "\n")
    assert (refused.code, "code: insufficient_scope" in refused.err) == (1, True)
    assert (await office.run("export", AH5_TOKEN=reading)).code == 0
    assert await office.policies() == []
    piped = f"{office.token}\n{write_yaml([office.document()])}"
    assert (await office.run("apply", "-", "--token", "-", stdin=piped, AH5_TOKEN="")).code == 0
    assert len(await office.policies()) == 1
