"""Where settings come from: which text counts for a name, and which names look like mistakes.

    process environment  >  NAME_FILE  >  env file  >  $AGENTHIFIVE_HOME/secrets.env  >  default
                                          --env-file, else ./.env, else $AGENTHIFIVE_HOME/.env

A place may hold NAME or NAME_FILE, not both; an empty value is no value. Nothing here knows what a setting means.
Source: contract/operations.md sections 0 and 13.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SECRETS_FILE: Final = "secrets.env"
MAX_FILE_BYTES: Final = 256 * 1024
MAX_EDIT_DISTANCE: Final = 2

_ENTRY: Final = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*
        (?:'(?P<single>[^']*)'
          |"(?P<double>(?:[^"\\]|\\.)*)"
          |(?P<plain>[^'"\r\n \t#][^\r\n]*?|))
        (?:[ \t]+\#[^\r\n]*)?[ \t]*(?:\r?\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_EMPTY_LINE: Final = re.compile(r"[ \t]*(?:#[^\r\n]*)?(?:\r?\n|\Z)")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class SettingsRefused(Exception):
    """The settings cannot be used: every problem found, one line each, no secret values. The process exits 3."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Place:
    """One place names are set, and the words for it in `config show`.

    Shapes: path: None for the environment. is_generated: secrets.env, which only fills what nobody gave.
    """

    label: str
    values: Mapping[str, str]
    path: Path | None = None
    is_generated: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The text that counts for a name, the variable that held it, and where."""

    text: str
    variable: str
    source: str


@dataclass(slots=True)
class Findings:
    """What went wrong and what looks odd, collected while reading."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_env_place(path: Path, findings: Findings, *, is_required: bool) -> Place | None:
    """The entries of an env file; None when it is not there, which is a problem only if it was asked for."""
    try:
        content = read_text_file(path)
    except (FileNotFoundError, NotADirectoryError):
        if is_required:
            findings.problems.append(
                f"--env-file: {path} does not exist; expected a file; --env-file /etc/agenthifive/env"
            )
        return None
    except (OSError, ValueError) as problem:
        findings.problems.append(
            f"{path}: {describe_failure(problem)}; expected a readable text file; chmod 600 {path}"
        )
        return None
    values: dict[str, str] = {}
    for name, value in _entries(content, path, findings):
        if values.get(name) and value:
            findings.warnings.append(f"{name} is set more than once in {path}; the last one counts")
        values[name] = value
    return Place(str(path), values, path)


def parse_env(content: str, path: Path) -> dict[str, str]:
    """The entries of an env file's text; `path` is for the refusal.

    Shapes:
        content: `NAME=value` lines, `export` and blank lines and `#` comments allowed; a value in single quotes
            is taken as it is, one in double quotes may hold \\n \\r \\t \\" \\\\ \\$; both may span lines.
            Nothing is expanded. The last entry of a name counts.
    Raises: SettingsRefused.
    """
    findings = Findings()
    entries = dict(_entries(content, path, findings))
    if findings.problems:
        raise SettingsRefused(findings.problems)
    return entries


def find_text(name: str, places: Sequence[Place], cwd: Path, findings: Findings) -> Found | None:
    """The text of a name from the first place that has it, through NAME_FILE where the place says so."""
    for place in places:
        text, pointer = place.values.get(name, ""), place.values.get(f"{name}_FILE", "")
        if text and pointer:
            findings.problems.append(
                f"{name}: {name} and {name}_FILE are both set in the {place.label}; expected one of them; unset {name}"
            )
            return None
        if text:
            return Found(text, name, place.label)
        if pointer:
            found = _read_pointer(name, cwd / pointer, findings)
            if found is None or found.text:
                return found
    return None


def expand_path(text: str, cwd: Path, user_home: Path | None) -> Path:
    """An absolute path: `~/` is the user's home, anything relative starts at cwd."""
    if user_home is not None and (text == "~" or text.startswith("~/")):
        return user_home / text[2:]
    return (cwd / text).absolute()


