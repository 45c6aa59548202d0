"""Every route, called by a person whose instance demands a second factor they have not set up.

Generated from the route table. Source: contract/http.md section 14.3 (REQUIRE_TWO_FACTOR).
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from agenthifive.people.entrance import Proof, SignedIn
from application import Place, run_application
from contract.routes import BROKERED, walk
from databases import fresh_database

DEMANDED = (403, "two_factor_required")


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with fresh_database(f"factor_walk_{worker_id}") as made:
        home = tmp_path_factory.mktemp("home")
        async with run_application(made.app_dsn, home, REQUIRE_TWO_FACTOR="all") as running:
            yield running


async def open_session(place: Place) -> dict[str, str]:
    """The headers of the owner at a browser."""
    people = place.app.keeper.people
    async with place.app.unit() as unit:
        opened = await people.entrance.open(unit, place.owner_id, Proof("password", ["password"]))
    assert isinstance(opened, SignedIn)
    headers = {"cookie": f"{people.cookie_name}={opened.cookie}"}
    answer = await place.ask("GET", "/api/auth/csrf", headers=headers)
    return {**headers, "x-ah5-csrf": answer.json()["token"]}


def demanding(place: Place, *, by_token: bool) -> list[tuple[str, str]]:
    """What a person may call who has a second factor, apart from what leads to one."""
    return [
        (method, path)
        for access, method, path in walk(place)
        if not access.is_public and access.needs_factor and (access.pats if by_token else access.persons)
    ]


async def test_a_session_without_a_factor_is_refused_everywhere(place: Place) -> None:
    headers = await open_session(place)
    walked = [*demanding(place, by_token=False), *BROKERED]
    assert len(walked) > 40
    for method, path in walked:
        answer = await place.ask(method, path, body={} if method != "GET" else None, headers=headers)
        assert (answer.status_code, answer.headers["x-agenthifive-error"].lower()) == DEMANDED, (method, path)


async def test_a_token_of_a_person_without_a_factor_is_refused_everywhere(place: Place) -> None:
    token = await place.add_pat(place.owner_id)
    walked = [*demanding(place, by_token=True), *BROKERED]
    assert len(walked) > 30
    for method, path in walked:
        answer = await place.ask(method, path, token, body={} if method != "GET" else None)
        assert (answer.status_code, answer.headers["x-agenthifive-error"].lower()) == DEMANDED, (method, path)
    [(rows,)] = await place.execute("SELECT count(*) FROM t_agents", [])
    assert rows == 0


async def test_agents_are_not_held_up(place: Place) -> None:
    _, token = await place.add_agent()
    assert (await place.ask("GET", "/v1/connections", token)).status_code == 200
