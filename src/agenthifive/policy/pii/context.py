"""Words that say what a number is: "passport C12345678", a member named "dateOfBirth".

    text before and after a match -> tokens -> do they hold a word or phrase of the recogniser?

Source: contract/policy.md section 16.1 step 4.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

_CAMEL: Final = re.compile(r"([a-z])([A-Z])")
_TOKEN: Final = re.compile(r"[^\W_]+(?:-[^\W\d_]+)?")
_BREAK: Final = re.compile(r"[^\w\-]|_")  # no token goes on across it
_REACH: Final = 64


@dataclass(frozen=True, slots=True)
class Phrases:
    """The context of one recogniser, plurals included. Lower case; phrases hold blanks, words do not."""

    words: frozenset[str]
    phrases: tuple[str, ...]

    def occur(self, before: Sequence[str], after: Sequence[str]) -> bool:
        """Whether one of them stands among the tokens before or those after."""
        if not (self.words.isdisjoint(before) and self.words.isdisjoint(after)):
            return True
        if not self.phrases:
            return False
        near = f" {' '.join(before)} | {' '.join(after)} "
        return any(phrase in near for phrase in self.phrases)


def compile_phrases(context: Iterable[str]) -> Phrases:
    """The context as presets.json lists it."""
    listed = [form for phrase in context for form in (phrase, phrase + "s")]
    return Phrases(
        frozenset(form for form in listed if " " not in form),
        tuple(f" {form} " for form in listed if " " in form),
    )


def hint_pattern(context: Iterable[str]) -> str:
    """An RE2 pattern found in every text in which the context may occur: the first word of a phrase, as a word.

    A word begins behind anything but a small letter, or with a capital, and ends in front of anything but a small
    letter: a number may touch it. Words with other letters than A to Z are looked for anywhere.
    """
    firsts = dict.fromkeys(phrase.split()[0] for phrase in context)
    plain = [word for word in firsts if word.isascii()]
    parts = [f"(?i:{word})" for word in firsts if not word.isascii()]
    if plain:
        capitals = "|".join(f"{word[0].upper()}(?i:{word[1:]})" for word in plain)
        parts.append(f"(?:(?:^|[^a-z])(?i:{'|'.join(plain)})|{capitals})[Ss]?(?:[^a-z]|$)")
    return "|".join(parts)


def tokens(text: str) -> list[str]:
    """The words and numbers of a text, lower case."""
    if not text:
        return []
    return [token.lower() for token in _TOKEN.findall(_CAMEL.sub(r"\1 \2", text))]


def tokens_before(text: str, at: int, name: Sequence[str], count: int) -> list[str]:
    """The last tokens of the member's name, which are given, and of the text up to a place."""
    reach = _REACH
    while reach < at:
        begin = _BREAK.search(text, at - reach, at)
        if begin is not None and len(found := tokens(text[begin.start() : at])) >= count:
            return found[-count:]
        reach *= 4
    return [*name, *tokens(text[:at])][-count:]


def tokens_after(text: str, at: int, count: int) -> list[str]:
    """The first tokens behind a place."""
    end = at
    for found in islice(_TOKEN.finditer(text, at), count):
        end = found.end()
    return tokens(text[at:end])[:count]
