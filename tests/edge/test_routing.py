"""A route that does not say who may call it never serves."""

import pytest
from fastapi import APIRouter

from agenthifive.edge.callers import PUBLIC
from agenthifive.edge.management import make_management
from agenthifive.edge.routing import Routes
from application import Place


def test_an_endpoint_whose_signature_names_no_caller_is_refused_by_its_name() -> None:
    routes = Routes("test")

    async def endpoint() -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match="GET /v1/undeclared does not say who may call it"):
        routes.get("/v1/undeclared")(endpoint)
    assert routes.router.routes == []


def test_a_route_declared_past_our_own_way_stops_the_start_and_is_named() -> None:
    stray, declared = APIRouter(), Routes("test")

    @declared.get("/v1/declared", access=PUBLIC)
    async def endpoint() -> None:
        raise AssertionError

    @stray.get("/v1/stray")
    async def other() -> None:
        raise AssertionError

    make_management([declared.router])
    with pytest.raises(RuntimeError, match="/v1/stray does not say who may call it"):
        make_management([declared.router, stray])


async def test_every_operation_of_the_document_names_its_callers(place: Place) -> None:
    document = (await place.ask("GET", "/openapi.json")).json()
    operations = [(path, verb) for path, item in document["paths"].items() for verb in item]
    assert len(operations) > 60
    for path, verb in operations:
        operation = document["paths"][path][verb]
        assert operation["x-ah5-callers"], (path, verb)
        assert "x-ah5-audit" in operation
        assert operation["x-ah5-callers"] == ["public"] or "x-ah5-role" in operation
