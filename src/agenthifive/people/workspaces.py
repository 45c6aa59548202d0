"""What people do with workspaces and their members.

    lock the workspace -> what is the caller in it now? -> change -> audit row -> the edge commits both

The role a request came with may have changed since; what counts is the role under the lock. Therefore there is one
owner at any instant, and nobody acts with a right that was just taken away. Source: contract/http.md sections 12, 15.2.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import SUPERADMIN, Caller
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id, new_id
from agenthifive.people import store, workspace_store
from agenthifive.people.model import Membership
from agenthifive.people.workspace_model import Member
from agenthifive.words import AuditAction, Role

ANYONE: Final = "anyone"
MEMBERS_ROUTE: Final = "/v1/workspaces/current/members"
_MANAGERS: Final = frozenset({Role.OWNER, Role.ADMIN})
EndConnections = Callable[[Unit, str], Awaitable[int]]


class Workspaces:
    """The workspaces of the instance; every verb but `create` and `select` acts in the caller's own.

    Shapes:
        end_connections: revokes every connection of a workspace that is about to go, at the providers too; set by the
        assembly. Without it their credentials are erased and nobody else is told.
    """

    def __init__(self, creation: str) -> None:
        self._creation = creation
        self.end_connections: EndConnections = _end_none

    async def create(self, unit: Unit, caller: Caller, name: str) -> Membership:
        """A further workspace, owned by the caller. Raises: AppError (403 by WORKSPACE_CREATION)."""
        if self._creation != ANYONE and caller.platform_role != SUPERADMIN:
            raise AppError(
                "insufficient_role", "Only a superadmin may open workspaces on this instance. Ask one.", hint=SUPERADMIN
            )
        workspace_id, user_id, connection = new_id(), str(caller.user_id), await unit.begin()
        await store.insert_workspace(connection, workspace_id, name, user_id)
        unit.record(AuditAction.WORKSPACE_CREATED, {"name": name}, workspace_id=workspace_id)
        return await self.find(connection, user_id, workspace_id)

    async def select(self, unit: Unit, caller: Caller, workspace_id: str) -> Membership:
        """Let the caller's session act in another of their workspaces. Raises: AppError (404)."""
        connection, user_id = await unit.begin(), str(caller.user_id)
        if not is_id(workspace_id) or not await workspace_store.select(
            connection, str(caller.session_id), user_id, workspace_id
        ):
            raise AppError("not_found", "You belong to no workspace with this id. List yours with GET /v1/workspaces.")
        return await self.find(connection, user_id, workspace_id)

    async def find(self, connection: Connection, user_id: str, workspace_id: str) -> Membership:
        """A workspace as one of its members sees it. Raises: AppError (403) when they are no member any more."""
        membership = await store.find_membership(connection, user_id, workspace_id)
        if membership is None:
            raise _gone()
        return membership

    async def change(
        self, unit: Unit, caller: Caller, name: str | None, domains: Sequence[str] | None
    ) -> tuple[Membership, Sequence[str]]:
        """Rename the workspace, or say which mail domains are its own. Raises: AppError (403)."""
        connection, old_name, _ = await enter(unit, caller, Role.OWNER)
        await workspace_store.update(connection, caller.workspace_id, name, domains)
        fields = [field for field, value in (("name", name), ("orgDomains", domains)) if value is not None]
        renamed = {} if name is None or name == old_name else {"from": old_name, "to": name}
        unit.record(AuditAction.WORKSPACE_UPDATED, {"name": name or old_name, "fields": fields, **renamed})
        membership = await self.find(connection, str(caller.user_id), caller.workspace_id)
        return membership, await workspace_store.find_domains(connection, caller.workspace_id)

    async def transfer(self, unit: Unit, caller: Caller, user_id: str) -> Membership:
        """Make another member the owner; the caller becomes admin. Raises: AppError (403, 404, 409)."""
        connection, name, _ = await enter(unit, caller, Role.OWNER)
        standing = await workspace_store.find_standing(connection, caller.workspace_id, _known_form(user_id))
        if standing is None:
            raise _no_member()
        if standing.role is Role.OWNER or standing.is_disabled or not standing.is_verified:
            raise AppError(
                "conflict", "The new owner must be another member whose account is enabled and e-mail is verified."
            )
        await workspace_store.set_owner(connection, caller.workspace_id, str(caller.user_id), user_id)
        unit.record(AuditAction.WORKSPACE_TRANSFERRED, {"name": name, "from": caller.user_id, "to": user_id})
        return await self.find(connection, str(caller.user_id), caller.workspace_id)

    async def delete(self, unit: Unit, caller: Caller, confirmed_name: str) -> None:
        """Remove the workspace with all it holds; its audit rows stay. Raises: AppError (400, 403)."""
        _, name, _ = await enter(unit, caller, Role.OWNER)
        if confirmed_name != name:
            message = "must be the name of the workspace"
            raise AppError(
                "invalid_request",
                f"confirmName {message}, letter by letter. Nothing was deleted.",
                fields=[{"path": "confirmName", "message": message}],
            )
        await self.erase(unit, caller.workspace_id, name)

    async def erase(self, unit: Unit, workspace_id: str, name: str) -> None:
        """Remove a workspace whose row is held: connections revoked, agents, policies and tokens gone."""
        await self.end_connections(unit, workspace_id)
        await workspace_store.erase(await unit.begin(), workspace_id)
        unit.record(AuditAction.WORKSPACE_DELETED, {"name": name}, workspace_id=workspace_id)

    async def list_members(self, connection: Connection, caller: Caller) -> list[Member]:
        """The members of the workspace, in the order they joined."""
        return await workspace_store.list_members(connection, caller.workspace_id)

    async def set_role(self, unit: Unit, caller: Caller, user_id: str, role: Role) -> Member:
        """Give a member another role. Raises: AppError (403, 404, 409 for the owner)."""
        connection, _, own = await enter(unit, caller, Role.ADMIN)
        old = await self._find_other(connection, caller, user_id)
        _check_reach(own, old, role)
        await workspace_store.set_role(connection, caller.workspace_id, user_id, role)
        unit.record(AuditAction.MEMBER_ROLE_CHANGED, {"userId": user_id, "from": old, "to": role})
        [member] = await workspace_store.list_members(connection, caller.workspace_id, user_id)
        return member

    async def remove(self, unit: Unit, caller: Caller, user_id: str) -> None:
        """Take a member out, or leave. Raises: AppError (403, 404, 409 for the owner)."""
        leaves = user_id == caller.user_id
        connection, _, own = await enter(unit, caller, Role.VIEWER if leaves else Role.ADMIN)
        old = await self._find_other(connection, caller, user_id)
        if not leaves:
            _check_reach(own, old)
        tokens = await workspace_store.remove_member(connection, caller.workspace_id, user_id)
        unit.record(AuditAction.MEMBER_REMOVED, {"userId": user_id, "role": old, "tokensRevoked": tokens})

    async def _find_other(self, connection: Connection, caller: Caller, user_id: str) -> Role:
        """The role of a member who is not the owner. Raises: AppError (404, 409)."""
        standing = await workspace_store.find_standing(connection, caller.workspace_id, _known_form(user_id))
        if standing is None:
            raise _no_member()
        if standing.role is Role.OWNER:
            raise AppError(
                "conflict",
                "The owner of a workspace keeps the role and cannot be removed. Transfer the ownership first.",
                hint="POST /v1/workspaces/current/transfer",
            )
        return standing.role


