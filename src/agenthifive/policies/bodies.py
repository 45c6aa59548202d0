"""What people send to the policy routes, sorted: facets, labels, read-only members, and how to save.

    body -> nulls that mean "absent" fall out -> facets and labels (judged by the policy engine)
                                              -> read-only members (must be unchanged)
                                              -> version, tier, timezone, discardEdits

Source: contract/policy.md sections 2.1 and 15.1, http.md section 1 (null).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.errors import AppError
from agenthifive.policies.model import FACETS
from agenthifive.policy.model import Problem
from agenthifive.policy.presets import TIERS
from agenthifive.policy.report import Report
from agenthifive.policy.validate import READ_ONLY, refusal_code
from agenthifive.policy.windows import find_zone

_PAIR: Final = ("agentId", "connectionId")
ON_CREATE: Final = frozenset({"policyTier", "timezone"})
ON_CHANGE: Final = frozenset({"timezone", "discardEdits"})
NOTHING: Final[frozenset[str]] = frozenset()
_LABELS: Final = ("actionTemplateId", "securityPreset")
_CLEARED_BY_NULL: Final = frozenset({"rateLimits", "providerConstraints"})
_VERSION_MAX: Final = 2**53
_ENTITY_TAG: Final = re.compile(r'\s*(?:W/)?"?([1-9][0-9]{0,15})"?\s*')


@dataclass(frozen=True, slots=True)
class Asked:
    """A body, sorted.

    Shapes:
        names: the top-level members as they were sent.
        document: facets, labels, `version` and unknown members: what the policy engine judges.
        tier: of `policyTier` or `securityPreset`, when it is one.
        problems: what is wrong with the members the engine does not know.
    """

    names: Sequence[str]
    document: Mapping[str, Any]
    read_only: Mapping[str, Any]
    tier: str | None
    timezone: str | None
    discards_edits: bool
    problems: Sequence[Problem]

    @property
    def facets(self) -> dict[str, Any]:
        """The facets that were sent."""
        return {name: value for name, value in self.document.items() if name in FACETS}

    @property
    def template_id(self) -> str | None:
        """The action template that was named; None when what stands there is no text."""
        named = self.document.get("actionTemplateId")
        return named if isinstance(named, str) else None

    @property
    def version(self) -> int | None:
        """The version the sender has seen."""
        return self.document.get("version")


def read_policy_body(body: Mapping[str, Any], controls: frozenset[str]) -> Asked:
    """Sort a body.

    Shapes:
        controls: the members that say how to save and may stand in this body.
    """
    report = Report()
    known = {*FACETS, *_LABELS, *READ_ONLY, *controls, "version"}
    members = {
        name: value
        for name, value in body.items()
        if value is not None or name not in known or name in _CLEARED_BY_NULL
    }
    for path in _unstorable(members, ""):
        report.add(path, "type", "A text must not hold the character U+0000.")
    given = {name: members.pop(name) for name in controls if name in members}
    read_only: dict[str, Any] = {name: members.pop(name) for name in READ_ONLY if name in members}
    tier, preset = given.get("policyTier"), members.get("securityPreset")
    if tier is not None and report.is_one_of(tier, "policyTier", TIERS) and preset not in (None, tier):
        report.add("policyTier", "conflict", "policyTier and another securityPreset exclude each other.")
    discards = given.get("discardEdits", False)
    report.is_flag(discards, "discardEdits")
    named_tier = preset if tier is None else tier
    timezone = _read_timezone(report, given.get("timezone"))
    return Asked(
        names=tuple(body),
        document=members,
        read_only=read_only,
        tier=named_tier if named_tier in TIERS else None,
        timezone=timezone,
        discards_edits=discards is True,
        problems=tuple(report.problems),
    )


def read_facet_body(body: Mapping[str, Any], facet: str) -> dict[str, Any]:
    """The body of a route for one facet: the facet under its own key, and the version. Raises: AppError (400)."""
    report = Report()
    for name in body:
        if name not in (facet, "version"):
            report.unknown(name, "", (facet, "version"))
    present = {name: value for name, value in body.items() if value is not None or name in _CLEARED_BY_NULL}
    report.missing(present, "", (facet,))
    if report.problems:
        raise refuse(report.problems)
    return present


def read_deletion(body: Mapping[str, Any]) -> int | None:
    """The version in the body of a deletion. Raises: AppError (400)."""
    report = Report()
    for name in body:
        if name != "version":
            report.unknown(name, "", ("version",))
    version = body.get("version")
    if version is not None:
        report.is_whole(version, "version", 1, _VERSION_MAX)
    if report.problems:
        raise refuse(report.problems)
    return version


def agreed_version(in_body: int | None, if_match: str | None) -> int | None:
    """The version the sender has seen, from the body or `If-Match`; None for any. Raises: AppError (400)."""
    if if_match is None or if_match.strip() == "*":
        return in_body
    tag = _ENTITY_TAG.fullmatch(if_match)
    if tag is None:
        raise _invalid("If-Match", 'must be the ETag of the policy, such as "4"')
    if in_body is not None and in_body != int(tag[1]):
        raise _invalid("version", "names another version than If-Match")
    return int(tag[1])


def check_created(asked: Asked) -> tuple[str, str]:
    """Agent and connection of a policy to be created; nothing else of it may be set. Raises: AppError (400)."""
    report = Report()
    report.missing(asked.read_only, "", _PAIR)
    for name in _PAIR:
        report.is_text(asked.read_only.get(name, ""), name, 80)
    if report.problems:
        raise refuse([*asked.problems, *report.problems], asked.names)
    sent = {name: value for name, value in asked.read_only.items() if name not in _PAIR}
    if asked.version is not None:
        sent["version"] = asked.version
    _refuse_read_only(list(sent))
    return asked.read_only["agentId"], asked.read_only["connectionId"]


def check_read_only(asked: Asked, stored: Mapping[str, Any]) -> None:
    """Refuse read-only members that are not as they are stored. Raises: AppError (400)."""
    changed = [name for name, value in asked.read_only.items() if value != stored[name]]
    _refuse_read_only(changed)


def _refuse_read_only(names: Sequence[str]) -> None:
    if names:
        raise AppError(
            "invalid_request",
            f"These members are set by the server and cannot be changed: {', '.join(names)}. "
            "Leave them out or as they were read.",
            fields=[{"path": name, "message": "is read-only"} for name in names],
        )


def refuse(problems: Iterable[Problem], order: Sequence[str] = ()) -> AppError:
    """The refusal that names every problem, in the order of the document.

    Shapes:
        order: the top-level members as they were sent.
    """
    places = {name: number for number, name in enumerate(order)}
    listed = sorted(problems, key=lambda problem: places.get(re.split(r"[.\[]", problem.path)[0], len(places)))
    first = listed[0]
    count = "1 problem" if len(listed) == 1 else f"{len(listed)} problems, the first"
    return AppError(
        refusal_code(listed),
        f"The policy has {count} at {first.path}: {first.message} Correct it and send it again.",
        fields=[{"path": each.path, "code": each.code, "message": each.message} for each in listed],
    )


def _read_timezone(report: Report, value: Any) -> str | None:
    if value is None or not report.is_text(value, "timezone", 80):
        return None
    if find_zone(value) is None:
        report.add("timezone", "timezone", f"{value} is no time zone of the IANA list.")
        return None
    return value


def _invalid(path: str, message: str) -> AppError:
    return AppError("invalid_request", f"{path} {message}.", fields=[{"path": path, "message": message}])


def _unstorable(value: Any, path: str) -> Iterator[str]:
    """Paths of texts that PostgreSQL cannot hold."""
    if isinstance(value, str):
        if "\x00" in value:
            yield path
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _unstorable(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _unstorable(inner, f"{path}[{number}]")
