"""Paths as rules see them: globs, and the strict view a careless server might see.

    canonical path  escapes kept, what is sent                         -> allowlists, catalog paths
    strict path     decoded until nothing changes, tidied up           -> a second reading for restricting rules

Source: contract/policy.md sections 3 and 4, broker.md sections 4.1 and 4.2.
"""

import re
import unicodedata
from typing import Final

MAX_DECODE_ROUNDS: Final = 5

_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_STAR: Final = r"(?:[^/%]|%(?:[013-46-9A-F][0-9A-F]|2[0-9A-E]|5[0-9ABD-F]))*"
_NESTED_SLASH: Final = re.compile(r"%(?:25)+(2F|5C)", re.IGNORECASE)


class UnsafePath(ValueError):
    """The path can be read as leaving its own tree. `detail` is a sub-code of invalid_url."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def glob_regex(glob: str, *, encoded_slash: bool = False) -> str:
    """Translate a path glob into an anchored RE2 pattern for the canonical path.

    `*` is anything but a slash (an encoded one included unless encoded_slash), `**` anything; a final
    `/**` also covers the path before it. Match the result against `glob_subject(path)`.
    """
    star = "[^/]*" if encoded_slash else _STAR
    tail = ""
    if glob.endswith("/**"):
        glob, tail = glob[:-3], "(?:/.*)?"
    pieces = [
        ".*" if part == "**" else star if part == "*" else re.escape(part) for part in re.split(r"(\*\*|\*)", glob)
    ]
    return "^" + "".join(pieces) + tail + "$"


def glob_subject(path: str) -> str:
    """The canonical path with slashes encoded several times shown as encoded once."""
    return _NESTED_SLASH.sub(r"%\1", path) if "%25" in path else path


def strict_path(path: str) -> str:
    """The strict view of a canonical path.

    Raises: UnsafePath with detail `dot_segment`, `percent_encoding` or `control_character`.
    """
    if "%" not in path and path.isascii():
        _refuse_unsafe(path)
        return _tidy(path)
    reading = path
    for round_number in range(MAX_DECODE_ROUNDS + 1):
        _refuse_unsafe(reading)
        if not reading.isascii():
            _refuse_unsafe(unicodedata.normalize("NFKC", reading))
        decoded = _decode_once(reading)
        if decoded == reading:
            return _tidy(reading)
        if round_number == MAX_DECODE_ROUNDS:
            break
        reading = decoded
    raise UnsafePath("dot_segment")


def _decode_once(text: str) -> str:
    raw = _ESCAPE.sub(lambda m: bytes.fromhex(m.group(1).decode("ascii")), text.encode("utf-8"))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UnsafePath("percent_encoding") from None


def _refuse_unsafe(reading: str) -> None:
    for char in reading:
        if char < " " or "\x7f" <= char <= "\x9f":
            raise UnsafePath("control_character")
    if "." not in reading:
        return
    for segment in reading.replace("\\", "/").split("/"):
        if segment.split(";", 1)[0].strip() in (".", ".."):
            raise UnsafePath("dot_segment")


def _tidy(reading: str) -> str:
    segments = (segment.split(";", 1)[0].strip() for segment in reading.replace("\\", "/").split("/"))
    return "/" + "/".join(segment for segment in segments if segment)
