"""Checking the rules of a policy document.

Source: contract/policy.md sections 2.1, 2.2, 5, 6 and 15.1.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from agenthifive.policy import conditions
from agenthifive.policy.fields import DERIVED_VIEWS
from agenthifive.policy.model import ServiceFacts
from agenthifive.policy.pii import CUSTOM, type_names
from agenthifive.policy.report import Report, join
from agenthifive.policy.rules import ACTIONS

MAX_REQUEST_RULES: Final = 200
MAX_RESPONSE_RULES: Final = 100
MAX_PATH_LENGTH: Final = 256
_RELAXATIONS: Final = ("full_fields", "trusted_recipient")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")

_Check = Callable[[Any, str], None]


def check_rules(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    """Check the `rules` facet."""
    if report.is_object(value, path):
        _RuleChecker(report, facts).check(value, path)


class _RuleChecker:
    """Checks one `rules` object; remembers the ids it has seen."""

    def __init__(self, report: Report, facts: ServiceFacts) -> None:
        self._report = report
        self._ignores_case = any(host.path_insensitive for host in facts.hosts)
        self._ids: set[str] = set()

    def check(self, rules: Mapping[str, Any], path: str) -> None:
        self._each_member(
            rules,
            path,
            {
                "request": lambda v, p: self._each(v, p, MAX_REQUEST_RULES, self._request_rule),
                "response": lambda v, p: self._each(v, p, MAX_RESPONSE_RULES, self._response_rule),
                "fieldStepUpEnabled": self._flag,
            },
            ("request", "response"),
        )

    # ---- rules ---------------------------------------------------------------------------------------

    def _request_rule(self, rule: Any, path: str) -> None:
        if not self._report.is_object(rule, path):
            return
        action = rule.get("action")

        def redact_config(value: Any, where: str) -> None:
            self._personal_data(value, where)
            if action != "redact":
                self._report.add(where, "conflict", "redactConfig and an action other than redact exclude each other.")

        self._each_member(
            rule,
            path,
            {
                **self._names(),
                "match": self._match,
                "action": lambda v, p: self._one_of(v, p, ACTIONS),
                "redactConfig": redact_config,
            },
            ("match", "action"),
        )
        if action == "redact":
            self._redact_target(rule, path)

    def _redact_target(self, rule: Mapping[str, Any], path: str) -> None:
        where = join(path, "redactConfig")
        match = rule.get("match")
        target = rule.get("redactConfig") or (match.get("pii") if isinstance(match, dict) else None)
        if not target:
            self._report.add(where, "required", f"{where} is missing.")
            return
        fields = target.get("fields") if isinstance(target, dict) else None
        derived = [f for f in fields or () if isinstance(f, str) and f.startswith((*DERIVED_VIEWS, "$size"))]
        if derived:
            message = f"redact and {derived[0]} exclude each other: a derived view cannot be rewritten."
            self._report.add(join(where, "fields"), "conflict", message)

    def _response_rule(self, rule: Any, path: str) -> None:
        if self._report.is_object(rule, path):
            self._each_member(
                rule,
                path,
                {
                    **self._names(),
                    "match": lambda v, p: self._match(v, p, of_reply=True),
                    "filter": self._filter,
                    "relaxWhen": lambda v, p: self._each(v, p, 2, lambda x, q: self._one_of(x, q, _RELAXATIONS)),
                },
                ("match", "filter"),
            )

    def _names(self) -> Mapping[str, _Check]:
        return {
            "id": self._id,
            "label": lambda v, p: self._text(v, p, 80),
            "guard": lambda v, p: self._text(v, p, 80),
        }

    def _id(self, value: Any, path: str) -> None:
        if not isinstance(value, str) or not _ID.fullmatch(value):
            self._report.add(path, "type", "Expected 1 to 40 letters, digits, - or _.")
        elif value in self._ids:
            self._report.add(path, "duplicate_id", f"The id {value} is used twice.")
        else:
            self._ids.add(value)

    # ---- matchers ------------------------------------------------------------------------------------

    def _match(self, value: Any, path: str, *, of_reply: bool = False) -> None:
        if not self._report.is_object(value, path):
            return
        checks: dict[str, _Check] = {
            "methods": self._methods,
            "urlPattern": lambda v, p: self._pattern(v, p, ignore_case=self._ignores_case),
            "queryPattern": self._pattern,
        }
        if not of_reply:
            checks["body"] = lambda v, p: self._each(v, p, 20, self._condition)
            checks["pii"] = self._personal_data
        self._each_member(value, path, checks)

    def _condition(self, condition: Any, path: str) -> None:
        if not self._report.is_object(condition, path):
            return
        operator = condition.get("op")
        self._each_member(
            condition,
            path,
            {
                "path": self._field,
                "op": lambda v, p: self._one_of(v, p, sorted(conditions.OPERATORS)),
                "value": lambda v, p: self._value(v, p, operator),
            },
            ("path", "op"),
        )
        if isinstance(operator, str) and operator in conditions.VALUE_OPERATORS:
            self._report.missing(condition, path, ("value",))

    def _value(self, value: Any, path: str, operator: Any) -> None:
        """The value an operator compares with. Unhashable operators were refused as such."""
        if not isinstance(operator, str):
            return
        if operator in conditions.LIST_OPERATORS:
            if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
                self._report.add(path, "type", f"{operator} needs a non-empty list of strings.")
            else:
                self._report.is_list(value, path, 1000)
        elif operator in conditions.NUMBER_OPERATORS:
            if isinstance(value, bool) or not isinstance(value, int | float):
                self._report.add(path, "type", f"{operator} needs a number.")
            elif operator == "within_last_days" and not 0 < value <= 36_500:
                self._report.add(path, "range", "Expected a number of days from 1 to 36500.")
        elif operator in conditions.TEXT_OPERATORS:
            if not isinstance(value, str):
                self._report.add(path, "type", f"{operator} needs a string.")
            elif operator in ("matches", "not_matches"):
                self._pattern(value, path)
            else:
                self._text(value, path, 8192)
        elif operator in conditions.EQUALITY_OPERATORS and not isinstance(value, str | int | float | bool):
            self._report.add(path, "type", f"{operator} needs a string, a number, true or false.")

    # ---- personal data and filters -------------------------------------------------------------------

    def _personal_data(self, value: Any, path: str) -> None:
        if self._report.is_object(value, path):
            self._each_member(
                value,
                path,
                {
                    "types": self._types,
                    "fields": lambda v, p: self._each(v, p, 100, self._field, needs_one=True),
                },
                ("types", "fields"),
            )

    def _types(self, value: Any, path: str) -> None:
        self._each(value, path, 50, self._type, needs_one=True)

    def _type(self, value: Any, path: str) -> None:
        if not self._report.is_object(value, path):
            return
        names = type_names()
        if not isinstance(value.get("type"), str) or value["type"] not in names:
            self._report.add(join(path, "type"), "enum", f"Expected one of: {', '.join(sorted(names))}.")
            return
        is_custom = value["type"] == CUSTOM

        def pattern(content: Any, where: str) -> None:
            if is_custom:
                self._pattern(content, where)
            else:
                self._report.add(where, "conflict", f"pattern and the type {value['type']} exclude each other.")

        self._each_member(
            value,
            path,
            {
                "type": lambda v, p: None,
                "pattern": pattern,
                "replacement": lambda v, p: self._text(v, p, 64),
            },
            ("pattern",) if is_custom else (),
        )

    def _filter(self, value: Any, path: str) -> None:
        if not self._report.is_object(value, path):
            return
        if not value:
            self._report.add(path, "required", f"{path} needs at least one entry.")
        if "allowFields" in value and "denyFields" in value:
            self._report.add(path, "conflict", "allowFields and denyFields exclude each other.")
        self._each_member(
            value,
            path,
            {
                "allowFields": lambda v, p: self._each(v, p, 1000, self._field, needs_one=True),
                "denyFields": lambda v, p: self._each(v, p, 1000, self._field, needs_one=True),
                "redact": self._types,
            },
        )

    # ---- small checks --------------------------------------------------------------------------------

    def _each_member(
        self, value: Mapping[str, Any], path: str, checks: Mapping[str, _Check], needed: Iterable[str] = ()
    ) -> None:
        for name, content in value.items():
            if name in checks:
                checks[name](content, join(path, name))
            else:
                self._report.unknown(name, path, checks)
        self._report.missing(value, path, needed)

    def _each(self, value: Any, path: str, most: int, check: _Check, *, needs_one: bool = False) -> None:
        if self._report.is_list(value, path, most, needs_one=needs_one):
            for number, item in enumerate(value):
                check(item, f"{path}[{number}]")

    def _field(self, value: Any, path: str) -> None:
        if self._report.is_text(value, path, MAX_PATH_LENGTH) and not value.strip(".[] "):
            self._report.add(path, "required", f"{path} is missing.")

    def _pattern(self, value: Any, path: str, *, ignore_case: bool = False) -> None:
        self._report.is_pattern(value, path, ignore_case=ignore_case)

    def _methods(self, value: Any, path: str) -> None:
        self._report.is_method_list(value, path)

    def _text(self, value: Any, path: str, longest: int) -> None:
        self._report.is_text(value, path, longest)

    def _flag(self, value: Any, path: str) -> None:
        self._report.is_flag(value, path)

    def _one_of(self, value: Any, path: str, options: Iterable[str]) -> None:
        self._report.is_one_of(value, path, options)
