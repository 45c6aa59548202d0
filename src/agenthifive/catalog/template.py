"""`{name}` in the values of a service file: read once, filled literally.

    "Bearer {apiKey}"  ->  literals ("Bearer ", ""), names ("apiKey",)  ->  render({"apiKey": "…"})

What is filled in is never looked at again: a `{` or `$1` inside a secret stays what it is.
Source: contract/catalog/SCHEMA.md section 4.2.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

_SLOT: Final = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: one literal more than names."""

    literals: tuple[str, ...]
    names: tuple[str, ...]

    def render(self, values: Mapping[str, Any], spell: Callable[[str], str] = str) -> str:
        """Fill the names in, each value passed through `spell` first.

        Raises: KeyError when a name has no value.
        """
        pieces = [self.literals[0]]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            value = values[name]
            pieces.append(spell(value if isinstance(value, str) else str(value)))
            pieces.append(literal)
        return "".join(pieces)


@lru_cache(maxsize=2048)
def parse_template(text: str) -> Template:
    """The template a text is; a text without braces is one without names."""
    pieces = _SLOT.split(text)
    return Template(tuple(pieces[0::2]), tuple(pieces[1::2]))


def template_fault(text: str, names: frozenset[str]) -> str | None:
    """What is wrong with a template that may use these names, None when nothing is."""
    if not text:
        return "must not be empty"
    template = parse_template(text)
    if any("{" in literal or "}" in literal for literal in template.literals):
        return "has a brace without its partner"
    if any(char < " " or char == "\x7f" for char in text):
        return "holds a control character"
    for name in template.names:
        if name not in names:
            return f"names {{{name}}}, which is no field here"
    return None


def example_of(text: str) -> str:
    """The template with an `x` for every name, to look at its shape."""
    return _SLOT.sub("x", text)