def find_unused(places: Sequence[Place], later_names: Collection[str]) -> Iterator[str]:
    """One warning for each name that a later release will know and this one ignores."""
    given = {name for place in places for name, value in place.values.items() if value}
    for name in sorted(given):
        if name.removesuffix("_FILE") in later_names or name in later_names:
            yield f"{name} is not used by this version"


def find_near_misses(places: Sequence[Place], known: Collection[str], other: Collection[str]) -> Iterator[str]:
    """One warning for each given name within edit distance 2 of a known one.

    Shapes: known: names a typing error may have meant. other: further names that are right as they are.
    """
    targets = [*known, *(f"{name}_FILE" for name in known)]
    right = {*targets, *other, *(f"{name}_FILE" for name in other)}
    for name in sorted({name for place in places for name in place.values} - right):
        spelled, letters = name.upper(), frozenset(name.upper())
        # One edit adds and removes at most one letter, so most pairs are settled without counting edits.
        near = [target for target in targets if len(letters ^ frozenset(target)) <= 2 * MAX_EDIT_DISTANCE]
        for limit in range(MAX_EDIT_DISTANCE + 1):
            meant = next((target for target in near if is_within_distance(spelled, target, limit)), None)
            if meant is not None:
                yield f"{name} is not a setting; did you mean {meant}?"
                break


def is_within_distance(one: str, other: str, limit: int) -> bool:
    """Whether at most `limit` insertions, deletions or substitutions turn one text into the other."""
    if abs(len(one) - len(other)) > limit:
        return False
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, 1):
        previous, row[0] = row[0], i
        for j, right in enumerate(other, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
        if min(row) > limit:
            return False
    return row[-1] <= limit


def replace_entry(content: str, name: str, value: str) -> str:
    """The text of an env file with another value for a name: in the entry that counts, or in a new one at the end.

    Shapes: value: needs no quotes.
    """
    position, place = 0, None
    while position < len(content):
        if empty := _EMPTY_LINE.match(content, position):
            position = max(empty.end(), position + 1)
        elif entry := _ENTRY.match(content, position):
            position = entry.end()
            place = entry if entry["name"] == name else place
        else:
            newline = content.find("\n", position)
            position = len(content) if newline < 0 else newline + 1
    if place is None:
        return f"{content}{'' if not content or content.endswith(chr(10)) else chr(10)}{name}={value}\n"
    return f"{content[: place.start()]}{name}={value}\n{content[place.end() :]}"


def read_text_file(path: Path) -> str:
    """The text of a small UTF-8 file. Raises: OSError; ValueError, whose words continue the name of the file."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 text") from None


def describe_failure(problem: OSError | ValueError) -> str:
    """What the name of a file that could not be read is followed by."""
    return f"cannot be read ({problem.strerror})" if isinstance(problem, OSError) else str(problem)


def _read_pointer(name: str, path: Path, findings: Findings) -> Found | None:
    try:
        content = read_text_file(path)
    except (OSError, ValueError) as problem:
        example = f"{name}_FILE=/run/secrets/{name.lower()}"
        findings.problems.append(
            f"{name}_FILE: {path} {describe_failure(problem)}; expected a readable text file; {example}"
        )
        return None
    text = content.removesuffix("\n")
    if text != content:
        text = text.removesuffix("\r")
    if not text:
        findings.warnings.append(f"{name}_FILE: {path} is empty, so it sets nothing")
    return Found(text, f"{name}_FILE", f"file {path}")


def _entries(content: str, path: Path, findings: Findings) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(content):
        if empty := _EMPTY_LINE.match(content, position):
            position = max(empty.end(), position + 1)
        elif entry := _ENTRY.match(content, position):
            position = entry.end()
            yield entry["name"], _value(entry)
        else:
            line = content.count("\n", 0, position) + 1
            findings.problems.append(f"{path}: line {line} is not an entry; expected NAME=value; API_PORT=4000")
            newline = content.find("\n", position)
            position = len(content) if newline < 0 else newline + 1


def _value(entry: re.Match[str]) -> str:
    if entry["double"] is not None:
        return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[0]), entry["double"])
    return entry["single"] if entry["single"] is not None else entry["plain"]
