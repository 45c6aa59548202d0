"""Gates 3 to 11: read the call strictly, see what is granted, decide. Pure but for the clock and the boundary.

    url, query -> Target     headers -> those that may pass     body -> bytes and what rules see of them
        -> host binding (catalog) -> decide (policy) -> Judged

Source: contract/broker.md sections 3 to 6.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace

from agenthifive.broker.body import OutgoingBody, read_body, read_raw_body, rewrite_body
from agenthifive.broker.fingerprint import fingerprint
from agenthifive.broker.headers import InvalidHeader, sanitise_request_headers
from agenthifive.broker.model import Call, Grant
from agenthifive.broker.multipart import InvalidBody
from agenthifive.broker.target import InvalidUrl, ParsedTarget, Target, parse_target
from agenthifive.catalog.arguments import strip_arguments
from agenthifive.catalog.classify import Classification
from agenthifive.catalog.llm import upstream_url
from agenthifive.errors import AppError
from agenthifive.policy.decide import Budget, decide
from agenthifive.policy.model import NO_BODY, Allow, Body, Decision, Deny, Hold, Request
from agenthifive.policy.paths import strict_path
from agenthifive.words import ConnectionStatus

_NO_BODY_SHA256: Final = sha256(b"").hexdigest()


class Judged(msgspec.Struct, frozen=True):
    """A call that has been read and decided; what is in here is what would be sent, minus the secret."""

    target: Target
    stripped: Sequence[str]
    headers: Sequence[tuple[str, str]]
    body: OutgoingBody
    classification: Classification
    request: Request
    decision: Decision
    fingerprint: str

    @property
    def body_sha256(self) -> str:
        """Of the bytes that would be sent."""
        return sha256(self.body.data).hexdigest() if self.body.data else _NO_BODY_SHA256


def read_target(call: Call, grant: Grant | None, http_hosts: frozenset[str]) -> ParsedTarget:
    """The canonical target of a call. Raises: AppError (invalid_url)."""
    try:
        parsed = parse_target(
            call.url if call.llm_tail is None or grant is None else _llm_url(call, grant, call.llm_tail),
            call.query,
            http_hosts=http_hosts,
            strip_params=() if grant is None else grant.binding.stripped_params,
        )
    except InvalidUrl as error:
        raise AppError("invalid_url", str(error), detail=error.detail) from None
    if grant is None:
        return parsed
    path = grant.variant.canonicalise_slot(parsed.target.path)
    if path == parsed.target.path:
        return parsed
    return replace(parsed, target=replace(parsed.target, path=path, strict_path=strict_path(path)))


def judge(
    call: Call,
    grant: Grant,
    parsed: ParsedTarget,
    *,
    now: datetime,
    boundary: str,
    calls_last_hour: int | None = None,
    budget: Budget | None = None,
) -> Judged:
    """Decide a call whose grant is known and whose policy allows brokering.

    Shapes:
        now: aware. boundary: fresh and unguessable, for multipart bodies.
    Raises: AppError for what cannot be read (invalid_header, invalid_binary_body, invalid_request, invalid_json).
    """
    target = parsed.target
    try:
        headers = sanitise_request_headers(call.headers, strip=grant.binding.stripped_headers)
    except InvalidHeader as error:
        raise AppError("invalid_header", str(error)) from None
    body = _read_body(call, grant, _content_type(headers), boundary)
    seen = _as_rules_see(body)
    classification = grant.binding.classify(target, call.method, seen.value if seen.kind == "json" else None)
    request = Request(
        method=call.method,
        scheme=target.scheme,
        host=target.host,
        port=target.port,
        path=target.path,
        strict_path=target.strict_path,
        query=target.query,
        body=seen,
        action_class=classification.action,
        facts=grant.facts,
        binding=grant.binding.check(target),
        tenant=grant.tenant,
        wants_bypass=call.wants_bypass,
        wants_full_fields=call.wants_full_fields,
        org_domains=call.principal.org_domains,
        calls_last_hour=calls_last_hour,
    )
    assert grant.policy is not None
    decision = decide(request, grant.policy, now, budget)
    print_of_call = fingerprint(
        call.method,
        target.url,
        headers=headers,
        body=body,
        download=call.download,
        bypass=call.wants_bypass,
        full=call.wants_full_fields,
    )
    if isinstance(decision, Allow | Hold) and decision.body is not None:
        body = rewrite_body(body, decision.body.value, boundary=boundary)
    return Judged(target, parsed.stripped, headers, body, classification, request, decision, print_of_call)


def check_grant(grant: Grant, model: str) -> None:
    """Gates 4 and 5 on a grant that was found: is there a policy, does it allow the model, is the connection well?

    Raises: AppError (no_policy, connection_revoked, connection_needs_reauth, unavailable).
    """
    if grant.is_policy_broken:
        raise AppError(
            "unavailable",
            "The stored policy of this agent cannot be read; its calls are refused until an owner saves it again.",
            retry_after_s=60,
        )
    if grant.policy is None:
        raise AppError(
            "no_policy",
            f"This agent has no active policy on {grant.connection_label}. Ask an owner or admin to create one.",
        )
    if model not in grant.policy.allowed_models:
        models = ", ".join(sorted(grant.policy.allowed_models))
        raise AppError(
            "no_policy", f"The policy on {grant.connection_label} does not allow model {model}; it allows {models}.",
            hint=models,
        )  # fmt: skip
    if grant.status is ConnectionStatus.REVOKED:
        raise AppError("connection_revoked", "This connection was revoked. A person must connect the service again.")
    if grant.status is ConnectionStatus.NEEDS_REAUTH:
        raise AppError(
            "connection_needs_reauth", "The provider no longer accepts this credential. A person must reconnect it."
        )


def as_error(verdict: Deny | Hold) -> AppError:
    """The refusal of a call that may not go out, or that a person would have to see first."""
    if isinstance(verdict, Hold):
        return AppError(
            "approval_required",
            f"{verdict.message} This version cannot ask a person yet, so the call was refused and recorded; "
            "ask an owner to change the policy.",
            detail=verdict.code,
            hint=verdict.hint,
        )
    return AppError(
        verdict.code, verdict.message, detail=verdict.detail, hint=verdict.hint, retry_after_s=verdict.retry_after_s
    )


def _llm_url(call: Call, grant: Grant, tail: str) -> str:
    url = upstream_url(grant.service, grant.params, tail)
    return f"{url}?{call.raw_query}" if call.raw_query else url


def _read_body(call: Call, grant: Grant, content_type: str | None, boundary: str) -> OutgoingBody:
    try:
        if call.raw_body is not None:
            return read_raw_body(call.raw_body, content_type)
        body = read_body(call.body, content_type, boundary=boundary)
    except InvalidBody as error:
        raise AppError(error.code, str(error)) from None
    names = grant.binding.stripped_arguments
    if not names or body.reading not in ("json", "form", "multipart"):
        return body
    stripped, taken = strip_arguments(body.reading, body.value, names)
    return rewrite_body(body, stripped, boundary=boundary) if taken else body


def _as_rules_see(body: OutgoingBody) -> Body:
    if body.reading == "none":
        return NO_BODY
    size = len(body.data or b"")
    subtype = None
    if body.reading == "multipart":
        subtype = "related" if (body.content_type or "").startswith("multipart/related") else "form-data"
    kind = "binary" if body.reading == "opaque" else body.reading
    return Body(kind, body.value if kind != "binary" else body.data, size, body.content_type, subtype)


def _content_type(headers: Sequence[tuple[str, str]]) -> str | None:
    for name, value in headers:
        if name == "content-type":
            return value
    return None
