"""Where the events of LLM streams carry text that goes on in later events, and where such a text ends.

    event (parsed) -> read_spread -> pieces: a channel and the place of its text      five vendors' forms
                                  -> ends: the channels that are complete now
    event, channel -> carry       -> an event of our own for what of the channel was held back to its end

Recognised by their shape, not by the address they come from: the same API is reached by several ways.
Source: contract/broker.md section 10.3; the vendors' references of chat completions, Responses, Messages,
generateContent and Cohere's chat.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Channel = tuple[str | int, ...]
Path = tuple[str | int, ...]

_CHAT_TEXTS: Final = ("content", "refusal", "reasoning", "reasoning_content")
_DETAIL_TEXTS: Final = ("text", "summary")
_BLOCK_TEXTS: Final = {
    "text_delta": ("text", False),
    "thinking_delta": ("thinking", False),
    "input_json_delta": ("partial_json", True),
}
_COHERE_TEXTS: Final[Mapping[str, tuple[Path, bool]]] = {
    "content-delta": (("delta", "message", "content", "text"), False),
    "tool-call-delta": (("delta", "message", "tool_calls", "function", "arguments"), True),
}
_COHERE_ENDS: Final = {"content-end": "content-delta", "tool-call-end": "tool-call-delta"}
_BLOCK_BEGINNINGS: Final = {"text": ("text", "text_delta"), "thinking": ("thinking", "thinking_delta")}
_PART_INDEXES: Final = ("content_index", "summary_index")
_ENDS_OF_ALL: Final = frozenset({"message_delta", "message_stop", "error"})
_SOUND: Final = "audio.delta"  # base64 by the piece, no text
_RESPONSE_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
WHOLE: Final = "whole"
"""Begins the names of channels whose text stands in one event from beginning to end."""
_TOKEN_LISTS: Final = frozenset({"logprobs", "top_logprobs", "logprobsResult"})


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of a channel in one event. `is_json`: the channel carries the arguments of a tool call."""

    channel: Channel
    path: Path
    text: str
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """What one event says about texts that are spread over events.

    Shapes:
        ends: beginnings of channel names; () ends them all.
    """

    pieces: tuple[Piece, ...] = ()
    ends: frozenset[Channel] = frozenset()


NOTHING: Final = Spread()
ALL: Final = frozenset[Channel]({()})


def read_spread(event: Any) -> Spread:
    """The pieces of an event in their order, and the channels that end with it."""
    if not isinstance(event, dict):
        return NOTHING
    if isinstance(event.get("choices"), list):
        return _read_chat(event["choices"])
    if isinstance(event.get("candidates"), list):
        return _read_gemini(event["candidates"])
    if event.get("object") == "response":
        return Spread(_read_output(event, ()), frozenset({(WHOLE,)}))
    kind = event.get("type")
    if not isinstance(kind, str):
        return NOTHING
    if kind.startswith("response."):
        return _read_response(event, kind)
    if kind in _ENDS_OF_ALL:
        return Spread(ends=ALL)
    return _read_cohere(event, kind) if kind in _COHERE_TEXTS or kind in _COHERE_ENDS else _read_block(event, kind)


def has_whole_texts(value: Any) -> bool:
    """Whether a value holds arguments of tool calls, and no text that goes on elsewhere."""
    pieces = read_spread(value).pieces
    return bool(pieces) and all(piece.channel[0] == WHOLE for piece in pieces)


