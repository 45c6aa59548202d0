"""Conditions on the content of a call.

Every operator comes in two readings. `certain`: it holds beyond doubt - what an allow rule needs. `possible`:
it may hold - what makes a restricting rule act. A negative operator of one reading is the denial of its
positive operator in the other one: "certainly not equal" is "not possibly equal".

    condition --path--> values --operator, in the reading of the rule--> yes | no | None (cannot be decided)

Source: contract/policy.md section 5.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from agenthifive.policy.fields import TEXT_VIEWS, FieldPath, compile_path
from agenthifive.policy.members import OPAQUE, FieldText, as_text
from agenthifive.policy.model import Request
from agenthifive.policy.patterns import PatternSet, pattern_set
from agenthifive.policy.texts import fold

DOMAIN_OPERATORS: Final = frozenset(("domain_in", "domain_not_in"))
LIST_OPERATORS: Final = frozenset(("in", "not_in")) | DOMAIN_OPERATORS
NUMBER_OPERATORS: Final = frozenset(("gt", "gte", "lt", "lte", "within_last_days"))
TEXT_OPERATORS: Final = frozenset(("contains", "not_contains", "matches", "not_matches"))
EQUALITY_OPERATORS: Final = frozenset(("eq", "neq"))
PRESENCE_OPERATORS: Final = frozenset(("exists", "not_exists"))
VALUE_OPERATORS: Final = LIST_OPERATORS | NUMBER_OPERATORS | TEXT_OPERATORS | EQUALITY_OPERATORS
OPERATORS: Final = VALUE_OPERATORS | PRESENCE_OPERATORS
NEGATIVE_OPERATORS: Final = frozenset(("neq", "not_in", "not_contains", "not_matches", "not_exists", "domain_not_in"))
_DENIALS: Final = {"neq": "eq", "not_in": "in", "not_contains": "contains", "not_matches": "matches"}

_NUMBER: Final = re.compile(r"\s*-?[0-9]+(?:\.[0-9]+)?\s*")
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:[0-9]{2})?)?"
)
_SEPARATOR: Final = re.compile("[,;]")
ORG_DOMAINS: Final = "$orgDomains"

Test: TypeAlias = Callable[[Any, Request, datetime], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """One compiled condition of a rule."""

    path: FieldPath
    operator: str
    is_certain: bool
    test: Test

    def judge(self, request: Request, now: datetime) -> bool | None:
        """Whether the condition holds for a call; None when it cannot be decided."""
        # A denial of an allow rule reaches as far as the restricting rule it denies.
        enters_arrays = not self.is_certain or self.operator in NEGATIVE_OPERATORS
        found = self.path.find(request, enters_arrays=enters_arrays)
        if self.operator in PRESENCE_OPERATORS:
            return self._judge_presence(found.values, found.inside, found.hidden)
        values = [value for value in found.values if value is not OPAQUE]
        if self.is_certain:
            if found.hidden:
                return None
            spread = list(self._spread([*values, *found.inside]))
            if not values and (not spread or self.operator not in _DENIALS):
                return self.operator in _DENIALS
            return bool(spread) and all(self.test(value, request, now) for value in spread)
        if not values and not found.hidden and self.operator in _DENIALS:
            return True
        spread = [*open_arrays(values), *open_arrays(found.inside)]
        if any(self.test(value, request, now) for value in spread):
            return True
        if found.hidden:
            return None
        return not spread and self.operator in _DENIALS

    def _judge_presence(self, values: list[Any], inside: list[Any], hidden: bool) -> bool | None:
        is_stepped_into = inside and (self.operator == "exists") is not self.is_certain
        is_present = bool(values or is_stepped_into)
        if hidden and not is_present:
            return None
        if hidden and self.is_certain:
            return None
        return is_present is (self.operator == "exists")

    def _spread(self, values: list[Any]) -> Iterator[Any]:
        """An allow rule looks at arrays as wholes; what it denies it denies of their elements too."""
        if self.operator not in DOMAIN_OPERATORS:
            yield from values
        if self.operator in DOMAIN_OPERATORS or self.operator in _DENIALS:
            yield from (inner for inner in open_arrays(values) if not isinstance(inner, list))


def compile_condition(condition: Mapping[str, Any], *, is_certain: bool) -> Condition:
    """Compile a valid condition for an allow rule (is_certain) or a restricting one."""
    operator, expected = condition["op"], condition.get("value")
    path = compile_path(condition["path"])
    denied = _DENIALS.get(operator)
    if operator in PRESENCE_OPERATORS:
        return Condition(path, operator, is_certain, _never)
    if denied is not None:
        positive = _compile_test(denied, expected, not is_certain, path)
        return Condition(path, operator, is_certain, lambda v, request, now: not positive(v, request, now))
    return Condition(path, operator, is_certain, _compile_test(operator, expected, is_certain, path))


def open_arrays(values: list[Any]) -> Iterator[Any]:
    """The values with their elements in the place of arrays, at every depth; nested arrays stand for themselves too."""
    for value in values:
        if isinstance(value, list):
            for inner in value:
                yield inner
                if isinstance(inner, list):
                    yield from open_arrays([inner])
        else:
            yield value


def _never(_value: Any, _request: Request, _now: datetime) -> bool:
    return False


def _compile_test(operator: str, expected: Any, is_certain: bool, path: FieldPath) -> Test:
    """The positive operator in one of the two readings."""
    if operator == "eq":
        return _certain_equality(expected) if is_certain else _possible_equality([as_text(expected)])
    if operator == "in":
        listed = frozenset(expected)
        if is_certain:
            return lambda value, _request, _now: as_text(value) in listed
        return _possible_equality(expected)
    if operator == "contains":
        return _containment(expected, is_certain)
    if operator == "matches":
        return _search(pattern_set((expected,)), is_certain, path)
    if operator == "within_last_days":
        return lambda value, _request, now: _is_recent(value, expected, now)
    if operator in DOMAIN_OPERATORS:
        return _domain_test(expected, is_certain, wants_inside=operator == "domain_in")
    return _comparison(operator, expected, is_certain)


def _certain_equality(expected: Any) -> Test:
    text, kind = as_text(expected), type(expected)

    def test(value: Any, _request: Request, _now: datetime) -> bool:
        if isinstance(value, FieldText):
            return value == text
        return type(value) is kind and bool(value == expected)

    return test


def _possible_equality(expected: list[str]) -> Test:
    texts = frozenset(expected)
    folded = frozenset(fold(text) for text in expected)

    def test(value: Any, _request: Request, _now: datetime) -> bool:
        text = as_text(value).strip()
        if text in texts or fold(text) in folded:
            return True
        return isinstance(value, float) and value.is_integer() and str(int(value)) in texts

    return test


def _containment(expected: str, is_certain: bool) -> Test:
    needle, folded_needle = expected.lower(), fold(expected).lower()

    def test(value: Any, _request: Request, _now: datetime) -> bool:
        if is_certain and not isinstance(value, str):
            return False
        text = as_text(value)
        if needle in text.lower():
            return not is_certain or folded_needle in fold(text).lower()
        return not is_certain and folded_needle in fold(text).lower()

    return test


def _search(pattern: PatternSet, is_certain: bool, path: FieldPath) -> Test:
    is_whole_text = path.text in TEXT_VIEWS

    def test(value: Any, request: Request, _now: datetime) -> bool:
        if is_certain and not isinstance(value, str):
            return False
        if is_whole_text:
            plain, folded = request.readings(path.text)
        else:
            text = as_text(value)
            other = fold(text)
            plain = text.encode("utf-8", "replace")
            folded = plain if other == text else other.encode("utf-8", "replace")
        if pattern.is_found(plain):
            return not is_certain or folded is plain or pattern.is_found(folded)
        return not is_certain and folded is not plain and pattern.is_found(folded)

    return test


def _comparison(operator: str, expected: float, is_certain: bool) -> Test:
    compare = _COMPARISONS[operator]

    def test(value: Any, _request: Request, _now: datetime) -> bool:
        number = _read_number(value)
        return not is_certain if number is None else compare(number, expected)

    return test


_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "gt": lambda value, limit: value > limit,
    "gte": lambda value, limit: value >= limit,
    "lt": lambda value, limit: value < limit,
    "lte": lambda value, limit: value <= limit,
}


def _read_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return None


def _domain_test(listed: list[str], is_certain: bool, *, wants_inside: bool) -> Test:
    fixed = tuple(domain.lower() for domain in listed if domain != ORG_DOMAINS)
    wants_own = ORG_DOMAINS in listed

    def test(value: Any, request: Request, _now: datetime) -> bool:
        domains = fixed + tuple(d.lower() for d in request.org_domains) if wants_own else fixed
        text = as_text(value)
        # One text may list several addresses; each of them counts, in both readings.
        addresses = [part for reading in (text, fold(text)) for part in _SEPARATOR.split(reading) if part.strip()]
        results = [_is_in_domain(address, domains) is wants_inside for address in addresses or [""]]
        return all(results) if is_certain else any(results)

    return test


def _is_in_domain(address: str, domains: tuple[str, ...]) -> bool:
    _, sign, domain = address.strip().rstrip(">").rpartition("@")
    if not sign:
        return False
    domain = domain.lower()
    return any(domain == d or (d.startswith(".") and domain.endswith(d)) for d in domains)


def _is_recent(value: Any, days: float, now: datetime) -> bool:
    dates = _DATE.findall(as_text(value))
    if len(dates) != 1:
        return False
    try:
        when = datetime.fromisoformat(dates[0])
    except ValueError:
        return False
    age = now - (when if when.tzinfo else when.replace(tzinfo=UTC))
    return timedelta(days=-1) <= age <= timedelta(days=days)
