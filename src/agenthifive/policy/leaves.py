"""Every text of a body, with the place it stands at.

    field -> roots in the body -> leaves: where ("messages[2].content"), text, member name, target

A target says how to put another text there; leaves without one cannot be rewritten.
Source: contract/policy.md sections 6.1 and 6.2.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

from msgspec import Struct

from agenthifive.policy.fields import EVERY, FieldPath
from agenthifive.policy.members import as_text, part_json, part_name, part_text
from agenthifive.policy.model import Body, Request
from agenthifive.policy.query import parse_query
from agenthifive.policy.texts import is_reasoning, is_structural
from agenthifive.strict_json import InvalidJson

# Steps from the top of a body: member names and indexes; the number of a pair or part comes first.
Target: TypeAlias = tuple[str | int, ...]


class Leaf(Struct, frozen=True, gc=False):
    """One text. `name` is the member it belongs to: context for recognisers. A member's name is a leaf too."""

    where: str
    text: str
    name: str
    target: Target | None
    is_name: bool = False

    def at(self, where: str) -> "Leaf":
        """The same leaf under another description of its place."""
        return Leaf(where, self.text, self.name, self.target, self.is_name)


class _Root(Struct, frozen=True):
    """A value of the body from which leaves hang."""

    where: str
    value: Any
    name: str
    target: Target | None


def leaves_of(request: Request, path: FieldPath) -> list[Leaf] | None:
    """Leaves below a field, None when some of them cannot be looked into."""
    if path.view not in ("", "$body"):
        found = path.find(request, enters_arrays=True)
        if found.hidden:
            return None
        return [Leaf(path.text, as_text(value), "", None) for value in (*found.values, *found.inside)]
    if request.body.kind == "binary" or (path.view == "" and request.hides_members):
        return None
    if request.body.kind == "text":
        return [Leaf("$body", request.body.value, "", ())]
    in_prompt = request.facts.is_llm
    tokens = path.tokens if path.view == "" else None
    leaves: list[Leaf] = []
    for root in _roots(request):
        if tokens is None and root.name:
            leaves.append(Leaf(root.where, root.name, "", None, is_name=True))
        for below in [root] if tokens is None else _descend(root, tokens):
            _hang(below, leaves, in_prompt)
    return leaves


def _roots(request: Request) -> Iterator[_Root]:
    body = request.body
    if body.kind == "json":
        yield _Root("", body.value, "", ())
    elif body.kind == "form":
        for number, (name, value) in enumerate(parse_query(body.value)):
            yield _Root(name.strip(), value, name.strip(), (number,))
    elif body.kind == "multipart":
        yield from _part_roots(body)
    if request.facts.params_in_query:
        for name, value in request.pairs:
            yield _Root(name.strip(), value, name.strip(), None)


def _part_roots(body: Body) -> Iterator[_Root]:
    for number, part in enumerate(body.value):
        text = part_text(part)
        if text is None:
            continue
        name = part_name(part)
        try:
            value = part_json(part, text)
        except InvalidJson:
            yield _Root(name, text, name, (number,))
            continue
        is_metadata = body.subtype == "related" and isinstance(value, dict)
        yield _Root("" if is_metadata else name, value, "" if is_metadata else name, (number,))


def _descend(root: _Root, tokens: tuple[str, ...]) -> list[_Root]:
    """The roots a member path leads to from one root of the body."""
    if root.name:
        if tokens[:1] != (root.name,):
            return []
        tokens = tokens[1:]
        if isinstance(root.value, str):  # a field given several times can be asked for as an array
            return [root] if not tokens or tokens == (EVERY,) or tokens[0].strip("[]").isdecimal() else []
    current = [root]
    for token in tokens:
        current = [below for above in current for below in _step(above, token)]
    return current


def _step(root: _Root, token: str) -> Iterator[_Root]:
    value = root.value
    if isinstance(value, list):
        index = token.strip("[]")
        if token == EVERY:
            yield from (_element(root, number) for number in range(len(value)))
        elif index.isdecimal():
            yield from (_element(root, number) for number in range(len(value)) if number == int(index))
        else:
            for number in range(len(value)):
                yield from _step(_element(root, number), token)
    elif isinstance(value, dict) and token in value:
        yield _member(root, token)


def _hang(root: _Root, found: list[Leaf], in_prompt: bool) -> None:
    """Add the scalars below a root, and the names of all members on the way to them."""
    where, value, name, target = root.where, root.value, root.name, root.target
    if isinstance(value, str):
        found.append(Leaf(where, value, name, target))
    elif isinstance(value, dict):
        if in_prompt and is_reasoning(value):
            return
        for inner_name, inner in value.items():
            if not (in_prompt and is_structural(inner_name, inner)):
                member = _member(root, inner_name)
                found.append(Leaf(member.where, inner_name, "", None, is_name=True))
                _hang(member, found, in_prompt)
    elif isinstance(value, list):
        for number in range(len(value)):
            _hang(_element(root, number), found, in_prompt)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found.append(Leaf(where, as_text(value), name, None))


def _member(root: _Root, name: str) -> _Root:
    where = f"{root.where}.{name}" if root.where else name
    return _Root(where, root.value[name], name, _deeper(root.target, name))


def _element(root: _Root, number: int) -> _Root:
    return _Root(f"{root.where}[{number}]", root.value[number], root.name, _deeper(root.target, number))


def _deeper(target: Target | None, step: str | int) -> Target | None:
    return None if target is None else (*target, step)
