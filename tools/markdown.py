"""Markdown made by programs: tables whose cells cannot break them."""

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its line feed at the end."""
    lines = [_line(headings), "|" + "---|" * len(headings), *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def code(text: str) -> str:
    """A word as it is typed; nothing for nothing."""
    return f"`{text}`" if text else ""


def codes(texts: Iterable[str]) -> str:
    """Words as they are typed, in a row."""
    return ", ".join(code(text) for text in texts)


def one_line(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
