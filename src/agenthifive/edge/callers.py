"""Who is calling, and who may: the one place where permissions are compared.

A route says in its signature who may call it (`edge/routing.py`). The order of refusals is credential, kind of
principal, scope, role, CSRF. Source: contract/http.md sections 1, 10, 11 and 12.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agenthifive.errors import AppError
from agenthifive.words import PrincipalType, Role, Scope

SUPERADMIN: Final = "superadmin"
RECENT_S: Final = 600
"""How old a sign-in may be that counts as recent, in seconds. Source: contract/http.md section 14."""


class RoleRule(StrEnum):
    """Which roles of a workspace a route accepts. Source: contract/http.md section 12."""

    ANY = "any"
    APPROVER = "apr"
    ADMIN = "adm"
    OWNER = "own"
    AUDITOR = "aud"


_ROLES: Final = {
    RoleRule.ANY: frozenset(Role),
    RoleRule.APPROVER: frozenset({Role.OWNER, Role.ADMIN, Role.APPROVER}),
    RoleRule.ADMIN: frozenset({Role.OWNER, Role.ADMIN}),
    RoleRule.OWNER: frozenset({Role.OWNER}),
    RoleRule.AUDITOR: frozenset({Role.OWNER, Role.ADMIN, Role.VIEWER}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal.

    Shapes:
        workspace_id: empty for a person who belongs to none; only routes with `needs_workspace=False` see one.
        user_id: of persons and PATs. agent_id: of agents. auth_time_s: seconds since 1970 of a session's sign-in.
        csrf: the token a cookie request must repeat; None for header credentials.
        session_id: of persons.
        lacks_factor: whether the instance demands a second factor this person has not set up.
    """

    kind: PrincipalType
    id: str
    workspace_id: str
    user_id: str | None = None
    agent_id: str | None = None
    role: Role | None = None
    platform_role: str = "user"
    scopes: frozenset[Scope] = frozenset()
    auth_time_s: float | None = None
    csrf: str | None = None
    session_id: str | None = None
    lacks_factor: bool = False

    @property
    def is_cookie(self) -> bool:
        """Whether the session itself was presented, not a token made from it."""
        return self.csrf is not None

    @property
    def actor(self) -> str:
        """How this principal is named in audit rows."""
        return f"agent:{self.agent_id}" if self.agent_id is not None else str(self.user_id)

    @property
    def is_admin(self) -> bool:
        """Whether the principal acts with the rights of an owner or admin."""
        return self.role in _ROLES[RoleRule.ADMIN]


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call a route.

    Shapes:
        scope: what a token must hold; None admits every PAT. agent_scope: what an agent must hold instead.
        pats, agents, persons: kinds admitted. sessions_only: of persons, only the cookie itself.
        recent_s: how old a session's sign-in may be; None for any age.
        superadmin: whether the platform role decides and the role in the workspace does not matter.
        needs_workspace: false for what a person without any workspace may do too.
        needs_factor: false for what leads to a second factor, or away from the session.
    """

    scope: Scope | None = None
    role: RoleRule = RoleRule.ANY
    is_public: bool = False
    persons: bool = True
    pats: bool = True
    agents: bool = False
    recent_s: int | None = None
    agent_scope: Scope | None = None
    sessions_only: bool = False
    superadmin: bool = False
    needs_workspace: bool = True
    needs_factor: bool = True

    def describe(self) -> Sequence[str]:
        """The kinds of callers in the words of the contract, for OpenAPI and the reference page."""
        if self.is_public:
            return ["public"]
        kinds = []
        if self.persons:
            person = "S" if self.sessions_only else "U"
            kinds.append(f"{person}:superadmin" if self.superadmin else f"{person}:{self.role}")
        if self.pats:
            kinds.append(f"T:{self.scope or 'any'}")
        if self.agents:
            kinds.append(f"G:{self.agent_scope or self.scope}")
        return kinds


PUBLIC: Final = Access(is_public=True)


def admits_role(rule: RoleRule, role: Role) -> bool:
    """Whether a rule admits a role."""
    return role in _ROLES[rule]


def authorise(caller: Caller, access: Access, now_s: float) -> None:
    """Refuse a caller the route was not declared for. Raises: AppError."""
    _check_kind(caller, access)
    scope = access.scope if caller.agent_id is None else access.agent_scope or access.scope
    if caller.kind is not PrincipalType.USER and scope is not None and scope not in caller.scopes:
        raise AppError(
            "insufficient_scope",
            f"This token lacks the scope {scope}. Create a token with this scope.",
            hint=str(scope),
        )
    if caller.agent_id is None:
        _check_standing(caller, access)
    if access.recent_s is not None and now_s - (caller.auth_time_s or 0) > access.recent_s:
        raise AppError(
            "reauth_required",
            "This needs a recent sign-in. Confirm with your password, a code or a passkey at POST "
            "/api/auth/reauthenticate, then repeat.",
            hint="POST /api/auth/reauthenticate",
        )


def _check_standing(caller: Caller, access: Access) -> None:
    if caller.lacks_factor and access.needs_factor:
        raise AppError(
            "two_factor_required",
            "This instance demands a second factor. Add a passkey or an authenticator app at /dashboard/security, "
            "then repeat.",
            hint="/dashboard/security",
        )
    if access.superadmin:
        if caller.platform_role != SUPERADMIN:
            raise AppError("insufficient_role", "This needs a superadmin of this instance.", hint=SUPERADMIN)
        return
    if caller.role is None:
        if access.needs_workspace:
            raise AppError("not_a_member", "You are no member of this workspace any more. Pick another workspace.")
        return
    if caller.role not in _ROLES[access.role]:
        needed = " or ".join(role for role in Role if role in _ROLES[access.role])
        raise AppError("insufficient_role", f"This needs the role {needed} in the workspace.", hint=needed)


def _check_kind(caller: Caller, access: Access) -> None:
    if caller.kind is PrincipalType.AGENT:
        if not access.agents:
            raise AppError(
                "agent_not_allowed",
                "Agents may not call this route; ask a person. An agent may call POST /v1/vault/execute, "
                "/v1/vault/llm/*, GET /v1/connections and GET /v1/capabilities/*.",
            )
    elif access.agents and not access.persons and not access.pats:
        raise AppError("agent_only", "This route only makes sense for an agent. Use an agent's access token.")
    elif caller.kind is PrincipalType.PAT and not access.pats:
        raise AppError("pat_not_allowed", "Personal access tokens may not call this route. Sign in instead.")
    elif caller.kind is PrincipalType.USER and access.sessions_only and not caller.is_cookie:
        raise AppError(
            "wrong_credential_type",
            "This route takes the session cookie itself, not a token made from it. Repeat the request with the cookie.",
        )
