"""Creating people: what is checked of them, and what they come with.

Source: contract/http.md sections 12 and 14.1, operations.md section 15 (`user create`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.ids import is_id, new_id
from agenthifive.people import store
from agenthifive.people.model import NAME_MAX, Account, Email, User, read_email, read_name
from agenthifive.people.passwords import Passwords, find_fault
from agenthifive.words import AuditAction, PrincipalType, Role


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of somebody who is to get an account; every part was accepted."""

    email: Email
    name: str
    password: str | None

    def __repr__(self) -> str:
        return f"Person({self.email.text!r})"


class Accounts:
    """Creates accounts on an operator's word. Callers decide who may."""

    def __init__(self, passwords: Passwords) -> None:
        self._passwords = passwords

    async def create_user(
        self,
        unit: Unit,
        email: str,
        name: str,
        password: str | None,
        workspace_id: str | None = None,
        role: Role = Role.VIEWER,
        *,
        is_superadmin: bool = False,
        method: str = "cli",
    ) -> Account:
        """Create a verified account; without a password it cannot sign in yet.

        Without a workspace the person gets one of their own; the first person of an instance is superadmin.

        Raises: AppError (400 of the texts, 404 for the workspace, 409 conflict when the e-mail has an account or the
            role is owner of a workspace that has one).
        """
        person = read_person(email, name, password, self._passwords.min_length)
        if workspace_id is not None and role is Role.OWNER:
            raise AppError("conflict", "The workspace has an owner. Choose the role admin, approver or viewer.")
        password_hash = None if password is None else await self._passwords.hash(password)
        connection = await unit.begin()
        await store.lock_first_user(connection)
        is_first = not await store.has_users(connection)
        user = await store.insert_user(
            connection, new_user(person, password_hash, is_superadmin=is_superadmin or is_first)
        )
        if user is None:
            raise AppError("conflict", f"{person.email.text} has an account already. Use another e-mail address.")
        if workspace_id is None:
            account = await open_workspace(unit, user)
        elif is_id(workspace_id) and await store.insert_member(connection, workspace_id, user.id, role):
            account = Account(user, workspace_id, role)
        else:
            raise AppError("not_found", "No workspace with this id exists.")
        unit.record(
            AuditAction.USER_CREATED, {"method": method, "email": user.email}, workspace_id=account.workspace_id
        )
        return account


async def open_workspace(unit: Unit, user: User) -> Account:
    """Give a new user a workspace of their own, and record it."""
    workspace_id, name = new_id(), f"{user.name}'s workspace"
    await store.insert_workspace(await unit.begin(), workspace_id, name, user.id)
    unit.record(AuditAction.WORKSPACE_CREATED, {"name": name}, workspace_id=workspace_id)
    return Account(user, workspace_id, Role.OWNER)


def new_user(person: Person, password_hash: str | None, *, is_superadmin: bool) -> store.NewUser:
    """The row of a new account."""
    platform_role = "superadmin" if is_superadmin else "user"
    return store.NewUser(new_id(), person.email, person.name, password_hash, platform_role)


def sign_as(unit: Unit, user_id: str, workspace_id: str | None) -> None:
    """Let the rows that follow name this person as the one who acts."""
    unit.signature = msgspec.structs.replace(
        unit.signature,
        actor=user_id,
        principal_type=PrincipalType.USER,
        principal_id=user_id,
        workspace_id=workspace_id,
    )


def read_person(email: str, name: str, password: str | None, password_min_length: int) -> Person:
    """Check every text of somebody new.

    Raises: AppError (400) with the code of the first fault and one entry in `fields` for each.
    """
    address, clean_name = read_email(email), read_name(name)
    faults: list[tuple[str, str, str]] = []
    if clean_name is None:
        faults.append(("name", "INVALID_REQUEST", f"Enter a name of 1 to {NAME_MAX} characters."))
    if address is None:
        faults.append(("email", "INVALID_EMAIL", "Enter an e-mail address such as olga@example.com."))
    if password is not None:
        fault = find_fault(password, password_min_length, email, email.partition("@")[0], name)
        if fault is not None:
            faults.append(("password", *fault))
    if faults or address is None or clean_name is None:
        _, code, advice = faults[0]
        raise AppError(code, advice, fields=_fields(faults))
    return Person(address, clean_name, password)


def _fields(faults: Sequence[tuple[str, str, str]]) -> list[Mapping[str, str]]:
    return [{"path": path, "message": advice} for path, _, advice in faults]
