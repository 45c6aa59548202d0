"""The search itself: every match of every shape, judged and merged, in texts without disguises.

    pages -> shapes that occur -> matches -> edges, validator, context -> candidates -> overlaps as one

Source: contract/policy.md section 16.1 steps 2 to 5.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from agenthifive.policy.patterns import find_all
from agenthifive.policy.pii.context import Phrases, tokens, tokens_after, tokens_before
from agenthifive.policy.pii.edges import is_whole_number, may_begin, may_end, next_beginning
from agenthifive.policy.pii.model import CUSTOM, CustomType, Finding, PiiTypes
from agenthifive.policy.pii.pages import Page, Reader, make_pages
from agenthifive.policy.pii.recognisers import Plan, Shape, plan_for, settings

MAX_FINDINGS: Final = 100_000
MAX_TRIES: Final = 250_000
_LONG_MATCH: Final = 64  # so many characters more are one more try: long matches that do not count repeat inside

# What every shape holds that counts only with context: a digit, or the first group of a hardware address.
_SIGN: Final = re.compile(r"[0-9]|[0-9A-Fa-f]{4}\.")


class TooMuch(Exception):
    """More matches than anybody looks through."""


class _Candidate(Struct, frozen=True, gc=False):
    """A span that counts, with its score. `phrases`: what would raise the score, None when nothing can any more."""

    start: int
    end: int
    type: str
    score: float
    phrases: Phrases | None
    replacement: str | None


class Search:
    """One search through some texts.

    Shapes: found: the texts, by number, in which something counts.
    """

    def __init__(self, texts: Sequence[str], names: Sequence[str]) -> None:
        self.found: defaultdict[int, list[_Candidate]] = defaultdict(list)
        self._texts = texts
        self._names = names
        self._settings = settings()
        self._replacements: dict[str, str | None] = {}
        self._tokens: dict[tuple[int, int, int], tuple[list[str], list[str]]] = {}
        self._name_tokens: dict[str, list[str]] = {}
        self._tries = self._findings = 0

    def look_for(self, types: PiiTypes) -> None:
        """Search for everything a rule names. Raises: TooMuch."""
        for custom in types.custom:
            self._look_for_custom(custom)
        if types.named:
            self._replacements = dict(types.named)
            self._look_for_named(plan_for(tuple(self._replacements)))

    def merged(self, number: int) -> list[Finding]:
        """The spans of one text in order; overlapping ones are one, named by the higher score, then the longer."""
        merged: list[_Candidate] = []
        for span in sorted(self.found[number], key=lambda each: (each.start, -each.end)):
            if not merged or span.start >= merged[-1].end:
                merged.append(span)
                continue
            last = self._with_context(number, merged[-1])
            best = max(last, self._with_context(number, span), key=lambda each: (each.score, each.end - each.start))
            end = max(last.end, span.end)
            merged[-1] = _Candidate(last.start, end, best.type, best.score, None, best.replacement)
        return [Finding(span.start, span.end, span.type, span.replacement) for span in merged]

    # ---- what is searched where --------------------------------------------------------------------

    def _look_for_custom(self, custom: CustomType) -> None:
        score = self._settings.custom_score
        for number, text in enumerate(self._texts):
            for start, end in find_all(custom.pattern, text):
                self._add(number, _Candidate(start, end, CUSTOM, score, None, custom.replacement))

    def _look_for_named(self, plan: Plan) -> None:
        """On each page the shapes of which a set says that they occur, and those that count only with context where
        the page holds a word of it."""
        for page in make_pages(self._texts):
            for patterns, shapes in plan.sets:
                for hit in patterns.hits(page.data):
                    self._look_at(page, shapes[hit])
            for shape in plan.alone:
                if shape.needs is not None and shape.needs in page.text:
                    self._look_at(page, shape)
            if plan.weak and _SIGN.search(page.text):
                names = "\n".join({self._names[number] for number in page.numbers})
                for hint in plan.hints.hits(page.data + b"\n" + names.encode("utf-8", "replace")):
                    for shape in plan.weak[hint]:
                        self._look_at(page, shape)

    # ---- judging matches ---------------------------------------------------------------------------

    def _look_at(self, page: Page, shape: Shape) -> None:
        """Every match of a shape on a page; behind one that does not count the next may begin inside it."""
        reader, at = Reader(page, shape.regex), 0
        while (span := reader.search(at)) is not None:
            self._tries += 1 + (span[1] - span[0]) // _LONG_MATCH
            if self._tries > MAX_TRIES:
                raise TooMuch
            end = self._judge(page, shape, *span)
            if end is not None:
                at = end
            elif shape.edges == "none":
                at = span[0] + 1
            else:
                at = next_beginning(page.text, span[0] + 1)

    def _judge(self, page: Page, shape: Shape, start: int, end: int) -> int | None:
        """Take a match that counts and say where it ends; None for one that does not."""
        text = page.text
        if shape.edges != "none" and not may_begin(text, start):
            return None
        if shape.validator is not None:
            length = shape.validator(text[start:end])
            if not length:
                return None
            end = start + length
        if shape.edges != "none" and not may_end(text, end):
            return None
        if shape.edges == "number" and not is_whole_number(text, start, end):
            return None
        place = page.place(start)
        number, offset = page.numbers[place], page.starts[place]
        span = _Candidate(
            start - offset, end - offset, shape.id, shape.score, shape.phrases, self._replacements[shape.id]
        )
        if shape.score < self._settings.threshold:
            span = self._with_context(number, span)
            if span.score < self._settings.threshold:
                return None
        self._add(number, span)
        return end

    def _add(self, number: int, span: _Candidate) -> None:
        self._findings += 1
        if self._findings > MAX_FINDINGS:
            raise TooMuch
        self.found[number].append(span)

    def _with_context(self, number: int, span: _Candidate) -> _Candidate:
        """The span with the score its context gives it; context counts once."""
        if span.phrases is None:
            return span
        key = (number, span.start, span.end)
        near = self._tokens.get(key)
        if near is None:
            text, given = self._texts[number], self._settings
            name = self._names[number]
            named = self._name_tokens.get(name)
            if named is None:
                named = self._name_tokens[name] = tokens(name)
            before = tokens_before(text, span.start, named, given.tokens_before)
            near = self._tokens[key] = (before, tokens_after(text, span.end, given.tokens_after))
        if not span.phrases.occur(*near):
            return span
        score = min(1.0, max(span.score + self._settings.boost, self._settings.threshold))
        return _Candidate(span.start, span.end, span.type, score, None, span.replacement)
