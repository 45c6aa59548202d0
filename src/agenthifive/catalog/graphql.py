"""Whether a GraphQL request can only read: every operation of its document is a query.

    body -> members {query, operationName?, variables?, extensions?} -> definitions -> all of kind `query`?

Reading is what must be proven; whatever is unclear counts as a write: batches, documents by hash or id,
anything another reader could take for something else, documents over 64 KiB.
Source: contract/catalog/SCHEMA.md section 6; GraphQL (October 2021) sections 2.1 to 2.8.
"""

import re
from typing import Any, Final

MAX_DOCUMENT_LENGTH: Final = 64 * 1024

_MEMBERS: Final = frozenset({"query", "operationName", "variables", "extensions"})
# Comments with characters that some readers take for the end of the line are not skipped, so nothing parses.
_COMMENT: Final = r"#[^\r\n\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]*+(?=[\r\n]|\Z)"
# One reading each, so that no group has to be possessive: Python before 3.11.5 reads possessive groups wrongly.
_BLOCK_STRING: Final = r'"""(?:[^"\\]|\\(?:"""|(?!"""))|"(?!""))*"""'
_STRING: Final = r'"(?!"")(?:[^"\\\r\n]|\\[^\r\n])*"'
_PUNCTUATION: Final = r"\.\.\.|[!$&:=@|]|-?[0-9][0-9.eE+-]*+"

_BLANK: Final = re.compile(rf"(?:[ \t\r\n,]++|{_COMMENT})*")
_NAME: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]*+")
_NO_BRACKETS: Final = re.compile(
    rf"(?:[ \t\r\n,]++|{_NAME.pattern}|{_COMMENT}|{_BLOCK_STRING}|{_STRING}|{_PUNCTUATION})*"
)
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


class _Unclear(ValueError):
    """The document is not read in one certain way."""


def reads_only(body: Any) -> bool:
    """Whether a JSON body can do nothing but query.

    Shapes:
        body: parsed JSON; None when the call has none.
    """
    if not isinstance(body, dict) or not _MEMBERS.issuperset(body) or body.get("extensions"):
        return False
    document, chosen = body.get("query"), body.get("operationName")
    if not isinstance(document, str) or len(document) > MAX_DOCUMENT_LENGTH:
        return False
    try:
        operations = _operations(document)
    except _Unclear:
        return False
    if not operations or any(kind != "query" for kind, _ in operations):
        return False
    return len(operations) == 1 or (bool(chosen) and chosen in [name for _, name in operations])


def _operations(document: str) -> list[tuple[str, str]]:
    """Kind and name of every operation of a document. Raises: _Unclear."""
    operations: list[tuple[str, str]] = []
    at = _skip(document, 0)
    while at < len(document):
        kind, name = "query", ""
        if document[at] != "{":
            kind, at = _read_name(document, at)
            name, at = _read_head(document, at, kind)
        if kind != "fragment":
            operations.append((kind, name))
        at = _pass_group(document, at, "{")
    return operations


def _read_head(document: str, at: int, kind: str) -> tuple[str, int]:
    """The name of a definition, and the place where its selection set must begin."""
    if kind == "fragment":
        name, at = _read_name(document, at)
        word, at = _read_name(document, at)
        _, at = _read_name(document, at)
        if word != "on":
            raise _Unclear
    elif kind in ("query", "mutation", "subscription"):
        name = ""
        if _NAME.match(document, at):
            name, at = _read_name(document, at)
        if document.startswith("(", at):
            at = _pass_group(document, at, "(")
    else:
        raise _Unclear
    while document.startswith("@", at):
        _, at = _read_name(document, _skip(document, at + 1))
        if document.startswith("(", at):
            at = _pass_group(document, at, "(")
    return name, at


def _pass_group(document: str, at: int, opening: str) -> int:
    """The place of the token behind the bracket that closes the one at `at`."""
    if not document.startswith(opening, at):
        raise _Unclear
    awaited: list[str] = []
    while at < len(document):
        char = document[at]
        if char in _CLOSING:
            awaited.append(_CLOSING[char])
        elif char not in ")]}" or awaited.pop() != char:
            raise _Unclear
        if not awaited:
            return _skip(document, at + 1)
        at = _behind(_NO_BRACKETS, document, at + 1)
    raise _Unclear


def _read_name(document: str, at: int) -> tuple[str, int]:
    match = _NAME.match(document, at)
    if match is None:
        raise _Unclear
    return match[0], _skip(document, match.end())


def _skip(document: str, at: int) -> int:
    """The place of the next token: blanks, commas and comments are none."""
    return _behind(_BLANK, document, at)


def _behind(pattern: re.Pattern[str], document: str, at: int) -> int:
    """The place behind a pattern that matches everywhere, if only nothing."""
    match = pattern.match(document, at)
    assert match is not None
    return match.end()
