"""Replies that list many places show a constrained agent the listed ones only."""

from typing import Any

import pytest

from agenthifive.policy.constraints import compile_constraint
from agenthifive.policy.constraints.inbound import inbound_filter
from agenthifive.policy.model import NO_BODY, Request, ServiceFacts
from agenthifive.words import ActionClass


def filtered(provider: str, path: str, value: Any, **lists: list[str]) -> Any:
    constraint = compile_constraint({"provider": provider, **lists})
    facts = ServiceFacts(provider, provider, (), provider)  # type: ignore[arg-type]
    request = Request("GET", "https", "x", 443, path, path, "", NO_BODY, ActionClass.READ, facts)
    keep = inbound_filter(constraint, request)
    assert keep is not None
    return keep(value)


def chat(chat_id: int, username: str | None = None) -> dict[str, Any]:
    return {"chat": {"id": chat_id} | ({"username": username} if username else {})}


@pytest.mark.parametrize("path", ["/bot/getUpdates", "/bot/GETUPDATES"])
def test_updates_of_listed_chats_stay_and_unknown_shapes_go(path: str) -> None:
    updates = [
        {"update_id": 1, "message": chat(1)},
        {"update_id": 2, "message": chat(2)},
        {"update_id": 3, "callback_query": {"message": chat(1)}},
        {"update_id": 4, "callback_query": {"message": chat(2)}},
        {"update_id": 5, "callback_query": {"inline_message_id": "x"}},
        {"update_id": 6, "poll": {"id": "9"}},
        {"update_id": 7, "channel_post": chat(-100, "News")},
        {"update_id": 8, "message": "not an object"},
        "not an object",
    ]
    seen = filtered("telegram", path, {"ok": True, "result": updates}, allowedChatIds=["1", "@news"])
    assert [update["update_id"] for update in seen["result"]] == [1, 3, 7]


def test_a_refusal_of_the_provider_passes_and_a_bare_list_does_not() -> None:
    error = {"ok": False, "error_code": 409}
    assert filtered("telegram", "/bot/getUpdates", error, allowedChatIds=["1"]) == error
    assert filtered("telegram", "/bot/getUpdates", [{"message": chat(2)}], allowedChatIds=["1"]) is None
    assert filtered("telegram", "/bot/getUpdates", {"result": "x"}, allowedChatIds=["1"]) == {"result": []}


def test_slack_lists_show_listed_channels_and_direct_messages_of_listed_people() -> None:
    channels = [
        {"id": "C1"},
        {"id": "C2"},
        {"id": "D1", "is_im": True, "user": "U1"},
        {"id": "D2", "is_im": True, "user": "U2"},
    ]
    seen = filtered(
        "slack",
        "/api/conversations.list",
        {"ok": True, "channels": channels},
        allowedChannelIds=["C1"],
        allowedUserIds=["U1"],
    )
    assert [channel["id"] for channel in seen["channels"]] == ["C1", "D1"]


def test_teams_lists_show_listed_chats_and_channels() -> None:
    items = {"value": [{"id": "19:a"}, {"id": "19:b"}, {}]}
    assert filtered("microsoft", "/v1.0/me/chats", items, allowedChatIds=["19:a"])["value"] == [{"id": "19:a"}]
    channels = filtered("microsoft", "/beta/teams/t/channels", items, allowedChannelIds=["19:b"])
    assert channels["value"] == [{"id": "19:b"}]
