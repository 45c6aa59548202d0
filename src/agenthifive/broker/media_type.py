"""Content types, read once: the essence that decides how a body is judged, and its charset.

Source: RFC 9110 section 8.3; contract/broker.md sections 6 and 10.1.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

FORM: Final = "application/x-www-form-urlencoded"

_TOKEN: Final = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
# Blanks are possessive: a long row of blanks and semicolons must not be tried in every division. Groups are not,
# because Python before 3.11.5 reads possessive groups wrongly; they have one reading anyway.
_PARAMETER: Final = rf"[ \t]*+;[ \t]*+(?:{_TOKEN}=(?:{_TOKEN}|\"[^\"\\]*+\"))?"
_MEDIA_TYPE: Final = re.compile(rf"({_TOKEN}/{_TOKEN})((?:{_PARAMETER})*)")
_CHARSET: Final = re.compile(r";[ \t]*charset[*0-9]*=\"?([^\";]*)", re.IGNORECASE)
_UTF8_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


@dataclass(frozen=True, slots=True)
class MediaType:
    """A readable content type.

    Shapes:
        essence: `type/subtype`, lower case.
    """

    essence: str
    is_utf8: bool

    @property
    def is_json(self) -> bool:
        """`application/json`, `text/json` or any `+json` type."""
        return self.essence in ("application/json", "text/json") or self.essence.endswith("+json")

    @property
    def is_form(self) -> bool:
        """An URL-encoded form."""
        return self.essence == FORM

    @property
    def is_multipart(self) -> bool:
        """Any multipart type."""
        return self.essence.startswith("multipart/")

    @property
    def is_text(self) -> bool:
        """Any `text/*` type."""
        return self.essence.startswith("text/")


@lru_cache(maxsize=256)
def read_media_type(text: str) -> MediaType | None:
    """Read a Content-Type value; None when it is not one media type with well-formed parameters.

    `is_utf8` is false as soon as one charset parameter names something that UTF-8 bytes are not.
    """
    match = _MEDIA_TYPE.fullmatch(text)
    if match is None or text[-1] in " \t":
        return None
    charsets = (charset.strip().lower() for charset in _CHARSET.findall(match[2]))
    return MediaType(match[1].lower(), all(charset in _UTF8_CHARSETS for charset in charsets))
