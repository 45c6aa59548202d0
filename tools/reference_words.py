"""The pages of the closed vocabularies: error codes, audit actions, scopes.

What a word means stands in errors.toml and audit-actions.toml beside this file; the rest comes from the code.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from agenthifive.errors import STATUS
from agenthifive.people.tokens import DESCRIPTIONS
from agenthifive.words import AGENT_SCOPES, PAT_DEFAULT_SCOPES, PAT_SCOPES, SENSITIVE_SCOPES, AuditAction, Scope
from tools.markdown import code, codes, table
from tools.reference_routes import Operation, list_operations

_ERRORS: Final = """\
# Error codes

Every refusal is JSON with `error` (one or two sentences that contain the next step) and `code` (from this page, part
of the API). Further members where they apply: `detail` (a refinement of the code), `hint` (the next step for
programs), `fields` (`path` and `message` of each faulty member), `retryAfter` (seconds, equal to the `Retry-After`
header), `auditId` (the row in the log that records the refusal), `outcome` (`not_sent` or `unknown`, after a call
passed the commit point). The header `X-AgentHiFive-Error` repeats the code.

`POST /v1/vault/execute` answers 200 with the provider's status inside; a provider's own error is never turned into one
of these. The LLM proxy answers refusals in the error format of the vendor and keeps code and audit id in headers.
On `/api/auth/*` every code is written in capitals and `message` repeats `error`.

This page is generated (`python -m tools.reference`).
"""
_AUDIT: Final = """\
# Audit actions

What a row of `l_audit_events` can say happened; another word cannot be written. `decision` is `allowed`, `denied` or
`error`. A call that was carried out leaves two rows, intent and outcome; a refused one leaves one. Metadata holds no
secret, no query value and no body; members in brackets are not always there. `access_denied`, `agent_token_denied`
with `verified: false`, `user_sign_in_failed`, `authentication_failed` and `rate_limited` are merged above 60 a minute
from one source; `count` then says how many.

This page is generated (`python -m tools.reference`).
"""
_SCOPES: Final = """\
# Scopes

What a token may do. A route asks for at most one scope ([routes](routes.md)); a person's token never does more than
the person's role allows. *Sensitive* scopes are named when a token is created with them. Scopes without a route belong
to parts of AgentHiFive that this release does not have.

This page is generated (`python -m tools.reference`).
"""
_AGENT_ONLY: Final[Mapping[Scope, str]] = {
    Scope.CAPABILITIES_REQUEST: "Ask a person for access to a service",
    Scope.CONNECTIONS_REVOKE: "Revoke a connection the agent uses",
}


def render_errors() -> str:
    """The Markdown of docs/reference/errors.md. Raises: ValueError for a code without a meaning."""
    parts = [_ERRORS]
    for title, section in _read_meanings("errors.toml", set(STATUS)).items():
        rows = [(code(name), str(STATUS[name]), when, then) for name, (when, then) in section.items()]
        parts.append(f"\n## {title}\n\n" + table(("code", "status", "when", "what to do"), rows))
    return "".join(parts)


def render_audit_actions() -> str:
    """The Markdown of docs/reference/audit-actions.md. Raises: ValueError for an action without a meaning."""
    operations = list_operations()
    parts = [_AUDIT]
    for title, section in _read_meanings("audit-actions.toml", set(AuditAction)).items():
        rows = [
            (code(name), when, metadata, _routes([o for o in operations if name in o.audit]))
            for name, (when, metadata) in section.items()
        ]
        parts.append(f"\n## {title}\n\n" + table(("action", "when", "metadata", "routes"), rows))
    return "".join(parts)


def render_scopes() -> str:
    """The Markdown of docs/reference/scopes.md."""
    operations = list_operations()
    rows = [
        (
            code(scope),
            {**DESCRIPTIONS, **_AGENT_ONLY}[scope],
            "yes" if scope in AGENT_SCOPES else "",
            ("default" if scope in PAT_DEFAULT_SCOPES else "yes") if scope in PAT_SCOPES else "",
            "yes" if scope in SENSITIVE_SCOPES else "",
            _routes([o for o in operations if scope in o.scopes]),
        )
        for scope in Scope
    ]
    return _SCOPES + "\n" + table(("scope", "allows", "agents", "personal tokens", "sensitive", "routes"), rows)


def _routes(operations: list[Operation]) -> str:
    return codes(f"{operation.method} {operation.path}" for operation in operations)


def _read_meanings(file: str, known: set[str]) -> Mapping[str, Mapping[str, tuple[str, str]]]:
    """Meanings by section and word. Raises: ValueError unless exactly the known words have one."""
    sections: dict[str, dict[str, tuple[str, str]]] = tomllib.loads(Path(__file__).with_name(file).read_text("utf-8"))
    explained = {word for section in sections.values() for word in section}
    if explained != known:
        raise ValueError(f"{file}: missing {sorted(known - explained)}, unknown {sorted(explained - known)}")
    return sections
