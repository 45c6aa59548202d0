"""The streams of LLM vendors as their servers send them, and what their clients make of them.

Written from the vendors' references, on purpose without a line of the code under test.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agenthifive.broker.content import Kind
from agenthifive.broker.filters import Filters
from agenthifive.broker.scrub import SecretScrubber
from agenthifive.broker.stream_rules import open_filter
from agenthifive.policy.replies import ReplyRule
from agenthifive.policy.rules import PatternTable, compile_reply_rule

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A vendor's stream: events that spread a text, and the text a client joins from events."""

    name: str
    events: Callable[[Sequence[str]], list[Event]]
    join: Callable[[list[Event]], str]
    is_named: bool = False
    is_json: bool = False
    ends_with_done: bool = False

    def join_of(self, *events: Event) -> str:
        """The text in some events out of their stream."""
        return self.join([{**event, "sequence_number": number} for number, event in enumerate(events)])


def _chat(choice: Event) -> Event:
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, **choice}]}


def _chat_events(delta: Callable[[str], Event]) -> Callable[[Sequence[str]], list[Event]]:
    def events(deltas: Sequence[str]) -> list[Event]:
        return [
            _chat({"delta": {"role": "assistant"}, "finish_reason": None}),
            *(_chat({"delta": delta(text), "finish_reason": None}) for text in deltas),
            _chat({"delta": {}, "finish_reason": "stop"}),
            {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": 9}},
        ]

    return events


def _join_chat(read: Callable[[Event], str]) -> Callable[[list[Event]], str]:
    return lambda events: "".join(read(choice["delta"]) for event in events for choice in event["choices"])


def _tool(text: str) -> Event:
    return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}


def _read_tool(delta: Event) -> str:
    return "".join(call["function"]["arguments"] for call in delta.get("tool_calls", ()))


