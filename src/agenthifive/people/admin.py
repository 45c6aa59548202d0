"""Administering an instance: accounts and who administers; never what workspaces hold.

    lock -> is the actor a superadmin now? -> hold the account -> change -> audit row at instance level

The lock is one for the whole instance, so two superadmins who demote each other at once meet in it: the second one is
none any more. Source: contract/http.md sections 12 and 15.11, operations.md section 15.
"""

from typing import Final

import msgspec
import psycopg

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import SUPERADMIN
from agenthifive.errors import AppError
from agenthifive.ids import is_id
from agenthifive.people import admin_store, links
from agenthifive.people.accounts import Accounts
from agenthifive.people.admin_model import KnownUser, KnownWorkspace, Slice
from agenthifive.people.admin_store import HeldUser
from agenthifive.people.links import RESET_TTL_S, SET_PASSWORD_TTL_S, Purpose
from agenthifive.people.model import Account, read_email
from agenthifive.people.second_factors import SecondFactors
from agenthifive.people.workspaces import Workspaces
from agenthifive.words import AuditAction, Role

RESET_PATH: Final = "/reset-password"
PLATFORM_ROLES: Final = ("user", SUPERADMIN)


class Admin:
    """What superadmins do, and operators at the command line.

    Shapes: actor_id: the superadmin who acts; None for the operator, whom the database itself has let in.
    """

    def __init__(self, web_url: str, accounts: Accounts, workspaces: Workspaces, factors: SecondFactors) -> None:
        self._web_url = web_url
        self._accounts = accounts
        self._workspaces = workspaces
        self._factors = factors

    async def read_stats(self, connection: Connection) -> dict[str, int]:
        """The figures of the instance."""
        return await admin_store.read_stats(connection)

    async def list_users(self, connection: Connection, wanted: Slice) -> tuple[list[KnownUser], int]:
        """Accounts, oldest first, and how many fit in all."""
        return await admin_store.list_users(connection, wanted)

    async def find_user(self, connection: Connection, user_id: str) -> KnownUser:
        """One account. Raises: AppError (404)."""
        user = await admin_store.find_user(connection, _known_form(user_id))
        if user is None:
            raise _no_user()
        return user

    async def find_by_email(self, connection: Connection, email: str) -> str:
        """The id of the account of an address. Raises: AppError (404)."""
        address = read_email(email)
        user_id = None if address is None else await admin_store.find_id(connection, address)
        if user_id is None:
            raise AppError("not_found", "Nobody with this e-mail address has an account on this instance.")
        return user_id

    async def list_workspaces(self, connection: Connection, wanted: Slice) -> tuple[list[KnownWorkspace], int]:
        """Workspaces, oldest first, and how many fit in all."""
        return await admin_store.list_workspaces(connection, wanted)

    async def find_workspace(self, connection: Connection, workspace_id: str) -> KnownWorkspace:
        """One workspace. Raises: AppError (404)."""
        found = await admin_store.find_workspace(connection, workspace_id) if is_id(workspace_id) else None
        if found is None:
            raise AppError("not_found", "No workspace with this id exists. List them with GET /v1/admin/workspaces.")
        return found

    async def create_user(
        self, unit: Unit, actor_id: str | None, email: str, name: str, workspace_id: str | None, role: Role | None
    ) -> tuple[Account, str]:
        """A verified account and the link that sets its password. Raises: AppError (400, 403, 404, 409)."""
        await self._enter(unit, actor_id)
        method = "cli" if actor_id is None else "admin"
        account = await self._accounts.create_user(
            unit, email, name, None, workspace_id, role or Role.VIEWER, method=method
        )
        return account, await self.issue_link(unit, account.user.id, SET_PASSWORD_TTL_S)

    async def issue_link(self, unit: Unit, user_id: str, ttl_s: float) -> str:
        """A link that sets a new password, once; earlier ones are void."""
        token = await links.issue(await unit.begin(), Purpose.RESET, user_id, ttl_s)
        return f"{self._web_url}{RESET_PATH}?token={token}"

    async def issue_reset_link(self, unit: Unit, user_id: str) -> str:
        """The same for somebody who forgot theirs, recorded. Raises: AppError (404)."""
        await self._hold(unit, None, user_id)
        unit.record(AuditAction.PASSWORD_RESET_REQUESTED, {"userId": user_id}, workspace_id=None)
        return await self.issue_link(unit, user_id, RESET_TTL_S)

    async def set_role(self, unit: Unit, actor_id: str | None, user_id: str, platform_role: str) -> None:
        """Make somebody superadmin, or not. Raises: AppError (400 self_change, 404, 409 for the last one)."""
        _refuse_self(actor_id, user_id)
        user = await self._hold(unit, actor_id, user_id)
        if platform_role != SUPERADMIN:
            await self._keep_one(unit, user)
        await admin_store.set_platform_role(await unit.begin(), user_id, platform_role)
        unit.record(
            AuditAction.USER_ROLE_CHANGED,
            {"userId": user_id, "from": user.platform_role, "to": platform_role},
            workspace_id=None,
        )

    async def disable(self, unit: Unit, actor_id: str | None, user_id: str) -> tuple[int, int]:
        """Stop somebody at once, everywhere; how many sessions ended and how many tokens stopped.

        Raises: AppError (400 self_change, 404, 409 when disabled already or the last superadmin).
        """
        _refuse_self(actor_id, user_id)
        user = await self._hold(unit, actor_id, user_id)
        if user.is_disabled:
            raise AppError("conflict", "This account is disabled already.")
        await self._keep_one(unit, user)
        sessions, tokens = await admin_store.disable(await unit.begin(), user_id)
        metadata = {"userId": user_id, "sessionsEnded": sessions, "tokensStopped": tokens}
        unit.record(AuditAction.USER_DISABLED, metadata, workspace_id=None)
        return sessions, tokens

    async def enable(self, unit: Unit, actor_id: str | None, user_id: str) -> None:
        """Let somebody work again, with the tokens and agents they had. Raises: AppError (404, 409)."""
        user = await self._hold(unit, actor_id, user_id)
        if not user.is_disabled:
            raise AppError("conflict", "This account is not disabled.")
        await admin_store.enable(await unit.begin(), user_id)
        unit.record(AuditAction.USER_ENABLED, {"userId": user_id}, workspace_id=None)

    async def sign_out(self, unit: Unit, actor_id: str | None, user_id: str) -> int:
        """End every session of somebody; how many that were. Raises: AppError (404)."""
        await self._hold(unit, actor_id, user_id)
        sessions = await admin_store.end_sessions(await unit.begin(), user_id)
        metadata = {"userId": user_id, "sessions": sessions, "all": True}
        unit.record(AuditAction.USER_SIGNED_OUT, metadata, workspace_id=None)
        return sessions

    async def reset_two_factor(self, unit: Unit, actor_id: str | None, user_id: str) -> int:
        """Take somebody's second factors away, so that they can set up new ones; how many sessions that ended.

        Raises: AppError (404).
        """
        await self._hold(unit, actor_id, user_id)
        unit.signature = msgspec.structs.replace(unit.signature, workspace_id=None)  # an account is of no workspace
        return await self._factors.reset(unit, user_id)

    async def delete(self, unit: Unit, actor_id: str, user_id: str) -> None:
        """Remove an account, and the workspaces nobody else belongs to.

        Raises: AppError (400 self_change, 404, 409 for the last superadmin or the owner of a workspace with members).
        """
        _refuse_self(actor_id, user_id)
        user = await self._hold(unit, actor_id, user_id)
        await self._keep_one(unit, user)
        connection = await unit.begin()
        owned = await admin_store.hold_owned(connection, user_id)
        shared = [name for _, name, has_others in owned if has_others]
        if shared:
            raise _owns(shared[0])
        for workspace_id, name, _ in owned:
            await self._workspaces.erase(unit, workspace_id, name)
        try:
            await admin_store.delete_user(connection, user_id)
        except psycopg.errors.ForeignKeyViolation:  # a workspace became theirs meanwhile
            raise _owns("that was just transferred to them") from None
        unit.record(AuditAction.USER_DELETED, {"userId": user_id}, workspace_id=None)

    async def _enter(self, unit: Unit, actor_id: str | None) -> Connection:
        """Wait for others who change who administers; the actor still does. Raises: AppError (403)."""
        connection = await unit.begin()
        await admin_store.lock_superadmins(connection)
        if actor_id is not None and not await admin_store.is_superadmin(connection, actor_id):
            raise AppError("insufficient_role", "This needs a superadmin of this instance.", hint=SUPERADMIN)
        return connection

    async def _hold(self, unit: Unit, actor_id: str | None, user_id: str) -> HeldUser:
        connection = await self._enter(unit, actor_id)
        user = await admin_store.hold_user(connection, _known_form(user_id))
        if user is None:
            raise _no_user()
        return user

    async def _keep_one(self, unit: Unit, user: HeldUser) -> None:
        """Somebody must be left who administers. Raises: AppError (409)."""
        counts = user.platform_role == SUPERADMIN and not user.is_disabled
        if counts and not await admin_store.has_other_superadmin(await unit.begin(), user.id):
            raise AppError("conflict", "This is the last superadmin of the instance. Appoint another one first.")


def _refuse_self(actor_id: str | None, user_id: str) -> None:
    if actor_id == user_id:
        raise AppError(
            "self_change",
            "You cannot change the role of, disable or delete your own account. Ask another superadmin.",
        )


def _known_form(user_id: str) -> str:
    if not is_id(user_id):
        raise _no_user()
    return user_id


def _no_user() -> AppError:
    return AppError("not_found", "No user with this id exists. List them with GET /v1/admin/users.")


def _owns(workspace: str) -> AppError:
    return AppError(
        "conflict",
        f"This account owns a workspace with other members ({workspace}). Its owner must transfer or delete it first.",
    )
