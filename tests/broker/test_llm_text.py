"""Texts that go on from event to event are found where the vendors put them, and can be carried on."""

from collections.abc import Mapping
from typing import Any

import pytest

from agenthifive.broker.llm_text import NOTHING, carry, forget_tokens, has_whole_texts, read_spread
from broker.llm_streams import ALL_DIALECTS, Dialect


def at(event: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        event = event[step]
    return event


@pytest.mark.parametrize("dialect", ALL_DIALECTS, ids=[dialect.name for dialect in ALL_DIALECTS])
class TestDialects:
    def test_every_piece_is_found_in_its_order(self, dialect: Dialect) -> None:
        found = [
            (piece.channel, piece.text, at(event, piece.path), piece.is_json)
            for event in dialect.events(["one ", "two"])
            for piece in read_spread(event).pieces
            if piece.text
        ]
        assert [(text, placed) for _, text, placed, _ in found] == [("one ", "one "), ("two", "two")]
        assert len({channel for channel, *_ in found}) == 1
        assert {is_json for *_, is_json in found} == {dialect.is_json}

    def test_the_channel_ends_once_after_its_last_piece(self, dialect: Dialect) -> None:
        events = dialect.events(["one ", "two"])
        spreads = [read_spread(event) for event in events]
        last = max(number for number, event in enumerate(events) if dialect.join_of(event))
        channel = spreads[last].pieces[0].channel
        ends = [n for n, spread in enumerate(spreads) if any(channel[: len(end)] == end for end in spread.ends)]
        assert ends
        assert ends[0] == last + 1

    def test_an_event_of_our_own_carries_on_where_the_vendors_left_off(self, dialect: Dialect) -> None:
        event = next(event for event in dialect.events(["one"]) if dialect.join_of(event))
        [piece] = read_spread(event).pieces
        carried, path = carry(event, piece.channel)
        assert at(carried, path) == ""
        [again] = read_spread(carried).pieces
        assert (again.channel, again.path) == (piece.channel, path)
        assert not read_spread(carried).ends
        assert dialect.join_of(carried) == ""


def test_a_carried_event_says_nothing_a_second_time() -> None:
    call = {"index": 2, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{"}}
    choice = {"index": 1, "delta": {"role": "assistant", "tool_calls": [call]}, "finish_reason": "x"}
    chat = {"id": "c", "model": "m", "usage": {"total_tokens": 1}, "choices": [choice]}
    [piece] = read_spread(chat).pieces
    assert carry(chat, piece.channel)[0] == {
        "id": "c", "model": "m",
        "choices": [{"index": 1, "delta": {"tool_calls": [{"index": 2, "function": {"arguments": ""}}]},
                     "finish_reason": None}],
    }  # fmt: skip
    gemini = {"modelVersion": "g", "usageMetadata": {}, "candidates": [{"finishReason": "STOP", "index": 3, "content":
              {"parts": [{"text": "a", "thought": True}, {"functionCall": {}}]}}]}  # fmt: skip
    [piece] = read_spread(gemini).pieces
    assert carry(gemini, piece.channel)[0] == {
        "modelVersion": "g",
        "candidates": [{"index": 3, "content": {"role": "model", "parts": [{"text": "", "thought": True}]}}],
    }


@pytest.mark.parametrize(
    "event",
    [
        None, [], "x", {}, {"type": 1}, {"type": "content_block_delta"}, {"type": "content_block_delta", "delta": "x"},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 1}}, {"choices": [1, {"delta": 1}]},
        {"choices": [{"delta": {"content": 1, "tool_calls": [1, {"function": 1}, {"function": {"arguments": 1}}]}}]},
        {"candidates": [1, {"content": 1}, {"content": {"parts": 1}}, {"content": {"parts": [1, {"text": 1}]}}]},
        {"type": "response.output_text.delta", "delta": {}}, {"type": "content-delta", "delta": {"message": 1}},
        {"type": "response.output_audio.delta", "delta": "AAAA"},
        {"object": "response", "output": 1}, {"choices": [{"message": {"tool_calls": 1}}]},
    ],
)  # fmt: skip
def test_odd_events_carry_nothing(event: Any) -> None:
    assert read_spread(event) == NOTHING or read_spread(event).pieces == ()
    assert not has_whole_texts(event)


@pytest.mark.parametrize("index", [[], {}, None, 1.5])
def test_an_index_that_is_none_is_the_place_in_the_list(index: Any) -> None:
    events: list[Mapping[str, Any]] = [
        {"choices": [{"index": index, "delta": {"content": "a"}}]},
        {"candidates": [{"index": index, "content": {"parts": [{"text": "a"}]}}]},
        {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": "a"}},
    ]
    assert [read_spread(event).pieces[0].channel[1] for event in events] == [0, 0, 0]


def test_whole_replies_carry_the_arguments_of_their_calls() -> None:
    chat = {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]}
    response = {"object": "response", "output": [{"type": "message"}, {"type": "function_call", "arguments": "{}"}]}
    for value in (chat, response):
        [piece] = read_spread(value).pieces
        assert (at(value, piece.path), piece.is_json) == ("{}", True)
        assert has_whole_texts(value)


def test_lists_of_tokens_are_emptied_at_any_depth() -> None:
    value = {"choices": [{"logprobs": {"content": []}, "text": "a"}], "x": {"logprobs": [1], "logprobsResult": {}}}
    assert forget_tokens(value) == {
        "choices": [{"logprobs": None, "text": "a"}],
        "x": {"logprobs": [], "logprobsResult": None},
    }
