"""Calls and policies of the shared case file, built the way the broker builds them."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from agenthifive import strict_json
from agenthifive.broker.body import InvalidBody, read_body
from agenthifive.broker.target import InvalidUrl, parse_target
from agenthifive.catalog.catalog import Catalog, load_catalog
from agenthifive.policy import presets
from agenthifive.policy.allowlist import host_matches
from agenthifive.policy.compile import Policy, compile_policy
from agenthifive.policy.model import Allow, Body, Decision, Deny, HostFacts, Request, ServiceFacts
from agenthifive.policy.rules import METHODS
from agenthifive.words import ActionClass

CONTRACT = Path(__file__).parent.parent / "contract"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
OPEN_DEFAULTS = {"defaultMode": "read_write", "stepUpApproval": "never"}
GENERIC = ServiceFacts("generic-http", "generic", (HostFacts("api.example.com"),))
EVERYWHERE = [{"baseUrl": "https://api.example.com", "methods": list(METHODS), "pathPatterns": ["/**"]}]
KNOWN_USER = "U-known"


class InvalidCall(Exception):
    """The call is refused before any rule."""


@cache
def case_file() -> dict[str, Any]:
    return json.loads((CONTRACT / "policy-cases.json").read_text(encoding="utf-8"))


@cache
def preset_file() -> dict[str, Any]:
    return json.loads((Path(presets.__file__).parent / "presets.json").read_text(encoding="utf-8"))


@cache
def catalog() -> Catalog:
    return load_catalog()


def expand(value: Any) -> Any:
    """Shorthands of the case file: long strings, deep nesting, encoded mails."""
    if isinstance(value, list):
        return [expand(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"$repeat"}:
        return value["$repeat"][0] * value["$repeat"][1]
    if set(value) == {"$nest"}:
        nested: Any = "x"
        for _ in range(value["$nest"]):
            nested = {"a": nested}
        return nested
    if set(value) == {"$mime"}:
        mail = value["$mime"].replace("\n", "\r\n").encode()
        return base64.urlsafe_b64encode(mail).decode().rstrip("=")
    return {name: expand(inner) for name, inner in value.items()}


def facts_of(service: str, overrides: Mapping[str, Any] | None = None) -> ServiceFacts:
    """Facts as the presets state them, with what only the catalog knows."""
    known = preset_file()["services"].get(service)
    facts = GENERIC
    if known is not None:
        entry = catalog().get(service)
        assert entry is not None
        hosts = tuple(HostFacts(name, known["pathCase"] == "insensitive") for name in known["hosts"])
        facts = ServiceFacts(
            service,
            known["provider"],
            hosts,
            constraints=entry.file.constraints,
            params_in_query=known["paramsInQuery"],
            is_llm=entry.file.llm is not None,
        )
    if overrides:
        names = overrides.get("hosts", [host.name for host in facts.hosts])
        is_insensitive = overrides.get("pathCase") == "insensitive"
        facts = replace(facts, hosts=tuple(HostFacts(name, is_insensitive) for name in names))
    return facts


def build(spec: Mapping[str, Any], facts: ServiceFacts, context: Mapping[str, Any] | None = None) -> Request:
    """The canonical request of a case. Raises: InvalidCall with the code of the refusal."""
    context = context or {}
    if spec["method"] not in METHODS:
        raise InvalidCall("invalid_request")
    try:
        target = parse_target(spec["url"], spec.get("query"), is_mail=facts.service == "email-imap").target
    except InvalidUrl:
        raise InvalidCall("invalid_url") from None
    body = read_case_body(spec)
    action_class = _classify(facts, target, spec["method"], body.value if body.kind == "json" else None)
    is_bound = any(host_matches(host.name, target.host) for host in facts.hosts) and target.port == 443
    connection = context.get("connection", {})
    return Request(
        spec["method"],
        target.scheme,
        target.host,
        target.port,
        target.path,
        target.strict_path,
        target.query,
        body,
        action_class,
        facts,
        binding=None if is_bound else "host_not_in_catalog",
        tenant=connection.get("tenantId"),
        wants_bypass=bool(spec.get("bypassPiiRedaction")),
        wants_full_fields=bool(context.get("requestFullFields")),
        org_domains=tuple(context.get("orgDomains", ())),
        calls_last_hour=context.get("callsLastHour"),
        slack_dm_users=dict.fromkeys(connection.get("knownDirectMessages", ()), "U1"),
    )


def read_case_body(spec: Mapping[str, Any]) -> Body:
    """The body as rules see it. Raises: InvalidCall."""
    content = expand(spec.get("body"))
    try:
        if isinstance(content, dict | list):
            content = strict_json.loads(json.dumps(content).encode())
    except strict_json.InvalidJson:
        raise InvalidCall("invalid_json") from None
    headers = {name.lower(): value for name, value in spec.get("headers", {}).items()}
    try:
        read = read_body(content, headers.get("content-type"), boundary="x")
    except InvalidBody as problem:
        raise InvalidCall(problem.code) from None
    subtype = content.get("subtype") if isinstance(content, dict) and read.reading == "multipart" else None
    if read.reading == "opaque":
        return Body("binary", read.data, len(read.data or b""), read.content_type)
    return Body(read.reading, read.value, len(read.data or b""), read.content_type, subtype)


def _classify(facts: ServiceFacts, target: Any, method: str, body: Any) -> ActionClass:
    service = catalog().get(facts.service)
    if service is None or service.id == "generic-http":
        fallback = {"GET": ActionClass.READ, "DELETE": ActionClass.DELETE}
        return fallback.get(method, ActionClass.WRITE)
    found = service.classify(target.host, target.path, target.strict_path, method, body, target.query)
    return found.action


def call(method: str = "GET", path: str = "/v1/x", body: Any = None, **more: Any) -> Request:
    """A call of the generic service; `headers`, `query` and flags as in a case."""
    facts = more.pop("facts", GENERIC)
    context = more.pop("context", None)
    url = path if path.startswith("https:") else f"https://{facts.hosts[0].name}{path}"
    spec = {"method": method, "url": url, **more}
    return build(spec if body is None else {**spec, "body": body}, facts, context)


def document(*request: Mapping[str, Any], **facets: Any) -> dict[str, Any]:
    """A policy of the generic service that lists everything, with these request rules."""
    rules = {"request": list(request), "response": facets.pop("response", [])}
    return {"allowlists": EVERYWHERE, "rules": rules, **OPEN_DEFAULTS, **facets}


def verb(decision: Decision) -> str:
    """The decision in the words of the contract."""
    if isinstance(decision, Allow):
        return "allow"
    return "deny" if isinstance(decision, Deny) else "require_approval"


def code(decision: Decision) -> str:
    return decision.reason if isinstance(decision, Allow) else decision.code


def label(decision: Decision) -> str | None:
    return decision.rule.label if decision.rule else None


@dataclass(frozen=True)
class Case:
    """A decision or reply case with its policy and facts."""

    id: str
    policy: dict[str, Any]
    facts: ServiceFacts
    context: dict[str, Any]
    entry: dict[str, Any]


def read_case(entry: Mapping[str, Any]) -> Case:
    """The policy, facts and context of an entry of `decisions` or `replies`."""
    context = dict(entry.get("context", {}))
    policy: dict[str, Any] = {}
    service = entry.get("service", "generic-http")
    if "preset" in entry:
        template, tier = entry["preset"].split("/")
        policy = presets.template_config(template, tier, context.get("timezone"))
        service = service_of(template)
    policy = {**OPEN_DEFAULTS, **policy, **entry.get("policy", {})}
    return Case(entry["id"], policy, facts_of(service, entry.get("facts")), context, dict(entry))


def service_of(template: str) -> str:
    return next(t["service"] for t in preset_file()["templates"] if t["id"] == template)


def instant(context: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(context["now"]) if "now" in context else NOON


def line_spec(service: str, line: str, body: Any) -> dict[str, Any]:
    """The call a case writes as one line."""
    method, target = line.split(" ", 1)
    if not target.startswith("https:"):
        target = "https://" + preset_file()["services"][service]["hosts"][0].replace("*", "acme") + target
    return {"method": method, "url": target} if body is None else {"method": method, "url": target, "body": body}


def promises_of(template: str) -> list[tuple[Request, Policy]]:
    """Every promised call of a template with the policy of each tier."""
    service = service_of(template)
    facts = facts_of(service)
    return [
        (build(line_spec(service, row["call"], row.get("body")), facts), policy)
        for tier in presets.TIERS
        for policy in [compile_policy(presets.template_config(template, tier), facts)]
        for row in case_file()["promises"][template]
    ]
