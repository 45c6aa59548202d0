"""The values of the search for personal data."""

from dataclasses import dataclass
from typing import Final

from msgspec import Struct

CUSTOM: Final = "custom"


@dataclass(frozen=True, slots=True)
class CustomType:
    """A kind of data the policy describes by a pattern of its own."""

    pattern: str
    replacement: str | None


@dataclass(frozen=True, slots=True)
class PiiTypes:
    """What a rule looks for.

    Shapes:
        named: (recogniser, replacement the policy chose for it), groups and aliases resolved, each recogniser once.
    """

    custom: tuple[CustomType, ...]
    named: tuple[tuple[str, str | None], ...]


class Finding(Struct, frozen=True, gc=False):
    """A span of a text, its type and the placeholder the policy chose for it."""

    start: int
    end: int
    type: str
    replacement: str | None