async def enter(unit: Unit, caller: Caller, needed: Role) -> tuple[Connection, str, Role]:
    """Lock the caller's workspace; the connection, its name, and what the caller is in it now.

    Shapes: needed: OWNER, ADMIN (which an owner is too) or VIEWER (any member).
    Raises: AppError (403 not_a_member, insufficient_role).
    """
    connection = await unit.begin()
    name = await workspace_store.hold(connection, caller.workspace_id)
    standing = await workspace_store.find_standing(connection, caller.workspace_id, str(caller.user_id))
    if name is None or standing is None or standing.is_disabled:
        raise _gone()
    is_enough = {Role.OWNER: standing.role is Role.OWNER, Role.ADMIN: standing.role in _MANAGERS}
    if not is_enough.get(needed, True):
        text = "owner" if needed is Role.OWNER else "owner or admin"
        raise AppError("insufficient_role", f"This needs the role {text} in the workspace.", hint=text)
    return connection, name, standing.role


def check_appointment(own: Role, role: Role) -> None:
    """Admins come and go by the owner's word alone. Raises: AppError (403 insufficient_role)."""
    if role is Role.ADMIN and own is not Role.OWNER:
        raise AppError(
            "insufficient_role",
            "Only the owner of the workspace invites, appoints or removes admins.",
            hint=str(Role.OWNER),
        )


def _check_reach(own: Role, *roles: Role) -> None:
    for role in roles:
        check_appointment(own, role)


def _known_form(user_id: str) -> str:
    if not is_id(user_id):
        raise _no_member()
    return user_id


def _no_member() -> AppError:
    return not_found("member", MEMBERS_ROUTE)


def _gone() -> AppError:
    return AppError("not_a_member", "You are no member of this workspace any more. Pick another workspace.")


async def _end_none(unit: Unit, workspace_id: str) -> int:
    return 0
