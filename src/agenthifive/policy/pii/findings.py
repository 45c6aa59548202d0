"""Finding personal data in texts, and putting placeholders in its place.

    texts -> scan forms -> Search -> candidates -> findings in the original, overlaps as one

Source: contract/policy.md sections 16.1 and 16.3.
"""

from collections.abc import Iterable, Sequence

from agenthifive.policy.pii.forms import ScanForm, is_plain, scan_form
from agenthifive.policy.pii.model import Finding, PiiTypes
from agenthifive.policy.pii.search import Search, TooMuch


def find(text: str, types: PiiTypes, name: str = "") -> tuple[Finding, ...] | None:
    """Findings in order, overlapping ones as one; None when the text is too much to look through.

    Shapes: name: of the member that holds the text; it counts as context.
    """
    found = find_each([(text, name)], types)
    return None if found is None else found[0]


def find_each(texts: Sequence[tuple[str, str]], types: PiiTypes) -> list[tuple[Finding, ...]] | None:
    """The findings of many texts, each with the name of its member; None when they are too much."""
    forms: dict[int, ScanForm] = {}
    plain = []
    for number, (text, _) in enumerate(texts):
        if is_plain(text):
            plain.append(text)
            continue
        form = scan_form(text)
        if form is None:
            return None
        forms[number] = form
        plain.append(form.text)
    search = Search(plain, [name for _, name in texts])
    try:
        search.look_for(types)
    except TooMuch:
        return None
    found: list[tuple[Finding, ...]] = [()] * len(texts)
    for number in search.found:
        spans = search.merged(number)
        if number in forms:
            place = forms[number].place
            spans = [Finding(place(s.start), place(s.end - 1) + 1, s.type, s.replacement) for s in spans]
        found[number] = tuple(spans)
    return found


def replace(text: str, findings: Iterable[Finding], placeholder: str) -> str:
    """The text with every finding replaced; `{type}` in the placeholder stands for the finding's type."""
    pieces, at = [], 0
    for finding in findings:
        mark = finding.replacement
        pieces += [text[at : finding.start], placeholder.format(type=finding.type) if mark is None else mark]
        at = finding.end
    return "".join(pieces) + text[at:]
