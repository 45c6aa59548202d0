"""Collecting everything that is wrong with a document, in its order, in words people understand.

Source: contract/policy.md section 15.1.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from agenthifive.policy.model import Problem
from agenthifive.policy.patterns import MAX_PATTERN_LENGTH, pattern_fault
from agenthifive.policy.rules import METHODS


class Report:
    """The problems found so far. Each check says whether what it looked at may be looked into further.

    Shapes: is_stored: the document was accepted once. What the catalog has changed since then is no reason
        to refuse all its calls: the host binding judges each of them.
    """

    def __init__(self, *, is_stored: bool = False) -> None:
        self.is_stored = is_stored
        self.problems: list[Problem] = []

    def add(self, path: str, code: str, message: str) -> None:
        self.problems.append(Problem(path, code, message))

    def is_object(self, value: Any, path: str) -> TypeGuard[dict[str, Any]]:
        return self._is(value, dict, path, "an object")

    def is_list(self, value: Any, path: str, most: int, *, needs_one: bool = False) -> TypeGuard[list[Any]]:
        """A list within its limit; what is too long is not looked into."""
        if not self._is(value, list, path, "a list"):
            return False
        if len(value) > most:
            self.add(path, "too_many", f"At most {most} entries, not {len(value)}.")
            return False
        if needs_one and not value:
            self.add(path, "required", f"{path} needs at least one entry.")
        return True

    def is_method_list(self, value: Any, path: str) -> TypeGuard[list[str]]:
        """A non-empty list of methods; whatever is wrong with one is wrong with the list."""
        if not self.is_list(value, path, len(METHODS) * 10, needs_one=True):
            return False
        if all(method in METHODS for method in value):
            return True
        self.add(path, "enum", f"Expected some of: {', '.join(METHODS)}.")
        return False

    def is_text(self, value: Any, path: str, longest: int) -> TypeGuard[str]:
        if not self._is(value, str, path, "a string"):
            return False
        if len(value) > longest:
            self.add(path, "too_long", f"At most {longest} characters, not {len(value)}.")
            return False
        return True

    def is_flag(self, value: Any, path: str) -> TypeGuard[bool]:
        return self._is(value, bool, path, "true or false")

    def is_whole(self, value: Any, path: str, low: int, high: int) -> TypeGuard[int]:
        """An integer within bounds. Anything else is out of range, whatever its type."""
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return True
        self.add(path, "range", f"Expected a whole number from {low} to {high}.")
        return False

    def is_one_of(self, value: Any, path: str, options: Iterable[str]) -> TypeGuard[str]:
        listed = tuple(options)
        if isinstance(value, str) and value in listed:
            return True
        self.add(path, "enum", f"Expected one of: {', '.join(listed)}.")
        return False

    def is_pattern(self, value: Any, path: str, *, ignore_case: bool = False) -> TypeGuard[str]:
        """A regular expression RE2 takes."""
        if not self.is_text(value, path, MAX_PATTERN_LENGTH):
            return False
        fault = pattern_fault(value, ignore_case)
        if fault is not None:
            self.add(path, "regex", fault)
        return fault is None

    def missing(self, document: Mapping[str, Any], path: str, needed: Iterable[str]) -> None:
        """Members that must be there and are not."""
        for name in needed:
            if name not in document:
                where = join(path, name)
                self.add(where, "required", f"{where} is missing.")

    def unknown(self, name: str, path: str, known: Iterable[str]) -> None:
        self.add(join(path, name), "unknown_field", f"{name[:80]} is not known here. Known: {', '.join(known)}.")

    def _is(self, value: Any, kind: type, path: str, wanted: str) -> bool:
        if isinstance(value, kind):
            return True
        self.add(path, "type", f"Expected {wanted}.")
        return False


def join(path: str, name: str) -> str:
    """The path of a member."""
    return f"{path}.{name}" if path else name