def _block_events(kind: str, member: str) -> Callable[[Sequence[str]], list[Event]]:
    def events(deltas: Sequence[str]) -> list[Event]:
        return [
            {"type": "message_start", "message": {"id": "m1", "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
            *({"type": "content_block_delta", "index": 0, "delta": {"type": kind, member: t}} for t in deltas),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        ]

    return events


def _join_blocks(member: str) -> Callable[[list[Event]], str]:
    def join(events: list[Event]) -> str:
        return "".join(event["delta"][member] for event in events if event["type"] == "content_block_delta")

    return join


def _response_events(kind: str) -> Callable[[Sequence[str]], list[Event]]:
    def events(deltas: Sequence[str]) -> list[Event]:
        where = {"item_id": "i", "output_index": 0, "content_index": 0}
        made = [
            {"type": "response.created", "response": {"id": "r", "output": []}},
            *({"type": f"response.{kind}.delta", **where, "delta": text, "logprobs": []} for text in deltas),
            {"type": f"response.{kind}.done", **where},
            {"type": "response.completed", "response": {"id": "r"}},
        ]
        return [{**event, "sequence_number": number} for number, event in enumerate(made)]

    return events


def _join_response(events: list[Event]) -> str:
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return "".join(event["delta"] for event in events if event["type"].endswith(".delta"))


def _gemini_events(deltas: Sequence[str]) -> list[Event]:
    made = [{"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}]} for text in deltas]
    return [*made, {"candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": {"totalTokenCount": 9}}]


def _join_gemini(events: list[Event]) -> str:
    contents = [c["content"] for event in events for c in event["candidates"] if "content" in c]
    return "".join(part.get("text", "") for content in contents for part in content["parts"])


def _cohere_events(deltas: Sequence[str]) -> list[Event]:
    made = [{"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": t}}}} for t in deltas]
    return [*made, {"type": "content-end", "index": 0}, {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}]


def _join_cohere(events: list[Event]) -> str:
    return "".join(e["delta"]["message"]["content"]["text"] for e in events if e["type"] == "content-delta")


ALL_DIALECTS = [
    Dialect("chat", _chat_events(lambda t: {"content": t}), _join_chat(lambda d: d.get("content") or ""),
            ends_with_done=True),
    Dialect("chat reasoning", _chat_events(lambda t: {"reasoning_content": t}),
            _join_chat(lambda d: d.get("reasoning_content") or ""), ends_with_done=True),
    Dialect("chat audio", _chat_events(lambda t: {"audio": {"transcript": t}}),
            _join_chat(lambda d: d.get("audio", {}).get("transcript") or ""), ends_with_done=True),
    Dialect("chat reasoning details",
            _chat_events(lambda t: {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": t}]}),
            _join_chat(lambda d: "".join(each["text"] for each in d.get("reasoning_details", ()))),
            ends_with_done=True),
    Dialect("chat tool call", _chat_events(_tool), _join_chat(_read_tool), is_json=True, ends_with_done=True),
    Dialect("responses", _response_events("output_text"), _join_response, is_named=True),
    Dialect("responses function call", _response_events("function_call_arguments"), _join_response, is_named=True,
            is_json=True),
    Dialect("anthropic", _block_events("text_delta", "text"), _join_blocks("text"), is_named=True),
    Dialect("anthropic thinking", _block_events("thinking_delta", "thinking"), _join_blocks("thinking"), is_named=True),
    Dialect("anthropic tool use", _block_events("input_json_delta", "partial_json"), _join_blocks("partial_json"),
            is_named=True, is_json=True),
    Dialect("gemini", _gemini_events, _join_gemini),
    Dialect("cohere", _cohere_events, _join_cohere, is_named=True),
]  # fmt: skip

DIALECTS = {dialect.name: dialect for dialect in ALL_DIALECTS}


def as_sse(events: Sequence[Event], dialect: Dialect | None = None, *, end: str = "\n", blank: str = " ") -> bytes:
    """The events on the wire."""
    records = []
    for event in events:
        name = f"event:{blank}{event['type']}{end}" if dialect is not None and dialect.is_named else ""
        records.append(f"{name}data:{blank}{json.dumps(event)}{end}{end}")
    if dialect is not None and dialect.ends_with_done:
        records.append(f"data:{blank}[DONE]{end}{end}")
    return "".join(records).encode()


def read_sse(data: bytes) -> list[tuple[str | None, str]]:
    """Names and data, as a simple client reads them."""
    events = []
    for record in data.decode().replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff").split("\n\n"):
        fields = [line.partition(":") for line in record.split("\n") if line and not line.startswith(":")]
        name = next((value.removeprefix(" ") for field, _, value in fields if field == "event"), None)
        lines = [value.removeprefix(" ") for field, _, value in fields if field == "data"]
        if lines:
            events.append((name, "\n".join(lines)))
    return events


def rule(content: dict[str, Any]) -> ReplyRule:
    """A compiled response rule."""
    return compile_reply_rule({"match": {}, "filter": content}, 0, PatternTable(), PatternTable())


def redact(*patterns: str) -> ReplyRule:
    """A rule that replaces what patterns find."""
    return rule({"redact": [{"type": "custom", "pattern": pattern} for pattern in patterns]})


CARD = redact(r"\b\d{4} ?\d{4} ?\d{4} ?\d{4}\b")
NUMBER = "4242424242424242"


def passed(
    data: bytes | Sequence[bytes],
    *rules: ReplyRule,
    kind: Kind = Kind.EVENT_STREAM,
    content_type: str | None = None,
    secrets: Sequence[str] = (),
) -> tuple[bytes, str]:
    """What a stream in these chunks becomes, and its fault."""
    stream = open_filter(kind, content_type, Filters(rules), SecretScrubber(secrets))
    chunks = [data] if isinstance(data, bytes) else data
    shown = b"".join([stream.feed(chunk) for chunk in chunks])
    return (shown, stream.fault) if stream.fault else (shown + stream.finish(), stream.fault)
