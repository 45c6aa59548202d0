"""Every route with a person at a browser, in every role, and with the JWT made from their session.

What is declared decides: an unsafe request with a body of the wrong type passes the gate exactly when it is answered
415, for the body is looked at after the caller and before anything is done. Source: contract/http.md sections 1 (order
of refusals), 10, 12 and 13; goals.md S7.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import httpx
import pytest
import pytest_asyncio

from agenthifive.edge.callers import Access, admits_role
from agenthifive.words import Role
from application import Place, run_application
from contract.routes import walk
from databases import fresh_database

_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REACHED: Final = frozenset({200, 302, 303, 400, 404, 409, 410, 415, 429})


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    limits = {"RATE_LIMIT_SESSION_JWT_PER_MINUTE": "1000", "RATE_LIMIT_AUTH_FAILURES_PER_5_MINUTES": "100000",
              "RATE_LIMIT_LINKS_PER_MINUTE": "1000", "RATE_LIMIT_SIGN_IN_PER_MINUTE": "1000"}  # fmt: skip
    with fresh_database(f"session_walk_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path_factory.mktemp("home"), **limits) as running:
            yield running


async def at_browser(place: Place, user_id: str) -> dict[str, str]:
    """The headers of a session."""
    people = place.app.keeper.people
    async with place.app.unit() as unit:
        opened = await people.sessions.open(unit, user_id, ["password"])
    assert opened is not None
    cookie = {"cookie": f"{people.cookie_name}={opened.cookie}"}
    csrf = await place.ask("GET", "/api/auth/csrf", headers=cookie)
    return {**cookie, "x-ah5-csrf": csrf.json()["token"]}


async def jwt_of(place: Place, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of the same person with a JWT."""
    answer = await place.ask("POST", "/api/auth/token", body={}, headers={"cookie": headers["cookie"]})
    return {"authorization": f"Bearer {answer.json()['token']}"}


async def send(place: Place, method: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
    """A request that goes no further than the gate, where it could change something."""
    wrong = {"content-type": "text/xml"} if method in _UNSAFE else {}
    return await place.client.request(method, path, headers={**headers, **wrong}, content=b"<x/>" if wrong else None)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers.get("x-agenthifive-error", "").lower()


def routes(place: Place) -> list[tuple[Access, str, str]]:
    """Every route that is not public."""
    return [(access, method, path) for access, method, path in walk(place) if not access.is_public]


def refusal_of(access: Access, role: Role) -> tuple[int, str] | None:
    """What somebody in this role is refused with; None when the route is theirs."""
    if not access.persons and not access.pats:
        return 403, "agent_only"
    if access.superadmin or not admits_role(access.role, role):
        return 403, "insufficient_role"
    return None


@pytest.mark.parametrize("role", Role)
async def test_a_person_reaches_what_their_role_opens_and_nothing_else(place: Place, role: Role) -> None:
    user_id = place.owner_id if role is Role.OWNER else await place.add_person(role)
    browser = await at_browser(place, user_id)
    bearer = await jwt_of(place, browser)
    reached = 0
    for access, method, path in routes(place):
        expected = refusal_of(access, role)
        for headers in (browser, bearer):
            answer = await send(place, method, path, headers)
            if expected is not None:
                assert code_of(answer) == expected, (method, path, "jwt" if headers is bearer else "cookie")
            elif access.sessions_only and headers is bearer:
                assert code_of(answer) == (401, "wrong_credential_type"), (method, path)
            elif method in _UNSAFE:
                assert code_of(answer) == (415, "unsupported_media_type"), (method, path)
                reached += 1
            else:
                assert answer.status_code in _REACHED, (method, path, answer.text)
    assert reached > (40 if role in (Role.OWNER, Role.ADMIN) else 15)


async def test_what_needs_a_recent_sign_in_is_refused_an_hour_later(place: Place) -> None:
    browser = await at_browser(place, place.owner_id)
    await place.execute("UPDATE t_users SET platform_role = 'superadmin' WHERE id = %s", [place.owner_id])
    await place.execute("UPDATE t_sessions SET auth_time = now() - interval '1 hour'", [])
    refused = 0
    for access, method, path in routes(place):
        if access.recent_s is None:
            continue
        assert code_of(await send(place, method, path, browser)) == (403, "reauth_required"), (method, path)
        refused += 1
    await place.execute("UPDATE t_users SET platform_role = 'user' WHERE id = %s", [place.owner_id])
    assert refused >= 15


async def test_a_cookie_alone_changes_nothing(place: Place) -> None:
    """Without the token of the page, and from another site, no unsafe request of a cookie passes."""
    browser = await at_browser(place, place.owner_id)
    cookie = {"cookie": browser["cookie"]}
    walked = 0
    for access, method, path in routes(place):
        if method not in _UNSAFE or refusal_of(access, Role.OWNER) is not None:
            continue
        foreign = await send(place, method, path, {**browser, "origin": "https://evil.example"})
        assert code_of(foreign) == (403, "origin_not_allowed"), (method, path)
        walked += 1
        if not path.startswith("/api/auth/"):
            await place.execute("UPDATE t_sessions SET auth_time = now()", [])
            assert code_of(await send(place, method, path, cookie)) == (403, "csrf_failed"), (method, path)
    assert walked > 40


async def test_whoever_is_disabled_reaches_nothing_with_anything(place: Place) -> None:
    user_id = await place.add_person(Role.ADMIN)
    browser, token = await at_browser(place, user_id), await place.add_pat(user_id)
    credentials = (browser, await jwt_of(place, browser), {"authorization": f"Bearer {token}"})
    await place.execute("UPDATE t_users SET disabled_at = now() WHERE id = %s", [user_id])
    for _, method, path in routes(place):
        for headers in credentials:
            assert code_of(await send(place, method, path, headers)) == (401, "invalid_token"), (method, path)
