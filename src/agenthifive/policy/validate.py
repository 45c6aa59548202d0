"""Is this a policy? Everything wrong with a document at once, in the order in which it stands there.

    document -> check (facets; rules in validate_rules.py) -> problems
             -> find_warnings (warnings.py)                -> what is legal and probably not meant

Source: contract/policy.md sections 2, 3, 9, 10, 11 and 15.1.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.policy.allowlist import BaseUrl, host_matches, read_base_url
from agenthifive.policy.caveats import find_caveats
from agenthifive.policy.constraints import LISTS
from agenthifive.policy.defaults import fill_defaults, normalise
from agenthifive.policy.model import Problem, ServiceFacts
from agenthifive.policy.report import Report, join
from agenthifive.policy.validate_rules import check_rules
from agenthifive.policy.windows import find_zone
from agenthifive.strict_json import dumps

MAX_POLICY_BYTES: Final = 512 * 1024
READ_ONLY: Final = (
    "id",
    "agentId",
    "connectionId",
    "connectionLabel",
    "connectionProvider",
    "connectionService",
    "status",
    "customised",
    "createdAt",
    "updatedAt",
)
_LIMITS: Final = {
    "maxRequestsPerHour": 1_000_000,
    "maxPayloadSizeBytes": 26_214_400,
    "maxResponseSizeBytes": 1_073_741_824,
}
_WINDOW: Final = {"dayOfWeek": 6, "startHour": 23, "startMinute": 59, "endHour": 24, "endMinute": 59}
_ODD_IN_GLOB: Final = re.compile(r"[\x00-\x20\x7f\\?#]|\*\*\*")
_ENTRY: Final = ("baseUrl", "methods", "pathPatterns", "encodedSlash")


@dataclass(frozen=True, slots=True)
class Validation:
    """Shapes: policy: the document as it would be stored, None when there are problems."""

    policy: dict[str, Any] | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def validate(document: Mapping[str, Any], facts: ServiceFacts, *, partial: bool) -> Validation:
    """Check a document before it is saved.

    Shapes:
        partial: only the facets sent are checked and given back; otherwise those left out take their
            defaults. Warnings look across facets: give the merged document to have them all.
    """
    problems = check(document, facts) + _unsupported_models(document, facts)
    if problems:
        return Validation(None, tuple(problems), ())
    normal = normalise(document)
    complete = fill_defaults(normal)
    stored = {name: value for name, value in complete.items() if name in document} if partial else complete
    return Validation(stored, (), tuple(find_caveats(document, complete)))


def refusal_code(problems: Sequence[Problem]) -> str:
    """The code of the 400 answer for these problems."""
    codes = {problem.code for problem in problems}
    if len(codes) == 1 and codes <= {"provider_mismatch", "model_not_supported", "unknown_field"}:
        return codes.pop()
    return "invalid_policy"


def check(document: Mapping[str, Any], facts: ServiceFacts, *, is_stored: bool = False) -> list[Problem]:
    """Everything wrong with the facets of a document, in document order; see Report for is_stored."""
    report = Report(is_stored=is_stored)
    size = 0 if is_stored else len(dumps(document))
    if size > MAX_POLICY_BYTES:
        report.add("policy", "too_long", f"At most {MAX_POLICY_BYTES} bytes, not {size}.")
        return report.problems
    for name, value in document.items():
        if name in _FACETS:
            _FACETS[name](report, value, name, facts)
        elif name not in READ_ONLY:
            report.unknown(name, "", (*_FACETS, *READ_ONLY))
    return report.problems


def _unsupported_models(document: Mapping[str, Any], facts: ServiceFacts) -> list[Problem]:
    models = document.get("allowedModels")
    if not isinstance(models, list) or "A" not in models or "A" in facts.models:
        return []
    if document.get("vendStaticCredentials") is True:
        return []
    message = f"{facts.service} has no short-lived tokens to vend. Use B, or set vendStaticCredentials."
    return [Problem("allowedModels", "model_not_supported", message)]


def _check_allowlists(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    if report.is_list(value, path, 50):
        for number, entry in enumerate(value):
            _check_entry(report, entry, f"{path}[{number}]", facts)


def _check_entry(report: Report, entry: Any, path: str, facts: ServiceFacts) -> None:
    if not report.is_object(entry, path):
        return
    for name, value in entry.items():
        where = join(path, name)
        if name == "baseUrl":
            _check_base_url(report, value, where, facts)
        elif name == "methods":
            report.is_method_list(value, where)
        elif name == "pathPatterns":
            if report.is_list(value, where, 100, needs_one=True):
                for number, glob in enumerate(value):
                    _check_glob(report, glob, f"{where}[{number}]")
        elif name == "encodedSlash":
            report.is_flag(value, where)
        else:
            report.unknown(name, path, _ENTRY)
    report.missing(entry, path, _ENTRY[:3])


def _check_base_url(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    if not report.is_text(value, path, 2048):
        return
    base = read_base_url(value)
    if base is not None and (report.is_stored or _is_own_origin(base, facts)):
        return
    if not value.startswith("https://"):
        report.add(path, "scheme", "Only https addresses can be listed.")
    elif base is None or base.port != 443 or not any(_covers(h.name, base.host) for h in facts.hosts):
        named = value.removeprefix("https://").partition("/")[0][:200]
        hosts = [host.name for host in facts.hosts] + [f"{host}:{port}" for _, host, port, _ in facts.origins]
        report.add(path, "host", f"{named} does not belong to {facts.service}. Its hosts: {', '.join(hosts)}.")


def _covers(name: str, host: str) -> bool:
    return host == name or ("*" not in host and host_matches(name, host))


def _is_own_origin(base: BaseUrl, facts: ServiceFacts) -> bool:
    """Whether a base lies inside an origin of the connection itself."""
    return any(
        (base.scheme, base.host, base.port) == (scheme, host, port)
        and (not prefix or base.prefix == prefix or base.prefix.startswith(prefix + "/"))
        for scheme, host, port, prefix in facts.origins
    )


def _check_glob(report: Report, value: Any, path: str) -> None:
    if not report.is_text(value, path, 2048):
        return
    has_dots = "/." in value and any(segment in (".", "..") for segment in value.split("/"))
    if has_dots or _ODD_IN_GLOB.search(value) or not value.startswith("/"):
        report.add(path, "glob", "Write a path such as /v1/items/* .")


def _check_limits(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    if value is None or not report.is_object(value, path):
        return
    for name, limit in value.items():
        if name in _LIMITS:
            report.is_whole(limit, join(path, name), 1, _LIMITS[name])
        else:
            report.unknown(name, path, _LIMITS)
    report.missing(value, path, ("maxRequestsPerHour",))


def _check_windows(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    if report.is_list(value, path, 50):
        for number, window in enumerate(value):
            _check_window(report, window, f"{path}[{number}]")


def _check_window(report: Report, window: Any, path: str) -> None:
    if not report.is_object(window, path):
        return
    before = len(report.problems)
    for name, value in window.items():
        where = join(path, name)
        if name in _WINDOW:
            report.is_whole(value, where, 0, _WINDOW[name])
        elif name == "timezone":
            if report.is_text(value, where, 80) and find_zone(value) is None:
                report.add(where, "timezone", f"{value} is no time zone of the IANA list.")
        else:
            report.unknown(name, path, (*_WINDOW, "timezone"))
    report.missing(window, path, ("dayOfWeek", "startHour", "endHour", "timezone"))
    if len(report.problems) > before:
        return
    start = (window["startHour"], window.get("startMinute", 0))
    end = (window["endHour"], window.get("endMinute", 0))
    if end[0] == 24 and end[1]:
        report.add(join(path, "endMinute"), "range", "24:00 is the end of the day: no minutes after it.")
    elif start == end:
        report.add(path, "window_empty", "Use 0 to 24 for a whole day.")


def _check_constraint(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    if value is None or not report.is_object(value, path):
        return
    report.missing(value, path, ("provider",))
    provider = value.get("provider")
    where = join(path, "provider")
    if "provider" not in value or not report.is_one_of(provider, where, LISTS):
        return
    if facts.constraints is None or provider != facts.constraints:
        expected = f"Expected {facts.constraints}." if facts.constraints else "It has no constraints."
        report.add(where, "provider_mismatch", f"{facts.service} belongs to {facts.provider}. {expected}")
        return
    lists = LISTS[facts.constraints]
    flags = ("maxRecipients",) if provider == "email" else ()
    for name, content in value.items():
        where = join(path, name)
        if name in lists:
            _check_ids(report, content, where)
        elif name in flags:
            report.is_whole(content, where, 1, 1000)
        elif name == "trustedSkipsApproval":
            report.is_flag(content, where)
        elif name != "provider":
            report.unknown(name, path, ("provider", *lists, *flags, "trustedSkipsApproval"))


def _check_ids(report: Report, value: Any, path: str) -> None:
    """A list of ids; whatever is wrong with one is wrong with the list."""
    if not report.is_list(value, path, 1000):
        return
    if any(not isinstance(item, str) or not item or len(item) > 320 for item in value):
        report.add(path, "type", "Expected a list of non-empty strings.")


def _check_models(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    is_set = isinstance(value, list) and all(model in ("A", "B") for model in value)
    if not is_set or not value or len(set(value)) != len(value):
        report.add(path, "enum", "Expected a list of A, B or both, without repeats.")


def _choice(*options: str, may_be_null: bool = False) -> "Checker":
    def check_choice(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
        if not (may_be_null and value is None):
            report.is_one_of(value, path, options)

    return check_choice


def _check_flag(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    report.is_flag(value, path)


def _check_template(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    if value is not None:
        report.is_text(value, path, 80)


def _check_version(report: Report, value: Any, path: str, facts: ServiceFacts) -> None:
    report.is_whole(value, path, 1, 2**53)


Checker = Callable[[Report, Any, str, ServiceFacts], None]

_FACETS: Final[Mapping[str, Checker]] = {
    "version": _check_version,
    "actionTemplateId": _check_template,
    "securityPreset": _choice("strict", "standard", "minimal", may_be_null=True),
    "enforcement": _choice("enforce", "report"),
    "allowedModels": _check_models,
    "vendStaticCredentials": _check_flag,
    "defaultMode": _choice("read_only", "read_write", "custom"),
    "stepUpApproval": _choice("always", "risk_based", "never"),
    "allowlists": _check_allowlists,
    "rateLimits": _check_limits,
    "timeWindows": _check_windows,
    "rules": check_rules,
    "providerConstraints": _check_constraint,
}
