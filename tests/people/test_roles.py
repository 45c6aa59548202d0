"""Who may do what in a workspace: the table of capabilities, asked of the running application.

Each row names a route and who passes its role check. Whoever passes is told about the body or the id instead (400 or
404), or gets an answer; whoever does not gets 403 insufficient_role. Source: contract/http.md sections 11, 12 and 15.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from agenthifive.words import PAT_SCOPES, Role
from application import Place, run_application
from databases import fresh_database

UNKNOWN = "00000000-0000-4000-8000-000000000000"
EVERYBODY = frozenset(Role)
DECIDERS = frozenset({Role.OWNER, Role.ADMIN, Role.APPROVER})
MANAGERS = frozenset({Role.OWNER, Role.ADMIN})
AUDITORS = frozenset({Role.OWNER, Role.ADMIN, Role.VIEWER})

TABLE = [
    # see agents, connections, policies, audit, members
    ("GET", "/v1/agents", EVERYBODY),
    ("GET", f"/v1/agents/{UNKNOWN}", EVERYBODY),
    ("GET", "/v1/connections", EVERYBODY),
    ("GET", f"/v1/connections/{UNKNOWN}", EVERYBODY),
    ("GET", "/v1/policies", EVERYBODY),
    ("GET", f"/v1/policies/{UNKNOWN}", EVERYBODY),
    ("GET", "/v1/audit", EVERYBODY),
    ("GET", f"/v1/audit/{UNKNOWN}", EVERYBODY),
    ("GET", "/v1/workspaces/current", EVERYBODY),
    ("GET", "/v1/workspaces/current/members", EVERYBODY),
    ("GET", "/v1/capabilities/services", EVERYBODY),
    ("GET", "/v1/catalog", EVERYBODY),
    ("POST", "/v1/policies/explain", EVERYBODY),
    # read what the simulator says
    ("POST", "/v1/policies/simulate", MANAGERS),
    # disable an agent (containment)
    ("POST", f"/v1/agents/{UNKNOWN}/disable", DECIDERS),
    ("POST", f"/v1/agents/{UNKNOWN}/revoke-tokens", DECIDERS),
    # create, change, enable, delete agents, issue bootstrap secrets
    ("POST", "/v1/agents", MANAGERS),
    ("PUT", f"/v1/agents/{UNKNOWN}", MANAGERS),
    ("POST", f"/v1/agents/{UNKNOWN}/bootstrap-secret", MANAGERS),
    ("POST", f"/v1/agents/{UNKNOWN}/enable", MANAGERS),
    ("DELETE", f"/v1/agents/{UNKNOWN}", MANAGERS),
    # create, change, revoke connections, test
    ("POST", "/v1/connections/api-key", MANAGERS),
    ("POST", "/v1/connections/bot-token", MANAGERS),
    ("POST", "/v1/connections/http", MANAGERS),
    ("PUT", f"/v1/connections/{UNKNOWN}/label", MANAGERS),
    ("PUT", f"/v1/connections/{UNKNOWN}/credentials", MANAGERS),
    ("POST", f"/v1/connections/{UNKNOWN}/test", MANAGERS),
    ("POST", f"/v1/connections/{UNKNOWN}/revoke", MANAGERS),
    ("DELETE", f"/v1/connections/{UNKNOWN}", MANAGERS),
    # create, change, delete policies
    ("POST", "/v1/policies", MANAGERS),
    ("PUT", f"/v1/policies/{UNKNOWN}", MANAGERS),
    ("PUT", f"/v1/policies/{UNKNOWN}/rules", MANAGERS),
    ("DELETE", f"/v1/policies/{UNKNOWN}", MANAGERS),
    # call providers as a person
    ("POST", "/v1/vault/execute", MANAGERS),
    ("POST", "/v1/vault/llm/openai/v1/chat/completions", MANAGERS),
    # export the log
    ("GET", "/v1/audit/export?format=json", AUDITORS),
    # invite and remove, change roles
    ("GET", "/v1/workspaces/current/invitations", MANAGERS),
    ("POST", "/v1/workspaces/current/invitations", MANAGERS),
    ("POST", f"/v1/workspaces/current/invitations/{UNKNOWN}/resend", MANAGERS),
    ("DELETE", f"/v1/workspaces/current/invitations/{UNKNOWN}", MANAGERS),
    ("PATCH", f"/v1/workspaces/current/members/{UNKNOWN}", MANAGERS),
]


@dataclass
class Staff:
    """A person of each role, by token, in one application."""

    place: Place
    tokens: dict[Role, str]


@pytest_asyncio.fixture(scope="module")
async def staff(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Staff]:
    with fresh_database(f"roles_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path_factory.mktemp("home")) as place:
            tokens = {Role.OWNER: await place.add_pat(place.owner_id)}
            for role in (Role.ADMIN, Role.APPROVER, Role.VIEWER):
                tokens[role] = await place.add_pat(await place.add_person(role), PAT_SCOPES)
            yield Staff(place, tokens)


@pytest.mark.parametrize(("method", "path", "allowed"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
async def test_a_route_admits_the_roles_of_the_table_and_no_other(
    staff: Staff, method: str, path: str, allowed: frozenset[Role]
) -> None:
    for role, token in staff.tokens.items():
        answer = await staff.place.ask(method, path, token, {} if method != "GET" else None)
        code = "" if answer.status_code == 200 else answer.headers.get("x-agenthifive-error")
        refused = answer.status_code == 403 and code in ("insufficient_role", "insufficient_scope")
        assert refused is (role not in allowed), (role, answer.status_code, code)
        assert refused or answer.status_code in (200, 400, 404), (role, answer.status_code, code)


async def test_a_viewer_exports_the_log_and_the_export_is_recorded(staff: Staff) -> None:
    """Acceptance 8."""
    answer = await staff.place.ask("GET", "/v1/audit/export?format=csv", staff.tokens[Role.VIEWER])
    assert answer.status_code == 200
    [(rows,)] = await staff.place.execute(
        "SELECT count(*) FROM l_audit_events WHERE action = 'audit_exported' AND workspace_id = %s",
        [staff.place.workspace_id],
    )
    assert rows >= 1


async def test_an_approver_disables_an_agent_and_does_not_enable_it(staff: Staff) -> None:
    """Acceptance 8."""
    agent_id, _ = await staff.place.add_agent()
    approver = staff.tokens[Role.APPROVER]
    assert (await staff.place.ask("POST", f"/v1/agents/{agent_id}/disable", approver)).status_code == 200
    enabled = await staff.place.ask("POST", f"/v1/agents/{agent_id}/enable", approver)
    assert (enabled.status_code, enabled.json()["code"]) == (403, "insufficient_role")
    forgets = await staff.place.ask("POST", f"/v1/agents/{agent_id}/disable", approver, {"forgetKey": True})
    assert (forgets.status_code, forgets.json()["code"]) == (403, "insufficient_role")
    assert await staff.place.execute("SELECT status FROM t_agents WHERE id = %s", [agent_id]) == [("disabled",)]


async def test_masked_previews_of_credentials_are_for_owners_and_admins(staff: Staff) -> None:
    key = "ntn_" + "1" * 46
    created = await staff.place.ask(
        "POST",
        "/v1/connections/api-key",
        staff.tokens[Role.OWNER],
        {"service": "notion", "apiKey": key, "skipValidation": True},
    )
    connection_id = created.json()["connection"]["id"]
    for role, token in staff.tokens.items():
        one = (await staff.place.ask("GET", f"/v1/connections/{connection_id}", token)).json()["connection"]
        listed = (await staff.place.ask("GET", "/v1/connections", token)).json()["connections"]
        previews = [one["credentialPreview"], *(each["credentialPreview"] for each in listed)]
        assert all((preview is not None) is (role in MANAGERS) for preview in previews), role
        assert key not in str(one) + str(listed)
