"""Texts as people and models would read them.

    fold         the second reading of every text: disguises undone
    plain        markup removed, entities decoded
    all_text     every scalar of a call, one per line
    prompt_text  what a caller tells a model

Source: contract/policy.md section 4 ("$text", "$prompt_text", the two readings).
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from agenthifive.policy.members import as_text

_BLOCK_END: Final = re.compile(r"<(?:br\s*/?|/p|/div|/tr|/li)>", re.IGNORECASE)
_TAG: Final = re.compile(r"<[A-Za-z/!][^<>]*>")

# Cyrillic and Greek letters that look like a Latin one, and that letter.
_LOOK_ALIKES: Final = dict(
    zip(
        "аеорсхуіѕјԁһԛԝАВЕІЈКМНОРЅСТУХοαινρΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        "aeopcxyisjdhqwABEIJKMHOPSCTYXoaivpABEZHIKMNOPTYX",
        strict=True,
    )
)
# Two characters whose compatibility forms are 18 and 8 letters long: in long texts they stand for a blank.
_LONG_LIGATURES: Final = {0xFDFA: " ", 0xFDFB: " "}
_LONG_TEXT: Final = 64 * 1024
_FILLERS: Final = "\u034f\u115f\u1160\u3164\uffa0"


# Where Unicode keeps characters of category Cf.
_FORMAT_RANGES: Final = (range(0x20000), range(0xE0000, 0xE1000))


def _foldings() -> dict[str, str]:
    foldings = {chr(code): "" for codes in _FORMAT_RANGES for code in codes if unicodedata.category(chr(code)) == "Cf"}
    foldings.update(dict.fromkeys(_FILLERS, ""))
    foldings.update({chr(0xE0000 + c): chr(c) for c in range(0x20, 0x7F)})
    foldings.update(_LOOK_ALIKES)
    return foldings


_FOLDINGS: Final = _foldings()

# Members that carry structure, not text, in the requests of model providers.
_STRUCTURAL: Final = frozenset(
    (
        "type",
        "role",
        "signature",
        "encrypted_content",
        "tool_use_id",
        "tool_call_id",
        "call_id",
        "cache_control",
        "media_type",
        "mime_type",
        "mimeType",
    )
)
_REASONING: Final = frozenset(("thinking", "redacted_thinking", "reasoning"))
_MODEL_ROLES: Final = frozenset(("assistant", "model"))
_MODEL_ITEMS: Final = frozenset(("function_call", "reasoning", "web_search_call"))
_INSTRUCTIONS: Final = (
    "system",
    "instructions",
    "systemInstruction",
    "system_instruction",
    "prompt",
    "content",
)
_TURNS: Final = ("messages", "input", "contents")


def fold(text: str) -> str:
    """The reading in which compatibility forms, invisible characters and look-alikes are undone."""
    if not text.isascii():
        if len(text) > _LONG_TEXT:
            text = text.translate(_LONG_LIGATURES)
        text = unicodedata.normalize("NFKC", text)
        for char in _FOLDINGS.keys() & set(text):
            text = text.replace(char, _FOLDINGS[char])
    return " ".join(text.split())


def plain(text: str) -> str:
    """The text without markup: block ends become line ends, other tags vanish, entities are decoded."""
    if "<" in text:
        text = _TAG.sub("", _BLOCK_END.sub("\n", text))
    return html.unescape(text) if "&" in text else text


def scalars(value: Any, *, in_prompt: bool = False) -> Iterator[str]:
    """Strings and numbers at any depth, in order, as text; in prompts without what carries structure."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        if in_prompt and is_reasoning(value):
            return
        for name, inner in value.items():
            if not (in_prompt and is_structural(name, inner)):
                yield from scalars(inner, in_prompt=in_prompt)
    elif isinstance(value, list):
        for inner in value:
            yield from scalars(inner, in_prompt=in_prompt)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield as_text(value)


def is_reasoning(item: dict[str, Any]) -> bool:
    """Whether an object is the model's own sealed train of thought."""
    kind = item.get("type")
    return isinstance(kind, str) and kind in _REASONING


def is_structural(name: str, value: Any) -> bool:
    """Whether a member of a prompt carries structure, base64 data or a data URL instead of text."""
    if name in _STRUCTURAL:
        return True
    if not isinstance(value, str):
        return False
    return name == "data" or (name in ("image_url", "url") and value.startswith("data:"))


def prompt_text(members: Any) -> str:
    """Everything the caller supplies to a model except the model's own turns, one text per line."""
    if isinstance(members, str):
        return members
    if not isinstance(members, dict):
        return ""
    found: list[str] = []
    for name in _INSTRUCTIONS:
        if name in members:
            found.extend(scalars(members[name], in_prompt=True))
    for name in _TURNS:
        turns = members.get(name)
        for turn in turns if isinstance(turns, list) else [turns]:
            if not _is_own_turn(turn):
                found.extend(scalars(turn, in_prompt=True))
    found.extend(_descriptions(members.get("tools")))
    return "\n".join(found)


def _is_own_turn(turn: Any) -> bool:
    if not isinstance(turn, dict):
        return False
    role, kind = turn.get("role"), turn.get("type")
    return (isinstance(role, str) and role in _MODEL_ROLES) or (isinstance(kind, str) and kind in _MODEL_ITEMS)


def _descriptions(tools: Any) -> Iterator[str]:
    if isinstance(tools, dict):
        for name, inner in tools.items():
            if name == "description" and isinstance(inner, str):
                yield inner
            else:
                yield from _descriptions(inner)
    elif isinstance(tools, list):
        for inner in tools:
            yield from _descriptions(inner)
