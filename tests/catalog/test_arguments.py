"""Credential-like arguments leave the body before anything is judged."""

from typing import Any

import pytest

from agenthifive.catalog.arguments import strip_arguments
from agenthifive.catalog.catalog import Catalog
from agenthifive.policy.model import Part

NAMES = frozenset({"token"})


@pytest.mark.parametrize(
    ("kind", "value", "kept", "taken"),
    [
        ("json", {"token": "x", "channel": "C1"}, {"channel": "C1"}, ("token",)),
        ("json", {" token ": "x", "a": {"token": "y"}}, {"a": {"token": "y"}}, ("token",)),
        ("json", [{"token": "x"}], [{"token": "x"}], ()),
        ("json", {"a": 1}, {"a": 1}, ()),
        ("form", "token=x&channel=C1&token=y", "channel=C1", ("token",)),
        ("form", "to%6Ben=x&%20token=y&a=1", "a=1", ("token",)),
        ("form", "+token+=x&a=1%20", "a=1%20", ("token",)),
        ("form", "tokens=x&a", "tokens=x&a", ()),
        ("form", "", "", ()),
        ("text", "token=x", "token=x", ()),
        ("none", None, None, ()),
        ("binary", None, None, ()),
    ],
)
def test_arguments_are_taken_wherever_they_stand(kind: str, value: Any, kept: Any, taken: tuple[str, ...]) -> None:
    assert strip_arguments(kind, value, NAMES) == (kept, taken)


def test_parts_of_a_multipart_are_arguments_too() -> None:
    parts = (Part("token", value="x"), Part("channel", value="C1"), Part(" token", value="y"))
    assert strip_arguments("multipart", parts, NAMES) == ((parts[1],), ("token",))


def test_a_body_that_holds_nothing_is_not_copied() -> None:
    body = {"a": 1}
    assert strip_arguments("json", body, NAMES)[0] is body
    assert strip_arguments("json", body, frozenset())[0] is body


def test_services_that_take_arguments_anywhere_say_so(catalog: Catalog) -> None:
    slack, trello, github = (catalog.get(name) for name in ("slack", "trello", "github"))
    assert slack is not None
    assert trello is not None
    assert github is not None
    assert slack.default_variant.stripped_arguments == {"token"}
    assert trello.default_variant.stripped_arguments == {"key", "token"}
    assert github.default_variant.stripped_arguments == frozenset()
    assert github.default_variant.stripped_params == {"access_token"}