def carry(like: Mapping[str, Any], channel: Channel) -> tuple[dict[str, Any], Path]:
    """An event for more text of a channel, and the place of that text, which is empty.

    Shapes:
        like: an event that carried the channel before.
    """
    match channel:
        case ("chat", index, "tool_calls", number):
            delta: dict[str, Any] = {"tool_calls": [{"index": number, "function": {"arguments": ""}}]}
            return _chat_event(like, index, {"delta": delta}), (
                "choices", 0, "delta", "tool_calls", 0, "function", "arguments",
            )  # fmt: skip
        case ("chat", index, "function_call"):
            delta = {"function_call": {"arguments": ""}}
            return _chat_event(like, index, {"delta": delta}), ("choices", 0, "delta", "function_call", "arguments")
        case ("chat", index, "text"):
            return _chat_event(like, index, {"text": ""}), ("choices", 0, "text")
        case ("chat", index, "audio"):
            return _chat_event(like, index, {"delta": {"audio": {"transcript": ""}}}), (
                "choices", 0, "delta", "audio", "transcript",
            )  # fmt: skip
        case ("chat", index, "reasoning_details", number, str(member)):
            detail = {"type": f"reasoning.{member}", "index": number, member: ""}
            return _chat_event(like, index, {"delta": {"reasoning_details": [detail]}}), (
                "choices", 0, "delta", "reasoning_details", 0, member,
            )  # fmt: skip
        case ("chat", index, member):
            return _chat_event(like, index, {"delta": {member: ""}}), ("choices", 0, "delta", member)
        case ("candidate", index, is_thought):
            part = {"text": "", "thought": True} if is_thought else {"text": ""}
            kept = {name: value for name, value in like.items() if name not in ("candidates", "usageMetadata")}
            content = {"parts": [part], "role": "model"}
            return {"candidates": [{"content": content, "index": index}], **kept}, (
                "candidates", 0, "content", "parts", 0, "text",
            )  # fmt: skip
        case ("block", index, str(kind)):
            member = _BLOCK_TEXTS[kind][0]
            block = {"type": "content_block_delta", "index": index, "delta": {"type": kind, member: ""}}
            return block, ("delta", member)
        case ("cohere", str(kind), index):
            return _cohere_event(kind, index)
        case _:
            return {**like, "delta": ""}, ("delta",)


