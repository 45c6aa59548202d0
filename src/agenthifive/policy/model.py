"""The values of a decision: what is asked, what is known of the service, and the three possible verdicts.

    Request + Policy (compile.py) + now  ->  decide  ->  Allow | Deny | Hold

Every other module of this folder speaks in these words.
Source: contract/policy.md sections 1, 4, 6, 7 and 13.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import msgspec

from agenthifive.policy.files import files_of
from agenthifive.policy.mail import UNREADABLE, MailView, mail_of
from agenthifive.policy.members import as_text, body_members, with_query
from agenthifive.policy.query import Pairs, decoded_query, parse_query, trimmed_query
from agenthifive.policy.texts import fold, plain, prompt_text, scalars
from agenthifive.words import ActionClass

BodyKind: TypeAlias = Literal["none", "json", "form", "text", "binary", "multipart"]
ConstraintKind: TypeAlias = Literal["telegram", "slack", "microsoft", "email"]

NO_IDS: Final[Mapping[str, str]] = MappingProxyType({})


def _no_ids() -> Mapping[str, str]:
    return NO_IDS


@dataclass(frozen=True, slots=True)
class HostFacts:
    """One host of a service. `name` is exact or `*.suffix`, where the star is one label."""

    name: str
    path_insensitive: bool = False


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What the engine must know of a catalog service and of the connection to it.

    Shapes:
        constraints: the constraint module that understands the service's arguments.
        params_in_query: the provider takes arguments from the query as well as from the body.
        models: what the credential variant offers ("A" vend, "B" broker).
        origins: (scheme, host, port, path prefix) of self-hosted and generic connections; the prefix has
            no final slash and is empty for the whole origin.
    """

    service: str
    provider: str
    hosts: tuple[HostFacts, ...]
    constraints: ConstraintKind | None = None
    params_in_query: bool = False
    is_llm: bool = False
    models: frozenset[str] = frozenset({"B"})
    origins: tuple[tuple[str, str, int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body: `value` for texts, `data` for bytes."""

    name: str | None
    filename: str | None = None
    content_type: str | None = None
    value: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a call as rules see it.

    Shapes:
        value: parsed JSON for json; the text for form and text; a tuple of parts (anything with the
            attributes of Part) for multipart; the bytes or None for binary; None for none.
        size_bytes: what would be sent.
        subtype: "form-data" or "related", only for multipart.
    Source: contract/broker.md section 6.
    """

    kind: BodyKind
    value: Any = None
    size_bytes: int = 0
    content_type: str | None = None
    subtype: str | None = None


NO_BODY: Final = Body("none")
_UNSET: Final[Any] = object()


class Request:
    """One call in canonical form, with the views rules take of it; a view is computed when first asked for.

    Shapes:
        path: canonical, escapes kept. strict_path: the strict view (paths.py).
        query: canonical as sent, "" or "?...".
        binding: why the catalog refuses host or path (detail of host_not_bound), None when it does not.
        tenant: of the connection, where a provider has tenants.
        calls_last_hour: units used of the hourly budget, None when nobody counted.
        slack_dm_users: D... id -> user id, of direct messages seen on this connection.
    Source: contract/policy.md section 4.
    """

    __slots__ = (
        "_decoded_query", "_files", "_mail", "_members", "_pairs", "_readings", "_texts", "_trimmed_query",
        "action_class", "binding", "body", "calls_last_hour", "facts", "host", "method", "org_domains",
        "path", "port", "query", "scheme", "slack_dm_users", "strict_path", "tenant",
        "wants_bypass", "wants_full_fields",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        scheme: str,
        host: str,
        port: int,
        path: str,
        strict_path: str,
        query: str,
        body: Body,
        action_class: ActionClass,
        facts: ServiceFacts,
        binding: str | None = None,
        tenant: str | None = None,
        wants_bypass: bool = False,
        wants_full_fields: bool = False,
        org_domains: tuple[str, ...] = (),
        calls_last_hour: int | None = None,
        slack_dm_users: Mapping[str, str] | None = None,
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path
        self.strict_path = strict_path
        self.query = query
        self.body = body
        self.action_class = action_class
        self.facts = facts
        self.binding = binding
        self.tenant = tenant
        self.wants_bypass = wants_bypass
        self.wants_full_fields = wants_full_fields
        self.org_domains = org_domains
        self.calls_last_hour = calls_last_hour
        self.slack_dm_users = NO_IDS if slack_dm_users is None else slack_dm_users
        self._pairs: Pairs = _UNSET
        self._decoded_query: str = _UNSET
        self._trimmed_query: str = _UNSET
        self._members: Any = _UNSET
        self._mail: MailView = _UNSET
        self._files: list[dict[str, str]] | None = _UNSET
        self._texts: dict[str, str | None] = {}
        self._readings: dict[str, tuple[bytes, bytes]] = {}

    def with_body(self, body: Body) -> "Request":
        """The same call with another body."""
        return Request(
            self.method, self.scheme, self.host, self.port, self.path, self.strict_path, self.query,
            body, self.action_class, self.facts, self.binding, self.tenant, self.wants_bypass,
            self.wants_full_fields, self.org_domains, self.calls_last_hour, self.slack_dm_users,
        )  # fmt: skip

    @property
    def pairs(self) -> Pairs:
        """The decoded query parameters."""
        if self._pairs is _UNSET:
            self._pairs = parse_query(self.query)
        return self._pairs

    @property
    def decoded_query(self) -> str:
        """The query every queryPattern sees."""
        if self._decoded_query is _UNSET:
            self._decoded_query = decoded_query(self.pairs)
        return self._decoded_query

    @property
    def trimmed_query(self) -> str:
        """The decoded query without blanks around names and values; restricting rules see it too."""
        if self._trimmed_query is _UNSET:
            self._trimmed_query = trimmed_query(self.pairs)
        return self._trimmed_query

    @property
    def members(self) -> Any:
        """What member paths walk through; None when nothing can be named."""
        if self._members is _UNSET:
            members = body_members(self.body)
            if self.facts.params_in_query and self.pairs:
                members = with_query(members, self.pairs)
            self._members = members
        return self._members

    @property
    def hides_members(self) -> bool:
        """Whether the body may hold arguments that `members` does not show."""
        kind = self.body.kind
        if kind in ("text", "binary"):
            return True
        return kind == "json" and isinstance(self.body.value, list) and isinstance(self.members, dict)

    @property
    def mail(self) -> MailView:
        """The outgoing mail; None without one, UNREADABLE when it cannot be looked into."""
        if self._mail is _UNSET:
            self._mail = mail_of(self.facts.service, self.method, self.body, self.members)
        return self._mail

    @property
    def files(self) -> list[dict[str, str]] | None:
        """`[{"name": ...}]`; None when an unreadable mail may hold more."""
        if self._files is _UNSET:
            mail = self.mail
            self._files = (
                files_of(self.facts.service, self.strict_path, self.body, self.members, mail)
                if mail is None or isinstance(mail, dict)
                else None
            )
        return self._files

    def text(self, view: str) -> str | None:
        """One of the whole-call texts, `$body`, `$text` or `$prompt_text`; None when it cannot be read.

        An absent body is an empty text for `$text` and `$prompt_text`; for `$body` ask the kind first.
        """
        if view not in self._texts:
            self._texts[view] = None if self.body.kind == "binary" else self._make_text(view)
        return self._texts[view]

    def readings(self, view: str) -> tuple[bytes, bytes]:
        """A readable text in UTF-8, as it is and folded; one object twice when both are the same."""
        if view not in self._readings:
            text = self.text(view) or ""
            folded = fold(text)
            plain = text.encode("utf-8", "replace")
            self._readings[view] = (plain, plain if folded == text else folded.encode("utf-8", "replace"))
        return self._readings[view]

    def _make_text(self, view: str) -> str | None:
        body = self.body
        if view == "$body":
            if body.kind == "text":
                return str(body.value)
            return as_text(body_members(body))
        if view == "$prompt_text":
            return prompt_text(body.value if body.kind == "text" else self.members)
        mail = self.mail
        if mail is UNREADABLE:
            return None
        lines = [mail["subject"], mail["text"]] if isinstance(mail, dict) else []
        lines += [plain(text) for text in scalars(self.members)]
        if body.kind == "json" and self.hides_members:
            lines += [plain(text) for text in scalars(body.value)]
        if body.kind == "text":
            lines += dict.fromkeys((str(body.value), plain(str(body.value))))
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class RuleRef:
    """Which line of the policy spoke."""

    id: str
    index: int
    label: str | None
    guard: str | None


@dataclass(frozen=True, slots=True)
class Redaction:
    """How many findings of one type a field held, never their text."""

    type: str
    field: str
    count: int


class Allow(msgspec.Struct, frozen=True):
    """The call may go out.

    Shapes:
        reason: "rule_allowed", "no_rule", "trusted_recipient", or "report" when would_deny is not empty.
        body: the rewritten body that must be sent instead, None when it stays as it is.
        would_deny: (code, rule label) of everything report mode let pass, in gate order.
        trusted: every destination the call names is explicitly listed in the provider constraints.
    """

    reason: str
    rule: RuleRef | None = None
    body: Body | None = None
    redactions: tuple[Redaction, ...] = ()
    would_deny: tuple[tuple[str, str | None], ...] = ()
    trusted: bool = False


class Deny(msgspec.Struct, frozen=True):
    """The call may not go out. `message` and `hint` say what may be done instead.

    Shapes:
        ids: what a constraint rejected, for the audit row: chatId, channelId, userId, tenantId, recipient.
        redactions: what was rewritten before the refusing rule was reached.
    """

    code: str
    detail: str | None
    message: str
    hint: str | None = None
    rule: RuleRef | None = None
    retry_after_s: int | None = None
    ids: Mapping[str, str] = msgspec.field(default_factory=_no_ids)
    redactions: tuple[Redaction, ...] = ()
    would_deny: tuple[tuple[str, str | None], ...] = ()


class Hold(msgspec.Struct, frozen=True):
    """A person has to approve the call first.

    Shapes:
        code: "rule_approval", "step_up", "redaction_impossible", "pii_bypass", "full_fields" or
            "budget_override": the first of its reasons in the order of contract/policy.md section 7.
        causes: every reason in the words of contract/approvals.md section 1: "rule", "step_up",
            "redaction_impossible", "pii_bypass", "full_fields", "budget".
        rule: the rule of `code`. approval_rule: the rule of the cause "rule", which may be another one.
        body: the rewritten body, None when it stays as it is.
        findings: personal data that stays in the body (bypass asked, or it cannot be rewritten).
    """

    code: str
    causes: tuple[str, ...]
    rule: RuleRef | None
    message: str
    hint: str | None = None
    approval_rule: RuleRef | None = None
    body: Body | None = None
    redactions: tuple[Redaction, ...] = ()
    findings: tuple[Redaction, ...] = ()
    would_deny: tuple[tuple[str, str | None], ...] = ()
    trusted: bool = False


Decision: TypeAlias = Allow | Deny | Hold


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a policy, or worth a warning. `path` is written `rules.request[3].match.body[0]`."""

    path: str
    code: str
    message: str


class PolicyInvalid(ValueError):
    """The document is not a policy. It must refuse all its calls, never match everything or nothing."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first = problems[0]
        super().__init__(f"{len(problems)} problems, the first at {first.path}: {first.message}")
        self.problems = problems
