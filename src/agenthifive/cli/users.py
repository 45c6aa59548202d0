"""`user create | list | disable | enable | sign-out | reset-link | reset-two-factor | set-role`.

Accounts by their e-mail address, on the database itself: for operators, also when nobody can sign in any more.
Source: contract/operations.md section 15.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from agenthifive.cli.arguments import misused
from agenthifive.cli.console import Terminal, begin, framed, table
from agenthifive.cli.people import Wish, create_account, open_people, read_password, tell_account
from agenthifive.words import Role

if TYPE_CHECKING:
    from agenthifive.cli.database import Desk
    from agenthifive.db.unit import Unit
    from agenthifive.people.admin_model import KnownUser
    from agenthifive.people.service import People

T = TypeVar("T")
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Address of the account.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Accounts of people.", rich_markup_mode=None)
    group.command("create")(create)
    group.command("list")(list_users)
    group.command("disable")(disable)
    group.command("enable")(enable)
    group.command("sign-out")(sign_out)
    group.command("reset-link")(reset_link)
    group.command("reset-two-factor")(reset_two_factor)
    group.command("set-role")(set_role)
    app.add_typer(group, name="user")


def create(
    context: typer.Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Address the person signs in with.")],
    name: Annotated[str, typer.Option(help="Name of the person.")],
    workspace: Annotated[str | None, typer.Option(help="Id of a workspace to join; without it, a new one.")] = None,
    role: Annotated[Role | None, typer.Option(help="Role in that workspace (default: viewer).")] = None,
    superadmin: Annotated[bool, typer.Option("--superadmin", help="May administer the instance.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input; else a link sets it.")
    ] = False,
) -> None:
    """Create a verified account; without a password, print the link that sets it."""
    terminal = begin(context)
    if role is not None and workspace is None:
        raise misused("--role goes with --workspace: in a workspace of their own, people are owner.")
    password = read_password() if password_stdin else None
    account, _, link = create_account(terminal, Wish(email, name, password, workspace, role, superadmin))
    tell_account(terminal, account, None, None, link)


def list_users(
    context: typer.Context,
    search: Annotated[str | None, typer.Option(help="Only addresses and names that hold this text.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
) -> None:
    """Show the accounts, the oldest first."""
    from agenthifive.people.admin_model import Slice

    terminal = begin(context)

    async def read(people: "People", unit: "Unit") -> "tuple[list[KnownUser], int]":
        return await people.admin.list_users(await unit.begin(), Slice(search, limit, 0))

    users, total = _at_people(terminal, read)
    rows = [
        (one.email, one.name, one.platform_role, "disabled" if one.disabled_at else "active", len(one.workspaces))
        for one in users
    ]
    data = {"users": [_members(one) for one in users], "total": total}
    head = ("EMAIL", "NAME", "ROLE", "STATUS", "WORKSPACES")
    terminal.finish(data, table(head, rows) if rows else "Nobody fits.")


def disable(context: typer.Context, email: Email) -> None:
    """Stop somebody everywhere, within a second: sessions, tokens and the agents they created."""
    sessions, tokens = _change(context, email, lambda people, unit, user_id: people.admin.disable(unit, None, user_id))
    begin(context).finish(
        {"email": email, "sessionsEnded": sessions, "tokensStopped": tokens},
        f"{email} is disabled: {sessions} sessions ended, {tokens} tokens stopped.",
    )


def enable(context: typer.Context, email: Email) -> None:
    """Let somebody work again, with the tokens and agents they had."""
    _change(context, email, lambda people, unit, user_id: people.admin.enable(unit, None, user_id))
    begin(context).finish({"email": email}, f"{email} may sign in again.")


def sign_out(context: typer.Context, email: Email) -> None:
    """End every session of somebody."""
    sessions = _change(context, email, lambda people, unit, user_id: people.admin.sign_out(unit, None, user_id))
    begin(context).finish({"email": email, "sessionsEnded": sessions}, f"{sessions} sessions of {email} ended.")


def reset_link(context: typer.Context, email: Email) -> None:
    """Print a link that sets a new password."""
    link = _change(context, email, lambda people, unit, user_id: people.admin.issue_reset_link(unit, user_id))
    note = "It works once, for an hour; earlier links are void. Hand it over safely."
    begin(context).finish({"email": email, "resetUrl": link}, framed("Reset link", link, note))


def reset_two_factor(context: typer.Context, email: Email) -> None:
    """Take somebody's second factors away, so that they can set up new ones."""
    _change(context, email, lambda people, unit, user_id: people.admin.reset_two_factor(unit, None, user_id))
    begin(context).finish({"email": email}, f"{email} signs in without a second factor until they set one up.")


def set_role(
    context: typer.Context,
    email: Email,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="user or superadmin.")],
) -> None:
    """Make somebody superadmin of the instance, or not."""
    from agenthifive.people.admin import PLATFORM_ROLES

    if role not in PLATFORM_ROLES:
        raise misused(f"{role} is no role of an instance: {' or '.join(PLATFORM_ROLES)}.")
    _change(context, email, lambda people, unit, user_id: people.admin.set_role(unit, None, user_id, role))
    begin(context).finish({"email": email, "platformRole": role}, f"{email} is {role} of the instance.")


def _change(context: typer.Context, email: str, change: "Callable[[People, Unit, str], Awaitable[T]]") -> T:
    """Change the account of an address. Raises: CommandError."""

    async def work(people: "People", unit: "Unit") -> T:
        return await change(people, unit, await people.admin.find_by_email(await unit.begin(), email))

    return _at_people(begin(context), work)


def _at_people(terminal: Terminal, work: "Callable[[People, Unit], Awaitable[T]]") -> T:
    from agenthifive.cli.database import at_desk

    async def sit(desk: "Desk") -> T:
        async with open_people(desk) as people, desk.unit() as unit:
            return await work(people, unit)

    return at_desk(terminal, sit)


def _members(user: "KnownUser") -> dict[str, Any]:
    from agenthifive.ids import wire_time

    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "platformRole": user.platform_role,
        "emailVerified": user.is_verified,
        "disabledAt": wire_time(user.disabled_at),
        "createdAt": wire_time(user.created_at),
        "workspaces": user.workspaces,
    }