def forget_tokens(value: Any) -> Any:
    """The value without the lists that repeat a text token by token, where no finding could be seen."""
    if isinstance(value, list):
        return [forget_tokens(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {
        name: forget_tokens(inner) if name not in _TOKEN_LISTS else [] if isinstance(inner, list) else None
        for name, inner in value.items()
    }


def _cohere_event(kind: str, index: str | int) -> tuple[dict[str, Any], Path]:
    path, _ = _COHERE_TEXTS[kind]
    value: Any = ""
    for step in reversed(path):
        value = {step: value}
    return {"type": kind, "index": index, **value}, path


def _chat_event(like: Mapping[str, Any], index: str | int, content: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in like.items() if name not in ("choices", "usage")}
    return {**kept, "choices": [{"index": index, **content, "finish_reason": None}]}


def _read_chat(choices: list[Any]) -> Spread:
    pieces: list[Piece] = []
    ends: list[Channel] = []
    for place, choice in enumerate(choices):
        if not isinstance(choice, dict):
            continue
        index = _index(choice.get("index"), place)
        if isinstance(choice.get("text"), str):
            pieces.append(Piece(("chat", index, "text"), ("choices", place, "text"), choice["text"]))
        if isinstance(choice.get("delta"), dict):
            pieces += _read_delta(choice["delta"], index, ("choices", place, "delta"))
        if choice.get("finish_reason"):  # some servers write "" until the last event
            ends.append(("chat", index))
        pieces += _read_message(choice.get("message"), ("choices", place, "message"))
    if any(piece.channel[0] == WHOLE for piece in pieces):
        ends.append((WHOLE,))
    return Spread(tuple(pieces), frozenset(ends))


def _read_delta(delta: dict[str, Any], index: str | int, path: Path) -> Iterator[Piece]:
    for member in _CHAT_TEXTS:
        text = delta.get(member)
        if isinstance(text, str):
            yield Piece(("chat", index, member), (*path, member), text)
        for place, part in enumerate(text if isinstance(text, list) else ()):  # content in parts, as Mistral writes it
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield Piece(("chat", index, member), (*path, member, place, "text"), part["text"])
    audio = delta.get("audio")
    if isinstance(audio, dict) and isinstance(audio.get("transcript"), str):
        yield Piece(("chat", index, "audio"), (*path, "audio", "transcript"), audio["transcript"])
    details = delta.get("reasoning_details")  # OpenRouter says its reasoning a second time here
    for place, detail in enumerate(details if isinstance(details, list) else ()):
        for member in _DETAIL_TEXTS:
            if isinstance(detail, dict) and isinstance(detail.get(member), str):
                number = _index(detail.get("index"), place)
                channel: Channel = ("chat", index, "reasoning_details", number, member)
                yield Piece(channel, (*path, "reasoning_details", place, member), detail[member])
    calls = delta.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            channel = ("chat", index, "tool_calls", _index(call.get("index"), place))
            yield Piece(
                channel, (*path, "tool_calls", place, "function", "arguments"), function["arguments"], is_json=True
            )
    function = delta.get("function_call")
    if isinstance(function, dict) and isinstance(function.get("arguments"), str):
        yield Piece(
            ("chat", index, "function_call"), (*path, "function_call", "arguments"), function["arguments"], is_json=True
        )


def _read_gemini(candidates: list[Any]) -> Spread:
    pieces: list[Piece] = []
    ends: list[Channel] = []
    for place, candidate in enumerate(candidates):
        if not isinstance(candidate, dict):
            continue
        index = _index(candidate.get("index"), place)
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                channel = ("candidate", index, part.get("thought") is True)
                path = ("candidates", place, "content", "parts", number, "text")
                pieces.append(Piece(channel, path, part["text"]))
        if candidate.get("finishReason"):
            ends.append(("candidate", index))
    return Spread(tuple(pieces), frozenset(ends))


def _read_block(event: dict[str, Any], kind: str) -> Spread:
    index = _index(event.get("index"), 0)
    if kind == "content_block_stop":
        return Spread(ends=frozenset({("block", index)}))
    if kind == "content_block_start" and isinstance(event.get("content_block"), dict):
        member, delta = _BLOCK_BEGINNINGS.get(_word(event["content_block"].get("type")), ("", ""))
        text = event["content_block"].get(member)
        if isinstance(text, str):
            return Spread((Piece(("block", index, delta), ("content_block", member), text),))
    if kind == "content_block_delta" and isinstance(event.get("delta"), dict):
        delta = _word(event["delta"].get("type"))
        member, is_json = _BLOCK_TEXTS.get(delta, ("", False))
        text = event["delta"].get(member)
        if isinstance(text, str):
            return Spread((Piece(("block", index, delta), ("delta", member), text, is_json),))
    return NOTHING


def _read_response(event: dict[str, Any], kind: str) -> Spread:
    """`response.<what>.delta` goes on until `response.<what>.done`, or until its part or item is done."""
    if kind in _RESPONSE_ENDS:
        return Spread(_read_output(event.get("response"), ("response",)), ALL)
    where: Channel = ("item", _index(event.get("output_index"), 0))
    for name in _PART_INDEXES:
        if name in event:
            where += (name, _index(event[name], 0))
    if kind.endswith(".done"):
        whole = (*_arguments(event, ()), *_arguments(event.get("item"), ("item",)))
        return Spread(whole, frozenset({where, (WHOLE,)}))
    text = event.get("delta")
    if kind.endswith(".delta") and isinstance(text, str) and not kind.endswith(_SOUND):
        return Spread((Piece((*where, kind), ("delta",), text, is_json="arguments" in kind),))
    return NOTHING


def _read_output(response: Any, path: Path) -> tuple[Piece, ...]:
    """The arguments in a whole response."""
    output = response.get("output") if isinstance(response, dict) else None
    items = enumerate(output if isinstance(output, list) else ())
    return tuple(piece for place, item in items for piece in _arguments(item, (*path, "output", place)))


def _read_message(message: Any, path: Path) -> Iterator[Piece]:
    """The arguments in a whole chat message."""
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict):
            yield from _arguments(call.get("function"), (*path, "tool_calls", place, "function"))


def _arguments(holder: Any, path: Path) -> Iterator[Piece]:
    text = holder.get("arguments") if isinstance(holder, dict) else None
    if isinstance(text, str):
        yield Piece((WHOLE, *path), (*path, "arguments"), text, is_json=True)


def _read_cohere(event: dict[str, Any], kind: str) -> Spread:
    index = _index(event.get("index"), 0)
    if kind in _COHERE_ENDS:
        return Spread(ends=frozenset({("cohere", _COHERE_ENDS[kind], index)}))
    path, is_json = _COHERE_TEXTS[kind]
    text: Any = event
    for step in path:
        text = text.get(step) if isinstance(text, dict) else None
    return Spread((Piece(("cohere", kind, index), path, text, is_json),)) if isinstance(text, str) else NOTHING


def _index(value: Any, otherwise: int) -> str | int:
    return value if isinstance(value, int | str) else otherwise


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
