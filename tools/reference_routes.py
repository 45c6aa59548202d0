"""The page of the routes, from their declarations."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from agenthifive.agents import api as agents
from agenthifive.audit import api as audit
from agenthifive.broker.http import EXECUTE_ACCESS
from agenthifive.broker.llm import LLM_ACCESS
from agenthifive.connections import api as connections
from agenthifive.edge.callers import Access
from agenthifive.edge.gate import EXECUTE_PATH, LLM_PREFIX
from agenthifive.edge.management import make_management
from agenthifive.edge.routing import DeclaredRoute
from agenthifive.jwt import api as jwt
from agenthifive.operations import api as operations
from agenthifive.operations import freeze_api, keys_api
from agenthifive.operations import pages as operations_pages
from agenthifive.people import api as people
from agenthifive.people import pages as people_pages
from agenthifive.policies import api as policies
from agenthifive.words import AuditAction, RateLimit
from tools.markdown import code, codes, one_line, table

ROOMS: Final = (
    *(operations, operations_pages, keys_api, freeze_api, people, people_pages, agents, connections, policies),
    *(audit, jwt),
)
_HEADING: Final = """\
# Routes

Who may call: `public`; `U:<role>` a person with a session and at least this role in the workspace (`any`, `apr`
approver, `adm` admin, `own` owner; `aud` admits owners, admins and viewers); `T:<scope>` a personal access token with
this scope, its owner's role permitting; `G:<scope>` an agent's access token with this scope. Every route that is not
public may answer `authentication_required`, `invalid_token`, `insufficient_scope`, `insufficient_role` and
`agent_not_allowed`; every route with a body `invalid_json`, `invalid_request`, `payload_too_large` and
`unsupported_media_type`; every route with a limit `rate_limited`; every route `unavailable`. The column lists the
others ([errors](errors.md)). GET routes answer HEAD. One slash at the end of a path is ignored. A running server
describes the bodies at `/openapi.json`.

This page is generated (`python -m tools.reference`).
"""
TITLES: Final = {
    "broker": "Calls",
    "instance": "Instance",
    "people": "People and sessions",
    "passkeys": "Passkeys",
    "totp": "Authenticator apps and recovery codes",
    "tokens": "Personal access tokens",
    "workspaces": "Workspaces and members",
    "invitations": "Invitations",
    "admin": "Instance administration",
    "pages": "Pages",
    "agents": "Agents",
    "connections": "Connections and catalog",
    "policies": "Policies and templates",
    "keys": "Keys",
    "audit": "Audit log",
    "signing keys": "Signing keys",
}
_CALL_AUDIT: Final = (
    AuditAction.EXECUTION_REQUESTED,
    AuditAction.EXECUTION_COMPLETED,
    AuditAction.EXECUTION_DENIED,
    AuditAction.RATE_LIMIT_EXCEEDED,
)
_VEND_AUDIT: Final = (
    AuditAction.TOKEN_VEND_REQUESTED,
    AuditAction.TOKEN_VENDED,
    AuditAction.TOKEN_VEND_DENIED,
    AuditAction.IDEMPOTENT_REPLAY,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One route as it is declared."""

    tag: str
    method: str
    path: str
    about: str
    callers: Sequence[str]
    audit: Sequence[str]
    errors: Sequence[str]
    limit: str | None
    access: Access

    @property
    def scopes(self) -> set[str]:
        """What a token must hold for it."""
        return {caller.partition(":")[2] for caller in self.callers if caller.startswith(("T:", "G:"))}


def render_routes() -> str:
    """The Markdown of docs/reference/routes.md."""
    parts = [_HEADING]
    operations = list_operations()
    for tag in dict.fromkeys(operation.tag for operation in operations):
        rows = [
            (
                code(f"{o.method} {o.path}"),
                o.about,
                codes(o.callers),
                codes(o.audit),
                o.errors[0] if o.tag == "broker" else codes(o.errors),
                code(o.limit or ""),
            )
            for o in operations
            if o.tag == tag
        ]
        headings = ("route", "does", "callers", "audit", "errors", "limit")
        parts.append(f"\n## {TITLES[tag]}\n\n" + table(headings, rows))
    return "".join(parts)


@cache
def list_operations() -> tuple[Operation, ...]:
    """Every route, in the order of their declaration, the two of the broker first."""
    management = make_management([room.routes.router for room in ROOMS])
    return (*_brokered(), *(_declared(route) for route in management.routes if isinstance(route, DeclaredRoute)))


def _declared(route: DeclaredRoute) -> Operation:
    (method,) = (route.methods or set()) - {"HEAD"}
    return Operation(
        tag=str(route.tags[0]),
        method=method,
        path=route.path,
        about=one_line(route.description.partition("Source:")[0]),
        callers=route.access.describe(),
        audit=[str(action) for action in route.audit],
        errors=route.errors,
        limit=route.limit,
        access=route.access,
    )


def _brokered() -> tuple[Operation, ...]:
    """The routes in front of FastAPI."""
    execute = "Call a provider through the vault (model B), or obtain a token (model A)."
    proxy = "A vendor's own API with an agent's token in the place of the key; GET, POST, PUT, PATCH, DELETE."
    return (
        _made("POST", EXECUTE_PATH, execute, EXECUTE_ACCESS, (*_CALL_AUDIT, *_VEND_AUDIT)),
        _made("ALL", LLM_PREFIX + "{provider}/{path}", proxy, LLM_ACCESS, _CALL_AUDIT),
    )


def _made(method: str, path: str, about: str, access: Access, audit: Sequence[str]) -> Operation:
    callers = access.describe()
    return Operation("broker", method, path, about, callers, audit, ("section Calls",), RateLimit.IN_FLIGHT, access)
