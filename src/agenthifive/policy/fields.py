"""Paths inside conditions: from `messages[*].content` to the values of one call.

    "a[*].b"      members of the call          "$mail.to"     the outgoing mail
    "$query.q"    a query parameter            "$files[*].name"
    "$body" "$text" "$prompt_text"             whole texts
    "$size"       bytes that would be sent

A view that may hide something says so: then a restricting rule cannot be sure that it does not hold, and an
`allow` rule cannot be sure that it does. Source: contract/policy.md sections 4, 5 and 6.3.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.policy.mail import UNREADABLE
from agenthifive.policy.members import OPAQUE, FieldText, Several, values_of
from agenthifive.policy.model import Request

_TOKEN: Final = re.compile(r"\[\*\]|\[\d+\]|[^.\[\]]+")
EVERY: Final = "[*]"
COUNT: Final = "$count"
TEXT_VIEWS: Final = frozenset(("$body", "$text", "$prompt_text"))
DERIVED_VIEWS: Final = ("$mail", "$text", "$prompt_text", "$files", "$query")


@dataclass(frozen=True, slots=True)
class Found:
    """Values at a path.

    Shapes:
        values: what the path names word by word.
        inside: further values a path may mean when it steps into arrays by itself.
        hidden: there may be more that nobody can look into.
    """

    values: list[Any]
    inside: list[Any]
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A compiled path. `view` is "$..." or "" for members; `name` is the parameter of `$query`."""

    text: str
    view: str
    name: str
    tokens: tuple[str, ...]

    def find(self, request: Request, *, enters_arrays: bool) -> Found:
        """All values of the path in one call; `inside` only if enters_arrays."""
        if self.view == "":
            return self._follow(request.members, enters_arrays, hidden=request.hides_members)
        if self.view == "$query":
            return Found([FieldText(v) for n, v in request.pairs if n.strip() == self.name], [])
        if self.view == "$size":
            return Found([request.body.size_bytes], [])
        if self.view in TEXT_VIEWS:
            if self.view == "$body" and request.body.kind == "none":
                return Found([], [])
            text = request.text(self.view)
            return Found([], [], hidden=True) if text is None else Found([text], [])
        root: Any = request.mail if self.view == "$mail" else request.files
        if root is UNREADABLE or (root is None and self.view == "$files"):
            return Found([], [], hidden=True)
        return self._follow(root, enters_arrays, hidden=False)

    def _follow(self, root: Any, enters_arrays: bool, *, hidden: bool) -> Found:
        values = walk(root, self.tokens)
        inside = walk(root, self.tokens, enters_arrays=True) if enters_arrays else []
        hidden = hidden or any(value is OPAQUE for value in values)
        if not values and not hidden and COUNT in self.tokens[-1:]:
            values = [0]
        return Found(values, inside if len(inside) > len(values) else [], hidden)


def compile_path(text: str) -> FieldPath:
    """Read a path. What does not begin with one of the views is a member."""
    if text.startswith("$query."):
        return FieldPath(text, "$query", text[len("$query.") :], ())
    if text in TEXT_VIEWS or text == "$size":
        return FieldPath(text, text, "", ())
    for view in ("$mail", "$files"):
        if text == view or text.startswith((view + ".", view + "[")):
            return FieldPath(text, view, "", tuple(_TOKEN.findall(text[len(view) :])))
    return FieldPath(text, "", "", tuple(_TOKEN.findall(text)))


def walk(root: Any, tokens: tuple[str, ...], *, enters_arrays: bool = False) -> list[Any]:
    """The values tokens lead to; with enters_arrays a name also reaches into the elements of an array."""
    current = [] if root is None else [root]
    for token in tokens:
        following: list[Any] = []
        for several in current:
            for value in values_of(several):
                _step(value, token, following, enters_arrays)
            if isinstance(several, Several):
                _step_out(several, token, following)
        current = following
    return [value for several in current for value in values_of(several)]


def _step(value: Any, token: str, following: list[Any], enters_arrays: bool) -> None:
    if token == COUNT:
        following.append(len(value) if isinstance(value, list | dict) else 1)
    elif isinstance(value, list):
        if token == EVERY:
            following.extend(value)
        elif (index := token.strip("[]")).isdecimal():
            following.extend(value[int(index) :][:1])
        elif enters_arrays:
            for inner in value:
                _step(inner, token, following, enters_arrays)
    elif isinstance(value, dict) and token in value:
        following.append(value[token])


def _step_out(several: Several, token: str, following: list[Any]) -> None:
    """A name given several times is an array to those who ask for one."""
    if token == EVERY:
        following.extend(value for value in several if not isinstance(value, list))
    elif token == COUNT:
        following.append(len(several))
