"""`ah5sid`: for browsers on pages and sign-in routes, without meaning to us. Contract: http.md section 8."""

import re
from typing import Any

import pytest

from agenthifive.edge.stickiness import Stickiness
from application import Place

FORM = re.compile(r"ah5sid=[A-Za-z0-9_-]{22}; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax")


def scope(path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"path": path, "headers": list(headers)}


@pytest.mark.parametrize(
    "path",
    ["/", "/login", "/register", "/setup", "/dashboard", "/dashboard/agents", "/api/auth/providers", "/invite/x"],
)
def test_browsers_get_it(path: str) -> None:
    [(name, value)] = Stickiness("http://localhost:4000").headers(scope(path))
    assert name == b"set-cookie"
    assert FORM.fullmatch(value.decode())
    [(_, secure)] = Stickiness("https://agents.example.com").headers(scope(path))
    assert secure.endswith(b"; SameSite=Lax; Secure")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/agents",
        "/v1/vault/execute",
        "/health",
        "/openapi.json",
        "/.well-known/jwks.json",
        "/static/setup.css",
        "/api/connections/callback",
        "/loginx",
    ],
)
def test_other_paths_do_not(path: str) -> None:
    assert Stickiness("http://localhost:4000").headers(scope(path)) == []


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer ah5p_x"),
        (b"x-api-key", b"ah5p_x"),
        (b"x-goog-api-key", b"ah5p_x"),
        (b"cookie", b"a=b; ah5sid=whatever"),
    ],
)
def test_programs_and_browsers_that_have_it_do_not(header: tuple[bytes, bytes]) -> None:
    assert Stickiness("http://localhost:4000").headers(scope("/login", header)) == []


def test_every_value_is_another() -> None:
    made = {Stickiness("http://localhost:4000").headers(scope("/login"))[0] for _ in range(20)}
    assert len(made) == 20


async def test_the_application_sets_it(place: Place) -> None:
    place.client.cookies.clear()
    first = await place.ask("GET", "/api/auth/providers")
    assert FORM.fullmatch(first.headers["set-cookie"])
    again = await place.ask("GET", "/api/auth/providers")
    assert "set-cookie" not in again.headers
    place.client.cookies.clear()
    assert "set-cookie" not in (await place.ask("GET", "/v1/agents")).headers
