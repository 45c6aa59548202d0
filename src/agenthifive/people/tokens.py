"""Personal access tokens: how programs act in a person's name, with no more than the person may.

Source: contract/http.md sections 10, 11 and 15.3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.edge.credentials import PAT_PREFIX
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id, new_id, wire_time
from agenthifive.people import token_store
from agenthifive.people.model import Owner, PersonalToken
from agenthifive.vault.hashing import new_token, sha256_hex
from agenthifive.words import PAT_SCOPES, SENSITIVE_SCOPES, AuditAction, PrincipalType, Role, Scope

LIVE_MAX: Final = 50
DAYS_MAX: Final = 365
DAYS_DEFAULT: Final = 30
_HINT_LENGTH: Final = 4
_LIST_ROUTE: Final = "/v1/tokens"
_ADMIN_ONLY: Final = frozenset(
    {
        Scope.VAULT_EXECUTE,
        Scope.CONNECTIONS_WRITE,
        Scope.POLICIES_WRITE,
        Scope.CREDENTIALS_RESOLVE,
        Scope.WORKSPACE_WRITE,
    }
)
# An approver may disable an agent, so agents:write is of use to them; what else it opens asks for the role as well.
_ROLE_SCOPES: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.OWNER: frozenset(PAT_SCOPES),
    Role.ADMIN: frozenset(PAT_SCOPES),
    Role.APPROVER: frozenset(PAT_SCOPES) - _ADMIN_ONLY - {Scope.AUDIT_EXPORT},
    Role.VIEWER: frozenset(PAT_SCOPES) - _ADMIN_ONLY - {Scope.APPROVALS_DECIDE, Scope.AGENTS_WRITE},
}
DESCRIPTIONS: Final[Mapping[Scope, str]] = {
    Scope.VAULT_EXECUTE: "Call providers through the vault under an agent's policy",
    Scope.CAPABILITIES_READ: "See which services and action templates exist",
    Scope.CONNECTIONS_READ: "List connections",
    Scope.CONNECTIONS_WRITE: "Create, change, test, revoke and delete connections",
    Scope.APPROVALS_READ: "See approvals and permission requests",
    Scope.APPROVALS_DECIDE: "Approve and deny in your name",
    Scope.AGENTS_READ: "See agents",
    Scope.AGENTS_WRITE: "Create, change, disable and delete agents, issue bootstrap secrets",
    Scope.POLICIES_READ: "See and explain policies",
    Scope.POLICIES_WRITE: "Create, change and delete policies",
    Scope.AUDIT_READ: "Read the audit log",
    Scope.AUDIT_EXPORT: "Export the audit log",
    Scope.CREDENTIALS_RESOLVE: "Obtain stored credentials in plain form",
    Scope.NOTIFICATIONS_READ: "Read notifications",
    Scope.NOTIFICATIONS_WRITE: "Mark notifications as read, manage channels",
    Scope.WORKSPACE_READ: "See the workspace and its members",
    Scope.WORKSPACE_WRITE: "Manage members, invitations and OAuth apps",
}


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token to be. Shapes: scopes: of PAT_SCOPES, in their order. Units: days."""

    name: str
    scopes: Sequence[Scope]
    days: int = DAYS_DEFAULT


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token with its text, which is shown this once."""

    token: PersonalToken
    plain: str

    def __repr__(self) -> str:
        return f"IssuedToken({self.token!r})"


class Tokens:
    """Issues, finds and revokes personal access tokens. Shapes: factor_rule: who must have a second factor."""

    def __init__(self, database: Database, factor_rule: str = "off") -> None:
        self._database = database
        self._factor_rule = factor_rule

    async def caller_by_pat(self, text: str) -> Caller | None:
        """The caller behind a token: its scopes, as far as its owner's role reaches today.

        Raises: psycopg.Error, PoolTimeout.
        """
        async with self._database.transaction() as connection:
            held = await token_store.find_held(connection, sha256_hex(text), self._factor_rule)
        if held is None:
            return None
        return Caller(
            kind=PrincipalType.PAT,
            id=held.id,
            workspace_id=held.workspace_id,
            user_id=held.user_id,
            role=held.role,
            platform_role=held.platform_role,
            scopes=frozenset(scope for scope in _ROLE_SCOPES[held.role] if scope in held.scopes),
            lacks_factor=held.lacks_factor,
        )

    async def create(
        self, unit: Unit, owner: Owner, role: Role, new: NewToken, *, via: str | None = None
    ) -> IssuedToken:
        """Issue a token to a member of a workspace.

        Raises: AppError (403 insufficient_role, 409 token_limit).
        """
        check_role(role, new.scopes)
        plain = new_token(PAT_PREFIX)
        token = await token_store.insert(
            await unit.begin(),
            owner,
            token_id=new_id(),
            name=new.name,
            token_hash=sha256_hex(plain),
            hint_suffix=plain[-_HINT_LENGTH:],
            scopes=[scope.value for scope in new.scopes],
            days=new.days,
            live_max=LIVE_MAX,
        )
        if token is None:
            raise AppError(
                "token_limit",
                f"You hold {LIVE_MAX} personal access tokens. Revoke one you no longer need, then try again.",
                hint=f"DELETE {_LIST_ROUTE}/{{id}}",
            )
        unit.record(
            AuditAction.PAT_CREATED,
            {
                "tokenId": token.id,
                "name": token.name,
                "scopes": list(token.scopes),
                "expiresAt": wire_time(token.expires_at),
            }
            | ({} if via is None else {"via": via}),
            workspace_id=owner.workspace_id,
        )
        return IssuedToken(token, plain)

    async def list_tokens(self, connection: Connection, owner: Owner) -> list[PersonalToken]:
        """The owner's tokens in this workspace that were not revoked, oldest first."""
        return await token_store.list_tokens(connection, owner)

    async def rename(self, unit: Unit, owner: Owner, token_id: str, name: str) -> None:
        """Give a token another name. Raises: AppError (404)."""
        if not is_id(token_id) or not await token_store.rename(await unit.begin(), owner, token_id, name):
            raise not_found("token", _LIST_ROUTE)
        unit.record(AuditAction.PAT_RENAMED, {"tokenId": token_id, "name": name})

    async def revoke(self, unit: Unit, owner: Owner, token_id: str) -> None:
        """End a token. Raises: AppError (404, also when it was revoked before)."""
        name = await token_store.revoke(await unit.begin(), owner, token_id) if is_id(token_id) else None
        if name is None:
            raise not_found("token", _LIST_ROUTE)
        unit.record(AuditAction.PAT_REVOKED, {"tokenId": token_id, "name": name})


def check_role(role: Role, scopes: Sequence[Scope]) -> None:
    """Refuse sensitive scopes that a role cannot use. Raises: AppError (403 insufficient_role)."""
    beyond = [scope for scope in scopes if scope in SENSITIVE_SCOPES and scope not in _ROLE_SCOPES[role]]
    if beyond:
        raise AppError(
            "insufficient_role",
            f"Your role ({role}) cannot use {', '.join(beyond)}. Leave these scopes out, or ask an admin.",
            hint=str(Role.ADMIN),
        )


def needs_recent_sign_in(scopes: Sequence[Scope]) -> bool:
    """Whether a token with these scopes may be issued only shortly after a sign-in."""
    return not SENSITIVE_SCOPES.isdisjoint(scopes)
