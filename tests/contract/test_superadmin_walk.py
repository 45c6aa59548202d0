"""A superadmin without any workspace, at every route: administration, and nothing of what workspaces hold.

Source: contract/http.md section 12, goals.md S7.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agenthifive.edge.callers import Access
from application import Place, run_application
from contract.routes import walk
from databases import fresh_database


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with fresh_database(f"superadmin_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path_factory.mktemp("home")) as running:
            yield running


def routes(place: Place) -> list[tuple[Access, str, str]]:
    """Every route that admits people."""
    return [(access, *rest) for access, *rest in walk(place) if access.persons and not access.is_public]


async def signed_in(place: Place, platform_role: str) -> dict[str, str]:
    """The headers of somebody with a session and no workspace."""
    user_id = await place.add_person(None)
    await place.execute("UPDATE t_users SET platform_role = %s WHERE id = %s", [platform_role, user_id])
    people = place.app.keeper.people
    async with place.app.unit() as unit:
        opened = await people.sessions.open(unit, user_id, ["password"])
    assert opened is not None
    cookie = {"cookie": f"{people.cookie_name}={opened.cookie}"}
    csrf = await place.ask("GET", "/api/auth/csrf", headers=cookie)
    assert csrf.status_code == 200, csrf.text
    return {**cookie, "x-ah5-csrf": csrf.json()["token"]}


async def test_a_superadmin_without_a_workspace_administers_and_nothing_else(place: Place) -> None:
    headers = await signed_in(place, "superadmin")
    reached = 0
    for access, method, path in routes(place):
        answer = await place.ask(method, path, body={} if method != "GET" else None, headers=headers)
        code = answer.headers.get("x-agenthifive-error", "").lower()
        if access.needs_workspace:
            assert (answer.status_code, code) == (403, "not_a_member"), (method, path)
        else:
            assert code not in ("not_a_member", "insufficient_role"), (method, path, code)
            reached += access.superadmin
    assert reached >= 15


async def test_whoever_is_no_superadmin_reaches_no_route_of_administration(place: Place) -> None:
    headers = await signed_in(place, "user")
    for access, method, path in routes(place):
        if not access.superadmin:
            continue
        answer = await place.ask(method, path, body={} if method != "GET" else None, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role"), (method, path)


async def test_the_broker_knows_no_superadmin(place: Place) -> None:
    headers = await signed_in(place, "superadmin")
    for path in ("/v1/vault/execute", "/v1/vault/llm/openai/v1/models"):
        answer = await place.ask("POST", path, body={"model": "B"}, headers=headers)
        assert (answer.status_code, answer.headers["x-agenthifive-error"]) == (403, "not_a_member")
