"""Putting placeholders into a body.

    leaves with findings -> new texts by target -> the body with them in place

Only what a target leads to is copied; everything else is shared with the old body.
Source: contract/policy.md section 6.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace as with_changes
from enum import Enum
from typing import Any, Final
from urllib.parse import quote_plus

from agenthifive.policy.fields import FieldPath
from agenthifive.policy.leaves import Leaf, Target, leaves_of
from agenthifive.policy.members import part_json, part_text
from agenthifive.policy.model import Body, Part, Redaction, Request
from agenthifive.policy.pii import Finding, PiiTypes, find_each, replace
from agenthifive.policy.query import parse_query
from agenthifive.strict_json import InvalidJson, dumps

PLACEHOLDER: Final = "[PII_REDACTED:{type}]"


class Unread(Enum):
    """Why personal data was not looked for: nobody can look into the field, or it holds too much to look through."""

    HIDDEN = "hidden"
    TOO_MUCH = "too much"


@dataclass(frozen=True, slots=True)
class PersonalData:
    """Which personal data a rule looks for, and where."""

    types: PiiTypes
    fields: tuple[FieldPath, ...]

    def search(self, request: Request) -> "list[Hit] | Unread":
        """Every leaf that holds findings, or why nobody can say."""
        leaves: list[Leaf] = []
        for path in self.fields:
            below = leaves_of(request, path)
            if below is None:
                return Unread.HIDDEN
            leaves += below
        found = find_each([(leaf.text, leaf.name) for leaf in leaves], self.types)
        if found is None:
            return Unread.TOO_MUCH
        hits = {
            (leaf.where, leaf.text, leaf.target): Hit(leaf, findings)  # fields may overlap
            for leaf, findings in zip(leaves, found, strict=True)
            if findings
        }
        return _without_found_names(list(hits.values()))


@dataclass(frozen=True, slots=True)
class Hit:
    """A leaf with findings."""

    leaf: Leaf
    findings: tuple[Finding, ...]

    def report(self) -> list[Redaction]:
        """What was found, by type, without its text."""
        counts: dict[str, int] = {}
        for finding in self.findings:
            counts[finding.type] = counts.get(finding.type, 0) + 1
        return [Redaction(kind, self.leaf.where, count) for kind, count in counts.items()]


def _without_found_names(hits: list[Hit]) -> list[Hit]:
    """Hits whose places do not repeat the personal data of member names: a star stands for such a name."""
    names = {hit.leaf.text for hit in hits if hit.leaf.is_name}
    for name in names:
        hits = [Hit(hit.leaf.at(hit.leaf.where.replace(name, "*")), hit.findings) for hit in hits]
    return hits


def rewrite(body: Body, hits: list[Hit]) -> Body:
    """The body with every finding of the hits replaced; hits without target are left out."""
    texts = {
        hit.leaf.target: replace(hit.leaf.text, hit.findings, PLACEHOLDER)
        for hit in hits
        if hit.leaf.target is not None
    }
    if body.kind == "text":
        return _with_value(body, texts[()], len(texts[()].encode("utf-8", "replace")))
    if body.kind == "form":
        form = _rewrite_form(body.value, texts)
        return _with_value(body, form, len(form))
    if body.kind == "multipart":
        return _rewrite_parts(body, texts)
    value = body.value
    for target, text in texts.items():
        value = _put(value, target, text)
    return _with_value(body, value, len(dumps(value)))


def _with_value(body: Body, value: Any, size_bytes: int) -> Body:
    return with_changes(body, value=value, size_bytes=size_bytes)


def _put(value: Any, target: Target, text: str) -> Any:
    """A copy of the value in which the target holds the text."""
    if not target:
        return text
    step, rest = target[0], target[1:]
    changed = value.copy()
    changed[step] = _put(value[step], rest, text)
    return changed


def _rewrite_form(form: str, texts: Mapping[Target, str]) -> str:
    pairs = [(name, texts.get((number,), value)) for number, (name, value) in enumerate(parse_query(form))]
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)


def _rewrite_parts(body: Body, texts: Mapping[Target, str]) -> Body:
    parts = list(body.value)
    grown = 0
    for target, text in texts.items():
        number = target[0]
        assert isinstance(number, int)  # targets of multipart bodies begin with the part
        part = parts[number]
        old = part_text(part) or ""
        try:
            new = dumps(_put(part_json(part, old), target[1:], text)).decode("utf-8")
        except InvalidJson:
            new = text
        grown += len(new.encode("utf-8", "replace")) - len(old.encode("utf-8", "replace"))
        parts[number] = Part(part.name, part.filename, part.content_type, value=new)
    return _with_value(body, tuple(parts), body.size_bytes + grown)
